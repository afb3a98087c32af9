"""Maps functions of one draw over many: vectorized if TensorFlow does that correctly, else draw by draw."""

import contextlib
import operator
import warnings

import tensorflow.compat.v1 as tf

from l2l.nests import is_differentiable, tensors_of, with_tensors
from l2l.tracebacks import first_of, levels_to_the_caller, message_of, place_of, without_converted_code
from l2l.vectorizing import vectorized

# The most draws to compute draw by draw: the graph for so many is still built in seconds.
MOST_DRAW_BY_DRAW = 16

# Each loop in a graph, whatever its form, has one of these ops.
_LOOPS = ("LoopCond", "While", "StatelessWhile")


class OverDraws:
    """Maps functions of one draw over many draws, along a leading axis `[B, ...]`.

    It vectorizes the ops of a function, as `tf.vectorized_map` does. TensorFlow cannot vectorize some ops. Others it
    vectorizes wrongly: it forgets a custom gradient, ignores the `batch_dims` of `tf.gather`, and a vectorized loop
    fails when it runs. At the first such op, this object warns once (a `RuntimeWarning` that names the op). From then
    on the graph gets a copy of the function for each draw. That is correct for every op, but graph, build time and run
    time grow with the number of draws. A single draw is never vectorized.

    Args:
      what: whose functions they are, for the warning.
      draw_by_draw: whether to copy the function for each draw from the start, without a warning.

    Attributes:
      draw_by_draw: whether the graph gets a copy for each draw.
    """

    def __init__(self, what, draw_by_draw=False):
        self._what, self.draw_by_draw = what, draw_by_draw

    def __call__(self, function, *nests):
        """Applies `function` to each draw and stacks the results.

        Args:
          function: a pure function with one argument for each nest. It returns a nest of tensors, or None in places.
          nests: nests of tensors, all with the same static leading axis `B`.

        Returns:
          A nest of tensors `[B, ...]` like the result of `function`; None stays None.
        """
        flat, structure, shapes = [_with_dense_gradient(many) for many in tensors_of(nests)], [], []
        number = flat[0].shape.as_list()[0]

        def of_one(i):
            # A slice if the place is known: its gradient is not an `IndexedSlices`.
            pick = tf.gather if isinstance(i, tf.Tensor) else operator.getitem
            result = function(*with_tensors(nests, [pick(many, i) for many in flat]))
            structure[:] = [result]
            shapes[:] = [tensor.shape for tensor in tensors_of(result)]
            return tensors_of(result)

        def of_each():
            return [tf.stack(many) for many in zip(*[of_one(i) for i in range(number)])]

        if self.draw_by_draw or number == 1:
            stacked = of_each()
        else:
            try:
                with control_flow_kept():
                    stacked = _vectorized(of_one, number)
            except Exception as error:  # of any kind: if the function itself is wrong, `of_each` raises it
                stacked = of_each()
                self.draw_by_draw = True
                warn_of_fallback(self._what, first_line(error))
        for tensor, shape in zip(stacked, shapes):
            tensor.set_shape(tf.TensorShape([number]).concatenate(shape))
        return with_tensors(structure[0], stacked)


def warn_of_fallback(what, reason):
    """Warns that something is computed draw by draw from now on."""
    warnings.warn(
        "%s is computed draw by draw, not vectorized, so that graph and time grow with the number of draws: %s"
        % (what, reason),
        RuntimeWarning,
        stacklevel=levels_to_the_caller(),
    )


def first_line(error):
    """Returns the first line of an error's message (or its class) and the user's line where it came up."""
    text = without_converted_code(message_of(error).split("\n\noriginally defined at:")[0])
    said, place = first_of(text) or type(error).__name__, place_of(error)
    return said if place in said else said + place  # a sentence about another error has its place


@contextlib.contextmanager
def control_flow_kept():
    """Restores the control flow context of the current graph if the block raises.

    When TensorFlow's gradient of a loop fails, it does not leave the loop. Ops built later would be inside it.
    """
    graph = tf.get_default_graph()
    context = graph._get_control_flow_context()
    try:
        yield
    except BaseException:
        graph._set_control_flow_context(context)
        raise


def _with_dense_gradient(tensor):
    """Returns the same tensor with a dense gradient.

    Picking draws gives indexed slices as the gradient; a reshape makes them a tensor. Within XLA the mapped function is
    a function of the graph, and TensorFlow cannot differentiate a call of it if the gradient is indexed slices.
    """
    if not is_differentiable(tensor):
        return tensor
    return tf.reshape(tensor, tensor.shape if tensor.shape.is_fully_defined() else tf.shape(tensor))


def _vectorized(of_one, number):
    def checked(i):
        graph = tf.get_default_graph()
        before = len(graph.get_operations())
        tensors = of_one(i)
        for definition in definitions_since(graph, before):
            reason = _reason_against(definition)
            if reason:
                raise ValueError("%s the op %s (%r)" % (reason, definition.op, definition.name))
        return [tf.identity(tensor) for tensor in tensors]  # TensorFlow fails for a tensor from outside the function

    return vectorized(checked, number)


def _reason_against(definition):
    """Says why TensorFlow must not vectorize an op; None if it may."""
    if "_gradient_op_type" in definition.attr:
        return "TensorFlow would forget the custom gradient of"
    if definition.op in _LOOPS:
        return "TensorFlow cannot vectorize a loop,"
    # The check of the op comes first: to look up a missing attribute would create it.
    if definition.op == "GatherV2" and definition.attr["batch_dims"].i:
        return "TensorFlow would ignore the batch_dims of"
    return None


def definitions_since(graph, before):
    """Yields the `NodeDef` of each op after the first `before` of a graph, and of the ops in functions they call."""
    definitions = [operation.node_def for operation in graph.get_operations()[before:]]
    functions, seen = graph._functions, set()
    while definitions:
        definition = definitions.pop()
        yield definition
        called = [definition.op, *(value.func.name for value in definition.attr.values() if value.HasField("func"))]
        for function in set(called) & set(functions) - seen:
            seen.add(function)
            definitions += functions[function].definition.node_def
