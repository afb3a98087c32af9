"""Conformance checks for custom problems and optimizers.

They print what was tried, or raise an error that says what is wrong.

Usage, in a test or in a notebook cell::

    l2l.testing.check_problem(MyProblem())
    l2l.testing.check_optimizer(MyNetwork)
"""

from __future__ import annotations

import time

import numpy as np
import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.graphs import OwnGraph
from l2l.learning.engines import compiled
from l2l.learning.segments import meta_gradient
from l2l.learning.unrolling import gradients_of, unroll, unroll_bound
from l2l.mapping import control_flow_kept, first_line
from l2l.nests import tensors_of
from l2l.optimizers.first_call import create, stepped, the_number_for
from l2l.optimizers.optimizer import opened
from l2l.optimizers.rules import sgd
from l2l.problems.batches import check_batch
from l2l.problems.binding import BoundProblem
from l2l.problems.problem import Problem, sample
from l2l.problems.quadratic import Quadratic
from l2l.tracebacks import short_traceback
from l2l.types import BuildOptimizer
from l2l.xla import prepare_xla

__all__ = ["check_optimizer", "check_problem"]


def __dir__():
    return __all__


_DRAWS = 3
_COORDINATES = 3


class _Found(list):
    """Sentences about what is wrong; raised together at the end."""

    def check(self, right, sentence, *values):
        if not right:
            self.append(sentence % values if values else sentence)

    def result(self, what, function, *arguments):
        """The result of a function; None where it fails, with a sentence about that."""
        try:
            return function(*arguments)
        except Exception as error:
            self.append("%s cannot be computed: %s" % (what, first_line(error)))
            return None

    def report(self, what, start, tried):
        """Raises what was found; prints what was tried if nothing was found."""
        if self:
            raise ValueError("%s breaks its contract:\n%s" % (what, _listed(self)))
        print(
            "%s keeps its contract, found in %.1f s. Tried:\n%s" % (what, time.perf_counter() - start, _listed(tried))
        )


def _listed(sentences):
    return "\n".join("- " + sentence for sentence in sentences)


def _close(one, other):
    """Whether two lists of arrays agree to what float32 and another order of sums leave."""
    return all(
        np.allclose(a, b, rtol=1e-3, atol=1e-5 * (1 + np.abs(b[np.isfinite(b)]).max(initial=0)), equal_nan=True)
        for a, b in zip(map(np.asarray, one), map(np.asarray, other))
    )


def _unchanged(one, again):
    """Whether two arrays are equal; those with NaN count as equal, since nothing can be told of them."""
    return np.array_equal(one, again) or np.isnan(one).any()


def _compiled(function, inputs):
    """The flat results of a function of tensors, compiled by XLA."""
    prepare_xla()
    return compiled(function, inputs)


@short_traceback
def check_problem(problem: Problem, *, steps: int = 4) -> None:
    """Checks that a problem keeps the contract of `Problem`, on every engine.

        l2l.testing.check_problem(MyProblem())

    It checks that

    - shapes and dtypes are right, and draws follow from their seed;
    - the loss of a draw is the same each time, alone and in a batch;
    - the loss depends on the whole position, and has the derivatives that training needs;
    - XLA can compile it, and gets the same losses.

    If all of it passes, what was tried is printed. A `RuntimeWarning` says if a batch is computed draw by draw.

    Args:
      problem: a `Problem`.
      steps: how many base iterations of gradient descent are tried, a positive integer.

    Raises:
      TypeError: it is no problem.
      ValueError: all that was found wrong, a line each.
    """
    checks.problem("problem", problem)
    steps = checks.positive_integer("steps", steps)
    start, found = time.perf_counter(), _Found()
    own = OwnGraph()
    with own.building(problem), own as session:
        run = session.run
        draws = found.result("sample", _checked_draws, found, problem, run)
        if draws:
            nest, arrays = draws
            places = [tf.placeholder(array.dtype, array.shape) for array in arrays]
            batch, feed = tf.nest.pack_sequence_as(nest, places), dict(zip(places, arrays))
            losses = found.result("a draw alone", _checked_losses, found, problem, run, batch, feed, steps)
            if losses is not None:
                by_draw = found.result("a batch of draws", lambda: check_batch(problem, batch, _DRAWS)(session, feed))
                many = BoundProblem(problem, batch, _DRAWS, draw_by_draw=bool(by_draw))
                found.result("a batch of draws", _check_many, found, many, run, feed, steps, losses)
                found.result("XLA", _check_compiled_losses, found, many, run, feed, steps, losses)
    tried = [
        "sample: shapes, dtypes, %d draws that follow from their seed" % _DRAWS,
        "initial_position and loss: static shapes, finite values, pure, first and second derivatives",
        "%d base iterations of gradient descent: each draw alone, all in a batch, and compiled by XLA" % steps,
    ]
    found.report(type(problem).__name__, start, tried)


def _checked_draws(found, problem, run):
    """Some draws, a nest of tensors, and a flat list of arrays."""
    seed = tf.placeholder(tf.int64, [])
    draws = sample(problem, _DRAWS, seed)
    one, again, other = (run(tf.nest.flatten(draws), {seed: number}) for number in [1, 1, 2])
    found.check(
        all(map(np.array_equal, one, again)),
        "sample must follow from its seed alone: two calls with one seed gave different draws",
    )
    found.check(not all(map(np.array_equal, one, other)), "sample must use its seed: two seeds gave the same draws")
    return draws, one


def _checked_losses(found, problem, run, batch, feed, steps):
    """The losses `[steps, draws]` of gradient descent on each draw alone."""
    singles = [BoundProblem(problem, tf.nest.map_structure(lambda many, i=i: many[i], batch)) for i in range(_DRAWS)]
    x = singles[0].start()
    found.check(
        all(tensor.shape.is_fully_defined() for tensor in tensors_of(x)),
        "initial_position must have static shapes, got %r",
        x,
    )
    gradients = gradients_of(singles[0].loss(x, tf.constant(0)), x)
    alone = [_descent(one, steps, "python") for one in singles]
    losses, again = (np.stack(run(alone, feed), axis=1) for _ in range(2))
    found.check(
        _unchanged(losses, again),
        "loss and observe must be pure: the same draw gave two losses (random ops without a seed?)",
    )
    found.check(np.isfinite(losses[0]).all(), "loss must be finite at the initial position, got %s", losses[0])
    found.check(
        all(np.isfinite(gradient).all() for gradient in run(tensors_of(gradients), feed)),
        "loss must have finite gradients at the initial position",
    )
    try:
        with control_flow_kept():
            tf.gradients(tensors_of(gradients), tensors_of(x))
    except (LookupError, TypeError) as error:
        found.append(
            "loss has no second derivative (%s); train with second_derivatives=False, or write it with other ops"
            % first_line(error)
        )
    return losses


def _check_many(found, many, run, feed, steps, losses):
    found.check(
        _close([run(_descent(many, steps, "python"), feed)], [losses]),
        "a batch of draws must have the losses of each draw alone",
    )


def _check_compiled_losses(found, many, run, feed, steps, losses):
    places = tf.nest.flatten(many.draw)

    def compiled_losses(*tensors):
        draw = tf.nest.pack_sequence_as(many.draw, tensors)
        return [_descent(BoundProblem(many.problem, draw, _DRAWS, draw_by_draw=many.draw_by_draw), steps, "while")]

    try:
        (result,) = run(_compiled(compiled_losses, places), feed)
        found.check(_close([result], [losses]), "XLA must compute the same losses, it does not")
    except Exception as error:
        found.append("XLA cannot compile it, so train with engine='graph': %s" % first_line(error))


def _descent(bound, steps, loop):
    """The losses of gradient descent, which is slow enough to stay near the start."""
    return unroll_bound(
        bound, opened("sgd", sgd(1e-3)), bound.start(), None, steps, loop=loop, second_derivatives=False
    ).losses


@short_traceback
def check_optimizer(build: BuildOptimizer, *, steps: int = 4) -> None:
    """Checks that an optimizer keeps its contract, on every engine.

        l2l.testing.check_optimizer(lambda: my_rule)

    It checks

    - what a step returns, and that the state keeps its structure, so that an unroll can be continued;
    - that what the optimizer says of itself is true: `initial_state`, `bind`, `coordinatewise`;
    - that draws in a batch do not influence each other;
    - that every trainable variable gets a meta-gradient, the same one from each engine;
    - that XLA can compile it.

    If all of it passes, what was tried is printed.

    Args:
      build: function without arguments that creates the optimizer, such as `CoordinatewiseLSTM`, `l2l.sgd` or
        `lambda: my_rule`.
      steps: how many base iterations are tried, an integer of at least 3.

    Raises:
      TypeError: `build` is no such function.
      ValueError: all that was found wrong, a line each.
    """
    checks.function_without_arguments("build", build)
    if checks.positive_integer("steps", steps) < 3:
        raise ValueError("steps must be at least 3, got %r" % steps)
    start, found, tried = time.perf_counter(), _Found(), []
    own = OwnGraph()
    with own.building():
        tf.set_random_seed(1)
        try:
            created = _created(build, _COORDINATES)
        except Exception as error:
            if isinstance(error, TypeError):
                raise
            found.append(_in_words(build, error))
    if not found:
        try:
            tried += _look_at(found, own, created, steps)
        except Exception as error:  # whatever it was, it is what was found
            found.append(_in_words(build, error))
    name = getattr(build, "__name__", "<lambda>")
    found.report("the optimizer" if name == "<lambda>" else name, start, tried)


def _created(build, number):
    """The optimizer in the current graph, a `Created`, for a first call on so many coordinates."""
    return create(build, lambda: tf.TensorSpec([number], tf.float32), "build")


def _in_words(build, error):
    """Says why an optimizer failed: its state has a fixed size, or whatever the error says."""

    def serves(number):
        optimizer, gradients = _created(build, number).optimizer, tf.zeros([number])
        bound = optimizer.bind()
        state = None if bound.initial_state is None else bound.initial_state(gradients)
        stepped(bound, gradients, stepped(bound, gradients, state))

    number = the_number_for(serves, _COORDINATES, error)
    if number is None:
        return first_line(error)
    return (
        "its state has a fixed size, for %d coordinates, and the check uses another number of coordinates, %d; "
        "tf.zeros_like(gradients), or tf.shape(gradients)[0], follows the gradients" % (number, _COORDINATES)
    )


def _look_at(found, own, created, steps):
    """Adds to `found` what is wrong with an optimizer in its graph; returns what was tried, a list of sentences."""
    optimizer, problem = created.optimizer, Quadratic(_COORDINATES)
    variables = optimizer.variables
    with own.graph.as_default():
        flat = [tf.constant(array) for array in _some_draws(problem)]
        batch = tf.nest.pack_sequence_as(problem.sample(_DRAWS), flat)
        singles = [tf.nest.map_structure(lambda many, i=i: many[i], batch) for i in range(_DRAWS)]
        whole = unroll(problem, singles[0], optimizer, steps=steps)
        looped = unroll(problem, singles[0], optimizer, steps=steps, loop="while")
        half = unroll(problem, singles[0], optimizer, steps=steps // 2)
        rest = unroll(
            problem, singles[0], optimizer, x=half.x, state=half.state, steps=steps - steps // 2, first=steps // 2
        )
        # As loops, which are built in a fraction of the time; another check compares a loop with steps in a row.
        others = [unroll(problem, one, optimizer, steps=steps, loop="while").losses for one in singles[1:]]
        try:
            together = unroll(problem, batch, optimizer, steps=steps, batch=_DRAWS, loop="while").losses
        except Exception as error:
            shape = (_DRAWS, _COORDINATES) if optimizer.coordinatewise else (_COORDINATES,)
            words = "in a batch of %d draws it fails with gradients of shape %s: %s"
            raise ValueError(words % (_DRAWS, shape, first_line(error))) from error
        gradients = tf.constant([0.5, -0.25, 1.0])
        bound = optimizer.bind()
        first_update, first_state = bound.plain_step(gradients, None, gradients)
        first = [first_update]
        if bound.initial_state is not None:
            said = bound.initial_state(gradients)
            try:
                tf.nest.assert_same_structure(said, first_state)
            except (TypeError, ValueError):
                found.append("initial_state must have the structure of the states that steps return")
            first.append(bound.plain_step(gradients, said, gradients)[0])
        _check_kernels(found, bound, gradients)
        try:
            unroll(_Nested(), batch.scale, optimizer, steps=2)
        except Exception as error:
            found.append(
                "it must take a nest of gradients where the position is one, and return an update like it; "
                "tf.nest.map_structure applies a rule to each tensor (%s)" % first_line(error)
            )
        reached = tf.gradients(whole.losses, variables) if variables else []
        for variable, gradient in zip(variables, reached):
            found.check(gradient is not None, "no meta-gradient reaches the variable %r", variable.op.name)

        def compiled_gradients(*tensors):
            one = tf.nest.pack_sequence_as(batch, [tensor[0] for tensor in tensors])
            if not variables:
                return [unroll(problem, one, optimizer, steps=steps, loop="while").losses]
            meta = meta_gradient(problem, one, optimizer, variables, unroll_length=steps, loop="while")
            return [meta.losses, *meta.gradients]

        try:
            compiled = _compiled(compiled_gradients, flat)
        except Exception as error:
            compiled = []
            found.append(first_line(error))
        expected = [whole.losses, *[one for one in reached if one is not None]]
        with own as session:
            results = session.run([whole.losses, looped.losses, tf.concat([half.losses, rest.losses], axis=0)])
            found.check(
                _unchanged(session.run(whole.losses), results[0]),
                "its update must follow from gradients and state alone: the same steps gave other losses the second "
                "time (random ops?)",
            )
            found.check(_close([results[1]], [results[0]]), "a loop must give the losses of steps in a row")
            found.check(
                _close([results[2]], [results[0]]),
                "an unroll that is continued must give the losses of one that is not: is something that changes from "
                "step to step not in the state?",
            )
            found.check(
                _close([session.run(together)], [np.stack(session.run([looped.losses, *others]), axis=1)]),
                "a batch of draws must have the losses of each draw alone: it is not coordinate-wise",
            )
            if len(first) == 2:
                found.check(
                    _close(*[[update] for update in session.run(first)]),
                    "the first step from initial_state must be the first step with state=None",
                )
            try:
                results = session.run(compiled)
                found.check(
                    _close(results, session.run(expected)),
                    "XLA must compute the same losses and meta-gradients, it does not",
                )
            except tf.errors.OpError as error:
                found.append("XLA cannot compile it, so train with engine='graph': %s" % first_line(error))
    number = len(variables)
    return [
        "%d steps in a row, as a loop, and continued after %d: one structure of states, the same losses"
        % (steps, steps // 2),
        "%d draws alone and in a batch; a position that is a nest of tensors" % _DRAWS,
        "compiled by XLA: the same losses"
        + (" and meta-gradients, one for each of its %d trainable variables" % number if number else ""),
    ]


class _Nested(Problem):
    """A quadratic whose position is a nest of tensors of different rank. A draw is a matrix."""

    def initial_position(self, draw):
        return {"matrix": draw, "scalar": tf.reduce_sum(draw)}

    def loss(self, x, draw):
        return tf.add_n([tf.nn.l2_loss(one) for one in tf.nest.flatten(x)])


def _some_draws(problem):
    """Draws of a quadratic as arrays, so that all engines see the same."""
    own = OwnGraph()
    with own.building():
        draws = tf.nest.flatten(problem.sample(_DRAWS, 1))
        with own as session:
            return session.run(draws)


def _check_kernels(found, bound, gradients):
    """A step must multiply by each kernel of its `bind` once."""
    used = []

    def product(i, inputs):
        used.append(i)
        return tf.matmul(inputs, bound.kernels[i])

    state = None if bound.initial_state is None else bound.initial_state(gradients)
    bound.step(gradients, state, gradients, product)
    found.check(
        sorted(used) == list(range(len(bound.kernels))),
        "a step must multiply by each of its %d kernels once, it used %s",
        len(bound.kernels),
        used,
    )
