"""Engines: they run meta-iterations op by op in a session, compiled by XLA, or compiled in shards.

All engines run the same meta-iterations on the same draws. An engine is a function that builds in the current graph,
from

    meta_iterations: a `MetaIterations`
    draws: a block of draws, as from `Problem.sample`; the engine reads its shapes and dtypes

It returns `prepare(session)`, and that returns a function

    run(block, at, number) -> (rows, at)

`block` is a flat list of arrays. `at` says where in the block to begin: `At(place, age, carried)`. `run` makes up to
`number` meta-iterations. It returns an array `[n, 3]` (meta-loss, last loss, gradient norm) and where to continue. It
may stop earlier. It always stops at the end of the block, and after a figure that is NaN or infinite. In the second
case, the place to continue is where that meta-iteration began.
"""

import contextlib
from collections import namedtuple

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.eager.function import defun

from l2l.learning.meta_iteration import Place
from l2l.mapping import first_line
from l2l.nests import is_finite
from l2l.process import prepare_allocator
from l2l.tracebacks import place_in
from l2l.xla import prepare_xla

# The most meta-iterations that the compiled engine runs in one call.
MOST_PER_CALL = 1000

At = namedtuple(
    "At",
    [
        "place",  # index of the draw in its block, an integer
        "age",  # base iterations that the draw has lived
        "carried",  # list of arrays, see `Place`
    ],
)


class CannotCompileError(ValueError):
    """XLA has no code for an op of the problem, the optimizer, the meta-loss or the meta-optimizer."""


def placeholders_like(tensors):
    """Creates a placeholder for each tensor of a list."""
    with tf.name_scope("inputs"):
        return [tf.placeholder(tensor.dtype, tensor.shape) for tensor in tensors]


def zeros_for(placeholders):
    """Creates an array of zeros for each placeholder of a list."""
    return [np.zeros(place.shape.as_list(), place.dtype.as_numpy_dtype) for place in placeholders]


def compiled(function, inputs):
    """Compiles a function of tensors with XLA; returns its flat results. Its loops become functions, as XLA needs."""
    in_the_graph = defun(function, autograph=False)
    return tf.xla.experimental.compile(lambda *tensors: in_the_graph(*tensors), inputs)


@contextlib.contextmanager
def refusals_named(what, graph):
    """Turns XLA's refusals into a `CannotCompileError` that says which part of the graph it cannot compile."""
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.InternalError) as error:
        raise CannotCompileError(
            "engine='xla' cannot compile %s; engine='graph' can run it. XLA says: %s%s"
            % (what, first_line(error), place_in(graph, str(error)))
        ) from None


_TRAINING = "this problem, optimizer, meta_loss or meta_optimizer"


def _one_to_a_call(meta_iterations, draws, loop, **how):
    """Returns `(prepare, feeds)` of an engine that runs one meta-iteration in each call."""
    with tf.name_scope("inputs"):
        draw = tf.nest.map_structure(lambda many: tf.placeholder(many.dtype, many.shape[1:]), draws)
    age, *carried = placeholders_like([meta_iterations.start.age, *meta_iterations.start.carried])
    meta = meta_iterations.build(draw, Place(age, carried), loop, **how)
    feeds = [*tf.nest.flatten(draw), age, *carried]
    with tf.name_scope("figures"):
        figures = tf.stack([tf.cast(figure, tf.float64) for figure in meta.figures])
    fetches = [figures, meta.is_over, meta.next.age, *meta.next.carried]  # `next` depends on the update

    def prepare(session):
        step = session.make_callable(fetches, feed_list=feeds)

        def run(block, at, number):
            row, is_over, age, *carried = step(*[array[at.place] for array in block], at.age, *at.carried)
            return row[np.newaxis], At(at.place + int(is_over), int(age), carried)

        return run

    return prepare, feeds


def graph_engine(meta_iterations, draws):
    """Runs one `session.run` for each meta-iteration; the graph holds every base iteration."""
    prepare_allocator()
    prepare, _ = _one_to_a_call(meta_iterations, draws, "python")
    return prepare


def shards_engine(meta_iterations, draws):
    """Runs one `session.run` for each meta-iteration. Every shard is compiled, the update is not.

    An XLA program runs on one thread, but several may run in parallel. If a batch is large enough to be worth
    splitting, the cost of a call does not matter.
    """
    prepare_xla()
    shards = []

    def call_shard(segment, inputs):
        shards.append(compiled(segment, inputs))
        return shards[-1]

    prepare_calls, feeds = _one_to_a_call(meta_iterations, draws, "while", call_shard=call_shard)

    def prepare(session):
        with refusals_named(_TRAINING, session.graph):  # only the shards, so that nothing is trained
            session.run(shards, dict(zip(feeds, zeros_for(feeds))))
        return prepare_calls(session)

    return prepare


def xla_engine(meta_iterations, draws):
    """Runs all meta-iterations of a call in one compiled loop, with a loop of base iterations inside.

    `prepare` compiles, which takes a few seconds.

    Raises, on building or preparing:
      CannotCompileError: XLA cannot compile the problem, the optimizer, the meta-loss or the meta-optimizer.
    """
    prepare_xla()
    block = placeholders_like(tf.nest.flatten(draws))
    size = block[0].shape.as_list()[0]
    start, first_age, number = placeholders_like([tf.constant(0)] * 3)
    first_carried = placeholders_like(meta_iterations.start.carried)

    # In a function of the graph, loops are functions too, and XLA can compile these; it cannot compile control flow
    # written into the graph. A `tf.function` would do, but AutoGraph takes a second or two to convert its initializers.
    @defun(autograph=False)
    def many(start, first_age, number, *tensors):
        block, carried = tensors[: len(tensors) - len(first_carried)], tensors[len(tensors) - len(first_carried) :]

        def body(i, place, age, carried, rows, _):
            draw = tf.nest.pack_sequence_as(draws, [tf.gather(array, place) for array in block])
            meta = meta_iterations.build(draw, Place(age, carried), "while")
            with tf.control_dependencies([meta.applied]):
                row = tf.stack([tf.cast(figure, tf.float64) for figure in meta.figures])
            finite = tf.reduce_all(is_finite(row))
            place += tf.cast(meta.is_over, tf.int32)
            return i + 1, place, meta.next.age, meta.next.carried, rows.write(i, row), finite

        rows = tf.TensorArray(tf.float64, size=MOST_PER_CALL, element_shape=[3])
        done, place, age, carried, rows, _ = tf.while_loop(
            lambda i, place, age, carried, rows, finite: (i < number) & (place < size) & finite,
            body,
            (tf.constant(0), start, first_age, list(carried), rows, tf.constant(True)),
            maximum_iterations=MOST_PER_CALL,
        )
        return [rows.stack(), done, place, age, *carried]

    feeds = [start, first_age, number, *block, *first_carried]
    results = tf.xla.experimental.compile(lambda *inputs: many(*inputs), feeds)

    def prepare(session):
        call = session.make_callable(results, feed_list=feeds)
        with refusals_named(_TRAINING, session.graph):
            call(*zeros_for(feeds))

        def run(arrays, at, number):
            rows, done, place, age, *carried = call(at.place, at.age, min(number, MOST_PER_CALL), *arrays, *at.carried)
            return rows[:done], At(int(place), int(age), carried)

        return run

    return prepare


ENGINES = {"xla": xla_engine, "graph": graph_engine}


def engine_for(name, settings):
    """Returns the engine of that name for a training; with threads, "xla" compiles in shards."""
    return shards_engine if name == "xla" and settings.threads > 1 else ENGINES[name]
