"""The contract of a casting: what the learned optimizer's network sees of a gradient, and what becomes of its output.

The field calls the input half *preprocessing*. Gradients shrink by many orders of
magnitude while an optimizer works; a network wants inputs near 1.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from l2l.types import Nest


class Casting:
    """The contract of a casting; subclass it and define `encode` and `decode`.

    A casting is a description without variables or state of its own, so one can serve many networks. What it
    remembers of each coordinate and what it adapts are handed to it. All functions are pure.

    `encode`, `decode` and `remember` may have a parameter named `x`, the positions `[N]`, and one named `facts`, what
    the casting's `facts` found of each row's tensor.

    Attributes:
      name: for the record of a run; parameters included, so that it tells two castings apart.
      features: `F`, inputs the network gets for each coordinate.
      adapted: the first values of the variables that `adapt` changes, a tuple of numbers; empty for none.
      kind: the key in `CASTINGS`, for those of the library; None for others.
      facts: None, or a method `facts(gradients, memory, x, shape)`: what is the same for all coordinates of a tensor,
        such as a norm. It returns a nest of tensors `[B]` from `gradients` and `x` `[B, n]` and a memory `[B, n, ...]`
        of the `n` coordinates of one tensor of `B` draws, and from the `shape` of that tensor, a list in which the
        first size is None for the rows of a sparse gradient. Norms must have a finite gradient at zero.
      parameters: dict of the arguments it was made with, JSON types. Of a casting of one's own all public attributes
        count too: weights that were trained with others are refused.
    """

    features = 1
    facts: Any = None
    adapted: Tuple[float, ...] = ()
    kind: Optional[str] = None
    parameters: Dict[str, Any] = {}

    @property
    def name(self) -> str:
        return type(self).__name__

    def initial_memory(self, gradients: tf.Tensor) -> Optional[Nest]:
        """What is remembered before the first step: a nest of tensors `[N, ...]`, for gradients `[N]`, or None."""
        return None

    def encode(
        self, gradients: tf.Tensor, memory: Optional[Nest] = None, adapted: Sequence[tf.Tensor] = ()
    ) -> tf.Tensor:
        """The network's inputs `[N, F]` from gradients `[N]`, the memory before this step, and the adapted values."""
        raise NotImplementedError("%s does not define encode" % type(self).__name__)

    def decode(
        self,
        outputs: tf.Tensor,
        gradients: Optional[tf.Tensor] = None,
        memory: Optional[Nest] = None,
        adapted: Sequence[tf.Tensor] = (),
    ) -> tf.Tensor:
        """The updates `[N]` from the network's outputs `[N]`; the other arguments are those of `encode`."""
        raise NotImplementedError("%s does not define decode" % type(self).__name__)

    def remember(self, gradients: tf.Tensor, memory: Nest, updates: tf.Tensor) -> Nest:
        """The memory after a step: structure, shapes and dtypes as before it.

        Args:
          gradients: `[N]`, those of the step.
          memory: what was remembered before it.
          updates: `[N]`, what `decode` returned.
        """
        return memory

    def adapt(self, gradients: tf.Tensor, memory: Nest, adapted: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """The next values of the adapted variables, a tuple of scalars, once a meta-iteration.

        Args:
          gradients: `[N]`, those at the last loss of the segment.
          memory: what was remembered when they came.
          adapted: the values so far.
        """
        return adapted

    def __repr__(self):
        return "<casting %s>" % self.name
