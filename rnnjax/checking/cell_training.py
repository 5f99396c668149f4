"""A short training run with a cell: the loss falls, and packing changes no bit."""

from collections.abc import Iterator

import numpy as np

from rnnjax.cells import CELLS
from rnnjax.checking.cell_subject import Subject, same_bits
from rnnjax.checking.rows import Row
from rnnjax.training.build import signature
from rnnjax.training.compiled import Compiled
from rnnjax.training.config import (
    EvalConfig,
    ModelConfig,
    ProbeConfig,
    RunConfig,
    options,
)
from rnnjax.training.loop import PackTraining
from rnnjax.training.pack import run_mesh


GROUP = "training"
UPDATES, ROW = 100, 10
NAME = "cell that is checked"


def training(subject: Subject) -> Iterator[Row]:
    """100 updates of two runs in one program, and one of them again alone."""
    with CELLS.lent(NAME, subject.kind):
        runs = [_config(subject, seed) for seed in (0, 1)]
        compiled = Compiled(signature(runs[0]), run_mesh(), capacity=2)
        both = PackTraining(compiled, runs).run()
        (alone,) = PackTraining(compiled, runs[:1]).run()
    losses = [np.asarray(run.metrics["loss"], float) for run in both]
    first, last = (float(np.mean([loss[i] for loss in losses])) for i in (0, -1))
    found = f"{first:.3f} over the first {ROW} updates, {last:.3f} over the last"
    place = subject.place("step")
    if any(run.status == "diverged" for run in both):
        said = "a run diverged: its loss is not finite, or too large"
        hint = f"{place}: the state grows from step to step; start with smaller kernels"
        yield Row(GROUP, "loss falls", "failed", said, hint)
    elif not last < first:
        hint = f"{place}: no gradient reaches the parameters, or they start badly"
        yield Row(GROUP, "loss falls", "failed", found, hint)
    else:
        yield Row(GROUP, "loss falls", "passed", found)
    if same_bits(both[0].params, alone.params):
        yield Row(GROUP, "packed and alone", "passed", "the same bits")
    else:
        said = "a run has other parameters when another runs beside it"
        hint = f"{place}: no LAPACK call of a batch, and no value of an earlier call"
        yield Row(GROUP, "packed and alone", "failed", said, hint)


def _config(subject: Subject, seed: int) -> RunConfig:
    return RunConfig(
        cell=NAME,
        task="opinion",
        cell_options=options(subject.options),
        task_options=options({"distance": 3}),
        model=ModelConfig(hidden=8, embedding=4),
        probe=ProbeConfig("off"),
        eval=EvalConfig(every=UPDATES, size=64),
        lr=0.02,
        batch=16,
        steps=UPDATES,
        log_every=ROW,
        seed=seed,
    )
