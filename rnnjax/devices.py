"""JAX as rnnjax wants it: one XLA device per core, compiled programs kept on disk."""

import os
from pathlib import Path

import jax


def use_every_core() -> int:
    """Ask for one CPU device per core; returns how many devices there are.

    Takes effect only before JAX has started its back end in this process; later it
    leaves everything as it is. A setting of ``JAX_NUM_CPU_DEVICES`` wins.
    """
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        try:
            jax.config.update("jax_num_cpu_devices", cores or os.cpu_count() or 1)
        except RuntimeError:
            pass
    return jax.local_device_count()


def keep_compiled_programs() -> None:
    """Keep what is compiled from now on, so that a repeated command starts sooner.

    In ``rnnjax/programs`` under ``$XDG_CACHE_HOME`` or ``~/.cache``, 2 GB at most; the
    oldest go first. A folder that JAX was given already (``JAX_COMPILATION_CACHE_DIR``)
    wins, and ``JAX_ENABLE_COMPILATION_CACHE=0`` keeps nothing.
    """
    if getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
        return
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    jax.config.update("jax_compilation_cache_dir", str(Path(home, "rnnjax/programs")))
    jax.config.update("jax_compilation_cache_max_size", 2 * 10**9)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
