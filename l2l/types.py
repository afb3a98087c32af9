"""Names for type hints: what recurs among the arguments and results of public functions.

Hints help a reader and a type checker; nothing is checked by them when a program runs. TensorFlow 1.15 has no hints,
so a checker takes `tf.Tensor` for `Any`. Ours are resolvable in Python 3.7: `typing.get_type_hints` evaluates them.
"""

import os
from typing import Any, Callable, Tuple, Union

import tensorflow.compat.v1 as tf

#: A tensor, or a tuple, list, dict or namedtuple of nests, as for `tf.nest`. Python has no type for that.
Nest = Any

#: What an optimizer remembers from step to step, a nest of tensors with None where there is nothing; None at first.
State = Any

#: `(gradients, state)` or `(gradients, state, x)` to `(update, state)`.
OptimizerFunction = Callable[..., Tuple[Nest, State]]

#: Creates an optimizer with its variables.
BuildOptimizer = Callable[[], OptimizerFunction]

Scalar = Union[float, tf.Tensor, tf.Variable]

#: Of the number of steps before, a scalar integer tensor.
ScheduleFunction = Callable[[tf.Tensor], Union[float, tf.Tensor]]

Hyperparameter = Union[Scalar, ScheduleFunction]

#: A name in `META_LOSSES`, or a function of the losses `[T]` of one draw to a scalar.
MetaLoss = Union[str, Callable[[tf.Tensor], tf.Tensor]]

#: Of the learning rate, a scalar tensor.
MetaOptimizerFunction = Callable[[tf.Tensor], tf.train.Optimizer]

#: None: each `session.run` draws anew.
Seed = Union[None, int, tf.Tensor]

PathLike = Union[str, os.PathLike]
