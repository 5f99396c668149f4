"""‖∂C/∂h_t‖ through time, before, early in and after training. Quick: 2 min."""

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawn

from rnnjax.executables.functions import jit_unoptimised
from rnnjax.probes.adjoints.norms import log10_norms
from rnnjax.probes.backward.trace import trace
from rnnjax.recurrence.fields import static_cell
from rnnjax.report.layout import Size, panels, power_ticks, title
from rnnjax.report.style import GRID, INK, SERIES, Palette, palette, style
from rnnjax.reproduce import Claim, Estimate, Figure, Preset, Setting, median
from rnnjax.reproduce.training import at_stages, stages
from rnnjax.sweeps.compose import compose
from rnnjax.tasks.base import TaskSpec
from rnnjax.training.build import (
    build_model,
    build_task,
    heldout,
    initial_params,
)
from rnnjax.training.config import RunConfig
from rnnjax.types import Batch

from .shared.arjovsky import (
    ACCUMULATOR,
    ADDING_BATCH,
    RATE,
    SETUP,
    TRAINING,
    concerning,
    networks,
    setting_lines,
    starting,
)


_TANH = ("cell=elman", "init=orthogonal")
_LSTM = ("cell=lstm", "cell.recurrent_init=glorot_uniform")
KNOWN = {
    "tanh, gain 0.5": (*_TANH, "init.gain=0.5"),
    "tanh, gain 0.8": (*_TANH, "init.gain=0.8"),
    "tanh, gain 0.95": (*_TANH, "init.gain=0.95"),
    "linear, gain 1": (*_TANH, "activation=identity"),
    "LSTM, bias 0": (*_LSTM, "cell.forget_bias=0.0"),
    "LSTM, bias 1": (*_LSTM, "cell.forget_bias=1.0"),
}
"""Networks whose norms theory knows; the number is the gain, or the forget bias."""

SETTLED = 50
"""Lags before this one are left out where a slope is fitted."""

FLOOR = -24.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """Steps T, units, stages in updates, sequences, networks, seeds, start of RMSprop's
    accumulator, seeds of the networks that are looked at untrained alone."""

    length: int = 100
    units: int = 64
    stages: tuple[int, ...] = (0, 500, 2000)
    sequences: int = 64
    networks: tuple[str, ...] = (
        "tanh",
        "IRNN",
        "LSTM, bias 0",
        "LSTM, bias 1",
        "unitary",
    )
    known: tuple[str, ...] = tuple(KNOWN)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    accumulator: float = ACCUMULATOR
    starts: tuple[int, ...] = (0, 1, 2, 3, 4, 5)


def run(settings: Settings, pool: Path) -> xr.Dataset:
    """log10 of the norms for networks of known slope, and for trained networks."""
    known, seeds = calibrate(settings), f"seed={','.join(map(str, settings.seeds))}"
    trained = at_stages(
        pool,
        settings.stages,
        *([*_overrides(name, settings), seeds] for name in settings.networks),
    )
    width = len(settings.seeds)
    shape = (len(settings.networks), len(settings.stages), width, settings.length)
    norm, error = np.zeros(shape), np.zeros((shape[0], width))
    start = np.zeros((shape[0], len(settings.starts), settings.length))
    for i, name in enumerate(settings.networks):
        own = trained[i * width : (i + 1) * width]
        look = _looker(own[0].config, settings.sequences)
        for k, one in enumerate(own):
            error[i, k] = one.results["test_mean_squared_error"]
            for j, params in enumerate(stages(one, settings.stages)):
                norm[i, j, k] = look(params)
        for k, seed in enumerate(settings.starts):
            config = compose(*_overrides(name, settings), f"seed={seed}").config
            start[i, k] = look(initial_params(config))
    stored = xr.Dataset(
        {
            "log10_norm": (("network", "stage", "seed", "time"), norm),
            "error": (("network", "seed"), error),
            "start": (("network", "start_seed", "time"), start),
        },
        {
            "network": list(settings.networks),
            "stage": list(settings.stages),
            "seed": list(settings.seeds),
            "time": np.arange(1, settings.length + 1),
        },
    )
    return xr.merge([stored, known])


def _overrides(name: str, settings: Settings) -> list[str]:
    kind, _, bias = name.partition(", bias ")
    own = networks({kind: settings.units})[kind]
    return [
        *TRAINING,
        f"optimizer.initial_scale={settings.accumulator}",
        *own,
        *([f"cell.forget_bias={bias}.0"] if bias else []),
        "task=adding",
        f"task.length={settings.length}",
        f"lr={RATE}",
        "eval.every=500",
    ]


def _looker(config: RunConfig, sequences: int, at_rest: bool = False):
    """A function from parameters of a run's model to log10 of the norms ``(T,)``."""
    task, data = build_task(config.task, config.task_options)
    batch = heldout(config.task, config.task_options, "validation", sequences)
    if at_rest:
        batch = dataclasses.replace(batch, inputs=jnp.zeros_like(batch.inputs))
    spec = task.spec(data)
    model = build_model(config, spec)
    plain: Any = model.clone(cell=static_cell(model.cell))
    return lambda params: _norms(plain, spec)(params, batch)


@cache
def _norms(model: Any, spec: TaskSpec):
    """log10 of the root mean square over sequences of ‖∂C/∂h_t‖, joint state."""

    @jit_unoptimised
    def norms(params: Any, batch: Batch) -> jax.Array:
        seen = trace(model, params, batch, spec, lag="total")
        found = log10_norms(seen.walks[0], seen.valid)[0]
        top = jnp.max(found, axis=1)
        total = jnp.mean(10.0 ** (2 * (found - top[:, None])), axis=1)
        return top + 0.5 * jnp.log10(total)

    return norms


def calibrate(settings: Settings) -> xr.Dataset:
    """Norms where theory predicts them, relative to the last step, and predictions.

    At rest, h = x = 0: a tanh network with U = gain · orthogonal, a linear orthogonal
    network, and LSTMs, whose Jacobian is then constant, see `lstm_at_rest`.
    """
    T = settings.length
    measured, expected, slope = [], [], []
    for name in settings.known:
        config = compose(
            *KNOWN[name],
            "task=adding",
            f"task.length={T}",
            f"model.hidden={settings.units}",
            f"seed={settings.seeds[0]}",
        ).config
        params = initial_params(config)
        look = _looker(config, 1, at_rest=True)
        found = np.asarray(look(params), np.float64)
        measured.append(found - found[-1])
        number = float(name.rpartition(" ")[2])
        if config.cell == "lstm":
            theory, rate = lstm_at_rest(params, number, T)
        else:
            theory, rate = np.log10(number) * np.arange(T)[::-1], np.log(number)
        expected.append(theory)
        slope.append(rate)
    return xr.Dataset(
        {
            "known_measured": (("known", "time"), np.array(measured)),
            "known_expected": (("known", "time"), np.array(expected)),
            "known_slope": ("known", np.array(slope)),
        },
        {"known": list(settings.known), "time": np.arange(1, T + 1)},
    )


def lstm_at_rest(params: Any, bias: float, T: int) -> tuple[np.ndarray, float]:
    """log10 ‖∂C/∂(h, c)_t‖ of an LSTM at h = c = x = 0, and its slope for long lags.

    There ∂c_{t+1}/∂c_t = M = σ(b_f) + σ(b_i)σ(b_o) U_g, with all other biases 0, and
    the slope is ln max|μ(M)|. At the last step ∂C/∂c_T = 0.
    """
    cell, w = params["stack_0_0"]["cell"], np.asarray(params["head"]["kernel"])[:, 0]
    n = len(w)
    U = np.asarray(cell["U"], np.float64)[:, 2 * n : 3 * n]
    keep = 1 / (1 + np.exp(-bias))
    delta, norms = 0.5 * w.astype(np.float64), [np.linalg.norm(w)]
    for _ in range(T - 1):
        h, c = 0.5 * U @ delta, keep * delta
        norms.append(np.hypot(np.linalg.norm(h), np.linalg.norm(c)))
        delta = c + 0.5 * h
    rate = np.abs(keep + 0.25 * np.linalg.eigvals(U)).max()
    return np.log10(np.array(norms[::-1]) / norms[0]), float(np.log(rate))


def slope_gap(results: xr.Dataset, kind: str) -> float:
    """Largest difference between a fitted and a predicted slope, in nats per step."""
    found = []
    for name in results.known.to_numpy():
        if name.startswith(kind):
            one = results.sel(known=name)
            values = one.known_measured.to_numpy()[:-SETTLED] * np.log(10)
            fitted = -np.polyfit(np.arange(len(values)), values, 1)[0]
            found.append(abs(fitted - float(one.known_slope)))
    return float(max(found))


def first_norm(results: xr.Dataset, known: str) -> float:
    """log10 of the first norm relative to the last, at rest."""
    return float(results.known_measured.sel(known=known)[0])


def ratio(results: xr.Dataset, network: str, stage: int) -> np.ndarray:
    """log10 of ‖∂C/∂h_1‖ / ‖∂C/∂h_T‖ for each seed, at the stage with this index."""
    norm = results.log10_norm.sel(network=network).isel(stage=stage).to_numpy()
    return norm[:, 0] - norm[:, -1]


def start_ratio(results: xr.Dataset, network: str) -> np.ndarray:
    """The same for each untrained network."""
    norm = results.start.sel(network=network).to_numpy()
    return norm[:, 0] - norm[:, -1]


def lead(results: xr.Dataset, of: Callable[[str], np.ndarray]) -> Estimate:
    """log10 ratio of the unitary network minus the largest of the others, by seed."""
    others = [str(name) for name in results.network.to_numpy() if name != "unitary"]
    return median(of("unitary") - np.max([of(name) for name in others], axis=0))


def early_slopes(results: xr.Dataset, network: str) -> np.ndarray:
    """Slope at initialisation beyond 5 lags, for each seed, in nats per step."""
    norm = results.start.sel(network=network).to_numpy()
    norm = norm[:, :-5] * np.log(10)
    return -(norm[:, -1] - norm[:, 0]) / (norm.shape[1] - 1)


def trained_ratio(results: xr.Dataset) -> Estimate:
    """log10 ratio of those LSTMs with bias 1 that have learned the task."""
    done = results.error.sel(network="LSTM, bias 1").to_numpy() < 0.01
    return median(ratio(results, "LSTM, bias 1", -1)[done])


def _lead(stage: int):
    return lambda results: lead(results, lambda name: ratio(results, name, stage))


ALL = ("tanh", "IRNN", "LSTM", "unitary")

PLOTTED = "norm that is plotted"


def draw(results: xr.Dataset) -> Drawn:
    """Curves with theoretical predictions, then every network at each stage."""
    T = results.sizes["time"]
    stages = results.stage.to_numpy()
    lines = palette([str(name) for name in results.network.to_numpy()])
    size = Size(1.75, 2.1, gap_x=0.3, left=0.6, right=1.2, bottom=0.45)
    with style():
        figure, grid = panels(1, 1 + len(stages), size)
        _draw_known(grid[0, 0], results)
        for j, (axes, stage) in enumerate(zip(grid[0, 1:], stages, strict=True)):
            _draw_stage(axes, results.isel(stage=j), lines)
            names = {0: "initialised", stages[-1]: f"trained: {stage} updates"}
            title(axes, names.get(stage, f"{stage} updates"))
        grid[0, -1].legend(
            loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=7, frameon=False
        )
        for axes in grid[0]:
            axes.set(xlim=(1, T), xlabel="step t")
        grid[0, 0].set_ylabel("‖∂C/∂h_t‖ / ‖∂C/∂h_T‖")
    return figure


def _limit(axes: Axes, first: bool) -> None:
    axes.set_ylim(FLOOR, 5)
    axes.grid(axis="y", color=GRID, linewidth=0.5)
    power_ticks(axes)
    if not first:
        axes.set_yticklabels([])


def _draw_known(axes: Axes, results: xr.Dataset) -> None:
    time = results.time.to_numpy()
    for i, name in enumerate(results.known.to_numpy()):
        one, colour = results.sel(known=name), SERIES[i % len(SERIES)][0]
        measured = one.known_measured
        axes.plot(time, measured, color=colour, linewidth=2.2, alpha=0.55, label=name)
        axes.plot(time, one.known_expected, color=INK, linewidth=0.7, linestyle=":")
    _limit(axes, True)
    axes.legend(loc="lower right", fontsize=5.5, frameon=False, borderaxespad=0.1)
    title(axes, "theory (dotted)")


def _draw_stage(axes: Axes, results: xr.Dataset, lines: Palette) -> None:
    time = results.time.to_numpy()
    for name, line in lines.items():
        norm = results.log10_norm.sel(network=name).to_numpy()
        norm = norm - norm[:, -1:]
        axes.plot(time, norm.T, color=line.colour, linewidth=0.5, alpha=0.5)
        middle = np.median(norm, axis=0)
        axes.plot(time, middle, color=line.colour, linestyle=line.dash, label=name)
    _limit(axes, False)


FIGURE = Figure(
    name="gradient_norms",
    place="1",
    title="How much of the loss reaches each step",
    source=(
        "Arjovsky, Shah & Bengio (2016), Unitary evolution recurrent neural networks, "
        "Fig. 4"
    ),
    shows=(
        "At the start only the unitary network hands the gradient back undiminished; "
        "the norms of all others vanish over 100 steps. During training that of the "
        "unitary network decays too, but stays the largest."
    ),
    setup=(
        f"adding problem, T = 100. {SETUP}. LSTMs of forget bias 0 and 1. Norm of "
        f"∂C/∂h_t, for an "
        "LSTM of ∂C/∂(h, c)_t, root mean square over held-out sequences, relative to "
        "the last step. Quick: 64 units each, 2000 updates, six seeds; paper: 128 "
        "units, 10 000 updates, one trained seed, which can contradict nothing. "
        "Left: networks at rest (h = x = 0) against theory; tanh and linear with U = "
        "gain · orthogonal"
    ),
    presets={
        "quick": Preset(Settings(), "4 min"),
        "paper": Preset(
            Settings(units=128, stages=(0, 500, 10_000), seeds=(0,)),
            "11 min of one core",
        ),
        "test": Preset(
            Settings(
                60,
                8,
                (0,),
                4,
                ("tanh",),
                ("tanh, gain 0.8", "LSTM, bias 1"),
                (0,),
                starts=(0,),
            ),
            "5 s",
        ),
    },
    run=run,
    draw=draw,
    claims=(
        Claim(
            "tanh at rest, U = gain · orthogonal: the slope is ln gain (largest gap, "
            "nats a step)",
            lambda results: slope_gap(results, "tanh"),
            "φ′(0) = 1; our tolerance",
            high=0.005,
            origin="theory",
            presets=("quick", "paper", "test"),
        ),
        Claim(
            "linear, orthogonal, at rest: first and last norm are the same (ratio)",
            lambda results: float(
                10 ** results.known_measured.sel(known="linear, gain 1")[0]
            ),
            "an isometry",
            low=0.98,
            high=1.02,
            origin="theory",
        ),
        Claim(
            "at rest, all six: every norm is the theory's; for an LSTM that is M = "
            "σ(b_f) + σ(b_i)σ(b_o) U_g applied over and over (largest gap of log10)",
            lambda results: float(
                np.abs(results.known_measured - results.known_expected).max()
            ),
            "the Jacobian at h = c = x = 0; float32",
            high=0.005,
            origin="theory",
            presets=("quick", "paper", "test"),
        ),
        Claim(
            "LSTM at rest: the slope beyond 50 lags is ln max|μ(M)| (largest gap)",
            lambda results: slope_gap(results, "LSTM"),
            "the spectral radius of M; our tolerance for the finite lags",
            high=0.03,
            origin="theory",
        ),
        Claim(
            "initialised, the unitary network's first norm is as large as its last "
            "(ratio, median over the seeds)",
            lambda results: median(10 ** start_ratio(results, "unitary")),
            "Fig. 4 shows a flat line; modReLU is no isometry, the width is ours",
            low=0.95,
            high=1.3,
            settings=starting("unitary"),
            origin="pattern",
        ),
        Claim(
            "initialised, the unitary network keeps most of all: log10 of its ratio "
            "less the largest of the others' (median over the seeds)",
            lambda results: lead(results, partial(start_ratio, results)),
            "the order of the curves in Fig. 4",
            low=0.0,
            origin="paper",
            settings=(*starting(*ALL), PLOTTED),
            strict=True,
        ),
        Claim(
            "initialised, the tanh network's norms vanish over 100 steps (log10 of the "
            "ratio, median over the seeds)",
            lambda results: median(start_ratio(results, "tanh")),
            "Fig. 4 shows it; “vanish” is a hundredth, our threshold",
            high=-2.0,
            settings=starting("tanh"),
            origin="pattern",
        ),
        Claim(
            "initialised, an LSTM of forget bias 0 loses more than 0.2 nats a step "
            "(slope after 5 lags, median over the seeds)",
            lambda results: median(early_slopes(results, "LSTM, bias 0")),
            "our threshold",
            high=-0.2,
            settings=starting("LSTM"),
        ),
        Claim(
            "initialised, an LSTM of forget bias 1 keeps some 10⁻³: log10 of the ratio "
            "(median over the seeds)",
            lambda results: median(start_ratio(results, "LSTM, bias 1")),
            "computed for 30 and 128 units when the figure was planned, widened",
            low=-4.3,
            high=-1.7,
            settings=starting("LSTM"),
        ),
        Claim(
            "initialised, the IRNN's norms vanish over 100 steps, too (log10 of the "
            "ratio, median over the seeds)",
            lambda results: median(start_ratio(results, "IRNN")),
            "Fig. 4 shows all but the unitary network's vanish; a hundredth is ours",
            high=-2.0,
            origin="pattern",
            settings=starting("IRNN"),
        ),
        Claim(
            "initialised, the IRNN keeps most of it (ratio, median over the seeds)",
            lambda results: median(10 ** start_ratio(results, "IRNN")),
            "computed when the figure was planned, widened",
            low=0.4,
            high=1.0,
            settings=starting("IRNN"),
        ),
        Claim(
            "after 500 updates the unitary network's norms decay, too (log10 of the "
            "ratio, median over the seeds)",
            lambda results: median(ratio(results, "unitary", 1)),
            "the paper's text: it decays; any decay at all",
            high=0.0,
            origin="paper",
            settings=concerning("unitary", more=()),
            strict=True,
        ),
        *(
            Claim(
                f"{when} the unitary network's norm stays the largest: log10 of its "
                "ratio less the largest of the others' (median over the seeds)",
                _lead(stage),
                "the paper's text: it stays the largest",
                low=0.0,
                origin="paper",
                settings=concerning(
                    *ALL, more=(PLOTTED, "updates") if stage == 2 else (PLOTTED,)
                ),
                strict=True,
            )
            for stage, when in ((1, "after 500 updates"), (2, "at the end"))
        ),
        Claim(
            "after 500 updates the unitary network's ratio is 1000 times that of an "
            "LSTM of forget bias 0 (log10, median over the seeds)",
            lambda results: median(
                ratio(results, "unitary", 1) - ratio(results, "LSTM, bias 0", 1)
            ),
            "our threshold",
            low=3.0,
            settings=concerning("unitary", "LSTM", more=()),
        ),
        Claim(
            "an LSTM of forget bias 1 that has learned the task (error below 0.01) "
            "keeps at least a hundredth (log10 of the ratio, median over those seeds)",
            trained_ratio,
            "our threshold",
            low=-2.0,
            settings=concerning("LSTM"),
            learned=True,
        ),
    ),
    settings=(
        *setting_lines(
            dict.fromkeys(("tanh", "IRNN", "LSTM"), 128) | {"unitary": 512},
            20_000,
            lambda settings: settings.stages[-1],
            ADDING_BATCH,
        ),
        Setting(
            "forget bias", 1, "0 and 1", "authors' code", harmless="both are shown"
        ),
        Setting(PLOTTED, None, "relative to the last step"),
    ),
    remarks=(
        "Norms are relative to that of the last step; unscaled norms, which the paper "
        "may plot, are not compared. In all six seeds of quick the IRNN's ratio is the "
        "larger one after 500 and after 2000 updates.",
    ),
)
