"""Separate graphs with their sessions, and the data that they hold."""

import contextlib
import re
import types

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.python.framework import ops

from l2l.process import set_xla_flags
from l2l.quiet import quietly

_DATA = "l2l_data"  # the collection of a graph that holds, for each problem, its data as tensors


class OwnGraph:
    """A separate graph and its session: data, build, initialize, load, run.

        own = OwnGraph()
        with own.building(problem):
            loss = ...  # in a new graph, which holds the problem's data in variables
        with own as session:  # variables are initialized, data and weights are loaded
            session.run(loss)

    Attributes:
      graph: the `tf.Graph`, once it is being built.
      session: the `tf.Session`, once it has started.
    """

    def __init__(self):
        self.graph = self.session = None
        self._loads = []

    @contextlib.contextmanager
    def building(self, problem=None):
        """Within the block the graph is the default one."""
        with own_graph() as self.graph:
            if problem is not None:
                self.load_with(data_as_variables(problem))
            yield self.graph

    def load_with(self, load):
        """Has `load(session)` called when the session starts, after all variables are initialized."""
        self._loads.append(load)

    def start(self, threads=1):
        """Starts the session, and returns it. The graph may grow afterwards, but not by variables."""
        with self.graph.as_default():
            initialize = tf.global_variables_initializer()
        self.session = session_with_threads(self.graph, threads)
        try:
            self.session.run(initialize)
            for load in self._loads:
                load(self.session)
        except BaseException:
            self.close()
            raise
        return self.session

    def close(self):
        """Frees the session."""
        self.session.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.close()


@contextlib.contextmanager
def own_graph():
    """Makes a new graph the default one within the block; nothing in it is differentiated afterwards.

    TensorFlow keeps the gradients of a graph's functions and its custom gradients in a registry of the process, for
    good. They keep the whole graph alive, so many trainings in one process would fill its memory. The end of the block
    drops those of this graph. Within it TensorFlow says nothing about deprecated functions, see `quietly`.
    """
    with tf.Graph().as_default() as graph, quietly():
        try:
            yield graph
        finally:
            registry = ops._gradient_registry._registry
            for name, entry in list(registry.items()):
                if _OF_ONE_GRAPH.fullmatch(name) and _holds(entry["type"], graph):
                    registry.pop(name, None)


# The names under which TensorFlow registers things of one graph, with a number that is used once.
_OF_ONE_GRAPH = re.compile(r"(PartitionedCall|CustomGradient)-\d+")


def _holds(value, graph):
    """Whether it is something of this graph, or a function that holds such a thing; empty cells hold nothing."""
    seen, left = set(), [value]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        kind = type(one)  # other kinds than Python's and TensorFlow's are not inspected: they may be anyone's
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
    """Returns a session with one thread inside an op, and up to `threads` ops at a time.

    Small ops gain nothing from more threads. With one op at a time their order is fixed; with more, the graph itself
    must fix whatever depends on the order. XLA reads its flags with the first session, whatever that is for.

    TensorFlow's graph optimizer is off. It takes a good part of the time until the first meta-iteration, and its graphs
    run no faster.
    """
    set_xla_flags()
    _fix_order_of_sums(graph)
    config = tf.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=threads, use_per_session_threads=True
    )
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return tf.Session(graph=graph, config=config)


def _fix_order_of_sums(graph):
    """Has each AddN of a graph add its inputs in their order. Call it before a session runs them.

    TensorFlow's AddN writes its sum into the first input that nothing else needs any more, and begins with that one.
    With three inputs or more, the order and so the rounding would depend on which op happened to run before. An
    attribute forbids that; -2 is TensorFlow's `kNeverForward`.
    """
    for operation in graph.get_operations():
        if operation.type == "AddN" and len(operation.inputs) > 2 and "_forward_input" not in operation.node_def.attr:
            operation._set_attr("_forward_input", AttrValue(list=AttrValue.ListValue(i=[-2, 0])))


def data_in_graph(problem):
    """Returns the problem's data as tensors of the current graph, which stores them once."""
    if problem.data is None:
        return None
    with tf.init_scope():  # a function's graph has a copy of the collection
        for owner, tensors in tf.get_collection(_DATA):
            if owner is problem:
                return tensors
        with tf.name_scope("data"):
            tensors = tf.nest.map_structure(tf.constant, problem.data)
        tf.add_to_collection(_DATA, (problem, tensors))
    return tensors


def data_as_variables(problem):
    """Stores the problem's data in variables of the current graph, so that no compiled program has them as constants.

    Returns:
      Function of a session that sets the variables. Call it before anything reads them.
    """
    if problem.data is None:
        return lambda session: None
    arrays = tf.nest.map_structure(np.asarray, problem.data)
    with tf.name_scope("data"):
        places = tf.nest.map_structure(lambda array: tf.placeholder(array.dtype, array.shape), arrays)
        variables = tf.nest.map_structure(
            lambda place: tf.Variable(place, trainable=False, collections=[], use_resource=True), places
        )
        tensors = tf.nest.map_structure(tf.convert_to_tensor, variables)
    tf.add_to_collection(_DATA, (problem, tensors))
    initializers = [variable.initializer for variable in tf.nest.flatten(variables)]
    feed = dict(zip(tf.nest.flatten(places), tf.nest.flatten(arrays)))
    return lambda session: session.run(initializers, feed)
