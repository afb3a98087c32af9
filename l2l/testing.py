"""Conformance checks for problems and optimizers of one's own: what they got wrong, in words.

Usage, in a test or in a notebook cell::

    l2l.testing.check_problem(MyProblem())
    l2l.testing.check_optimizer(MyNetwork)
"""

import numpy as np
import tensorflow as tf
from tensorflow.python.eager.function import defun

from l2l import checks
from l2l.learning.segments import meta_gradient
from l2l.learning.unrolling import gradients_of, unroll
from l2l.nests import tensors_of
from l2l.optimizers.first_call import create, said_by, step, the_number_for
from l2l.optimizers.optimizer import bind, initial_state
from l2l.optimizers.rules import sgd
from l2l.problems.batches import check_batch_loss
from l2l.problems.problem import Problem, data_as_variables, initial_position, loss_function, sample
from l2l.problems.quadratic import Quadratic
from l2l.problems.random_numbers import uniform
from l2l.process import prepare_xla, session_with_threads

_DRAWS = 3
_COORDINATES = 3


class _Found(list):
    """Sentences about what is wrong; raised together at the end."""

    def check(self, right, sentence, *values):
        if not right:
            self.append(sentence % values if values else sentence)

    def raise_if_any(self, what):
        if self:
            raise ValueError("%s breaks its contract:\n%s" % (what, "\n".join("- " + sentence for sentence in self)))


def _close(one, other):
    """Whether two lists of arrays agree to what float32 and another order of sums leave."""
    return all(
        np.allclose(a, b, rtol=1e-3, atol=1e-5 * (1 + np.abs(b[np.isfinite(b)]).max(initial=0)), equal_nan=True)
        for a, b in zip(map(np.asarray, one), map(np.asarray, other))
    )


def _compiled(function, inputs):
    """The flat results of a function of tensors, compiled by XLA, with loops as functions."""
    prepare_xla()
    return tf.xla.experimental.compile(lambda *tensors: defun(function, autograph=False)(*tensors), inputs)


def check_problem(problem, steps=4):
    """Checks that a problem keeps the contract of `Problem`, and that every engine computes the same with it.

    Looked at: shapes and dtypes; that draws follow from their seed; that the loss of a draw is the same each time,
    alone and in a batch; that it depends on the whole position and has the derivatives that training needs; that XLA
    can compile it, and gets the same losses.

    Args:
      problem: a `Problem`.
      steps: how many base iterations of gradient descent are tried, a positive integer.

    Raises:
      TypeError: it is no problem.
      ValueError: all that was found wrong, a line each.
    """
    checks.problem("problem", problem)
    steps = checks.positive_integer("steps", steps)
    found, name = _Found(), type(problem).__name__
    with tf.Graph().as_default() as graph:
        set_data = data_as_variables(problem)
        seed = tf.placeholder(tf.int64, [])
        draws = sample(problem, _DRAWS, seed)
        flat = tf.nest.flatten(draws)
        places = [tf.placeholder(many.dtype, many.shape) for many in flat]
        batch = tf.nest.pack_sequence_as(draws, places)
        singles = [tf.nest.map_structure(lambda many, i=i: many[i], batch) for i in range(_DRAWS)]
        x = initial_position(problem, singles[0])
        found.check(
            all(tensor.shape.is_fully_defined() for tensor in tensors_of(x)),
            "initial_position must have static shapes, got %r",
            x,
        )
        value = loss_function(problem, singles[0])(x, tf.constant(0))
        gradients = gradients_of(value, x)
        try:
            tf.gradients(tensors_of(gradients), tensors_of(x))
        except LookupError as error:
            found.append(
                "loss has no second derivative (%s); train with second_derivatives=False, or write it with other ops"
                % str(error).split("\n")[0]
            )
        slow = sgd(1e-3)
        alone = [unroll(problem, one, slow, steps=steps, second_derivatives=False).losses for one in singles]
        together = unroll(problem, batch, slow, steps=steps, batch=_DRAWS, second_derivatives=False).losses
        agreement = check_batch_loss(problem, batch, _DRAWS)

        def compiled_losses(*tensors):
            some = tf.nest.pack_sequence_as(batch, tensors)
            done = unroll(problem, some, slow, steps=steps, loop="while", batch=_DRAWS, second_derivatives=False)
            return [done.losses]

        compiled = _compiled(compiled_losses, places)
        with session_with_threads(graph) as session:
            set_data(session)
            one, again, other = (session.run(flat, {seed: number}) for number in [1, 1, 2])
            found.check(
                all(map(np.array_equal, one, again)),
                "sample must follow from its seed alone: two calls with one seed gave different draws",
            )
            found.check(
                not all(map(np.array_equal, one, other)),
                "sample must use its seed: two seeds gave the same draws",
            )
            feed = dict(zip(places, one))
            losses = np.stack(session.run(alone, feed), axis=1)
            found.check(
                np.array_equal(
                    losses,
                    np.stack(session.run(alone, feed), axis=1),
                )
                or np.isnan(losses).any(),
                "loss and observe must be pure: the same draw gave two losses (random ops without a seed?)",
            )
            found.check(
                np.isfinite(losses[0]).all(),
                "loss must be finite at the initial position, got %s",
                losses[0],
            )
            found.check(
                np.isfinite(np.concatenate([g.ravel() for g in session.run(tensors_of(gradients), feed)])).all(),
                "loss must have finite gradients at the initial position",
            )
            found.check(
                _close([session.run(together, feed)], [losses]),
                "a batch of draws must have the losses of each draw alone",
            )
            if agreement:
                try:
                    agreement(session, feed)
                except ValueError as error:
                    found.append(str(error))
            try:
                (result,) = session.run(compiled, feed)
                found.check(_close([result], [losses]), "XLA must compute the same losses, it does not")
            except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.InternalError) as error:
                found.append(
                    "XLA cannot compile it, so train with engine='graph': %s" % error.message.strip().split("\n")[0]
                )
    found.raise_if_any(name)


def check_optimizer(build, steps=4):
    """Checks that an optimizer keeps its contract, and that every engine computes the same with it.

    Looked at: what a step returns; that the state keeps its structure, and an unroll can be continued; that what it
    says of itself is true (`initial_state`, `bind`, `coordinatewise`); that many draws do not see each other; that
    every trainable variable gets a meta-gradient, the same one from each engine; that XLA can compile it.

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
    found, graph = _Found(), tf.Graph()
    with graph.as_default():
        tf.set_random_seed(1)
        try:
            created = _created(build, _COORDINATES)
        except Exception as error:
            if isinstance(error, TypeError):
                raise
            found.append(_in_words(build, error))
    if not found:
        try:
            _look_at(found, graph, created, steps)
        except Exception as error:  # whatever it was, it is what was found
            found.append(_in_words(build, error))
    found.raise_if_any(getattr(build, "__name__", "the optimizer"))


def _created(build, number):
    """The optimizer in the current graph, a `Created`, for a first call on so many coordinates."""
    scope = tf.variable_scope(tf.get_variable_scope(), use_resource=True)
    return create(build, lambda: tf.TensorSpec([number], tf.float32), "build", scope)


def _in_words(build, error):
    """Why an optimizer failed: it has a size of its own, or what the error says."""

    def serves(number):
        optimizer, gradients = _created(build, number).optimizer, tf.zeros([number])
        step(optimizer, gradients, step(optimizer, gradients, initial_state(optimizer, gradients)))

    number = the_number_for(serves, _COORDINATES, error)
    if number is None:
        return said_by(error)
    return (
        "its state has a fixed size, for %d coordinates, and the check uses another number of coordinates, %d; "
        "tf.zeros_like(gradients), or tf.shape(gradients)[0], follows the gradients" % (number, _COORDINATES)
    )


def _look_at(found, graph, created, steps):
    """Adds what is wrong with an optimizer in its graph."""
    optimizer, variables, problem = created.optimizer, created.variables, Quadratic(_COORDINATES)
    with graph.as_default():
        flat = [tf.constant(array) for array in _some_draws(problem)]
        batch = tf.nest.pack_sequence_as(problem.sample(_DRAWS, 1), flat)
        singles = [tf.nest.map_structure(lambda many, i=i: many[i], batch) for i in range(_DRAWS)]
        whole = unroll(problem, singles[0], optimizer, steps=steps)
        looped = unroll(problem, singles[0], optimizer, steps=steps, loop="while")
        half = unroll(problem, singles[0], optimizer, steps=steps // 2)
        rest = unroll(problem, singles[0], optimizer, half.x, half.state, steps=steps - steps // 2, first=steps // 2)
        alone = [whole.losses] + [unroll(problem, one, optimizer, steps=steps).losses for one in singles[1:]]
        try:
            together = unroll(problem, batch, optimizer, steps=steps, batch=_DRAWS).losses
        except Exception as error:
            shape = (_DRAWS, _COORDINATES) if getattr(optimizer, "coordinatewise", False) else (_COORDINATES,)
            words = "in a batch of %d draws it fails with gradients of shape %s: %s"
            raise ValueError(words % (_DRAWS, shape, said_by(error))) from error
        gradients = tf.constant([0.5, -0.25, 1.0])
        first_update, first_state = optimizer(gradients, None)
        first, said = [first_update], initial_state(optimizer, gradients)
        if said is not None:
            try:
                tf.nest.assert_same_structure(said, first_state)
            except (TypeError, ValueError):
                found.append("initial_state must have the structure of the states that steps return")
            first.append(optimizer(gradients, said)[0])
        _check_kernels(found, optimizer, gradients)
        try:
            unroll(_Nested(), _Nested().draw(1), optimizer, steps=2)
        except Exception as error:
            found.append(
                "it must take a nest of gradients where the position is one, and return an update like it; "
                "tf.nest.map_structure applies a rule to each tensor (%s)" % str(error).split("\n")[0]
            )
        plain = meta_gradient(problem, singles[0], optimizer, variables, "sum", steps) if variables else None
        if variables:
            reached = tf.gradients(whole.losses, variables)
            for variable, gradient in zip(variables, reached):
                found.check(gradient is not None, "no meta-gradient reaches the variable %r", variable.op.name)

        def compiled_gradients(*tensors):
            one = tf.nest.pack_sequence_as(batch, [tensor[0] for tensor in tensors])
            if not variables:
                return [unroll(problem, one, optimizer, steps=steps, loop="while").losses]
            meta = meta_gradient(problem, one, optimizer, variables, "sum", steps, loop="while")
            return [meta.losses, *meta.gradients]

        try:
            compiled = _compiled(compiled_gradients, flat)
        except Exception as error:
            compiled = []
            found.append(said_by(error))
        expected = [whole.losses] if plain is None else [plain.losses, *plain.gradients]
        initialize = tf.global_variables_initializer()
        with session_with_threads(graph) as session:
            session.run(initialize)
            results = session.run([whole.losses, looped.losses, tf.concat([half.losses, rest.losses], axis=0)])
            found.check(_close([results[1]], [results[0]]), "a loop must give the losses of steps in a row")
            found.check(
                _close([results[2]], [results[0]]),
                "an unroll that is continued must give the losses of one that is not: is something that changes from "
                "step to step not in the state?",
            )
            found.check(
                _close([session.run(together)], [np.stack(session.run(alone), axis=1)]),
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
                found.append(
                    "XLA cannot compile it, so train with engine='graph': %s" % error.message.strip().split("\n")[0]
                )


class _Nested(Problem):
    """A quadratic whose position is a nest of tensors of different rank."""

    def sample(self, num, seed=None):
        return uniform([num, 2, 3], -1.0, 1.0, seed)

    def initial_position(self, draw):
        return {"matrix": draw, "scalar": draw[0, 0]}

    def loss(self, x, draw):
        return tf.reduce_sum(tf.square(x["matrix"])) + tf.square(x["scalar"])


def _some_draws(problem):
    """Draws of a quadratic as arrays, so that all engines see the same."""
    with tf.Graph().as_default() as graph:
        draws = tf.nest.flatten(problem.sample(_DRAWS, 1))
        with session_with_threads(graph) as session:
            return session.run(draws)


def _check_kernels(found, optimizer, gradients):
    """A step must multiply by each kernel of its `bind` once."""
    bound, used = bind(optimizer), []

    def product(i, inputs):
        used.append(i)
        return tf.matmul(inputs, bound.kernels[i])

    bound.step(gradients, initial_state(optimizer, gradients), product)
    found.check(
        sorted(used) == list(range(len(bound.kernels))),
        "a step must multiply by each of its %d kernels once, it used %s",
        len(bound.kernels),
        used,
    )
