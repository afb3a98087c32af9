"""Checks that a problem is repeatable: its draws depend on their seed alone, and its loss is deterministic."""

import warnings

import numpy as np
import tensorflow.compat.v1 as tf

from l2l.mapping import definitions_since, first_line
from l2l.nests import tensors_of
from l2l.problems.binding import BoundProblem
from l2l.problems.problem import Problem, sample
from l2l.tracebacks import levels_to_the_caller

# Ops that give different numbers at each run; stateless random ops do not.
_RANDOM = ("Random", "Multinomial", "TruncatedNormal", "StatefulUniform", "StatefulStandardNormal")


def check_repeatable(problem, seed, steps, number=8):
    """Builds the check in the current graph. Call it after building everything else of a training.

    Args:
      problem: a `Problem`.
      seed: a placeholder for the seed of a block of draws, a scalar int64.
      steps: base iterations of a draw's life. If the problem defines `observe`, the check also tries the last one.
      number: how many draws to compare, a positive integer.

    Returns:
      A function of a session and two seeds, which runs the check. It warns (`RuntimeWarning`) if both seeds give the
      same draws, unless the draws are also all alike.

    Raises, here or on calling that function:
      ValueError: position or loss cannot be computed. For example, `observe` picks an example that does not exist,
        which compiled code does not notice.
      ValueError: one seed gives different draws, or one draw gives different positions or losses.
      ValueError: one of the problem's functions uses a random op that no seed fixes.
    """
    name, graph = type(problem).__name__, tf.get_default_graph()
    observes = type(problem).observe is not Problem.observe
    before = len(graph.get_operations())
    with tf.name_scope("check_repeatable"):
        draws = [tf.nest.flatten(sample(problem, number, seed)) for _ in range(2)]
        _refuse_random_ops(
            graph, before, "sample of %s must follow from its seed alone" % name, "l2l.uniform takes one"
        )
        one = BoundProblem(problem, problem.draw(0))
        before = len(graph.get_operations())
        figures = []
        for _ in range(2):
            x = one.start()
            figures.append([one.loss(x, tf.constant(0)), *tensors_of(x)])
        last = one.loss(x, tf.constant(steps - 1)) if observes else figures[0]
        _refuse_random_ops(
            graph,
            before,
            "initial_position, observe and loss of %s must be pure" % name,
            "what is random belongs in sample, or follows from the draw as in l2l.minibatch",
        )

    def check(session, one_seed, other_seed):
        first, again, other = (
            session.run(which, {seed: value})
            for which, value in [(draws[0], one_seed), (draws[1], one_seed), (draws[0], other_seed)]
        )
        if not _same(first, again):
            raise ValueError(
                "sample of %s must follow from its seed alone: two calls with one seed gave different draws; "
                "l2l.uniform takes a seed" % name
            )
        try:
            computed, _ = session.run([figures, last])
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(
                "observe and loss of %s must be computable from the first base iteration to the last, %d: %s"
                % (name, steps - 1, first_line(error))
            ) from None
        if not _same(*computed):
            raise ValueError(
                "initial_position, observe and loss of %s must be pure: the same draw gave two positions or losses"
                % name
            )
        if _same(first, other) and not all((array == array[:1]).all() for array in first):
            warnings.warn(
                "sample of %s does not use its seed: every block has the same draws, so that a training sees them over "
                "and over, and an evaluation sees those of the training" % name,
                RuntimeWarning,
                stacklevel=levels_to_the_caller(),
            )

    return check


def _same(one, other):
    return all(np.array_equal(np.nan_to_num(a), np.nan_to_num(b)) for a, b in zip(one, other))


def _refuse_random_ops(graph, before, rule, advice):
    """Refuses random ops among those added after the first `before` ops, and in the functions that they call."""
    for definition in definitions_since(graph, before):
        if definition.op.startswith(_RANDOM):
            raise ValueError("%s: it uses the op %s (%r); %s" % (rule, definition.op, definition.name, advice))
