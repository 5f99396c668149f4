"""Robustness to warped time: plain, leaky and gated networks. Quick: 8 min."""

import dataclasses
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawn

from rnnjax.report.layout import EndLabel, Size, label_ends, panels, title
from rnnjax.report.style import GRID, SOFT, palette, style
from rnnjax.reproduce import Claim, Figure, Preset, Setting, median, same

from .shared.learning import final_loss, learning_curves


RATE = 1e-3
OWN = Path(__file__).parent / "shared" / "cells_and_task.py"
NETWORKS = {
    "plain": ("cell=elman",),
    "leaky": (f"cell={OWN}:LearnedLeak",),
    "gated": ("cell=ugrnn",),
}
KINDS = {"uniform": "false", "variable": "true"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Steps, longest stays w, kinds of warping, networks, units and updates."""

    length: int = 200
    warps: tuple[int, ...] = (50,)
    kinds: tuple[str, ...] = tuple(KINDS)
    networks: tuple[str, ...] = tuple(NETWORKS)
    units: int = 64
    updates: int = 1560
    every: int = 60
    heldout: int = 250
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)


def run(settings: Settings, pool: Path) -> xr.Dataset:
    """Held-out losses while three networks learn to report the previous symbol."""
    tasks = {
        f"{kind} {warp}": (
            f"task={OWN}:Warped",
            f"task.length={settings.length}",
            f"task.warp={warp}",
            f"task.variable={KINDS[kind]}",
        )
        for kind in settings.kinds
        for warp in settings.warps
    }
    common = (
        "optimizer=rmsprop",
        "clipping=norm",
        "clipping.threshold=1.0",
        "batch=32",
        "probe=off",
        "checkpoint.keep=false",
        f"model.hidden={settings.units}",
        f"steps={settings.updates}",
        f"log_every={settings.every}",
        f"eval.every={settings.every}",
        f"eval.size={settings.heldout}",
    )
    networks = {name: NETWORKS[name] for name in settings.networks}
    return learning_curves(pool, tasks, networks, common, (RATE,), settings.seeds)


def final(results: xr.Dataset, kind: str, warp: int, network: str) -> np.ndarray:
    """Final loss of each seed, in nats."""
    loss = results.loss.isel(rate=0).sel(task=f"{kind} {warp}", network=network)
    return final_loss(loss).to_numpy()


def against(other: str, warp: int):
    """Loss of the gated network over another's, for variable warping, by seed."""
    return lambda results: median(
        final(results, "variable", warp, "gated")
        / final(results, "variable", warp, other)
    )


def claims_at(warp: int, presets: tuple[str, ...]) -> tuple[Claim, ...]:
    """The claims for one longest stay."""
    return (
        Claim(
            f"variable warping, w = {warp}: the gated network ends below a tenth of "
            "the plain one's loss (ratio, median over the seeds)",
            against("plain", warp),
            "Fig. 1 shows a wide gap; our threshold",
            high=0.1,
            presets=presets,
            learned=True,
            origin="pattern",
        ),
        Claim(
            f"and below 0.3 of the leaky one's, w = {warp} (ratio, median over the "
            "seeds)",
            against("leaky", warp),
            "Fig. 1 shows a gap; our threshold",
            high=0.3,
            presets=presets,
            learned=True,
            origin="pattern",
        ),
        Claim(
            f"uniform warping, w = {warp}: the leaky network ends below 0.05 nats "
            "(median over the seeds)",
            lambda results: median(final(results, "uniform", warp, "leaky")),
            "Fig. 1 shows it near 0; our threshold",
            high=0.05,
            presets=presets,
            learned=True,
            origin="pattern",
        ),
    )


def draw(results: xr.Dataset) -> Drawn:
    """Final loss against the longest stay, for both kinds of warping."""
    tasks = [str(task).split() for task in results.task.to_numpy()]
    kinds = list(dict.fromkeys(kind for kind, _ in tasks))
    warps = list(dict.fromkeys(int(warp) for _, warp in tasks))
    lines = palette([str(name) for name in results.network.to_numpy()])
    found = final_loss(results.loss.isel(rate=0))
    top = 1.1 * float(results.baseline[0])
    size = Size(2.4, 2.1, gap_x=0.9, left=0.6, right=0.8, bottom=0.45)
    with style():
        figure, grid = panels(1, len(kinds), size)
        for axes, kind in zip(grid[0], kinds, strict=True):
            axes.axhline(results.baseline[0], color=SOFT, linewidth=0.9, linestyle=":")
            labels = []
            for name, line in lines.items():
                values = np.array(
                    [found.sel(task=f"{kind} {warp}", network=name) for warp in warps]
                )
                axes.plot(warps, values, "o", color=line.colour, markersize=2.5)
                middle = np.median(values, axis=1)
                axes.plot(warps, middle, color=line.colour, linestyle=line.dash)
                labels.append(EndLabel(float(middle[-1]), name, line.colour))
            axes.set(ylim=(-0.05, top), xlabel="longest stay w in steps")
            axes.set_xticks(warps)
            axes.grid(axis="y", color=GRID, linewidth=0.5)
            label_ends(axes, labels)
            title(axes, f"{kind} warping")
        grid[0, 0].set_ylabel("final loss in nats, held out")
    return figure


TEXT = "the paper's text"

FIGURE = Figure(
    name="warping",
    place="12",
    title="Which networks are robust to warped time",
    source=(
        "Tallec & Ollivier (2018), Can recurrent neural networks warp time?, Fig. 1"
    ),
    shows=(
        "The previous symbol of a sequence has to be named while each symbol stays for "
        "w steps, or for 1 to w. A plain network fails as w grows, a leaky one with "
        "learned rates copes with uniform warping, and only a gated one with both."
    ),
    setup=(
        "10 symbols, each unlike the one before (ours); 64 units, orthogonal start, "
        "RMSprop, constant rate 10⁻³, batches of 32, norm of the gradient clipped at 1 "
        "(ours); gates and leaks start at σ(1). Leaky: h ← k h + (1 − k) tanh(…), k "
        "learned unit by unit; gated: k depends on state and input (UGRNN). Quick: 200 "
        "steps, 1560 updates, which are the paper's epoch; paper: 500 steps, 3 epochs, "
        "six seeds. No padding"
    ),
    presets={
        "quick": Preset(Settings(), "8 min"),
        "paper": Preset(
            Settings(
                500,
                tuple(range(10, 101, 10)),
                updates=4680,
                heldout=1000,
                seeds=(0, 1, 2, 3, 4, 5),
            ),
            "12 h on two cores, by the work of the quick preset",
        ),
        "test": Preset(
            Settings(8, (2,), ("variable",), ("plain",), 4, 4, 2, 50, (0,)), "4 s"
        ),
    },
    run=run,
    draw=draw,
    claims=(
        *claims_at(50, ("quick", "paper")),
        *claims_at(10, ("paper",)),
        *claims_at(100, ("paper",)),
    ),
    settings=(
        Setting("units", 64, lambda settings: settings.units, TEXT),
        Setting("symbols", "10, one of them a dummy", "10, each unlike the last", TEXT),
        Setting("steps", 500, lambda settings: settings.length, TEXT),
        same("optimizer", "RMSprop, decay 0.9, batches of 32", TEXT),
        Setting("epsilon of RMSprop", None, "10⁻⁸, inside the root"),
        Setting("learning rate", "halved on plateaus", "constant 10⁻³", TEXT),
        Setting("clipping", None, "norm at 1"),
        Setting("start of the gates", None, "σ(1)"),
        Setting(
            "updates", 4680, lambda settings: settings.updates, "3 epochs", budget=True
        ),
    ),
)
