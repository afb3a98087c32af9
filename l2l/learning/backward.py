"""Custom backpropagation through a loop of base iterations, for the compiled engine.

TensorFlow differentiates a `tf.while_loop` by keeping every intermediate result of every turn. Here the forward loop
keeps only position, state and the results of the large products. The backward loop runs the turns in reverse. It
computes each base iteration again from what was kept, reading the products instead of multiplying, and propagates the
gradients through it with `tf.gradients`.

Each turn adds a term to the gradient of a kernel. For few coordinates that term is a product of few rows, and adding up
such terms turn by turn is slow. So the loop keeps the inputs of the products and the gradients of their results, and
one product of `T N` rows at the end gives the sum over all turns.
"""

from collections import namedtuple

import tensorflow.compat.v1 as tf
from tensorflow.python.eager.function import defun
from tensorflow.python.framework import ops
from tensorflow.python.framework.func_graph import func_graph_from_py_func

from l2l.nests import is_differentiable, tensors_of, with_tensors
from l2l.optimizers.first_state import check_same_state

# Up to this many rows, the inputs of the products are kept, and the kernel gradients are added up at the end. With more
# rows each turn adds its term: keeping is faster for few rows, but costs memory and time for many.
MOST_ROWS_KEPT = 64

Forward = namedtuple(
    "Forward",
    [
        "losses",  # [n] or [n, B], of the n turns
        "x",  # position after the turns
        "state",  # state after the turns
        "kept",  # TensorArrays of n: the tensors of position and state before each turn, then the products' results
    ],
)


ops._gradient_registry._registry.pop("L2LRememberedProduct", None)  # in case this module is imported again


@ops.RegisterGradient("L2LRememberedProduct")
def _gradient_of_remembered_product(operation, gradient):
    _, _, transposed, _ = operation.inputs
    return [tf.matmul(gradient, transposed), None, None, None]


def _remembered_product(inputs, kernel, transposed, result):
    """Returns `inputs @ kernel` from its known result, without multiplying. Gradients flow to the inputs alone.

    A `tf.custom_gradient` fails here: its closure holds tensors of a graph that a loop's gradient copies. Instead this
    calls a function that returns its last argument, and sets a gradient registered by name on the call.
    """
    arguments = [inputs, kernel, transposed, result]
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in arguments]
    last = defun(lambda *tensors: tf.identity(tensors[-1]), autograph=False).get_concrete_function(*specs)
    with tf.get_default_graph().gradient_override_map({"PartitionedCall": "L2LRememberedProduct"}):
        (output,) = tf.raw_ops.PartitionedCall(args=arguments, Tout=[result.dtype], f=last)
    return output


def check_follows_training(variables, given):
    """Refuses tensors from outside the current function that were computed from trained variables.

    Args:
      variables: the trained variables.
      given: tensors that may depend on them, because the function starts from them: position and state.

    Raises:
      ValueError: such a tensor exists. It would be computed once, and never see an update.
    """
    given = {id(tensor) for tensor in given}
    for tensor in tf.get_default_graph().external_captures:
        if id(tensor) not in given and is_differentiable(tensor) and _depends(tensor, variables):
            raise ValueError(
                "the optimizer must not compute with its variables before it is called: %r is computed once and "
                "would not follow the training; compute it in each call, or in its bind" % tensor.op.name
            )


def _depends(tensor, variables):
    with tensor.graph.as_default():
        return any(gradient is not None for gradient in tf.gradients(tensor, variables))


class TurnsInReverse:
    """Runs the turns of a loop, `turn(x, state, t, product) -> (loss, x, state)`, forwards and then backwards.

    Build it inside a function of the graph (`defun`), where loops are functions.

    Args:
      turn: one base iteration with a bound optimizer. It passes `product` on to the optimizer's step.
      kernels: the kernels of the bound optimizer.
      x, state: position and state before the first turn, nests of tensors of static shape.
      first: the `t` of the first turn, a scalar int32 tensor.
      turns: how many turns, a positive integer.
      variables: the trained variables.
    """

    def __init__(self, turn, kernels, x, state, first, turns, variables):
        self._turn, self._kernels, self._first, self._turns = turn, kernels, first, turns
        self._x, self._state, self._variables = x, state, variables
        self._carried = tensors_of(x) + tensors_of(state)
        self._trace()

    def _nests(self, tensors):
        """Packs a flat list of tensors into position and state."""
        number = len(tensors_of(self._x))
        return with_tensors(self._x, tensors[:number]), with_tensors(self._state, tensors[number:])

    def _trace(self):
        """Builds one turn in a scratch function, to find the shapes of its products and the tensors it captures."""
        number, used = len(self._kernels), []
        shapes = [None] * number  # of inputs and result, for each kernel

        def product(i, inputs):
            # Not the kernel: it would be captured, like everything that a turn reads beside its products.
            result = tf.matmul(inputs, tf.zeros(self._kernels[i].shape, inputs.dtype))
            used.append(i)
            shapes[i] = inputs.shape, result.shape
            return result

        def traced(t, *tensors):
            x, state = self._nests(tensors)
            loss, x, after = self._turn(x, state, t, product)
            check_same_state(state, after)
            return [loss, *tensors_of(x), *tensors_of(after)]

        specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in self._carried]
        # Not a `defun`, which takes its graph apart once nobody holds it: a `tf.function` of the user's, called here
        # first, is called again later with what was traced within that graph.
        graph = func_graph_from_py_func("traced", traced, [tf.TensorSpec([], tf.int32), *specs], {})
        if sorted(used) != list(range(number)):
            raise ValueError(
                "optimizer must multiply by each of its %d kernels once a step, it used %s" % (number, used)
            )
        self._product_shapes = shapes
        self._adds_up = any(shape.as_list()[0] > MOST_ROWS_KEPT for shape, _ in shapes)
        self._sources = [
            tensor
            for tensor in graph.external_captures
            if is_differentiable(tensor) and _depends(tensor, self._variables)
        ]

    def forward(self):
        """Runs the turns and returns a `Forward`."""

        def body(i, losses, tensors, kept):
            results = [None] * len(self._kernels)

            def product(k, inputs):
                results[k] = tf.matmul(inputs, self._kernels[k])
                return results[k]

            x, state = self._nests(tensors)
            loss, next_x, next_state = self._turn(x, state, self._first + i, product)
            kept = [array.write(i, tensor) for array, tensor in zip(kept, [*tensors, *results])]
            return i + 1, losses.write(i, loss), tensors_of(next_x) + tensors_of(next_state), kept

        like = [(tensor.dtype, tensor.shape) for tensor in self._carried]
        like += [(self._kernels[0].dtype, shape) for _, shape in self._product_shapes]
        with tf.name_scope("forward"):
            _, losses, tensors, kept = tf.while_loop(
                lambda i, *_: i < self._turns,
                body,
                (
                    tf.constant(0),
                    self._array(self._carried[0].dtype, None),
                    self._carried,
                    [self._array(*e) for e in like],
                ),
                maximum_iterations=self._turns,
            )
        return Forward(losses.stack(), *self._nests(tensors), kept)

    def backward(self, forward, loss_gradients, x_gradients):
        """Propagates gradients from the end of the turns to their start.

        Args:
          forward: what `forward` returned.
          loss_gradients: gradients with respect to its losses, of their shape.
          x_gradients: gradients with respect to its `x`, a flat list. The gradient with respect to its state counts
            as 0.

        Returns:
          `(tensors, gradients, of_variables)`: tensors outside the turns, and the gradient with respect to each; then
          the gradients with respect to the variables that a turn reads directly, with None for all others.
        """
        floating = [i for i, tensor in enumerate(self._carried) if is_differentiable(tensor)]
        transposed = [tf.transpose(kernel) for kernel in self._kernels]
        loss_gradients = self._array(loss_gradients.dtype, loss_gradients.shape[1:]).unstack(loss_gradients)
        zeros = [tf.zeros(self._carried[i].shape, self._carried[i].dtype) for i in floating[len(x_gradients) :]]
        dtype = self._kernels[0].dtype if self._kernels else None
        shapes = [] if self._adds_up else [shape for pair in self._product_shapes for shape in pair]
        of_kernels = [self._array(dtype, shape) for shape in shapes]
        if self._adds_up:
            of_kernels = [tf.zeros(kernel.shape, dtype) for kernel in self._kernels]
        reads = []  # whether a turn reads each source and variable directly; known once the body is built

        def body(i, carried, sums, of_kernels):
            kept = [array.read(i) for array in forward.kept]
            tensors, results = kept[: len(self._carried)], kept[len(self._carried) :]
            product_inputs, product_outputs = [None] * len(self._kernels), [None] * len(self._kernels)

            def product(k, inputs):
                product_inputs[k] = inputs
                product_outputs[k] = _remembered_product(inputs, self._kernels[k], transposed[k], results[k])
                return product_outputs[k]

            x, state = self._nests(tensors)
            loss, next_x, next_state = self._turn(x, state, self._first + i, product)
            after = tensors_of(next_x) + tensors_of(next_state)
            capture = tf.get_default_graph().capture
            outside = [capture(source) for source in self._sources]
            outside += [capture(variable.handle) for variable in self._variables]
            before = [tensors[j] for j in floating]
            gradients = tf.gradients(
                [loss, *[after[j] for j in floating]],
                [*before, *product_outputs, *outside],
                grad_ys=[loss_gradients.read(i), *carried],
            )
            gradients = [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]
            first, second = len(before), len(before) + len(product_outputs)
            carried = [tf.zeros_like(t) if g is None else g for t, g in zip(before, gradients[:first])]
            # Some of TensorFlow's gradients lose the static shape that a loop needs.
            for tensor, like in zip([*carried, *gradients[second:]], [*before, *self._sources, *self._variables]):
                if tensor is not None:
                    tensor.set_shape(like.shape)
            of_outputs = [
                tf.zeros_like(t) if g is None else g for t, g in zip(product_outputs, gradients[first:second])
            ]
            pairs = list(zip(product_inputs, of_outputs))
            if self._adds_up:
                of_kernels = [
                    total + tf.matmul(one, other, transpose_a=True) for total, (one, other) in zip(of_kernels, pairs)
                ]
            else:
                flat = [tensor for pair in pairs for tensor in pair]
                of_kernels = [array.write(i, tensor) for array, tensor in zip(of_kernels, flat)]
            reads[:] = [gradient is not None for gradient in gradients[second:]]
            sums = [total if g is None else total + g for total, g in zip(sums, gradients[second:])]
            return i - 1, carried, sums, of_kernels

        sums = [tf.zeros(each.shape, each.dtype.base_dtype) for each in [*self._sources, *self._variables]]
        with tf.name_scope("backward"):
            _, carried, sums, of_kernels = tf.while_loop(
                lambda i, *_: i >= 0,
                body,
                (tf.constant(self._turns - 1), [*x_gradients, *zeros], sums, of_kernels),
                maximum_iterations=self._turns,
            )
            if not self._adds_up:
                rows = [_all_rows(array) for array in of_kernels]
                of_kernels = [tf.matmul(*pair, transpose_a=True) for pair in zip(rows[::2], rows[1::2])]
        number = len(self._sources)
        of_variables = [total if read else None for total, read in zip(sums[number:], reads[number:])]
        tensors = [*[self._carried[i] for i in floating], *self._kernels, *self._sources]
        return tensors, [*carried, *of_kernels, *sums[:number]], of_variables

    def _array(self, dtype, shape):
        return tf.TensorArray(dtype, size=self._turns, element_shape=shape)


def _all_rows(array):
    """Joins a TensorArray of `n` matrices `[N, F]` into one matrix `[n N, F]`."""
    stacked = array.stack()
    return tf.reshape(stacked, [-1, stacked.shape.as_list()[-1]])
