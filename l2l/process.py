"""The settings that TensorFlow and XLA read once in a process, when its first session starts."""

import os
import threading

# Fast math makes tanh twice as fast; NaN and infinity stay what they are. One thread: a step is too small to be shared.
# Without LLVM's expensive passes compiling takes far less time, and a meta-iteration of few coordinates a little more.
_XLA_FLAGS = [
    "--xla_cpu_multi_thread_eigen=false",
    "--xla_cpu_enable_fast_math=true",
    "--xla_cpu_fast_math_honor_nans=true",
    "--xla_cpu_fast_math_honor_infs=true",
    "--xla_llvm_disable_expensive_passes=true",
    # XLA's own matrix product instead of Eigen's: faster from some hundred rows on, and alike below.
    "--xla_backend_extra_options=xla_force_enable_experimental_llvm_ir_gemm,xla_llvm_ir_gemm_tile_size=6:20:2*vectwidth",
]

lock = threading.RLock()
in_force = {}  # the user's flags, and what `prepare_xla` measured, once it has


def prepare_allocator():
    """Has TensorFlow keep the memory that it frees, if no session has run in this process.

    It sets TF_CPU_ALLOCATOR_USE_BFC, unless that is set. Memory that is given back to the system returns page by page.
    Two threads that compute side by side spend a third of their time on that.
    """
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")


def set_xla_flags():
    """Sets the environment variable XLA_FLAGS, once in the process.

    Flags that a parent process got from l2l are not taken for the user's.
    """
    with lock:
        if "flags" not in in_force:
            ours = " ".join(_XLA_FLAGS)
            own = os.environ.get("XLA_FLAGS", "").replace(ours, "").strip()
            os.environ["XLA_FLAGS"] = (ours + " " + own).strip()
            in_force["flags"] = own or None
