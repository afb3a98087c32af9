"""One optimizer on some draws: a graph whose call runs many base iterations on many draws."""

import functools

import numpy as np
import tensorflow.compat.v1 as tf

from l2l.evaluation.optimizers import without_variables
from l2l.graphs import OwnGraph
from l2l.learning.engines import compiled, placeholders_like, refusals_named, zeros_for
from l2l.learning.unrolling import unroll_bound
from l2l.mapping import MOST_DRAW_BY_DRAW
from l2l.nests import tensors_of, with_tensors
from l2l.optimizers.first_state import with_initial_state
from l2l.optimizers.over_draws import for_batch, is_vectorized
from l2l.optimizers.trained import Trained, entered
from l2l.problems.binding import BoundProblem, position_specs
from l2l.problems.examining import examined

# Draws are evaluated together up to so many coordinates, and base iterations up to so many losses to a call: memory
# does not grow with their number, and a call is short.
MOST_COORDINATES = 8192
MOST_LOSSES = 200_000


def drawn(problem, number, seeds, steps):
    """Draws `number` problems, `Examined`, from a pair of seeds as from `seeds_of`."""

    def batch(coordinates):
        return int(min(number, max(1, MOST_COORDINATES // max(1, coordinates))))

    return examined(problem, number, seeds, steps, batch)


def seeds_of(seed):
    """Returns a pair of seeds for an evaluation's draws. The first is negative: trainings have those from 0 on."""
    return -1 - seed, 0


class EvaluationGraph:
    """A graph that runs one optimizer on some draws, many base iterations on many draws in one call.

    Args:
      problem, optimizer, steps, engine: as for `evaluate`.
      path: the optimizer's name in error messages.
      draws: as from `drawn`.
      hyperparameters: None, or a dict from name to a float or an int. `optimizer` is then a function that takes scalar
        tensors by these names and returns an optimizer, and `assign` gives the same graph other numbers.

    Attributes:
      build: the function that built the optimizer if it is a `Trained`, else None.
    """

    def __init__(self, problem, optimizer, path, draws, steps, engine, hyperparameters=None):
        self._steps, self._numbers, numbers = steps, [], []
        self._own = OwnGraph()
        with self._own.building(problem) as graph:
            one = tf.nest.map_structure(lambda many: tf.placeholder(many.dtype, many.shape[1:]), draws.draws)
            x = BoundProblem(problem, one).start()
            if hyperparameters is not None:
                values = _placeholders_for(hyperparameters, tf.nest.flatten(x)[0].dtype)
                optimizer, numbers = optimizer(**values), list(values.values())
                self.assign(hyperparameters)
            self.build = optimizer.build if isinstance(optimizer, Trained) else None
            given, (optimizer, load) = optimizer, entered(path, optimizer, functools.partial(position_specs, problem))
            self._learned = optimizer
            self._own.load_with(load)
            with without_variables(path, given):
                if draws.batch > MOST_DRAW_BY_DRAW and not is_vectorized(optimizer, x, steps):
                    draws = draws._replace(batch=MOST_DRAW_BY_DRAW)
                self._draws, batch = draws, draws.batch
                self._turns = _even_part(steps, MOST_LOSSES // batch)
                draw = tf.nest.map_structure(
                    lambda many: tf.placeholder(many.dtype, [batch, *many.shape[1:]]), draws.draws
                )
                bind_draw = functools.partial(BoundProblem, problem, batch=batch, draw_by_draw=draws.draw_by_draw)
                optimizer = with_initial_state(for_batch(optimizer, batch))
                self._x = bind_draw(draw).start()
                start = self._x, optimizer.bind(horizon=steps).initial_state(self._x)
                first, most = tf.placeholder(tf.int32, []), tf.placeholder(tf.int32, [])
                carried = placeholders_like(tensors_of(start))

                def turns(first, most, *tensors):
                    number = len(tf.nest.flatten(draw))
                    part = tf.nest.pack_sequence_as(draw, tensors[:number])
                    x, state = with_tensors(start, tensors[number:])
                    done = unroll_bound(
                        bind_draw(part), optimizer, x, state, self._turns, first, "while", most=most, horizon=steps
                    )
                    return [done.losses, *tensors_of((done.x, done.state))]

                feeds = [first, most, *tf.nest.flatten(draw), *carried]
                fetches = compiled(turns, feeds) if engine == "xla" else turns(*feeds)
        self._session = self._own.start()
        graph.finalize()
        try:
            self._start = self._session.make_callable(tensors_of(start), [*numbers, *tf.nest.flatten(draw)])
            self._call = self._session.make_callable(fetches, [*numbers, *feeds])
            if engine == "xla":
                with refusals_named("this problem or optimizer", graph):
                    self._call(*self._numbers, *zeros_for(feeds))
        except BaseException:
            self.close()
            raise

    def load(self, trained, path):
        """Continues with the weights of another `Trained` of the same kind.

        Raises:
          ValueError: it is of another kind.
        """
        trained.loader(self._learned, path)(self._session)

    def assign(self, hyperparameters):
        """Continues with other hyperparameters, a dict with the same names and types."""
        self._numbers = list(hyperparameters.values())

    def close(self):
        """Frees the session."""
        self._own.close()

    def losses_and_positions(self, at, report):
        """Returns the losses `[draws, len(at)]` and the final positions, a nest of arrays `[draws, ...]`.

        `report` is called now and then with the number of base iterations since its last call, counted over all draws.
        """
        losses, positions = None, []
        number = self._draws.num
        for start, draws in zip(range(0, number, self._draws.batch), self._draws.parts()):
            draws_here = min(self._draws.batch, number - start)
            carried = self._start(*self._numbers, *draws)
            for first in range(0, self._steps, self._turns):
                most = min(self._turns, self._steps - first)
                some, *carried = self._call(*self._numbers, first, most, *draws, *carried)
                if losses is None:
                    losses = np.empty([number, len(at)], some.dtype)
                here = (at >= first) & (at < first + most)
                losses[start : start + draws_here, here] = some[at[here] - first, :draws_here].T
                report(most * draws_here)
            positions.append([array[:draws_here] for array in carried[: len(tensors_of(self._x))]])
        return losses, tf.nest.pack_sequence_as(self._x, [np.concatenate(parts) for parts in zip(*positions)])


def _placeholders_for(numbers, dtype):
    """Placeholders by name for a dict of numbers: int32 for ints, `dtype` for floats."""
    return {
        name: tf.placeholder(tf.int32 if isinstance(number, int) else dtype, [], name)
        for name, number in numbers.items()
    }


def _even_part(whole, most):
    """The length of a part when `whole` is cut into the fewest parts of at most `most`, all nearly equal."""
    number = -(-whole // most)
    return -(-whole // number)
