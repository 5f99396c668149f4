"""How a process sets up JAX: one device per core, and a cache of programs."""

import contextlib
import hashlib
import importlib
import math
import os
import platform
import re
import tempfile
import warnings
from pathlib import Path

import jax

from rnnjax.errors import UserError


KEPT_BYTES = 2**31
"""Size limit of the cache of compiled programs; the least recently used go first."""

PROGRAM_BYTES = 2**18
"""Size of a typical compiled program."""


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


def keep_programs() -> None:
    """Cache compiled programs for later processes, in a private folder of the user.

    Later processes execute these programs, so no other user may write to the folder.
    They fit one type of processor, so each type has its own folder. If
    ``JAX_COMPILATION_CACHE_DIR`` or `jax.config` names a folder, that one is used. If
    the cache cannot be used, programs are compiled again, with a single warning; JAX
    itself would warn about each program that it cannot read or write.
    """
    warnings.filterwarnings("ignore", "Error .* persistent compilation cache entry")
    known: str | None = getattr(jax.config, "jax_compilation_cache_dir", None)
    if known is not None:
        return
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = Path(base).expanduser() / "rnnjax" / f"programs-{processor()}"
        make_private(folder.parent)
        make_private(folder)
        mend_cache(folder)
        _check_room(folder)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        warnings.warn(
            f"cannot cache compiled programs in {base}: {reason}; set XDG_CACHE_HOME "
            "to choose another folder",
            stacklevel=2,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", KEPT_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def make_private(folder: Path) -> None:
    """Make a folder to which only its owner can write, or make an existing one so.

    Raises:
        OSError: the folder cannot be made, or it belongs to another user, or a link in
            its place does.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for owner in (folder.lstat().st_uid, folder.stat().st_uid):
        if owner != os.getuid():  # root could change the mode anyway
            raise PermissionError(f"'{folder}' belongs to user {owner}")
    folder.chmod(0o700)


def mend_cache(folder: Path) -> None:
    """Remove files left half-written by a killed process or a full disk.

    JAX writes the program to ``…-cache``, then the time of its last use to ``…-atime``.
    A program without the second file may be truncated, and prevents JAX from writing
    any other program.

    Raises:
        OSError: a file cannot be removed.
    """
    for program in folder.glob("*-cache"):
        used = program.with_name(program.name.removesuffix("-cache") + "-atime")
        if not used.exists():
            program.unlink(missing_ok=True)


def _check_room(folder: Path) -> None:
    """Raise an `OSError` if the folder has no room for a typical program."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(os.urandom(PROGRAM_BYTES))


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


def processor() -> str:
    """Digest of the processor's architecture and features, 8 hexadecimal digits."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    words = [line for line in lines if line.startswith(("flags", "Features"))][:1]
    text = " ".join([platform.machine(), platform.processor(), *words])
    return hashlib.sha256(text.encode()).hexdigest()[:8]
