"""Programs: parts of a graph that run in any other graph, with tensors for their variables and random numbers."""

from collections import namedtuple

import tensorflow.compat.v1 as tf

Program = namedtuple(
    "Program",
    [
        "definition",  # GraphDef: the ops between inputs and outputs
        "inputs",  # names of the input tensors that the outputs depend on, in the order in which they were given
        "random",  # a `Random` for each op that drew random numbers, in the order of their creation
        "outputs",  # names of the output tensors
    ],
)

Random = namedtuple("Random", ["name", "op", "shape", "dtype"])

_RANDOM = ("RandomUniform", "RandomStandardNormal", "TruncatedNormal")
_LOOPS = ("Enter", "Exit", "NextIteration", "Switch", "Merge", "While", "StatelessWhile", "If", "StatelessIf")


def cut_out(what, outputs, inputs):
    """Cuts out the `Program` that computes these outputs from these inputs, all tensors of one graph.

    A variable is an input by its first output, `variable.op.outputs[0]`. The program does not draw random numbers; the
    caller of `run` supplies them.

    Raises:
      ValueError: the outputs need an op that no program can have. The message begins with `what`.
    """
    given, found = {tensor.op: tensor.name for tensor in inputs}, set()
    waiting = [tensor.op for tensor in outputs]
    while waiting:
        op = waiting.pop()
        if op in found:
            continue
        found.add(op)
        if op not in given:
            _check_op(what, op)
            if op.type not in _RANDOM:
                waiting += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    random = sorted((op for op in found if op.type in _RANDOM), key=lambda op: op._id)
    needed = found - set(given) - set(random)
    definition = tf.GraphDef(versions=outputs[0].graph.as_graph_def().versions)
    for op in sorted(needed, key=lambda op: op._id):
        node = definition.node.add()
        node.CopyFrom(op.node_def)
        node.ClearField("device")
        node.attr.pop("_class", None)  # which names ops that are cut out
        kept = [name for name in node.input if not name.startswith("^")]
        kept += ["^" + other.name for other in op.control_inputs if other in needed]
        node.ClearField("input")
        node.input.extend(kept)
    tensors = [op.outputs[0] for op in random]
    return Program(
        definition,
        [given[op] for op in given if op in found],
        [Random(tensor.name, tensor.op.type, tensor.shape.as_list(), tensor.dtype) for tensor in tensors],
        [tensor.name for tensor in outputs],
    )


def run(program, inputs, random):
    """Runs a program in the current graph.

    Args:
      program: a `Program`.
      inputs: dict from the name of an input to a tensor; it may hold more than the program needs.
      random: a function `(i, program.random[i])` that returns a tensor of the shape and dtype of that `Random`.

    Returns:
      The outputs, a list of tensors.
    """
    places = {name: inputs[name] for name in program.inputs}
    places.update((one.name, random(i, one)) for i, one in enumerate(program.random))
    # Inside a function's graph, `identity` captures tensors from outside.
    places = {name: tf.identity(tensor) for name, tensor in places.items()}
    return tf.import_graph_def(program.definition, places, program.outputs, name="program")


def _check_op(what, op):
    gradient = op.node_def.attr["_gradient_op_type"].s.decode() if "_gradient_op_type" in op.node_def.attr else ""
    if gradient.startswith("CustomGradient"):
        reason = "a tf.custom_gradient (tf.nn.swish has one), whose gradient belongs to one graph"
    elif op.type in _RANDOM and not op.outputs[0].shape.is_fully_defined():
        reason = "random numbers of a shape that is not static"
    elif op.type in _RANDOM:
        return
    elif op.type in _LOOPS:
        reason = "a loop or a condition, through which TensorFlow 1.15 has no second derivatives"
    elif op.type in ("PartitionedCall", "StatefulPartitionedCall") or op.type in op.graph._functions:
        reason = "a tf.function"
    elif op.type in ("Placeholder", "PlaceholderWithDefault"):
        reason = "a placeholder"
    elif op.type.startswith("FusedBatchNorm"):
        reason = "fused batch normalization, whose second derivative is wrong in TensorFlow 1.15"
    elif op.op_def.is_stateful:
        reason = "state or chance of another kind than the model's weights and uniform or normal random numbers"
    else:
        return
    raise ValueError("%s cannot use the op %s (%r): it is %s" % (what, op.type, op.name, reason))
