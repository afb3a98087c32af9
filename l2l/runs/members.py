"""Runs of an optimizer on one problem with given weights: the members that evolution strategies compare."""

import functools

import numpy as np
import tensorflow.compat.v1 as tf

from l2l.graphs import OwnGraph
from l2l.learning.engines import compiled, placeholders_like, refusals_named, zeros_for
from l2l.learning.unrolling import unroll_bound
from l2l.nests import tensors_of, with_tensors
from l2l.optimizers.first_call import create
from l2l.optimizers.first_state import with_initial_state
from l2l.problems.binding import BoundProblem, position_specs
from l2l.problems.problem import sample
from l2l.process import prepare_allocator
from l2l.xla import prepare_xla

TURNS = 1000  # base iterations of one call, the size of its buffer of losses


class Members:
    """A graph and a session that run an optimizer on draws of a problem, forward only; nothing is compiled yet.

    The weights are inputs. A call runs base iterations of one draw, whose number is an input too. It returns position
    and state, from which the next call continues, so one program serves horizons of any length.

    Args:
      problem: a `Problem`.
      build_optimizer: function without arguments that creates the optimizer.
      engine: "xla" compiles a call; "graph" runs it op by op.
      pairs: how many draws a meta-iteration needs.
      turns: the most base iterations of a call.
      threads: how many calls may run side by side.

    Raises:
      ValueError: the optimizer has variables that adapt; and all that an unroll raises.
    """

    def __init__(self, problem, build_optimizer, engine, *, pairs, turns, threads):
        self._engine, self._turns, self._is_ready = engine, turns, engine == "graph"
        prepare_xla() if engine == "xla" else prepare_allocator()
        self._own = OwnGraph()
        with self._own.building(problem) as graph:
            optimizer = create(build_optimizer, functools.partial(position_specs, problem), "build_optimizer").optimizer
            if optimizer.adapted:
                raise ValueError(
                    "estimator needs an optimizer that adapts nothing, got one with %d adapted variables; its casting "
                    "adapts to the gradients at the end of a segment" % len(optimizer.adapted)
                )
            self._seed = tf.placeholder(tf.int64, [], name="seed")
            draws = sample(problem, pairs, self._seed)
            self._draws = tf.nest.flatten(draws)
            weights = placeholders_like(list(map(tf.convert_to_tensor, optimizer.variables)))
            draw = tf.nest.map_structure(lambda many: tf.placeholder(many.dtype, many.shape[1:]), draws)
            first, most, horizon = (tf.placeholder(tf.int32, [], name) for name in ("first", "most", "horizon"))
            optimizer = with_initial_state(optimizer)
            inputs = [*weights, *tf.nest.flatten(draw), horizon]

            def begun(*tensors):
                weights_now, part, horizon_now, _ = self._taken_apart(tensors, weights, draw)
                x = BoundProblem(problem, part).start()
                return x, optimizer.bind(weights_now, horizon=horizon_now).initial_state(x)

            start = begun(*inputs)
            self._start, start_feeds = tensors_of(start), inputs
            carried = placeholders_like(self._start)

            def turned(first, most, *tensors):
                weights_now, part, horizon_now, rest = self._taken_apart(tensors, weights, draw)
                x, state = with_tensors(start, rest)
                bound = optimizer._replace(bind=lambda horizon: optimizer.bind(weights_now, horizon=horizon))
                done = unroll_bound(
                    BoundProblem(problem, part),
                    bound,
                    x,
                    state,
                    turns,
                    first,
                    "while",
                    second_derivatives=False,
                    most=most,
                    horizon=horizon_now,
                )
                return [done.losses, *tensors_of((done.x, done.state))]

            feeds = [first, most, *inputs, *carried]
            fetches = compiled(turned, feeds) if engine == "xla" else turned(*feeds)
        self.graph, self._session, self._feeds = graph, self._own.start(threads), feeds
        graph.finalize()
        self._begin = self._session.make_callable(self._start, feed_list=start_feeds)
        self._call = self._session.make_callable(fetches, feed_list=feeds)
        self._sample = self._session.make_callable(self._draws, feed_list=[self._seed])

    @staticmethod
    def _taken_apart(tensors, weights, draw):
        """`(weights, draw, horizon, the rest)` of a flat list of tensors."""
        tensors = list(tensors)
        number = len(tf.nest.flatten(draw))
        own, rest = tensors[: len(weights)], tensors[len(weights) :]
        return own, tf.nest.pack_sequence_as(draw, rest[:number]), rest[number], rest[number + 1 :]

    @property
    def is_ready(self):
        """Whether `prepare` has nothing left to do."""
        return self._is_ready

    def prepare(self):
        """Compiles, if that is still to be done.

        Raises:
          CannotCompileError: XLA cannot compile the problem or the optimizer.
        """
        if not self._is_ready:
            with refusals_named("this problem or optimizer", self.graph):
                self._call(*zeros_for(self._feeds))
            self._is_ready = True

    def draws(self, seed):
        """Returns one draw for each pair, a list of flat lists of arrays."""
        return list(zip(*self._sample(seed)))

    def begun(self, weights, draw, horizon):
        """Returns position and state before the first base iteration, a flat list of arrays, for `run` as `carried`."""
        return self._begin(*weights, *draw, horizon)

    def run(self, weights, draw, carried, *, first, steps, horizon):
        """Runs `steps` base iterations from number `first` on: `(losses [steps], carried)`.

        `carried` is None for the first ones. A loss that is NaN or infinite ends the run, since nothing after it is of
        use; there are then fewer losses.
        """
        losses, carried = [], self.begun(weights, draw, horizon) if carried is None else carried
        for done in range(0, steps, self._turns):
            most = min(self._turns, steps - done)
            some, *carried = self._call(first + done, most, *weights, *draw, horizon, *carried)
            losses.append(some[:most])
            if not np.isfinite(losses[-1]).all():
                break
        return np.concatenate(losses), carried

    def close(self):
        self._own.close()
