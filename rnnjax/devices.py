"""One XLA device per core: what a pack of runs on a CPU is spread over."""

import os

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
