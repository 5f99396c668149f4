"""Temporal order: success against length, clipped and with Ω. Quick: 6 min."""

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawn

from rnnjax.report.layout import Size, panels, title
from rnnjax.report.style import GRID, SERIES, SOFT, style
from rnnjax.reproduce import (
    Claim,
    Estimate,
    Figure,
    Preset,
    Setting,
    difference,
    median,
    same,
    share,
)
from rnnjax.reproduce.training import curves, evaluated, result
from rnnjax.tasks.base import Data, TaskSpec
from rnnjax.tasks.temporal_order import DISTRACTOR, TemporalOrder
from rnnjax.types import Batch


LETTERS = 6
"""Four distractors, X and Y, one-hot."""

SOLVED = 0.99
"""The paper's success: less than 1 % misclassified."""

INITS: dict[str, tuple[str, float, tuple[str, ...]]] = {
    "sigmoid": ("sigmoid", 0.01, ("init=normal", "init.std=0.01")),
    "basic tanh": ("tanh", 0.1, ("init=normal", "init.std=0.1")),
    "smart tanh": (
        "tanh",
        0.01,
        ("init=sparse", "init.nonzeros=15", "init.spectral_radius=0.95"),
    ),
}
"""Activation, standard deviation of the input weights, and recurrent weights."""

METHODS = ("SGD", "SGD-C", "SGD-CR")

VARIANTS = {"A": (0.01, 1.0, 4.0), "B": (0.001, 6.0, 2.0)}
"""Published rate, clipping threshold and α: the two texts differ."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Lengths, updates, units, how often it is looked, and on how many sequences."""

    lengths: tuple[int, ...] = (20, 50, 100)
    updates: int = 4000
    hidden: int = 50
    every: int = 500
    fresh: int = 10_000
    variants: tuple[str, ...] = ("A",)
    inits: tuple[str, ...] = tuple(INITS)
    methods: tuple[str, ...] = METHODS
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)


@dataclasses.dataclass(frozen=True)
class OneHotOrder(TemporalOrder):
    """Temporal order as in Pascanu's program: six one-hot letters, no start, no end."""

    def spec(self, data: Data) -> TaskSpec:
        """As in the temporal order task, but with vector inputs."""
        spec = super().spec(data)
        return dataclasses.replace(spec, vocabulary=None, input_size=LETTERS)

    def sample(self, key: Any, batch: int, data: Data) -> Batch:
        """Fresh sequences; start and trigger are distractors as well."""
        made = super().sample(key, batch, data)
        ends = jax.random.randint(jax.random.fold_in(key, 1), (2, batch), 0, 4)
        letters = (made.inputs - DISTRACTOR).at[jnp.array([0, -1])].set(ends)
        inputs = jax.nn.one_hot(letters, LETTERS, dtype=jnp.float32)
        return dataclasses.replace(made, inputs=inputs)


def run(settings: Settings, pool: Path) -> xr.Dataset:
    """Train all networks; accuracy and loss on fresh sequences."""
    points = list(
        itertools.product(settings.variants, settings.inits, settings.methods)
    )
    sweeps = [_overrides(settings, *point) for point in points]
    runs = evaluated(pool, settings.updates, settings.every, *sweeps)
    kinds = settings.variants, settings.inits, settings.methods
    shape = tuple(map(len, (*kinds, settings.lengths, settings.seeds)))
    curve = curves(runs, settings.updates, settings.every)
    looks = curve.shape[1]
    loss, accuracy = (result(runs, name) for name in ("test_loss", "test_accuracy"))
    updates = np.array([one.manifest.steps for one in runs])
    diverged = np.array([one.manifest.status == "diverged" for one in runs])
    dims = ("variant", "init", "rule", "length", "seed")
    return xr.Dataset(
        {
            "curve": ((*dims, "look"), curve.reshape(*shape, looks)),
            "loss": (dims, loss.reshape(shape)),
            "accuracy": (dims, accuracy.reshape(shape)),
            "updates": (dims, updates.reshape(shape)),
            "diverged": (dims, diverged.reshape(shape)),
        },
        {
            "variant": list(settings.variants),
            "init": list(settings.inits),
            "rule": list(settings.methods),
            "length": list(settings.lengths),
            "seed": list(settings.seeds),
            "look": settings.every * np.arange(looks),
        },
    )


def _overrides(settings: Settings, variant: str, init: str, method: str) -> list[str]:
    rate, threshold, weight = VARIANTS[variant]
    activation, std, recurrent = INITS[init]
    # the initialiser has a gain: the standard deviation is gain / √inputs
    gain = std * math.sqrt(LETTERS)
    # one program for both: a threshold that no gradient reaches means no clipping
    limit = 1e30 if method == "SGD" else threshold
    penalty = ["penalty=none"]
    if method == "SGD-CR":
        penalty = ["penalty=omega", f"penalty.weight={weight}"]
    return [
        f"task={__file__}:OneHotOrder",
        f"task.length={_listed(settings.lengths)}",
        f"seed={_listed(settings.seeds)}",
        "cell=elman",
        f"cell.activation={activation}",
        f"cell.input_init=[lecun_normal,{gain}]",
        *recurrent,
        f"model.hidden={settings.hidden}",
        "optimizer=sgd",
        f"lr={rate}",
        "clipping=norm",
        f"clipping.threshold={limit}",
        *penalty,
        "batch=20",
        f"eval.size={settings.fresh}",
        "eval.stop_when_solved=true",
        "probe=off",
    ]


def _listed(values: tuple[int, ...]) -> str:
    return ",".join(map(str, values))


def solved(results: xr.Dataset) -> xr.DataArray:
    """Which runs misclassify fewer than 1 % of fresh sequences."""
    return results.accuracy >= SOLVED


def better(init: str, method: str, other: str):
    """Share of successful runs over all lengths and seeds, minus another method's."""

    def gain(results: xr.Dataset) -> Estimate:
        runs = solved(results).sel(variant="A", init=init)
        return difference(runs.sel(rule=method), runs.sel(rule=other))

    return gain


def falls(results: xr.Dataset) -> Estimate:
    """Number of initialisations with which SGD succeeds, shortest minus longest length.

    By seed, for variant A.
    """
    count = solved(results).sel(rule="SGD", variant="A").sum("init")
    return median(count.isel(length=0) - count.isel(length=-1))


def runs_of(results: xr.Dataset, init: list[str], method: list[str], length: int):
    """Which runs succeed in variant A."""
    return solved(results).sel(variant="A", init=init, rule=method, length=length)


def draw(results: xr.Dataset) -> Drawn:
    """Success against length for each initialisation and variant, and all losses."""
    variants, inits = results.variant.to_numpy(), results.init.to_numpy()
    length = results.length.to_numpy()
    size = Size(1.75, 1.45, gap_x=0.3, gap_y=0.55, left=0.75, right=0.12, top=0.32)
    with style():
        figure, grid = panels(len(variants), len(inits) + 1, size)
        for row, variant in zip(grid, variants, strict=True):
            here = results.sel(variant=variant)
            for axes, init in zip(row, inits, strict=False):
                _success(axes, here.sel(init=init))
                title(axes, f"{variant}: {init}")
            row[0].set_ylabel("share of runs that succeed")
            for axes in row[1 : len(inits)]:
                axes.set_yticklabels([])
            _losses(row[-1], here)
        grid[0, 0].legend(fontsize=6.5, frameon=False, loc="upper right")
        for axes in grid[-1, :-1]:
            axes.set_xlabel("length T")
        for axes in grid[:, :-1].ravel():
            axes.set_xticks(length)
        grid[-1, -1].set_xlabel("loss on fresh sequences")
    return figure


def _success(axes: Any, results: xr.Dataset) -> None:
    rate = solved(results).mean("seed")
    for i, method in enumerate(results.rule.to_numpy()):
        look = {"color": SERIES[i][0], "linewidth": (3.6, 2.2, 1.0)[i], "label": method}
        axes.plot(
            results.length,
            rate.sel(rule=method),
            "o-",
            markersize=(6, 4, 2)[i],
            **look,
        )
    axes.set(ylim=(-0.06, 1.06), yticks=(0, 0.5, 1))
    axes.grid(axis="y", color=GRID, linewidth=0.5)


def _losses(axes: Any, results: xr.Dataset) -> None:
    """Losses of all runs; partial credit corresponds to ln 2, a guess to ln 4."""
    values = results.loss.to_numpy().ravel()
    values = np.clip(np.where(np.isfinite(values), values, 2.0), 0, 2.0)
    axes.hist(values, bins=np.linspace(0, 2.0, 26), color=SERIES[4][0])
    for place, text in ((math.log(2), "ln 2"), (math.log(4), "ln 4")):
        axes.axvline(place, color=SOFT, linewidth=0.8, linestyle=":")
        axes.text(place, 0.97, text, fontsize=6.5, color=SOFT, va="top", ha="right",
                  transform=axes.get_xaxis_transform(), rotation=90)  # fmt: skip
    axes.set(xlim=(0, 2.0), ylim=(0, 1.2 * axes.get_ylim()[1]))
    title(axes, "runs by loss")


TANH = ["basic tanh", "smart tanh"]

FIGURE = Figure(
    name="temporal_order",
    place="9",
    title="Temporal order: clipping and Ω against length",
    source=(
        "Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent "
        "neural networks, Fig. 7; variant A: rate .01, threshold 1, α 4; variant B: "
        "rate .001, threshold 6, α 2"
    ),
    shows=(
        "Plain SGD fails as sequences grow; clipping (C) helps with exploding "
        "gradients, Ω (R) with vanishing ones. With both, tanh networks succeed at all "
        "lengths up to 200, from the sigmoid start only short ones (from memory)."
    ),
    setup=(
        "the authors' generator, 50 units, SGD with batches of 20, at most 4000 "
        "updates in place of 5 000 000, lengths to 100 in place of 250; success: less "
        "than 1 % of 10 000 fresh sequences misclassified. Quick: variant A. A run "
        "whose parameters are no longer finite "
        "ends as failed. Rates, thresholds and α are the published ones for all, "
        "nothing is tuned"
    ),
    presets={
        "quick": Preset(Settings(), "6 min"),
        "paper": Preset(
            Settings(
                lengths=(20, 50, 100, 150, 200, 250),
                updates=5_000_000,
                every=5000,
                variants=("A", "B"),
                seeds=(0, 1, 2, 3, 4),
            ),
            "weeks on 2 cores, extrapolated",
        ),
        "test": Preset(
            Settings(
                lengths=(10,),
                updates=0,
                hidden=6,
                fresh=200,
                variants=("A",),
                inits=("basic tanh",),
                methods=("SGD-CR",),
                seeds=(0,),
            ),
            "3 s",
        ),
    },
    run=run,
    draw=draw,
    claims=(
        *(
            Claim(
                f"A, {init}: {method} succeeds more often than {other} (share of runs "
                "at all lengths, difference)",
                better(init, method, other),
                "the order of the curves in Fig. 7, from memory; a tie does not count",
                low=0.0,
                strict=True,
                origin="paper",
                learned=True,
                unlearned=True,
            )
            for init in TANH
            for other, method in itertools.pairwise(METHODS)
        ),
        Claim(
            "A: SGD succeeds less often at the longest length than at the shortest "
            "(number of the three starts that fail by then, median over the seeds)",
            falls,
            "Fig. 7, from memory; a tie does not count",
            low=1.0,
            origin="paper",
            learned=True,
            unlearned=True,
        ),
        Claim(
            "A: SGD-CR from both tanh starts mostly succeeds at T = 20 (share of runs)",
            lambda results: share(runs_of(results, TANH, ["SGD-CR"], 20)),
            "our threshold",
            low=0.6,
            learned=True,
        ),
        Claim(
            "A: from the sigmoid start SGD and SGD-C mostly fail at T = 20 (share of "
            "runs that succeed)",
            lambda results: share(runs_of(results, ["sigmoid"], ["SGD", "SGD-C"], 20)),
            "Fig. 7 shows none, from memory; our tolerance",
            high=0.25,
            origin="pattern",
            unlearned=True,
        ),
    ),
    settings=(
        Setting("units", 50, lambda settings: settings.hidden, "the paper's text"),
        same("SGD", "constant rate, no momentum", "the paper's text"),
        same("rate, threshold, α of A", "0.01, 1, 4", "the paper's text"),
        same("batch", 20, "the paper's text"),
        same("start of U", "N(0, .01), N(0, .1), sparse of radius .95", "the text"),
        Setting("start of V", "N(0, s²)", "N(0, s²), cut at 2 deviations", "the text"),
        Setting("start of the read-out", "N(0, s²)", "N(0, 1/50)", "authors' code"),
        Setting(
            "updates", 5_000_000, lambda s: s.updates, "the paper's text", budget=True
        ),
        Setting("lengths", (50, 100, 150, 200, 250), lambda s: s.lengths, memory=True),
        same("success", "< 1 % of 10 000 misclassified", "the text"),
    ),
    remarks=(
        "Failed runs sit at ln 2 (one symbol known) and between there and ln 4. Runs "
        "stop as soon as they succeed, many with a loss that is not small "
        "yet.",
    ),
)
