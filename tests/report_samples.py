"""Synthetic sweeps, as training would leave them, with plausible numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import xarray as xr

from rnnjax.store.environment import Environment, Git
from rnnjax.store.manifest import Manifest
from rnnjax.store.pool import Pool
from rnnjax.store.run_id import run_id_of
from rnnjax.store.rundir import run_path
from rnnjax.store.sweep_record import SweepRecord, write_sweep
from rnnjax.store.writing import begin_run, finish_run


ENVIRONMENT = Environment(
    versions={"python": "3.11.0", "jax": "0.10.2", "flax": "0.12.8"},
    device="cpu",
    device_count=2,
    cpu_count=2,
    xla_flags="",
    x64=False,
    git=Git("0123456789abcdef0123456789abcdef01234567", dirty=True),
)

VARIANTS: dict[str, dict[str, Any]] = {
    # cell, activation, decay per step at the start and after training, reach
    "elman_sigmoid": {"cell": "elman", "phi": "sigmoid", "slopes": (-0.64, -0.45)},
    "elman_tanh": {"cell": "elman", "phi": "tanh", "slopes": (-0.08, -0.02)},
    "elman_relu": {"cell": "elman", "phi": "relu", "slopes": (-0.03, 0.01)},
    "elman_leaky_relu": {"cell": "elman", "phi": "leaky_relu", "slopes": (0.01, 0.0)},
    "lstm": {"cell": "lstm", "phi": "tanh", "slopes": (-0.13, -0.12)},
    "lstm_chrono": {"cell": "lstm", "phi": "tanh", "slopes": (-0.008, -0.002)},
    "gru": {"cell": "gru", "phi": "tanh", "slopes": (-0.27, -0.2)},
    "gru_chrono": {"cell": "gru", "phi": "tanh", "slopes": (-0.005, -0.001)},
}
REACH = dict(zip(VARIANTS, (16, 50, 50, 50, 50, 100, 16, 100), strict=True))
FILLERS = list[str]("service was late today although they were open again".split())
OPENING = list[str]("good food came today".split())
SIGMA = 1.0


def sentence(length: int) -> list[str]:
    words = OPENING + [FILLERS[i % len(FILLERS)] for i in range(length)]
    return words[:length]


def probes_of(
    slopes: tuple[float, float],
    lengths: Sequence[int],
    steps: Sequence[int] = (0, 100, 500, 2000),
    seed: int = 0,
    dead_from: int | None = None,
    kernels: Sequence[str] = ("embedding", "layer0/V", "layer0/U"),
    sentences: int = 4,
) -> xr.Dataset:
    """Exponential decay from `slopes[0]` to `slopes[1]`; exact zeros from a lag on."""
    rng = np.random.default_rng([seed, len(lengths), max(lengths)])
    last = np.asarray(lengths) - 1
    time = np.arange(max(lengths))
    lag = last[None, :] - time[:, None]
    shape = (len(steps), 1, 2, len(time), len(lengths))
    norms = np.empty(shape, np.float32)
    shares = np.full((len(steps), len(kernels), len(time), sentences), 0.0, np.float32)
    for i in range(len(steps)):
        weight = i / max(1, len(steps) - 1)
        slope = slopes[0] * (1 - weight) + slopes[1] * weight
        curve = slope * lag + 0.02 * rng.standard_normal(lag.shape).cumsum(0) - 1
        if dead_from is not None:
            curve[lag >= dead_from] = -np.inf
        curve[lag < 0] = np.nan
        norms[i, 0] = curve
        for j in range(len(kernels)):
            size = 10.0 ** np.clip(curve[:, :sentences] + 1, -300, 3)
            signed = np.where(lag[:, :sentences] < 0, 0, size)
            signed = signed * (1 + 0.3 * rng.standard_normal(signed.shape))
            shares[i, j] = signed / signed.sum(0)
    words = np.full((len(time), sentences), "", object)
    for column in range(sentences):
        words[: lengths[column], column] = sentence(lengths[column])
    sigma = [np.nan if name.endswith(("V", "embedding")) else SIGMA for name in kernels]
    return xr.Dataset(
        {
            "log10_adjoint": (
                ("train_step", "layer", "array", "time", "example"),
                norms,
            ),
            "word_share": (("train_step", "parameter", "time", "sentence"), shares),
            "sigma_max": (
                ("train_step", "parameter"),
                np.outer(np.linspace(1, 1.6, len(steps)), sigma).astype(np.float32),
            ),
            "length": ("example", np.asarray(lengths)),
            "last_step": ("example", last),
            "word": (("time", "sentence"), words),
        },
        coords={
            "train_step": np.asarray(steps),
            "layer": np.asarray(["layer0"], object),
            "array": np.asarray(["joint", "h"], object),
            "parameter": np.asarray(kernels, object),
            "time": time,
            "example": np.arange(len(lengths)),
            "sentence": np.arange(sentences),
        },
    )


def metrics_of(steps: int, final: float, solved: bool, seed: int = 0) -> pl.DataFrame:
    """Rows every 50 updates, an evaluation every 250."""
    rng = np.random.default_rng(seed)
    step = np.arange(50, steps + 1, 50)
    progress = 1 / (1 + np.exp(-(step - 0.6 * steps) / (0.06 * steps)))
    level = 0.5 + (final - 0.5) * progress + 0.01 * rng.standard_normal(len(step))
    loss = np.log(2) * (1 - progress * (0.98 if solved else 0.02))
    evaluated = np.where(step % 250 == 0, np.clip(level, 0, 1), np.nan)
    return pl.DataFrame(
        {
            "step": step,
            "loss": loss + 0.01 * rng.random(len(step)),
            "accuracy": np.clip(level, 0, 1),
            "grad_norm": 0.1 + 0 * loss,
            "grad_norm_max": 0.2 + 0 * loss,
            "clipped": 0 * loss,
            "validation_loss": np.where(step % 250 == 0, loss, np.nan),
            "validation_accuracy": evaluated,
        }
    )


def store(
    pool: Pool,
    config: dict[str, Any],
    status: str,
    results: dict[str, Any] | None = None,
    metrics: pl.DataFrame | None = None,
    probes: xr.Dataset | None = None,
    **fields: Any,
) -> str:
    """One run of a pool in its final state; its run id."""
    key = run_id_of(config, {})
    started = Manifest(
        run_id=key,
        lineage=f"lineage of {key}",
        name="sample",
        status="running",
        environment=ENVIRONMENT,
        source_digest="0123456789ab",
        created="2026-01-01T00:00:00.000+00:00",
    )
    run = begin_run(run_path(pool.path, "sample", key), config, started)
    told = {"metric": "accuracy"} | fields
    ended = started.replace(status=status, results=results or {}, **told)
    finish_run(run, ended, metrics, probes)
    pool.add(run)
    return key


def config_of(variant: str, seed: int, task: dict[str, Any]) -> dict[str, Any]:
    facts = VARIANTS[variant]
    chrono = float(task.get("distance", 0)) if variant.endswith("chrono") else None
    return {
        "cell": {"name": facts["cell"], "activation": facts["phi"], "chrono": chrono},
        "activation": facts["phi"],
        "variant": variant,
        "task": task,
        "model": {"hidden": 32, "layers": 1},
        "eval": {"size": 1000, "stop_when_solved": True},
        "lr": 0.001 * (1 + len(variant)),
        "steps": 2000,
        "seed": seed,
    }


def opinion_sweep(
    folder: Path,
    variants: Sequence[str] = tuple(VARIANTS),
    distances: Sequence[int] = (4, 16, 50, 100),
    seeds: Sequence[int] = (0, 1),
    mishaps: bool = True,
    metrics: bool = True,
) -> Path:
    """The main sweep; with `mishaps` one run that diverged and one that failed."""
    pool = Pool(folder / "runs")
    keys = []
    for variant in variants:
        for distance in distances:
            for seed in seeds:
                task = {"name": "opinion", "distance": distance, "form": "sentiment"}
                config = config_of(variant, seed, task)
                here = (variant, distance, seed)
                if mishaps and here == ("gru", distances[-2], seeds[-1]):
                    error = "out of memory <while> compiling"
                    keys.append(store(pool, config, "failed", error=error))
                    continue
                solved = distance <= REACH[variant] and not (
                    variant == "elman_tanh" and distance == 50 and seed == 1
                )
                final = 0.99 + 0.005 * seed if solved else 0.49 + 0.012 * seed
                steps = 500 if solved else 2000
                dead = 30 if variant == "elman_relu" and seed == 1 else None
                data = probes_of(
                    VARIANTS[variant]["slopes"],
                    [distance] * 8,
                    sorted({0, 100, steps}),
                    seed,
                    dead_from=dead,
                )
                diverged = mishaps and here == ("elman_relu", distances[-1], seeds[-1])
                keys.append(
                    store(
                        pool,
                        config,
                        "diverged" if diverged else "done",
                        {
                            "test_loss": 0.1,
                            "test_accuracy": float("nan") if diverged else final,
                            "validation_accuracy": final,
                            "solved": solved and not diverged,
                            "baseline": 0.5,
                        },
                        metrics_of(steps, final, solved, seed) if metrics else None,
                        data,
                        steps=steps,
                        diverged_at=340 if diverged else None,
                        compile_seconds=2.5,
                        run_seconds=1.5 + seed,
                    )
                )
    record = SweepRecord(
        name="main",
        command="rnnjax train -m experiment=main 'seed=0,1'",
        created="2026-01-01T00:00:00.000+00:00",
        runs=tuple(keys),
        pool=pool.path,
    )
    write_sweep(folder, record)
    return folder


def reviews_sweep(folder: Path, seeds: Sequence[int] = (0, 1)) -> Path:
    """Ragged sentences, as they are and padded, with a reference and length buckets."""
    pool = Pool(folder / "runs")
    rng = np.random.default_rng(7)
    words = np.concatenate([rng.integers(2, 9, 12), rng.integers(9, 40, 20)]).tolist()
    keys = []
    for variant in ("elman_sigmoid", "lstm", "gru_chrono"):
        for pad in (0, 50):
            for seed in seeds:
                config = config_of(variant, seed, {"name": "reviews", "pad": pad})
                final = 0.78 if variant != "elman_sigmoid" and not pad else 0.52
                lengths = [length + pad for length in words]
                slopes = VARIANTS[variant]["slopes"]
                data = probes_of(slopes, lengths, (0, 500), seed, sentences=32)
                results = {
                    "test_accuracy": final + 0.01 * seed,
                    "solved": final > 0.75,
                    "baseline": 0.5,
                    "reference.bag_of_words": 0.79,
                    "test_accuracy.short": final + 0.02,
                    "test_accuracy.middle": final,
                    "test_accuracy.long": final - 0.06,
                    "test_count.short": 120.0,
                    "test_count.middle": 161.0,
                    "test_count.long": 19.0,
                }
                metrics = metrics_of(1000, final, final > 0.75, seed)
                keys.append(
                    store(pool, config, "done", results, metrics, data, steps=1000)
                )
    command = "rnnjax train -m experiment=reviews"
    created = "2026-01-01T00:00:00.000+00:00"
    record = SweepRecord("reviews", command, created, tuple(keys), pool.path)
    write_sweep(folder, record)
    return folder
