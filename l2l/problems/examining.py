"""Examines a problem before anything is built on it: checks it, draws, and finds how to compute many draws."""

from collections import namedtuple

import numpy as np
import tensorflow.compat.v1 as tf

from l2l.graphs import OwnGraph
from l2l.mapping import MOST_DRAW_BY_DRAW
from l2l.nests import tensors_of
from l2l.problems.batches import check_batch
from l2l.problems.binding import BoundProblem
from l2l.problems.problem import sample
from l2l.problems.repeatable import check_repeatable


class Examined(
    namedtuple(
        "Examined",
        [
            "draws",  # a nest of tensors, good only for its structure, shapes and dtypes
            "arrays",  # the draws, a flat list of arrays `[num, ...]`
            "batch",  # how many draws to compute at once; at most `MOST_DRAW_BY_DRAW` if draw by draw
            "draw_by_draw",  # whether the graph needs a copy of the problem for each draw; see `check_batch`
        ],
    )
):
    """Draws of a problem, and how to compute them."""

    num = property(lambda self: len(self.arrays[0]))

    def parts(self):
        """Yields the draws in parts of `batch`, flat lists of arrays; the last draw fills up the last part."""
        for start in range(0, self.num, self.batch):
            places = np.minimum(np.arange(start, start + self.batch), self.num - 1)
            yield [array[places] for array in self.arrays]


def examined(problem, num, seeds, steps, batch, *, second_derivatives=False):
    """Draws `num` times, checks that the problem is repeatable, and compares a batch with single draws.

    Args:
      problem: a `Problem`.
      num: how many draws.
      seeds: two integers: the seed of these draws, and another one for the check.
      steps: base iterations of a draw's life.
      batch: a function from the number of coordinates of one draw to how many draws to compute at once.
      second_derivatives: whether second derivatives are needed, and so compared.

    Returns:
      An `Examined`.

    Raises:
      ValueError: as `check_repeatable` and `check_batch`.
    """
    own = OwnGraph()
    with own.building(problem):
        seed = tf.placeholder(tf.int64, [])
        draws = sample(problem, num, seed)
        flat = tf.nest.flatten(draws)
        repeatable = check_repeatable(problem, seed, steps)
        one = BoundProblem(problem, tf.nest.map_structure(lambda many: many[0], draws)).start()
        batch = batch(sum(tensor.shape.num_elements() or 0 for tensor in tensors_of(one)))
        compared = min(batch, MOST_DRAW_BY_DRAW)
        places = [tf.placeholder(many.dtype, [compared, *many.shape[1:]]) for many in flat]
        agreement = None
        if compared > 1:
            some = tf.nest.pack_sequence_as(draws, places)
            agreement = check_batch(problem, some, compared, second_derivatives=second_derivatives)
        with own as session:
            repeatable(session, *seeds)
            arrays = session.run(flat, {seed: seeds[0]})
            feed = {place: array[:compared] for place, array in zip(places, arrays)}
            draw_by_draw = agreement is not None and agreement(session, feed)
    return Examined(draws, arrays, compared if draw_by_draw else batch, draw_by_draw)
