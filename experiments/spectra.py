"""Orthogonal against identity, on copying and adding. Quick: 8 min."""

import dataclasses
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawn

from rnnjax.reproduce import Claim, Figure, Preset, Setting, median, same

from .shared.learning import (
    Panel,
    best_rate,
    draw_learning,
    final_loss,
    learning_curves,
)


OWN = Path(__file__).parent / "shared" / "cells_and_task.py"
NETWORKS = ("orthogonal", "identity")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Delay of the copies (0: none), length of the adding problem, training."""

    copy: int = 100
    adding: int = 100
    units: int = 80
    updates: int = 2000
    every: int = 50
    heldout: int = 500
    rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)


def run(settings: Settings, pool: Path) -> xr.Dataset:
    """Held-out losses of two initialisations on two tasks, with every rate."""
    cell = f"cell={OWN}:LinearTransition"
    tasks = {"adding": ("task=adding", f"task.length={settings.adding}")}
    if settings.copy:
        tasks["copy"] = ("task=copy", f"task.delay={settings.copy}")
    common = (
        "optimizer=rmsprop",
        "clipping=norm",
        "clipping.threshold=1.0",
        "batch=20",
        "probe=off",
        "checkpoint.keep=false",
        "model.embedding=10",
        f"model.hidden={settings.units}",
        f"steps={settings.updates}",
        f"log_every={settings.every}",
        f"eval.every={settings.every}",
        f"eval.size={settings.heldout}",
    )
    curves = learning_curves(
        pool,
        tasks,
        {name: (cell, f"cell.recurrent_init={name}") for name in NETWORKS},
        common,
        settings.rates,
        settings.seeds,
    )
    return curves.assign(length=((), settings.adding), delay=((), settings.copy))


def final(results: xr.Dataset, task: str, network: str) -> np.ndarray:
    """Final loss of each seed, with the best rate of each network."""
    loss = best_rate(results.loss.sel(task=[task])).sel(task=task, network=network)
    return final_loss(loss).to_numpy()


def in_baselines(task: str, network: str):
    """`final` relative to the baseline."""
    return lambda results: median(
        final(results, task, network) / float(results.baseline.sel(task=task))
    )


def draw(results: xr.Dataset) -> Drawn:
    """Learning curves of both tasks, with the best rate of each network."""
    names = {
        "adding": f"adding, T = {int(results.length)}",
        "copy": f"copying, T = {int(results.delay)}",
    }
    best, shown = best_rate(results.loss), []
    for task in results.task.to_numpy():
        base = float(results.baseline.sel(task=task))
        shown.append(Panel(names[task], best.sel(task=task), base, 1.5 * base))
    return draw_learning(shown, "held-out loss")


FIGURE = Figure(
    name="spectra",
    place="11",
    title="Two tasks that want different spectra",
    source=(
        "Henaff, Szlam & LeCun (2016), Recurrent orthogonal networks and long-memory "
        "tasks (set-up from memory of the paper)"
    ),
    shows=(
        "With a linear transition, an orthogonal start solves copying and is poor at "
        "adding; an identity start solves adding and fails at copying."
    ),
    setup=(
        "h_t = U h_{t−1} + ReLU(V x_t + b), 80 units, RMSprop, norm of the gradient "
        "clipped at 1, batches of 20; the best of three rates by the final loss, for "
        "each start and task alike. Quick: T = 100, 2000 updates; paper: copying T = "
        "500, adding T = 400, 10 000 updates"
    ),
    presets={
        "quick": Preset(Settings(), "8 min"),
        "paper": Preset(
            Settings(500, 400, 80, 10_000, 100, 1000),
            "4 h on two cores, by the work of the quick preset",
        ),
        "test": Preset(Settings(0, 6, 4, 4, 2, 50, (1e-3,), (0,)), "4 s"),
    },
    run=run,
    draw=draw,
    claims=(
        Claim(
            "copying: orthogonal ends below a tenth of the baseline (in baselines, "
            "median over the seeds)",
            in_baselines("copy", "orthogonal"),
            "the paper's finding; our threshold",
            high=0.1,
            learned=True,
            origin="pattern",
        ),
        Claim(
            "copying: identity stays above 0.8 of the baseline (in baselines, median "
            "over the seeds)",
            in_baselines("copy", "identity"),
            "the paper's finding; our threshold",
            low=0.8,
            origin="pattern",
            unlearned=True,
        ),
        Claim(
            "adding: identity ends below an error of 0.02 (median over the seeds)",
            lambda results: median(final(results, "adding", "identity")),
            "the paper's finding; our threshold",
            high=0.02,
            learned=True,
            origin="pattern",
        ),
        Claim(
            "adding: orthogonal ends above 3 times that (ratio, median over the seeds)",
            lambda results: median(
                final(results, "adding", "orthogonal")
                / final(results, "adding", "identity")
            ),
            "the paper's finding; our threshold",
            low=3.0,
            origin="pattern",
            learned=True,
            unlearned=True,
        ),
    ),
    settings=(
        same("transition", "linear", memory=True),
        Setting("units", 80, lambda s: s.units, memory=True),
        same("optimizer", "RMSprop", memory=True),
        Setting("epsilon of RMSprop", None, "10⁻⁸, inside the root"),
        Setting("learning rate", None, "best of three, for each start and task"),
        Setting("clipping", None, "norm at 1"),
        Setting("batch", None, 20),
        Setting("delay, copying", 500, lambda s: s.copy, memory=True),
        Setting("length, adding", 400, lambda s: s.adding, memory=True),
        Setting("updates", 10_000, lambda s: s.updates, memory=True, budget=True),
    ),
)
