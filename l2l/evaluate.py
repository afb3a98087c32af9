"""Evaluation: several optimizers, hand-designed and trained, on the same draws of a problem."""

from collections import OrderedDict

import numpy as np
import tensorflow as tf

from l2l import _checks
from l2l.networks import Trained
from l2l.problems import placeholders_for_one, sample
from l2l.session import session_with_threads
from l2l.unroll import learn


def evaluate(problem, optimizers, num=1000, steps=20, seed=0):
    """The losses of each optimizer on `num` draws, the same for all.

    Args:
      problem: a `Problem`.
      optimizers: dict from name to optimizer: a function `(gradients, state) -> (update, state)`
        without variables, or a `Trained`, as from `trainer.trained()`.
      num: how many problems are drawn, a positive integer.
      steps: `T`, a positive integer; it may differ from the one of the training.
      seed: integer that fixes the draws. The draws of a training are others, whatever its seed.

    Returns:
      An ordered dict from name to an array `[num, T]`.

    Raises:
      TypeError, ValueError: an argument out of range, no optimizer, weights of other shapes than those that are
        built, and all that `learn` raises.
    """
    _checks.problem("problem", problem)
    num = _checks.positive_integer("num", num)
    seed = _checks.seed("seed", seed)
    if not isinstance(optimizers, dict) or not optimizers:
        raise ValueError("optimizers must be a non-empty dict from name to optimizer, got %r" % (optimizers,))
    for name, optimizer in optimizers.items():
        if isinstance(optimizer, Trained):
            continue
        if hasattr(optimizer, "variables") or not callable(optimizer):
            raise TypeError(
                "optimizers[%r] must be a function (gradients, state) -> (update, state) without variables, or what "
                "trainer.trained() returns, got %r" % (name, optimizer)
            )
    with tf.Graph().as_default() as graph:
        # Negative seeds are no training's: a trainer's are 0 and above.
        draws = sample(problem, num, -1 - seed)
        draw = placeholders_for_one(draws)
        losses, assignments = [], []
        for i, (name, optimizer) in enumerate(optimizers.items()):
            if isinstance(optimizer, Trained):
                weights, created = optimizer.weights, len(tf.trainable_variables())
                with tf.variable_scope("optimizer_%d" % i):  # two may name their variables alike
                    optimizer = optimizer.build()
                variables = tf.trainable_variables()[created:]
                shapes = [np.shape(each) for each in weights]
                if shapes != [tuple(variable.shape.as_list()) for variable in variables]:
                    raise ValueError(
                        "optimizers[%r] must have weights of the shapes that it builds, %r, got %r"
                        % (name, [tuple(variable.shape.as_list()) for variable in variables], shapes)
                    )
                assignments += zip(variables, weights)
            losses.append(learn(problem, draw, optimizer, steps))
        initialize = tf.global_variables_initializer()
        with session_with_threads(graph) as session:
            session.run(initialize)
            for variable, value in assignments:
                variable.load(value, session)
            draws = zip(*session.run(tf.nest.flatten(draws)))
            run = session.make_callable(losses, feed_list=tf.nest.flatten(draw))
            results = [run(*one) for one in draws]
    return OrderedDict(zip(optimizers, np.swapaxes(results, 0, 1)))
