"""What the figures were measured on."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import jax


def machine() -> dict[str, str]:
    """Processor, cores, device, versions, date."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    cores = os.cpu_count()
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": str(cores),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": version("flax"),
        "date": time.strftime("%Y-%m-%d"),
        "load": " ".join(f"{x:.2f}" for x in os.getloadavg()),
    }
