"""How a process sets up JAX: one device per core, and what it refuses."""

import contextlib
import importlib
import math
import os
import re
from pathlib import Path

import jax

from rnnjax.errors import UserError
from rnnjax.executables.folder import keep_programs


def use_every_core() -> int:
    """Ask JAX for one CPU device per core; returns the number of devices.

    On a CPU, a pack of runs is spread over these devices. The request takes effect only
    before JAX has started its back end in this process; later it changes nothing. If
    ``JAX_NUM_CPU_DEVICES`` is set, it takes precedence.
    """
    keep_programs()
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        use_devices(cores or os.cpu_count() or 1)
    return jax.local_device_count()


def use_devices(count: int) -> None:
    """Ask JAX for `count` CPU devices; no effect once JAX has started its back end."""
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        pass


def check_settings() -> None:
    """Refuse settings of JAX under which rnnjax cannot compute anything.

    The user is free to choose the precision and the rank promotion.

    Raises:
        UserError: such a setting is active; the message names it.
    """
    promotion: str | None = getattr(jax.config, "jax_numpy_dtype_promotion", None)
    if promotion == "strict":
        raise UserError(
            "JAX_NUMPY_DTYPE_PROMOTION=strict is not supported, since rnnjax combines "
            "integers and masks with floats; unset it or set it to standard"
        )
    if getattr(jax.config, "jax_disable_jit", False):
        raise UserError(
            "JAX_DISABLE_JIT is not supported, since packs of runs are spread over "
            "devices by compiled code; unset it"
        )


def free_host_memory() -> float:
    """Bytes of memory that this process can still take; inf if unknown."""
    limits = [math.inf]
    with contextlib.suppress(ImportError):
        resource = importlib.import_module("resource")
        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        limits.append(soft if soft != resource.RLIM_INFINITY else math.inf)
    with contextlib.suppress(OSError):  # exists only on Linux
        known = Path("/proc/meminfo").read_text()
        limits += [1024 * int(n) for n in re.findall(r"MemAvailable:\s*(\d+)", known)]
    return min(limits)
