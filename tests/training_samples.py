"""Tiny runs, and programs that are compiled once for all tests of a process."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from rnnjax.training.build import signature
from rnnjax.training.compiled import Compiled
from rnnjax.training.config import (
    EvalConfig,
    ModelConfig,
    ProbeConfig,
    RunConfig,
    options,
)
from rnnjax.training.history import Outcome
from rnnjax.training.loop import PackTraining
from rnnjax.training.pack import How, how_for, run_mesh
from rnnjax.training.program import Signature
from rnnjax.training.saving import Saving


CAPACITY = 4
PROBE_STEPS = (0, 4, 7)
_PROGRAMS: dict[tuple[Signature, Mesh, int, How], Compiled] = {}


def tiny(
    cell: str = "elman",
    probe: Any = "off",
    probe_steps: tuple[int, ...] = PROBE_STEPS,
    task: str = "opinion",
    task_options: Mapping[str, Any] | None = None,
    cell_options: Mapping[str, Any] | None = None,
    **changes: Any,
) -> RunConfig:
    """12 updates of 4 sentences of 5 words; rows at 5, 6, 10 and 12."""
    defaults: dict[str, Any] = {
        "model": ModelConfig(hidden=5, embedding=3),
        "probe": ProbeConfig(probe, probe_steps, batch=6, sentences=2),
        "eval": EvalConfig(every=6, size=20),
        "lr": 0.05,
        "batch": 4,
        "steps": 12,
        "log_every": 5,
    }
    return RunConfig(
        cell=cell,
        task=task,
        cell_options=options(cell_options or {}),
        task_options=options({"distance": 5} if task_options is None else task_options),
        **{**defaults, **changes},
    )


def compiled(
    wanted: Signature, mesh: Mesh, capacity: int, how: How | None = None
) -> Compiled:
    """As `Compiled`, but the same one for equal arguments."""
    key = wanted, mesh, capacity, how_for(mesh, how)
    return _PROGRAMS.setdefault(key, Compiled(*key))


def forget_programs() -> None:
    """Drop the programs, so that the memory of those in use by no test is free."""
    _PROGRAMS.clear()


def training(
    configs: Sequence[RunConfig],
    saving: Saving | None = None,
    capacity: int = CAPACITY,
    how: How | None = None,
) -> PackTraining:
    """A pack of runs."""
    (wanted,) = {signature(config) for config in configs}
    made = compiled(wanted, run_mesh(), capacity, how)
    return PackTraining(made, configs, saving)


def train(*configs: RunConfig) -> list[Outcome]:
    """Outcomes of a pack."""
    return training(configs).run()


def differing(one: Any, other: Any) -> list[str]:
    """Names of the leaves whose bits differ; two trees of one structure."""
    first, second = (jax.tree.leaves_with_path(tree) for tree in (one, other))
    assert [path for path, _ in first] == [path for path, _ in second]
    return [
        jax.tree_util.keystr(path)
        for (path, x), (_, y) in zip(first, second, strict=True)
        if np.asarray(x).tobytes() != np.asarray(y).tobytes()
    ]


def trained(outcome: Outcome) -> dict[str, Any]:
    """What training alone decides of an outcome."""
    return {
        "params": outcome.params,
        "metrics": dict(outcome.metrics),
        "results": dict(outcome.results),
        "ended": (outcome.status, outcome.steps, outcome.diverged_at),
    }
