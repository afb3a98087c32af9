"""What is said of XLA, whatever was measured of it; `test_process.py` has the processes where it is so."""

import functools
import warnings

import pytest

from l2l import xla


class Lock:
    def __init__(self, steps):
        self._steps = steps

    def __enter__(self):
        self._steps.append("locked")

    def __exit__(self, *error):
        self._steps.append("unlocked")


@pytest.fixture
def measured(monkeypatch):
    """`measured(flags, **figures)`: as in a process of which this is found; returns the warnings of `prepare_xla`."""

    def measured(flags, **figures):
        monkeypatch.setattr(xla, "in_force", {"flags": flags})
        monkeypatch.setattr(xla, "_measured", lambda: {"finds_nan": True, **figures})
        steps = []
        monkeypatch.setattr(xla, "lock", Lock(steps))
        for name in ["set_xla_flags", "prepare_allocator"]:
            monkeypatch.setattr(xla, name, functools.partial(steps.append, name))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            xla.prepare_xla()
            xla.prepare_xla()  # says nothing again
        assert steps == ["locked", "set_xla_flags", "prepare_allocator", "unlocked", "locked", "unlocked"]
        return [str(one.message) for one in caught]

    return measured


@pytest.mark.parametrize("flags", [None, "--xla_cpu_enable_fast_math=false"])
@pytest.mark.parametrize("fast_math", [True, False])
@pytest.mark.parametrize("honours_nan", [True, False])
def test_other_flags_than_the_librarys_are_worth_a_warning_unless_they_are_the_users(
    measured, honours_nan, fast_math, flags
):
    said = measured(flags, honours_nan=honours_nan, fast_math=fast_math)
    assert len(said) == (not honours_nan or (not fast_math and flags is None))
    assert all("XLA computes with other flags than l2l's" in one for one in said)
    assert all(("a tf.is_nan of your own may not find a NaN" in one) is not honours_nan for one in said)
    assert xla.xla_in_force() == {"finds_nan": True, "honours_nan": honours_nan, "fast_math": fast_math, "flags": flags}


def test_where_no_nan_is_found_nothing_can_be_compiled(measured):
    for function in [xla.xla_in_force, xla.prepare_xla]:
        with pytest.raises(RuntimeError, match="engine='xla' cannot be used in this process"):
            measured(None, honours_nan=True, fast_math=True, finds_nan=False)
        with pytest.raises(RuntimeError, match="engine='xla' cannot be used in this process"):
            function()
