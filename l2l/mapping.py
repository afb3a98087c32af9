"""What is written for one draw, applied to many: vectorized where TensorFlow does that rightly, else draw by draw."""

import contextlib
import operator
import warnings

import tensorflow.compat.v1 as tf

from l2l.nests import is_differentiable, tensors_of, with_tensors
from l2l.tracebacks import first_of, levels_to_the_caller, place_of, without_converted_code
from l2l.vectorizing import vectorized

# Written into the graph one by one, so many draws make the largest graph that is still built in seconds.
MOST_DRAW_BY_DRAW = 16

# An op that every loop has one of, in each of its two forms in a graph.
_LOOPS = ("LoopCond", "While", "StatelessWhile")


class OverDraws:
    """Maps functions of one draw over many draws, along a leading axis `[B, ...]`.

    TensorFlow vectorizes the ops of a function, as `tf.vectorized_map` does. For some ops it cannot, and some it
    vectorizes wrongly: it forgets a custom gradient, ignores the `batch_dims` of `tf.gather`, and a loop fails when it
    runs. From the first such op on, functions are written into the graph once for each draw, and one `RuntimeWarning`
    names the op. That is right for every op; graph, build time and run time then grow with the number of draws.
    A single draw is never vectorized.

    Args:
      what: whose functions they are, for the warning.
      draw_by_draw: whether to write out each draw from the start, without a warning.

    Attributes:
      draw_by_draw: whether each draw is written out.
    """

    def __init__(self, what, draw_by_draw=False):
        self._what, self.draw_by_draw = what, draw_by_draw

    def __call__(self, function, *nests):
        """What `function` gives for each draw, stacked: a nest of tensors `[B, ...]`, with None where it has None.

        Args:
          function: of as many arguments as there are nests; pure. It returns a nest of tensors or None.
          nests: nests of tensors, each with the same static leading axis `B`.
        """
        flat, structure, shapes = [_with_dense_gradient(many) for many in tensors_of(nests)], [], []
        number = flat[0].shape.as_list()[0]

        def of_one(i):
            # A slice, where the place is known: its gradient is no `IndexedSlices`.
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
            except Exception as error:  # whatever it was, the function itself says so now, or has nothing wrong with it
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
    """What an error says first, and the user's line where it came up; the error's class if it says nothing."""
    text = without_converted_code(str(getattr(error, "message", error)).split("\n\noriginally defined at:")[0])
    return (first_of(text) or type(error).__name__) + place_of(error)


@contextlib.contextmanager
def control_flow_kept():
    """Lets an exception leave the current graph outside of the loops that were begun within the block.

    TensorFlow's gradient of a loop does not clean up where it fails, and what is built afterwards would be in the loop.
    """
    graph = tf.get_default_graph()
    context = graph._get_control_flow_context()
    try:
        yield
    except BaseException:
        graph._set_control_flow_context(context)
        raise


def _with_dense_gradient(tensor):
    """The same tensor. To pick draws leaves indexed slices as its gradient, which a reshape makes a tensor again.

    Within XLA what is mapped is a function, and TensorFlow cannot differentiate a call of one for which such slices
    come back.
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
        return [tf.identity(tensor) for tensor in tensors]  # TensorFlow fails for one from outside of the function

    return vectorized(checked, number)


def _reason_against(definition):
    """Why TensorFlow must not vectorize an op, or None."""
    if "_gradient_op_type" in definition.attr:
        return "TensorFlow would forget the custom gradient of"
    if definition.op in _LOOPS:
        return "TensorFlow cannot vectorize a loop,"
    # Asked for one that is not there, a message would make it, and no other op may have it.
    if definition.op == "GatherV2" and definition.attr["batch_dims"].i:
        return "TensorFlow would ignore the batch_dims of"
    return None


def definitions_since(graph, before):
    """The `NodeDef` of each op that was added to a graph since it had `before` of them, and of those in functions that
    they call; a generator.
    """
    definitions = [operation.node_def for operation in graph.get_operations()[before:]]
    functions, seen = graph._functions, set()
    while definitions:
        definition = definitions.pop()
        yield definition
        called = [definition.op, *(value.func.name for value in definition.attr.values() if value.HasField("func"))]
        for function in set(called) & set(functions) - seen:
            seen.add(function)
            definitions += functions[function].definition.node_def
