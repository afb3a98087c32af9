"""What concerns the whole process: sessions, and the settings that XLA reads once."""

import os
import threading
import warnings

import numpy as np
import tensorflow as tf

# Fast math makes tanh twice as fast; NaN and infinity stay what they are. One thread: a step is too small to be shared.
# Without LLVM's expensive passes compiling takes far less time, and a meta-iteration of few coordinates a little more.
_XLA_FLAGS = [
    "--xla_cpu_multi_thread_eigen=false",
    "--xla_cpu_enable_fast_math=true",
    "--xla_cpu_fast_math_honor_nans=true",
    "--xla_cpu_fast_math_honor_infs=true",
    "--xla_llvm_disable_expensive_passes=true",
]

_lock = threading.Lock()
_prepared = []


def session_with_threads(graph, threads=1):
    """A session with one thread inside an op, and so many ops at a time.

    Small ops gain nothing from more threads. With one op at a time their order is fixed; with more, it is the
    graph that must fix what depends on it.
    """
    config = tf.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=threads, use_per_session_threads=True
    )
    return tf.Session(graph=graph, config=config)


def prepare_allocator():
    """Lets TensorFlow keep the memory that it frees, if no session has run in this process: sets
    TF_CPU_ALLOCATOR_USE_BFC, unless it is set. Given back to the system, memory returns page by page, and two threads
    that compute side by side spend a third of their time on that.
    """
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")


def prepare_xla():
    """Sets what XLA and TensorFlow's allocator read once in a process, when its first session starts.

    The compiled engine calls this when it is needed. Where a program makes sessions of its own before, it calls this
    first, once. Otherwise XLA has read its flags already: a `RuntimeWarning` says so, since a NaN can then go unnoticed
    in a compiled training, which is slower, too, and rounds differently.

    Sets the environment variable XLA_FLAGS (fast math that honours NaN and infinity, one thread; flags of
    the user's come last, and win), and the allocator, as `prepare_allocator` does for the other engine.
    """
    with _lock:
        if _prepared:
            return
        _prepared.append(True)
        os.environ["XLA_FLAGS"] = " ".join([*_XLA_FLAGS, os.environ.get("XLA_FLAGS", "")]).strip()
        prepare_allocator()
        if not _notices_nan():
            warnings.warn(
                "XLA does not tell NaN from numbers: it had read its flags before l2l could set them, since a session "
                "was started earlier, or XLA_FLAGS asks for that. In compiled trainings a NaN may go unnoticed. Call "
                "l2l.prepare_xla() before the first session, or use engine='graph'",
                RuntimeWarning,
                stacklevel=3,
            )


def _notices_nan():
    """Whether a compiled program finds a NaN that it computes. With XLA's default it does not."""
    with tf.Graph().as_default() as graph:
        x, y = tf.placeholder(tf.float32, []), tf.placeholder(tf.float32, [])
        (result,) = tf.xla.experimental.compile(lambda x, y: [tf.is_nan(x * y)], [x, y])
        with session_with_threads(graph) as session:
            return bool(session.run(result, {x: np.nan, y: 1.0}))
