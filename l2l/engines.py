"""Two ways to run meta-iterations: op by op in a session, or compiled by XLA, many to a call.

Both run the same `meta_step` on the same draws. An engine is built in the current graph from

    one_meta_step: function `(draw, loop) -> MetaStep`
    draws: a block of draws, as from `Problem.sample`, of which the engine takes shapes and dtypes

and returns `prepare(session)`, which gives a function `run(arrays, start, stop)`: it runs
meta-iterations `start` to `stop` on those places of a block of draws, a flat list of arrays, and
returns an array `[stop - start, 3]`: meta-loss, last loss, gradient norm.
"""

import numpy as np
import tensorflow as tf

from l2l.meta import floored_log
from l2l.problems import placeholders_for_one


def _measured(meta):
    """Meta-loss, last loss and gradient norm. The last losses of a batch become one by their log average."""
    last = meta.losses[-1]
    if last.shape.ndims == 1:
        last = tf.exp(tf.reduce_mean(floored_log(last)))
    return [meta.meta_loss, last, meta.gradient_norm]


def graph_engine(one_meta_step, draws):
    """One `session.run` for each meta-iteration, with every base iteration written into the graph."""
    draw = placeholders_for_one(draws)
    meta = one_meta_step(draw, "python")
    fetches = [*_measured(meta), meta.update]

    def prepare(session):
        step = session.make_callable(fetches, feed_list=tf.nest.flatten(draw))

        def run(arrays, start, stop):
            return np.array([step(*[array[i] for array in arrays])[:3] for i in range(start, stop)])

        return run

    return prepare


def xla_engine(one_meta_step, draws):
    """All meta-iterations of a call in one compiled loop; each base iteration is one turn of a loop inside.

    Preparing compiles, which takes a few seconds.

    Raises, on building or preparing:
      ValueError: XLA cannot compile the problem, the optimizer or the meta-loss.
    """
    places = [tf.placeholder(many.dtype, many.shape) for many in tf.nest.flatten(draws)]
    start, stop = tf.placeholder(tf.int32, []), tf.placeholder(tf.int32, [])
    number = places[0].shape[0].value

    # A tf.function gives XLA loops as functions, which it can compile; control flow written into the graph it cannot.
    @tf.function(autograph=False)
    def many(start, stop, *blocks):
        def body(i, rows):
            draw = tf.nest.pack_sequence_as(draws, [tf.gather(block, i) for block in blocks])
            meta = one_meta_step(draw, "while")
            with tf.control_dependencies([meta.update]):
                row = tf.stack([tf.cast(figure, tf.float64) for figure in _measured(meta)])
            return i + 1, rows.write(i, row)

        rows = tf.TensorArray(tf.float64, size=number, element_shape=[3])
        _, rows = tf.while_loop(lambda i, _: i < stop, body, (start, rows), maximum_iterations=number)
        return rows.stack()

    (rows,) = tf.xla.experimental.compile(lambda *inputs: many(*inputs), [start, stop, *places])

    def prepare(session):
        call = session.make_callable(rows, feed_list=[start, stop, *places])
        try:
            call(0, 0, *[np.zeros(place.shape.as_list(), place.dtype.as_numpy_dtype) for place in places])
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.InternalError) as error:
            raise ValueError(
                "engine='xla' cannot compile this problem, optimizer or meta-loss; engine='graph' can run it. "
                "XLA says: %s" % error.message.strip().split("\n")[0]
            ) from None

        def run(arrays, start, stop):
            return call(start, stop, *arrays)[start:stop]

        return run

    return prepare


ENGINES = {"xla": xla_engine, "graph": graph_engine}
