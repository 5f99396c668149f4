"""Copying memory, four networks. Quick: 5 min."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawn

from rnnjax.reproduce import Claim, Figure, Preset, Setting, median

from .shared.arjovsky import (
    ACCUMULATOR,
    HELDOUT,
    RATE,
    SETUP,
    TRAINING,
    concerning,
    networks,
    setting_lines,
)
from .shared.learning import (
    draw_learning,
    final_loss,
    learning_curves,
    rate_panels,
    updates_to,
)


ONE_HOT = Path(__file__).parent / "shared" / "one_hot_copy.py"

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


def run(settings: Settings, pool: Path) -> xr.Dataset:
    """Held-out cross-entropy of every network during training."""
    task = f"task={ONE_HOT}:OneHotCopy" if settings.one_hot else "task=copy"
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


def of(results: xr.Dataset, delay: int, network: str) -> xr.DataArray:
    """Curves (seed, step) with the paper's rate, relative to the baseline."""
    here = results.sel(task=str(delay))
    return here.loss.sel(network=network, rate=RATE) / here.baseline


def final(results: xr.Dataset, delay: int, network: str) -> np.ndarray:
    """Final loss of each seed, relative to the baseline."""
    return final_loss(of(results, delay, network)).to_numpy()


def draw(results: xr.Dataset) -> Drawn:
    """Curves with the paper's rate, and with the best rate of each network."""
    return draw_learning(rate_panels(results, RATE, "T", top=1.5), "cross-entropy")


MORE = ("updates", "symbols")
"""Lines of the setting that concern every claim about a final loss."""

NEAR = {"quick": (0.9, "2000"), "paper": (0.8, "10 000")}
"""How near the LSTM stays to the baseline, in how many updates."""


def claims_at(delay: int, presets: tuple[str, ...]) -> tuple[Claim, ...]:
    """The claims for one delay."""
    at = f"at T = {delay}"
    return (
        Claim(
            f"{at} the tanh network stays at the baseline (distance of the final loss "
            "from it, in baselines, median over the seeds)",
            lambda results: median(abs(final(results, delay, "tanh") - 1)),
            "Fig. 1 shows it there; our tolerance",
            high=0.03,
            presets=presets,
            settings=concerning("tanh", more=MORE),
            origin="pattern",
            unlearned=True,
        ),
        *(
            Claim(
                f"{at} the LSTM stays near the baseline for {NEAR[preset][1]} updates "
                "(final loss in baselines, median over the seeds)",
                lambda results: median(final(results, delay, "LSTM")),
                "Fig. 1 shows it there; our tolerance",
                low=NEAR[preset][0],
                presets=(preset,),
                settings=concerning("LSTM", more=MORE),
                origin="pattern",
                unlearned=True,
            )
            for preset in presets
        ),
        Claim(
            f"{at} the unitary network falls below 0.05 baselines within 2000 updates "
            "(updates until then, median over the seeds)",
            lambda results: median(updates_to(of(results, delay, "unitary"), 0.05)),
            "2000 by the paper's text, from memory; 0.05 is ours",
            high=2000,
            presets=presets,
            settings=concerning("unitary", more=("symbols",)),
            origin="pattern",
        ),
        Claim(
            f"{at} the unitary network ends below the LSTM (ratio of their final "
            "losses, median over the seeds)",
            lambda results: median(
                final(results, delay, "unitary") / final(results, delay, "LSTM")
            ),
            "the order of the curves in Fig. 1",
            high=1.0,
            origin="paper",
            presets=presets,
            settings=concerning("unitary", "LSTM", more=MORE),
            learned=True,
            strict=True,
            unlearned=True,
        ),
    )


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
        f"{SETUP}. Loss over all T + 20 steps; tanh and IRNN 80, LSTM 40 units, "
        "unitary 128, as in the paper. Quick: T = 100, 2000 updates, six seeds; paper: "
        "T = 100 and 200, 10 000 updates, one seed, which can contradict nothing"
    ),
    presets={
        "quick": Preset(Settings(), "5 min"),
        "paper": Preset(PAPER, "17 min of one core"),
        "test": Preset(
            Settings((1,), {"tanh": 4}, 4, 2, 50, (RATE, 3e-3), (0,)), "4 s"
        ),
    },
    run=run,
    draw=draw,
    claims=(
        *claims_at(100, ("quick", "paper")),
        *claims_at(200, ("paper",)),
    ),
    settings=(
        *setting_lines(UNITS, 20_000, lambda settings: settings.updates),
        HELDOUT,
        Setting(
            "symbols",
            "one-hot",
            lambda settings: (
                "one-hot" if settings.one_hot else "learned 10 × 10 embedding"
            ),
            "authors' code",
        ),
        Setting(
            "delays T",
            (100, 200, 300, 500),
            lambda settings: settings.delays,
            "Fig. 1",
            harmless="each delay is judged by itself",
        ),
    ),
    remarks=(
        "The stored results of the paper preset are older than those of quick: "
        "RMSprop's mean square starts at 0 there, and symbols enter through an "
        "embedding.",
    ),
)
