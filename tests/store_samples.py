"""Small runs, as training would hand them to the store."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl
import xarray as xr

from rnnjax.store.environment import Environment
from rnnjax.store.manifest import Manifest
from rnnjax.store.pool import Pool
from rnnjax.store.run_id import run_id_of
from rnnjax.store.rundir import RunDir, run_path
from rnnjax.store.writing import begin_run, finish_run


ENVIRONMENT = Environment(
    versions={"python": "3.11.0", "jax": "0.10.2"},
    device="cpu",
    device_count=2,
    cpu_count=2,
    xla_flags="",
    x64=False,
)


def config_of(cell: str = "lstm", seed: int = 0, **other: Any) -> dict[str, Any]:
    return {"cell": {"name": cell, "hidden": 8}, "seed": seed, "steps": 20, **other}


def manifest_of(key: str, **fields: Any) -> Manifest:
    start = {
        "run_id": key,
        "name": "sample",
        "status": "running",
        "lineage": f"lineage of {key}",
        "environment": ENVIRONMENT,
        "source_digest": "0123456789ab",
        "created": "2026-01-01T00:00:00.000+00:00",
    }
    return Manifest(**{**start, **fields})


def metrics_of(seed: int = 0) -> pl.DataFrame:
    return pl.DataFrame({"step": [10, 20], "loss": [1.0 + seed, 0.5 + seed]})


def probes_of(length: int = 3) -> xr.Dataset:
    lags = np.linspace(-5.0, 0.0, length, dtype=np.float32)
    return xr.Dataset(
        {"log10_adjoint": (("time", "state"), lags[:, None], {"units": "log10"})},
        coords={"state": ["h"], "word": ("time", [f"word{t}" for t in range(length)])},
        attrs={"quantity": "lagged adjoint", "preset": None, "exponent": True},
    )


def store_run(pool: Pool, cell: str = "lstm", seed: int = 0, **other: Any) -> RunDir:
    """A finished run in a pool, entered in the index."""
    config = config_of(cell, seed, **other.pop("config", {}))
    key = run_id_of(config, {})
    started = manifest_of(key)
    run = begin_run(run_path(pool.path, "sample", key), config, started)
    length = other.pop("length", 3)
    fields = {"status": "done", "results": {"accuracy": 0.5 + seed / 10}, **other}
    run = finish_run(
        run, started.replace(**fields), metrics_of(seed), probes_of(length), b"weights"
    )
    pool.add(run)
    return run


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
