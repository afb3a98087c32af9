"""XLA in this process: sets its flags in time, and measures how it computes."""

from __future__ import annotations

import warnings

import numpy as np
import tensorflow.compat.v1 as tf

from l2l.graphs import OwnGraph
from l2l.nests import is_finite
from l2l.process import in_force, lock, prepare_allocator, set_xla_flags
from l2l.tracebacks import levels_to_the_caller


def prepare_xla() -> None:
    """Sets flags of XLA and TensorFlow's allocator before a session reads them.

        import l2l

        l2l.prepare_xla()
        session = tf.Session()  # the program's first

    The process reads them once, when its first session starts. The compiled engine calls this function itself. A
    program that starts a session before that must call it first, once. Otherwise XLA has read other flags already, and
    compiled code rounds differently. This is measured: a `RuntimeWarning` tells, and so does the record of a training
    (see `xla_in_force`).

    It sets the environment variable XLA_FLAGS: fast math that honours NaN and infinity, and one thread. The user's
    flags come last, and win. It also sets the allocator, as `prepare_allocator` does for the other engine.

    Raises:
      RuntimeError: compiled programs cannot tell NaN from numbers at all, so that one would spoil a training unseen.
    """
    with lock:
        if "finds_nan" not in in_force:
            set_xla_flags()
            prepare_allocator()
            in_force.update(_measured())
            if not in_force["honours_nan"] or not (in_force["fast_math"] or in_force["flags"]):
                warnings.warn(
                    "XLA computes with other flags than l2l's: it had read them before l2l could set them, since a "
                    "session was started earlier, or XLA_FLAGS asks for that. Compiled trainings and evaluations round "
                    "differently from those of other processes%s. Call l2l.prepare_xla() before the first session, or "
                    "use engine='graph'"
                    % ("" if in_force["honours_nan"] else ", and a tf.is_nan of your own may not find a NaN"),
                    RuntimeWarning,
                    stacklevel=levels_to_the_caller(),
                )
        if not in_force["finds_nan"]:
            raise RuntimeError(
                "engine='xla' cannot be used in this process: what XLA compiles here does not notice a NaN, not even in"
                " its bits; call l2l.prepare_xla() before the first session and without XLA_FLAGS of your own, or use "
                "engine='graph'"
            )


def xla_in_force():
    """Returns what compiled programs of this process do, as measured: a dict of JSON types.

    `honours_nan`: whether `tf.is_nan` finds a NaN. `fast_math`: whether sums are reordered. `finds_nan`: whether a NaN
    is found in its bits. `flags`: the user's XLA_FLAGS, or None. With l2l's flags the first three are True.
    """
    prepare_xla()
    return dict(in_force)


def _measured():
    """`honours_nan`, `fast_math` and `finds_nan`, from a small compiled program."""

    def program(x, y):
        product = x * y
        # Reordered, this is 1; in order, the 1 is lost.
        return [tf.is_nan(product), (tf.constant(1e8) * x + 1.0) - tf.constant(1e8) * x, is_finite(product)]

    own = OwnGraph()
    with own.building():
        x, y = tf.placeholder(tf.float32, []), tf.placeholder(tf.float32, [])
        results = tf.xla.experimental.compile(program, [x, y])
        with own as session:
            is_nan, _, finite = session.run(results, {x: np.nan, y: 1.0})
            _, one, _ = session.run(results, {x: 1.0, y: 1.0})
    return {"honours_nan": bool(is_nan), "fast_math": bool(one == 1.0), "finds_nan": not finite}
