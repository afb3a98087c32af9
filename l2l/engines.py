"""Three ways to run meta-iterations: op by op in a session, compiled by XLA, or compiled in shards.

All run the same `meta_step` on the same draws. An engine is built in the current graph from

    one_meta_step: function `(draw, loop, **shards) -> MetaStep`, `shards` being arguments of `meta_step`
    draws: a block of draws, as from `Problem.sample`, of which the engine takes shapes and dtypes
    threads: into how many shards a batch is cut, one for each thread of the session

and returns `prepare(session)`, which gives a function `run(arrays, start, stop)`: it runs
meta-iterations `start` to `stop` on those places of a block of draws, a flat list of arrays, and
returns an array `[n, 3]`: meta-loss, last loss, gradient norm. It may stop before `stop`, and does so
after a meta-iteration that has a figure which is NaN or infinite.
"""

import contextlib

import numpy as np
import tensorflow as tf

from l2l.problems import placeholders_for_one


class CannotCompileError(ValueError):
    """XLA has no code for an op of the problem, the optimizer or the meta-loss."""


def _measured(meta):
    return [meta.meta_loss, meta.last_loss, meta.gradient_norm]


@contextlib.contextmanager
def _refusals_named():
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.InternalError) as error:
        raise CannotCompileError(
            "engine='xla' cannot compile this problem, optimizer or meta-loss; engine='graph' can run it. "
            "XLA says: %s" % error.message.strip().split("\n")[0]
        ) from None


def _one_to_a_call(draw, meta):
    """`prepare`, with a `session.run` for each meta-iteration: a call is one, whatever `stop` says."""
    fetches = [*_measured(meta), meta.update]

    def prepare(session):
        step = session.make_callable(fetches, feed_list=tf.nest.flatten(draw))

        def run(arrays, start, stop):
            return np.array([step(*[array[start] for array in arrays])[:3]])

        return run

    return prepare


def graph_engine(one_meta_step, draws, threads=1):
    """One `session.run` for each meta-iteration, with every base iteration written into the graph."""
    draw = placeholders_for_one(draws)
    return _one_to_a_call(draw, one_meta_step(draw, "python", shards=threads))


def _shards_engine(one_meta_step, draws, threads):
    """One `session.run` for each meta-iteration, in which every shard is compiled; Adam is not.

    An XLA program runs on one thread, but several may run side by side. At sizes where a batch is worth
    sharing, what a call costs is nothing beside it.
    """
    draw = placeholders_for_one(draws)

    def compiled(losses_and_gradients, part):
        # As in `xla_engine`, a tf.function keeps loops as functions.
        function = tf.function(losses_and_gradients, autograph=False)
        return tf.xla.experimental.compile(lambda *inputs: function(*inputs), list(part))

    meta = one_meta_step(draw, "while", shards=threads, call_shard=compiled)
    call_losses = _one_to_a_call(draw, meta)

    def prepare(session):
        zeros = [np.zeros(place.shape.as_list(), place.dtype.as_numpy_dtype) for place in tf.nest.flatten(draw)]
        with _refusals_named():  # the gradients alone, so that nothing is trained
            session.run(meta.gradients, dict(zip(tf.nest.flatten(draw), zeros)))
        return call_losses(session)

    return prepare


def xla_engine(one_meta_step, draws, threads=1):
    """All meta-iterations of a call in one compiled loop; each base iteration is one turn of a loop inside.

    With more threads than one, a call is a meta-iteration, and its shards are compiled each for itself.
    Preparing compiles, which takes a few seconds.

    Raises, on building or preparing:
      CannotCompileError: XLA cannot compile the problem, the optimizer or the meta-loss.
    """
    if threads > 1:
        return _shards_engine(one_meta_step, draws, threads)
    places = [tf.placeholder(many.dtype, many.shape) for many in tf.nest.flatten(draws)]
    start, stop = tf.placeholder(tf.int32, []), tf.placeholder(tf.int32, [])
    number = places[0].shape[0].value

    # A tf.function gives XLA loops as functions, which it can compile; control flow written into the graph it cannot.
    @tf.function(autograph=False)
    def many(start, stop, *blocks):
        def body(i, rows, _):
            draw = tf.nest.pack_sequence_as(draws, [tf.gather(block, i) for block in blocks])
            meta = one_meta_step(draw, "while")
            with tf.control_dependencies([meta.update]):
                row = tf.stack([tf.cast(figure, tf.float64) for figure in _measured(meta)])
            return i + 1, rows.write(i, row), tf.reduce_all(tf.is_finite(row))

        rows = tf.TensorArray(tf.float64, size=number, element_shape=[3])
        last, rows, _ = tf.while_loop(
            lambda i, _, finite: (i < stop) & finite,
            body,
            (start, rows, tf.constant(True)),
            maximum_iterations=number,
        )
        return rows.stack(), last

    rows_and_last = tf.xla.experimental.compile(lambda *inputs: many(*inputs), [start, stop, *places])

    def prepare(session):
        call = session.make_callable(rows_and_last, feed_list=[start, stop, *places])
        with _refusals_named():
            call(0, 0, *[np.zeros(place.shape.as_list(), place.dtype.as_numpy_dtype) for place in places])

        def run(arrays, start, stop):
            rows, last = call(start, stop, *arrays)
            return rows[start:last]

        return run

    return prepare


ENGINES = {"xla": xla_engine, "graph": graph_engine}
