"""Type hints that recur among the arguments and results of public functions.

Hints help readers and type checkers; they check nothing when a program runs. TensorFlow 1.15 has no hints, so a type
checker treats `tf.Tensor` as `Any`. Ours resolve in Python 3.7: `typing.get_type_hints` evaluates them.
"""

import os
from typing import Any, Callable, Tuple, Union

import tensorflow.compat.v1 as tf

#: A tensor, or a tuple, list, dict or namedtuple of nests, as for `tf.nest`. Python has no type for that.
Nest = Any

#: What an optimizer remembers from step to step, a nest of tensors with None where there is nothing; None at first.
State = Any

#: An optimizer, `(gradients, state) -> (update, state)` or `(gradients, state, x) -> (update, state)`.
OptimizerFunction = Callable[..., Tuple[Nest, State]]

#: Function without arguments that creates an optimizer and its variables.
BuildOptimizer = Callable[[], OptimizerFunction]

#: A number, or a scalar tensor or variable.
Scalar = Union[float, tf.Tensor, tf.Variable]

#: Maps the number of steps made so far, a scalar integer tensor, to a number or a scalar tensor.
ScheduleFunction = Callable[[tf.Tensor], Union[float, tf.Tensor]]

#: A number, a scalar tensor or variable, or a schedule.
Hyperparameter = Union[Scalar, ScheduleFunction]

#: A name in `META_LOSSES`, or a function that maps the losses `[T]` of one draw to a scalar.
MetaLoss = Union[str, Callable[[tf.Tensor], tf.Tensor]]

#: Creates a `tf.train.Optimizer` from the learning rate, a scalar tensor.
MetaOptimizerFunction = Callable[[tf.Tensor], tf.train.Optimizer]

#: An integer or integer tensor that fixes the random numbers; with None each `session.run` draws new ones.
Seed = Union[None, int, tf.Tensor]

#: A path as text, or an object such as `pathlib.Path`.
PathLike = Union[str, os.PathLike]
