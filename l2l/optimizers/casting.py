"""The contract of a casting: preprocesses gradients, and decodes a network's outputs.

The field calls the input half *preprocessing*. Gradients shrink by many orders of magnitude during an optimization,
but a network needs inputs near 1.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from l2l.types import Nest


class Casting:
    """Preprocesses gradients for a network, and decodes its outputs into updates.

    This class is the contract. Subclass it and define `encode` and `decode`:

        class Scaled(l2l.Casting):
            def encode(self, gradients, memory=None, adapted=()):
                return 10.0 * gradients[:, tf.newaxis]

            def decode(self, outputs, gradients=None, memory=None, adapted=()):
                return 0.1 * outputs

        build = lambda: l2l.CoordinatewiseLSTM(casting=Scaled())

    A casting has no variables and no state, so one casting can serve many networks. The network stores what the casting
    remembers of each coordinate and what it adapts, and passes both to its methods. All methods are pure functions.

    `encode`, `decode` and `remember` may have a parameter named `x`, which gets the positions `[N]`, and one named
    `facts`, which gets what the method `facts` returned for the tensor of each row.

    Attributes:
      name: a name for the record of a run. It includes the parameters, so that it distinguishes two castings.
      features: `F`, how many inputs the network gets for each coordinate.
      adapted: the first values of the variables that `adapt` changes, a tuple of numbers; empty for none.
      kind: the key in `CASTINGS` for a casting of the library; None for a custom casting.
      facts: None, or a method `facts(gradients, memory, x, shape)` that computes what all coordinates of a tensor
        share, such as a norm. Its arguments describe one tensor with `n` coordinates, for `B` draws: `gradients` and
        `x` are `[B, n]`, `memory` is `[B, n, ...]`, and `shape` is the shape of the tensor, a list. The first size in
        it is None for the rows of a sparse gradient. It returns a nest of tensors `[B]`. Norms must have a finite
        gradient at zero.
      parameters: dict of the arguments of the casting, in JSON types. For a custom casting all public attributes count
        too. Weights that were trained with other parameters are refused.
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
        """Returns the memory before the first step.

        For gradients `[N]` it is a nest of tensors `[N, ...]`, or None.
        """
        return None

    def encode(
        self, gradients: tf.Tensor, memory: Optional[Nest] = None, adapted: Sequence[tf.Tensor] = ()
    ) -> tf.Tensor:
        """Returns the network's inputs `[N, F]`.

        Args:
          gradients: `[N]`.
          memory: what was remembered before this step.
          adapted: the values of the adapted variables, a tuple of scalars.
        """
        raise NotImplementedError("%s does not define encode" % type(self).__name__)

    def decode(
        self,
        outputs: tf.Tensor,
        gradients: Optional[tf.Tensor] = None,
        memory: Optional[Nest] = None,
        adapted: Sequence[tf.Tensor] = (),
    ) -> tf.Tensor:
        """Returns the updates `[N]` from the network's outputs `[N]`.

        The other arguments are those of `encode`.
        """
        raise NotImplementedError("%s does not define decode" % type(self).__name__)

    def remember(self, gradients: tf.Tensor, memory: Nest, updates: tf.Tensor) -> Nest:
        """Returns the memory after a step, like `memory` in structure, shapes and dtypes.

        Args:
          gradients: `[N]`, the gradients of the step.
          memory: what was remembered before the step.
          updates: `[N]`, what `decode` returned.
        """
        return memory

    def adapt(self, gradients: tf.Tensor, memory: Nest, adapted: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """Returns the next values of the adapted variables, once per meta-iteration.

        Args:
          gradients: `[N]`, the gradients at the last loss of the segment.
          memory: what was remembered before these gradients.
          adapted: the present values.
        """
        return adapted

    def __repr__(self):
        return "<casting %s>" % self.name
