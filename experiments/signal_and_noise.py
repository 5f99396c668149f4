"""What an update learns from, word by word: vanished, or drowned? Quick: 10 min."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawn

from rnnjax.analysis.signal import signals
from rnnjax.quantities import ALL
from rnnjax.quantities.signal import EUCLIDEAN, OPTIMIZER
from rnnjax.report.instruments.signal import draw_shares, legend
from rnnjax.report.layout import Size, gridlines, panels, power_ticks, title
from rnnjax.report.style import SOFT, Palette, palette, style
from rnnjax.reproduce import Claim, Figure, Preset, median
from rnnjax.reproduce.training import at_stages, result, stages
from rnnjax.sweeps.compose import compose
from rnnjax.training.build import initial_params
from rnnjax.training.config import RunConfig


VARIANTS = {
    "elman_sigmoid": "sigmoid",
    "elman_tanh": "tanh",
    "gru": "GRU",
    "lstm": "LSTM",
}
STAGES = ("untrained", "trained")
NEEDED = ("own noise", "noise of the update", "in Adam's metric")
"""N*, N*_up, and N*_up in the optimizer's metric."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Words of a sentence, updates, examples that are compared; words of the sentences
    whose first word is looked at untrained."""

    distance: int = 50
    steps: int = 2000
    examples: int = 512
    distances: tuple[int, ...] = (4, 16, 50, 100)
    variants: tuple[str, ...] = tuple(VARIANTS)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)


def run(settings: Settings, pool: Path) -> xr.Dataset:
    """Shares of the update by word, and the examples that the first word needs."""
    seeds, words = settings.seeds, settings.distance
    trained = at_stages(
        pool,
        (0, settings.steps),
        [
            f"variant={','.join(settings.variants)}",
            f"task.distance={words}",
            f"seed={','.join(map(str, seeds))}",
        ],
    )
    shape = (len(settings.variants), len(STAGES), len(seeds))
    shares, needed = np.zeros((*shape, 3, 3, words)), np.zeros((*shape, 3, 3))
    for i in range(len(settings.variants)):
        own = trained[i * len(seeds) : (i + 1) * len(seeds)]
        for k, one in enumerate(own):
            for j, params in enumerate(stages(one, (0, settings.steps))):
                seen = _signal(one.config, params, settings.examples)
                of_all = seen["update_share"].sel(gradient_of=ALL, metric=EUCLIDEAN)
                shares[i, j, k] = of_all.transpose("part", "bound", "lag")
                needed[i, j, k] = _first_word(seen)
    start = np.zeros((shape[0], len(settings.distances), len(seeds), 3, 3))
    for i, variant in enumerate(settings.variants):
        for j, distance in enumerate(settings.distances):
            for k, seed in enumerate(seeds):
                own_words = f"variant={variant}", f"task.distance={distance}"
                config = compose(*own_words, f"seed={seed}").config
                seen = _signal(config, initial_params(config), settings.examples)
                start[i, j, k] = _first_word(seen)
    accuracy = result(trained, "test_accuracy").reshape(shape[0], -1)
    ends = ("estimate", "low", "high")
    return xr.Dataset(
        {
            "share": (("variant", "stage", "seed", "part", "bound", "lag"), shares),
            "log10_needed": (("variant", "stage", "seed", "above", "bound"), needed),
            "log10_needed_at_start": (
                ("variant", "distance", "seed", "above", "bound"),
                start,
            ),
            "accuracy": (("variant", "seed"), accuracy),
        },
        {
            "variant": list(settings.variants),
            "stage": list(STAGES),
            "seed": list(seeds),
            "part": ["signal", "offset", "noise"],
            "bound": list(ends),
            "above": list(NEEDED),
            "distance": list(settings.distances),
        },
        {"budget": trained[0].config.batch * settings.steps},
    )


def _signal(config: RunConfig, params: Any, examples: int) -> xr.Dataset:
    """The quantities of `sections=signal`, in the metric of Adam too."""
    return signals(config, params, examples)()


def _first_word(seen: xr.Dataset) -> np.ndarray:
    """log10 of the examples that the first word needs, by `NEEDED` and bound."""
    far = seen.sel(gradient_of=ALL).isel(lag=-1)
    update = far["log10_examples_in_update"]
    kinds = (
        far["log10_examples"].sel(metric=EUCLIDEAN),
        update.sel(metric=EUCLIDEAN),
        update.sel(metric=OPTIMIZER),
    )
    return np.stack([kind.to_numpy() for kind in kinds])


def needs(results: xr.Dataset, variant: str, above: str) -> np.ndarray:
    """log10 of the examples that the first word of 50 needs, untrained, by seed."""
    one = results.log10_needed.sel(variant=variant, above=above, stage="untrained")
    return one.sel(bound="estimate").to_numpy()


def growth(results: xr.Dataset, variant: str, above: str) -> np.ndarray:
    """Decades by which the need grows from 16 words to 100, untrained, by seed."""
    one = results.log10_needed_at_start.sel(variant=variant, above=above)
    one = one.sel(bound="estimate")
    return (one.sel(distance=100) - one.sel(distance=16)).to_numpy()


def noise_of_first(results: xr.Dataset, variant: str) -> np.ndarray:
    """Share of the first word's noise in the expected update, untrained, by seed."""
    one = results.share.sel(variant=variant, stage="untrained", part="noise")
    return one.sel(bound="estimate").isel(lag=-1).to_numpy()


def fall(results: xr.Dataset) -> np.ndarray:
    """Decades by which training lowers N*_up, of the runs that learned the task."""
    one = results.log10_needed.sel(above=NEEDED[1], bound="estimate")
    change = one.sel(stage="untrained") - one.sel(stage="trained")
    done = results.accuracy.to_numpy() >= 0.95
    return change.transpose("variant", "seed").to_numpy()[done]


def draw(results: xr.Dataset) -> Drawn:
    """Bars by word, untrained and trained; examples that the first word needs."""
    names = [str(name) for name in results.variant.to_numpy()]
    size = Size(1.75, 1.35, gap_x=0.45, gap_y=0.55, top=0.6, right=0.1)
    with style():
        figure, grid = panels(3, len(names), size)
        for column, name in enumerate(names):
            for row, stage in enumerate(STAGES):
                axes, one = grid[row, column], results.sel(variant=name, stage=stage)
                limits = (1e-6, 1.0 if row == 0 else 1e3)
                draw_shares(axes, one.share.isel(seed=0).to_numpy(), limits)
                solved = np.sum(results.accuracy.sel(variant=name) >= 0.95)
                learned = f", {int(solved)} of {results.sizes['seed']} solved"
                title(axes, VARIANTS[name] if row == 0 else f"trained{learned}")
                if row == 1:
                    axes.set_xlabel("lag: 0 is the last word")
            _draw_needs(grid[2, column], results.sel(variant=name))
        legend(grid[0, 0])
        grid[0, 0].get_legend().set_bbox_to_anchor((0, 1.17))
        for row, text in enumerate(("share of an update",) * 2):
            grid[row, 0].set_ylabel(text)
        grid[2, 0].set_ylabel("examples needed")
    return figure


def _draw_needs(axes: Axes, one: xr.Dataset) -> None:
    lines: Palette = palette(list(NEEDED))
    distance = one.distance.to_numpy()
    for above, line in lines.items():
        values = one.log10_needed_at_start.sel(above=above, bound="estimate")
        axes.plot(distance, values.transpose("distance", "seed"), ".", **_marks(line))
        middle = values.median("seed").to_numpy()
        shown = np.where(np.isfinite(middle), middle, np.nan)
        axes.plot(distance, shown, color=line.colour, linestyle=line.dash, label=above)
    budget = np.log10(one.attrs["budget"])
    axes.axhline(budget, color=SOFT, linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_xticks(distance, [str(d) for d in distance])
    axes.minorticks_off()
    axes.set_ylim(0, 16)
    axes.set_xlabel("words, the first decides")
    power_ticks(axes)
    gridlines(axes)
    if one.variant == "lstm":
        axes.legend(fontsize=5.5, frameon=False, loc="upper left")


def _marks(line: Any) -> dict[str, Any]:
    return {"color": line.colour, "markersize": 3, "alpha": 0.6}


FIGURE = Figure(
    name="signal_and_noise",
    place="0e",
    title="What an update learns from: signal, offset and noise by word",
    source=(
        "a question of our own; after McCandlish et al. (2018), An empirical model of "
        "large-batch training (noise scale of a whole gradient)"
    ),
    shows=(
        "An early word's gradient is not only smaller than that of the last words: it "
        "is added to their noise. The first word's own noise is soon averaged out; "
        "that of the whole update is not."
    ),
    setup=(
        "opinion, the first word decides; 32 units, Adam, batch 32, six seeds, 2000 "
        "updates of sentences of 50 words. Shares of the expected update of a batch, "
        "over all kernels and biases, seed 0, where the 95 % interval excludes 0 "
        "(hollow: negative). Below: examples from which on the signal of the first "
        "word exceeds its own noise (N*), that of the whole gradient (N*_up), and "
        "N*_up in Adam's metric, from 512 held-out examples; a dot is a seed, the "
        "line their median, dotted the budget of training"
    ),
    presets={
        "quick": Preset(Settings(), "10 min"),
        "paper": Preset(Settings(examples=4096), "1 h, extrapolated"),
        "test": Preset(Settings(4, 20, 64, (4,), ("elman_tanh",), (0,)), "10 s"),
    },
    run=run,
    draw=draw,
    claims=(
        Claim(
            "LSTM, 50 words, untrained: 100 examples show the first word's signal "
            "above its own noise (log10 of N*, median over the seeds)",
            lambda results: median(needs(results, "lstm", NEEDED[0])),
            "seen in one network when the figure was planned, widened",
            high=2.0,
        ),
        Claim(
            "LSTM, 50 words, untrained: 10 000 do not show it above the noise of the "
            "update (log10 of N*_up, median over the seeds)",
            lambda results: median(needs(results, "lstm", NEEDED[1])),
            "seen in one network when the figure was planned, widened",
            low=4.0,
        ),
        Claim(
            "LSTM, 50 words, untrained: the first word makes up less than 1 % of the "
            "noise in an update (share, median over the seeds)",
            lambda results: median(noise_of_first(results, "lstm")),
            "our threshold",
            high=0.01,
        ),
        Claim(
            "sigmoid, 50 words, untrained: a billion examples do not show the first "
            "word above the noise of the update (log10, median over the seeds)",
            lambda results: median(needs(results, "elman_sigmoid", NEEDED[1])),
            "our threshold",
            low=9.0,
        ),
        Claim(
            "tanh: from 16 to 100 words N* grows by less than a decade (decades, "
            "median over the seeds)",
            lambda results: median(growth(results, "elman_tanh", NEEDED[0])),
            "our threshold",
            high=1.0,
        ),
        Claim(
            "tanh: from 16 to 100 words N*_up grows by more than two decades "
            "(decades, median over the seeds)",
            lambda results: median(growth(results, "elman_tanh", NEEDED[1])),
            "our threshold",
            low=2.0,
        ),
        Claim(
            "networks that learn the task raise their first word above the noise: "
            "N*_up falls by a decade or more (decades, median over those runs)",
            lambda results: median(fall(results)),
            "our threshold",
            low=1.0,
        ),
    ),
)
