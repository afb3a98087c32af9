"""What concerns the whole process: sessions, graphs, and the settings that XLA reads once."""

import contextlib
import os
import re
import threading
import types
import warnings

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.python.framework import ops

from l2l.nests import is_finite
from l2l.quiet import quietly

# Fast math makes tanh twice as fast; NaN and infinity stay what they are. One thread: a step is too small to be shared.
# Without LLVM's expensive passes compiling takes far less time, and a meta-iteration of few coordinates a little more.
_XLA_FLAGS = [
    "--xla_cpu_multi_thread_eigen=false",
    "--xla_cpu_enable_fast_math=true",
    "--xla_cpu_fast_math_honor_nans=true",
    "--xla_cpu_fast_math_honor_infs=true",
    "--xla_llvm_disable_expensive_passes=true",
]

_lock = threading.RLock()
_in_force = {}  # the user's own flags, and what `prepare_xla` found, once it has looked


@contextlib.contextmanager
def own_graph():
    """A new graph, the default one within the block; nothing of it is differentiated afterwards.

    TensorFlow keeps a gradient for each function and custom gradient of a graph in a registry of the process, and
    through it the whole graph, for good: many trainings in one process would fill its memory. At the end of the block
    those of this graph are dropped. Within it TensorFlow says nothing about deprecated functions, see `quietly`.
    """
    with tf.Graph().as_default() as graph, quietly():
        try:
            yield graph
        finally:
            registry = ops._gradient_registry._registry
            for name, entry in list(registry.items()):
                if _OF_ONE_GRAPH.fullmatch(name) and _holds(entry["type"], graph):
                    registry.pop(name, None)


# The names under which TensorFlow registers what belongs to one graph, with a number that is used once.
_OF_ONE_GRAPH = re.compile(r"(PartitionedCall|CustomGradient)-\d+")


def _holds(value, graph):
    """Whether it is something of this graph, or a function that holds such a thing; empty cells hold nothing."""
    seen, left = set(), [value]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        kind = type(one)  # nothing is asked of what is neither Python's nor TensorFlow's: it may be anyone's
        if kind in (list, tuple):
            left.extend(one)
        elif kind is types.FunctionType:
            for cell in one.__closure__ or ():
                with contextlib.suppress(ValueError):  # the cell is empty
                    left.append(cell.cell_contents)
        elif str(kind.__module__).startswith("tensorflow"):
            inner = getattr(one, "_func_graph", None) or getattr(one, "graph", None)
            if _is_within(inner, graph):
                return True
    return False


def _is_within(inner, graph):
    """Whether a function's graph belongs to this graph, or to a function of it."""
    while inner is not None and inner is not graph:
        inner = getattr(inner, "outer_graph", None)
    return inner is graph


def load_variables(session, variables, values):
    """Gives variables their values, as the deprecated `tf.Variable.load` does."""
    for variable, value in zip(variables, values):
        session.run(variable.initializer, {variable.initializer.inputs[1]: value})


def session_with_threads(graph, threads=1):
    """A session with one thread inside an op, and so many ops at a time.

    Small ops gain nothing from more threads. With one op at a time their order is fixed; with more, it is the
    graph that must fix what depends on it. XLA reads its flags with the first session, whatever that is for.

    TensorFlow's optimizer of graphs is left out: it takes a good part of the time until the first meta-iteration, and
    what it leaves runs no faster.
    """
    _set_flags()
    _fix_order_of_sums(graph)
    config = tf.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=threads, use_per_session_threads=True
    )
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return tf.Session(graph=graph, config=config)


def _fix_order_of_sums(graph):
    """Has each AddN of a graph add up its inputs in their order; before a session runs them.

    TensorFlow's writes its sum into the first input that nothing else needs any more, and begins with that one: with
    three inputs or more the order, and with it the rounding, would depend on which op happened to run before. An
    attribute forbids that; -2 is TensorFlow's `kNeverForward`.
    """
    for operation in graph.get_operations():
        if operation.type == "AddN" and len(operation.inputs) > 2 and "_forward_input" not in operation.node_def.attr:
            operation._set_attr("_forward_input", AttrValue(list=AttrValue.ListValue(i=[-2, 0])))


def prepare_allocator():
    """Lets TensorFlow keep the memory that it frees, if no session has run in this process: sets
    TF_CPU_ALLOCATOR_USE_BFC, unless it is set. Given back to the system, memory returns page by page, and two threads
    that compute side by side spend a third of their time on that.
    """
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")


def prepare_xla():
    """Sets what XLA and TensorFlow's allocator read once in a process, when its first session starts.

    The compiled engine calls this when it is needed. Where a program makes sessions of its own before, it calls this
    first, once. Otherwise XLA has read its flags already, and what is compiled rounds in another way. Whether it did is
    measured: a `RuntimeWarning` says so, and the record of a training has it (see `xla_in_force`).

    Sets the environment variable XLA_FLAGS (fast math that honours NaN and infinity, one thread; flags of
    the user's come last, and win), and the allocator, as `prepare_allocator` does for the other engine.

    Raises:
      RuntimeError: compiled programs cannot tell NaN from numbers at all, so that one would spoil a training unseen.
    """
    with _lock:
        if "finds_nan" not in _in_force:
            _set_flags()
            prepare_allocator()
            _in_force.update(_measured())
            if not _in_force["honours_nan"] or not (_in_force["fast_math"] or _in_force["flags"]):
                warnings.warn(
                    "XLA computes with other flags than l2l's: it had read them before l2l could set them, since a "
                    "session was started earlier, or XLA_FLAGS asks for that. Compiled trainings and evaluations round "
                    "differently from those of other processes%s. Call l2l.prepare_xla() before the first session, or "
                    "use engine='graph'"
                    % ("" if _in_force["honours_nan"] else ", and a tf.is_nan of your own may not find a NaN"),
                    RuntimeWarning,
                    stacklevel=3,
                )
        if not _in_force["finds_nan"]:
            raise RuntimeError(
                "engine='xla' cannot be used in this process: what XLA compiles here does not notice a NaN, not even in"
                " its bits; call l2l.prepare_xla() before the first session and without XLA_FLAGS of your own, or use "
                "engine='graph'"
            )


def _set_flags():
    """Sets the environment variable XLA_FLAGS, once in the process. Flags of a parent process that were l2l's are not
    taken for the user's own.
    """
    with _lock:
        if "flags" not in _in_force:
            ours = " ".join(_XLA_FLAGS)
            own = os.environ.get("XLA_FLAGS", "").replace(ours, "").strip()
            os.environ["XLA_FLAGS"] = (ours + " " + own).strip()
            _in_force["flags"] = own or None


def xla_in_force():
    """What compiled programs of this process do, as measured: a dict of JSON types.

    `honours_nan`: whether `tf.is_nan` finds a NaN. `fast_math`: whether sums are reordered. `finds_nan`: whether a NaN
    is found in its bits. `flags`: the user's own XLA_FLAGS, or None. With l2l's flags the first three are True.
    """
    prepare_xla()
    return dict(_in_force)


def _measured():
    """`honours_nan`, `fast_math` and `finds_nan`, from a small compiled program."""

    def program(x, y):
        product = x * y
        # Reordered, this is 1; in order, the 1 is lost.
        return [tf.is_nan(product), (tf.constant(1e8) * x + 1.0) - tf.constant(1e8) * x, is_finite(product)]

    with own_graph() as graph:
        x, y = tf.placeholder(tf.float32, []), tf.placeholder(tf.float32, [])
        results = tf.xla.experimental.compile(program, [x, y])
        with session_with_threads(graph) as session:
            is_nan, _, finite = session.run(results, {x: np.nan, y: 1.0})
            _, one, _ = session.run(results, {x: 1.0, y: 1.0})
    return {"honours_nan": bool(is_nan), "fast_math": bool(one == 1.0), "finds_nan": not finite}
