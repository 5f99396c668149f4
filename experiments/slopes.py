"""Slopes of four activations, and what a trained network makes of them. Quick: 50 s."""

import dataclasses
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawn

from rnnjax.activations import ACTIVATIONS
from rnnjax.executables.functions import jit_unoptimised
from rnnjax.probes.backward.trace import forward
from rnnjax.probes.factors.slopes import (
    BINS,
    preactivations,
    summary,
)
from rnnjax.report.layout import title
from rnnjax.report.style import GRID, INK, SERIES, SOFT, style
from rnnjax.reproduce import Claim, Figure, Preset, median
from rnnjax.reproduce.training import at_stages, stages
from rnnjax.sweeps.compose import compose_sweep
from rnnjax.training.build import build_model, build_task, heldout, initial_params
from rnnjax.training.config import RunConfig


PHIS = ("sigmoid", "tanh", "relu", "leaky_relu")
NAMES = ("sigmoid", "tanh", "ReLU", "leaky ReLU")
STAGES = ("untrained", "trained")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Words of a sentence, updates, and examples that are looked at."""

    distance: int = 16
    steps: int = 500
    examples: int = 64
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)


def run(settings: Settings, pool: Path) -> xr.Dataset:
    """Slopes over all units, steps and examples, before and after training."""
    variants = ",".join(f"elman_{phi}" for phi in PHIS)
    seeds = ",".join(map(str, settings.seeds))
    trained = at_stages(
        pool,
        (0, settings.steps),
        [f"variant={variants}", f"task.distance={settings.distance}", f"seed={seeds}"],
    )
    shape = (len(PHIS), len(STAGES), len(settings.seeds))
    kept = {name: np.zeros(shape) for name in _NUMBERS}
    count, edge = np.zeros((*shape, BINS)), np.zeros((len(PHIS), BINS + 1))
    for i, phi in enumerate(PHIS):
        own = [one for one in trained if _activation(one.config) == phi]
        look = _looker(own[0].config, settings.examples)
        for k, one in enumerate(own):
            for j, params in enumerate(stages(one, (0, settings.steps))):
                seen = look(params)
                for name in _NUMBERS:
                    kept[name][i, j, k] = np.max(getattr(seen, name))
                count[i, j, k], edge[i] = seen.counts, seen.edges
    dims = ("activation", "stage", "seed")
    return xr.Dataset(
        {
            "active_orthogonal": ("seed", _active_orthogonal(settings)),
            **{name: (dims, values) for name, values in kept.items()},
            "count": ((*dims, "bin"), count),
            "edge": (("activation", "edge_"), edge),
        },
        {
            "activation": list(PHIS),
            "stage": list(STAGES),
            "seed": list(settings.seeds),
        },
    )


_NUMBERS = ("mean", "rms", "active", "saturated", "bound")


def _active_orthogonal(settings: Settings) -> list[float]:
    """Fraction of active ReLUs, untrained, with U initialised orthogonal."""
    jobs = compose_sweep(
        [
            "variant=elman_relu",
            "init=orthogonal",
            f"task.distance={settings.distance}",
            f"seed={','.join(map(str, settings.seeds))}",
        ]
    )
    look = _looker(jobs[0].config, settings.examples)
    starts = [initial_params(job.config) for job in jobs]
    return [float(np.mean(look(params).active)) for params in starts]


def _activation(config: RunConfig) -> str:
    return str(dict(config.cell_options).get("activation"))


def _looker(config: RunConfig, examples: int):
    """A function from parameters of a run's model to the summary of its slopes."""
    task, data = build_task(config.task, config.task_options)
    model = build_model(config, task.spec(data))
    batch = heldout(config.task, config.task_options, "validation", examples)

    @jit_unoptimised
    def look(params):
        passed = forward(model, params, batch, task.spec(data))
        return summary(preactivations(passed.walked[0])[0])

    return look


def mean_slopes(results: xr.Dataset, activation: str, stage: str) -> np.ndarray:
    """Mean slope of the network of each seed."""
    return results["mean"].sel(activation=activation, stage=stage).to_numpy()


def active(results: xr.Dataset) -> np.ndarray:
    """Fraction of active ReLUs for each seed, untrained, with U initialised to I."""
    return results.active.sel(activation="relu", stage="untrained").to_numpy()


def draw(results: xr.Dataset) -> Drawn:
    """φ′(z) with its bound, next to the slopes that occur in the networks."""
    z = np.linspace(-5, 5, 1001)
    grey, width, height = "#aab3bf", 7.9, 2.75
    with style():
        figure = Drawn(figsize=(width, height))
        for i, (phi, name) in enumerate(zip(PHIS, NAMES, strict=True)):
            colour, left = SERIES[i][0], 0.42 + 1.9 * i
            box = lambda x, w: (x / width, 0.62 / height, w / width, 1.9 / height)
            axes = figure.add_axes(box(left, 0.92))
            side = figure.add_axes(box(left + 0.96, 0.62), sharey=axes)
            activation = ACTIVATIONS[phi]
            bound = max(activation.slope_bounds)
            top = 1.08 * bound
            axes.axhline(bound, color=SOFT, linewidth=0.8, linestyle=":")
            text = f"≤ {bound:g}"
            axes.text(-4.9, bound * 1.01, text, fontsize=7, color=SOFT, va="bottom")
            slope = np.asarray(activation.slope(z.astype(np.float32)))
            axes.plot(z, slope, color=colour)
            axes.set(xlim=(-5, 5), ylim=(-0.02 * bound, top * 1.03), xlabel="z")
            axes.set_xticks([-4, 0, 4])
            title(axes, f"{name}: φ′(z)")
            found = results.sel(activation=phi)
            edge = found.edge.to_numpy()
            middle, thick = (edge[1:] + edge[:-1]) / 2, np.diff(edge)
            for stage, tone in zip(STAGES, (grey, colour), strict=True):
                share = found["count"].sel(stage=stage).sum("seed").to_numpy()
                share = share / share.sum()
                if stage == "trained":
                    side.barh(middle, share, thick, color=tone, alpha=0.85)
                else:
                    side.step(np.r_[share[:1], share], edge, color=tone, linewidth=1.1,
                              where="pre")  # fmt: skip
            mean = found["mean"].mean("seed").to_numpy()
            at = side.get_xlim()[1]
            side.plot([0, at], [mean[1]] * 2, color=INK, linewidth=0.9)
            side.text(at, mean[1], f"{mean[1]:.2f}", fontsize=7, color=INK, ha="right",
                      va="bottom")  # fmt: skip
            side.set_xlim(0, at)
            side.set_xticks([])
            side.spines["bottom"].set_color(GRID)
            side.tick_params(labelleft=False, length=0)
            side.set_xlabel("share")
        said = (
            "Bars: slopes of all units, steps and sentences in the trained network; "
            "grey outline: untrained; line: mean of the trained one."
        )
        figure.text(0.42 / width, 0.02, said, fontsize=7, color=SOFT)
    return figure


FIGURE = Figure(
    name="slopes",
    place="0a",
    title="Slopes of activations, and their bounds",
    source=(
        "The founding question: Hochreiter (1991) and Bengio, Simard & Frasconi (1994) "
        "bound the factor of a step by the largest slope"
    ),
    shows=(
        "The slope of the activation is one of the two terms of every factor "
        "∂h_t/∂h_{t−1}, beside the weight: at most 1/4 for the sigmoid, 1 for tanh, 0 "
        "or 1 for ReLU."
    ),
    setup=(
        "Elman networks of 32 units on sentences of 16 words whose first word decides, "
        "before and after 500 updates; slopes of all units, steps and 64 sentences"
    ),
    presets={
        "quick": Preset(Settings(), "50 s"),
        "paper": Preset(Settings(50, 4000, seeds=tuple(range(10))), "5 min"),
        "test": Preset(Settings(6, 0, 8, seeds=(0,)), "5 s"),
    },
    run=run,
    draw=draw,
    claims=(
        Claim(
            "untrained, the sigmoid's mean slope is near its bound of 1/4: above 0.2 "
            "(median over the seeds)",
            lambda results: median(mean_slopes(results, "sigmoid", "untrained")),
            "our threshold",
            low=0.2,
        ),
        Claim(
            "untrained, with an orthogonal U about half of the ReLUs are active "
            "(fraction, median over the seeds)",
            lambda results: median(results.active_orthogonal),
            "symmetry of the start; our tolerance",
            low=0.3,
            high=0.7,
        ),
        Claim(
            "and with U = identity, as `elman_relu` starts, more (difference of the "
            "fractions, median over the seeds)",
            lambda results: median(active(results) - results.active_orthogonal),
            "h_t = ReLU(h_{t−1} + …): a positive state keeps its own unit active; sign",
            low=0.0,
            strict=True,
        ),
        Claim(
            "training saturates tanh: its mean slope falls (trained less untrained, "
            "median over the seeds)",
            lambda results: median(
                mean_slopes(results, "tanh", "trained")
                - mean_slopes(results, "tanh", "untrained")
            ),
            "sign alone",
            high=0.0,
            strict=True,
        ),
    ),
    remarks=(
        "The variant `elman_relu` starts U at the identity, which is why more than "
        "half of its units are active: a unit's own positive state is added to its "
        "next input. Where U is orthogonal, one half is.",
    ),
)
