"""Copying memory, four networks. Quick: 3 min."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import PRNGKeyArray
from matplotlib.figure import Figure as Drawn

from rnnjax.reproduce import Claim, Figure, Preset
from rnnjax.reproduce.arjovsky import ACCUMULATOR, RATE, SETUP, TRAINING, networks
from rnnjax.reproduce.learning import (
    FINITE,
    draw_learning,
    final_loss,
    learning_curves,
    rate_panels,
    updates_to,
)
from rnnjax.tasks.base import Data, TaskSpec
from rnnjax.tasks.copying import SYMBOLS, Copy
from rnnjax.types import Batch


UNITS = {"tanh": 80, "IRNN": 80, "LSTM": 40, "unitary": 128}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Delays, units of each network, updates, learning rates, held-out size, start of
    RMSprop's accumulator, symbols as one-hot vectors (else through an embedding)."""

    delays: tuple[int, ...] = (100,)
    units: Mapping[str, int] = dataclasses.field(default_factory=lambda: UNITS)
    updates: int = 2000
    every: int = 50
    heldout: int = 500
    rates: tuple[float, ...] = (RATE,)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    accumulator: float = ACCUMULATOR
    one_hot: bool = True


PAPER = Settings(
    delays=(100, 200),
    units=UNITS,
    updates=10_000,
    every=100,
    heldout=1000,
    rates=(RATE,),
    seeds=(0,),
    accumulator=0.0,
    one_hot=False,
)


@dataclasses.dataclass(frozen=True)
class OneHotCopy(Copy):
    """Copying memory whose symbols enter as one-hot vectors, as in the paper."""

    def spec(self, data: Data) -> TaskSpec:
        """As of copying, with vectors for inputs."""
        spec = super().spec(data)
        return dataclasses.replace(spec, vocabulary=None, input_size=SYMBOLS + 2)

    def sample(self, key: PRNGKeyArray, batch: int, data: Data) -> Batch:
        """Fresh sequences."""
        made = super().sample(key, batch, data)
        inputs = jax.nn.one_hot(made.inputs, SYMBOLS + 2, dtype=jnp.float32)
        return dataclasses.replace(made, inputs=inputs)


def run(settings: Settings, pool: Path) -> xr.Dataset:
    """Held-out cross-entropy of every network while it learns."""
    task = f"task={__file__}:OneHotCopy" if settings.one_hot else "task=copy"
    return learning_curves(
        pool,
        {str(T): (task, f"task.delay={T}") for T in settings.delays},
        networks(settings.units),
        (
            *TRAINING,
            f"optimizer.initial_scale={settings.accumulator}",
            "model.embedding=10",
            f"steps={settings.updates}",
            f"log_every={settings.every}",
            f"eval.every={settings.every}",
            f"eval.size={settings.heldout}",
            "probe=off",
        ),
        settings.rates,
        settings.seeds,
    )


def of(results: xr.Dataset, network: str) -> xr.DataArray:
    """Curves (seed, step) with the paper's rate at delay 100, in baselines."""
    loss = results.loss.isel(task=0).sel(network=network, rate=RATE)
    return loss / results.baseline.isel(task=0)


def farthest(results: xr.Dataset) -> float:
    """Final loss of a tanh network that is farthest from 1, in baselines."""
    return float(np.abs(final_loss(of(results, "tanh")) - 1).max())


def draw(results: xr.Dataset) -> Drawn:
    """Curves with the paper's rate, and with the best of the rates."""
    return draw_learning(rate_panels(results, RATE, "T", top=1.5), "cross-entropy")


FIGURE = Figure(
    name="copying",
    place="4",
    title="Copying memory",
    source=(
        "Arjovsky, Shah & Bengio (2016), Unitary evolution recurrent neural networks, "
        "Fig. 1"
    ),
    shows=(
        "Ten symbols have to come back after T blanks. A tanh network and an LSTM stay "
        "at the loss of a memoryless answer, 10 ln 8/(T + 20) (dotted); the unitary "
        "network solves the task within a few thousand updates."
    ),
    setup=(
        f"{SETUP}. Symbols enter through a learned 10 × 10 embedding in place of a one-"
        "hot code; loss over all T + 20 steps. tanh and IRNN 80, LSTM 40 units, as in "
        "the paper; the unitary network has 64 in quick, 128 in paper. Claims are "
        "about the paper's rate; the second panel gives all networks the same choice "
        "of rates and carries no claim"
    ),
    presets={
        "quick": Preset(Settings(), "3 min"),
        "paper": Preset(PAPER, "17 min of one core", faithful=True),
        "test": Preset(
            Settings((1,), {"tanh": 4}, 4, 2, 50, (RATE, 3e-3), (0,)), "4 s"
        ),
    },
    run=run,
    draw=draw,
    claims=(
        Claim(
            "at T = 100 the tanh network stays at the baseline (largest distance of a "
            "seed's final loss, in baselines)",
            farthest,
            "the paper's figure; our tolerance",
            high=0.03,
        ),
        Claim(
            "at T = 100 the LSTM stays near the baseline for 2000 updates (smallest "
            "final loss of a seed, in baselines)",
            lambda results: float(final_loss(of(results, "LSTM")).min()),
            "the paper's figure; our tolerance",
            low=0.9,
            presets=("quick",),
        ),
        Claim(
            "at T = 100 the LSTM stays near the baseline for 10 000 updates (smallest "
            "final loss of a seed, in baselines)",
            lambda results: float(final_loss(of(results, "LSTM")).min()),
            "the paper's figure; our tolerance",
            low=0.8,
            presets=("paper",),
        ),
        Claim(
            "at T = 100 the unitary network falls below 0.05 baselines within 2000 "
            "updates (median over the seeds of the updates)",
            lambda results: float(updates_to(of(results, "unitary"), 0.05).median()),
            "the paper's figure",
            high=2000,
        ),
        FINITE,
    ),
)
