"""The settings of a training: one record, which everything that has to know them reads."""

from collections import namedtuple

from l2l import checks
from l2l.learning.meta_losses import get_meta_loss

_FIELDS = [
    "meta_loss",
    "unroll_length",
    "horizon",
    "learning_rate",
    "half_life",
    "clip_norm",
    "second_derivatives",
    "batch",
    "threads",
    "weights_seed",
    "draws_seed",
]


class Settings(namedtuple("Settings", _FIELDS)):
    """How a learned optimizer is trained. All are checked here, and nowhere else.

    Args:
      meta_loss: "sum", "end", "end_log", "sum_log", or a function of the losses `[T]` of one draw to a scalar.
      unroll_length: `T`, base iterations of a segment, through which a meta-gradient flows; a positive integer.
      horizon: how many base iterations a draw lives, a multiple of `unroll_length`, the default and the
        document's case. Beyond it (truncated backpropagation through time, as in arXiv 1606.04474) position and state
        are carried from one segment to the next without a gradient, and the next draw comes when the horizon is
        reached, or after a meta-iteration that is skipped for a NaN.
      learning_rate: of Adam, whose other parameters are TensorFlow's defaults.
      half_life: number of updates after which the learning rate is half of what it was, a positive integer: the
        rate is `learning_rate 2^(-n / half_life)` after `n` updates. None for one that stays.
      clip_norm: the meta-gradient's global norm is clipped at this; None for no clipping.
      second_derivatives: False stops meta-gradients from flowing through the optimizee's gradients.
      batch: the meta-loss is averaged over so many draws in each meta-iteration.
      threads: cores to use. The batch is cut into so many equal shards, so it must be a multiple. It pays for
        large batches. The number of shards changes rounding, not what is computed.
      weights_seed: integer that fixes the initial weights.
      draws_seed: integer that fixes the problems drawn.

    Raises:
      TypeError, ValueError: an argument out of range, or one that there is not.
    """

    def __new__(
        cls,
        meta_loss="sum",
        *,
        unroll_length=20,
        horizon=None,
        learning_rate=3e-4,
        half_life=None,
        clip_norm=1.0,
        second_derivatives=True,
        batch=1,
        threads=1,
        weights_seed=0,
        draws_seed=0,
    ):
        get_meta_loss(meta_loss)
        unroll_length = checks.positive_integer("unroll_length", unroll_length)
        horizon = unroll_length if horizon is None else checks.positive_integer("horizon", horizon)
        if horizon % unroll_length:
            raise ValueError("horizon must be a multiple of unroll_length, %r, got %r" % (unroll_length, horizon))
        batch, threads = checks.positive_integer("batch", batch), checks.positive_integer("threads", threads)
        if batch % threads:
            raise ValueError("threads must divide the batch, %r, got %r" % (batch, threads))
        return super().__new__(
            cls,
            meta_loss,
            unroll_length,
            horizon,
            checks.positive_float32("learning_rate", learning_rate),
            None if half_life is None else checks.positive_integer("half_life", half_life),
            None if clip_norm is None else checks.positive_float32("clip_norm", clip_norm),
            checks.boolean("second_derivatives", second_derivatives),
            batch,
            threads,
            checks.seed("weights_seed", weights_seed),
            checks.seed("draws_seed", draws_seed),
        )

    @property
    def carries(self):
        """Whether position and state are carried from one segment to the next."""
        return self.horizon > self.unroll_length

    def description(self):
        """The settings as a dict of JSON types; a meta-loss of one's own by its name."""
        name = self.meta_loss
        if not isinstance(name, str):
            name = getattr(name, "__qualname__", type(name).__qualname__)
        return {**self._asdict(), "meta_loss": name}
