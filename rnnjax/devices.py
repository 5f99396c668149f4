"""What a process asks of JAX: a device per core, and to keep compiled programs."""

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
"""Of compiled programs; those that were not used for the longest time go first."""

PROGRAM_BYTES = 2**18
"""Of a compiled program of middle size."""


def use_every_core() -> int:
    """Ask for one CPU device per core; returns how many devices there are.

    What a pack of runs on a CPU is spread over. Takes effect only before JAX has
    started its back end in this process; later it leaves everything as it is. A setting
    of ``JAX_NUM_CPU_DEVICES`` wins.
    """
    keep_programs()
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        use_devices(cores or os.cpu_count() or 1)
    return jax.local_device_count()


def use_devices(count: int) -> None:
    """Ask for so many CPU devices; a process that has begun keeps what it has."""
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        pass


def check_settings() -> None:
    """Refuse a setting of JAX's under which nothing here can be computed.

    Precision and rank promotion are as the user wants them.

    Raises:
        UserError: the setting, by its name.
    """
    promotion: str | None = getattr(jax.config, "jax_numpy_dtype_promotion", None)
    if promotion == "strict":
        raise UserError(
            "JAX_NUMPY_DTYPE_PROMOTION=strict is not supported, since whole numbers "
            "and masks meet numbers here; unset it or set it to standard"
        )
    if getattr(jax.config, "jax_disable_jit", False):
        raise UserError(
            "JAX_DISABLE_JIT is not supported, since packs of runs are spread over "
            "devices by compiled code; unset it"
        )


def keep_programs() -> None:
    """Keep compiled programs for later processes, in a folder of the user's own.

    They are code that will be executed, so nobody else may write there; and code for
    this processor, so each kind of processor has its folder. A setting of
    ``JAX_COMPILATION_CACHE_DIR`` or of `jax.config` wins. Where nothing can be kept,
    programs are compiled anew, with one warning; JAX's own would be one for each
    program that it cannot write or read.
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
            f"compiled programs are not kept in {base}: {reason}; XDG_CACHE_HOME "
            "chooses another folder",
            stacklevel=2,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", KEPT_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def make_private(folder: Path) -> None:
    """Make a folder that nobody else can write to; one that is there becomes so.

    Raises:
        OSError: it cannot be made, or it, or a link in its place, is somebody else's.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for owner in (folder.lstat().st_uid, folder.stat().st_uid):
        if owner != os.getuid():  # root could change the mode all the same
            raise PermissionError(f"'{folder}' belongs to user {owner}")
    folder.chmod(0o700)


def mend_cache(folder: Path) -> None:
    """Remove what a process that was killed, or a full disk, left half-written.

    JAX writes ``…-cache``, then the time of its use to ``…-atime``. A program without a
    time may be torn, and keeps JAX from writing any other.

    Raises:
        OSError: it cannot be removed.
    """
    for program in folder.glob("*-cache"):
        used = program.with_name(program.name.removesuffix("-cache") + "-atime")
        if not used.exists():
            program.unlink(missing_ok=True)


def _check_room(folder: Path) -> None:
    """Raise an `OSError` if a program could not be written now."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(os.urandom(PROGRAM_BYTES))


def free_host_memory() -> float:
    """Bytes that this process may take now, as far as they are known."""
    limits = [math.inf]
    with contextlib.suppress(ImportError):
        resource = importlib.import_module("resource")
        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        limits.append(soft if soft != resource.RLIM_INFINITY else math.inf)
    with contextlib.suppress(OSError):  # Linux alone has it
        known = Path("/proc/meminfo").read_text()
        limits += [1024 * int(n) for n in re.findall(r"MemAvailable:\s*(\d+)", known)]
    return min(limits)


def processor() -> str:
    """Digest of what the processor can do, 8 hexadecimal digits."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    words = [line for line in lines if line.startswith(("flags", "Features"))][:1]
    text = " ".join([platform.machine(), platform.processor(), *words])
    return hashlib.sha256(text.encode()).hexdigest()[:8]
