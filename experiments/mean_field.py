"""Mean-field theory of gradients, tanh and MinimalRNN. Quick: 60 s."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawn

from rnnjax.cells import Cell, Elman, MinimalRNN
from rnnjax.probes.backward.single_layer import lagged_norms, walk_layer
from rnnjax.report.layout import Size, panels, title
from rnnjax.report.style import GRID, INK, SERIES, SOFT, style
from rnnjax.reproduce import Claim, Estimate, Figure, Preset, Setting, median


NETWORKS = ("tanh, orthogonal", "tanh, Gaussian", "bias 4", "bias 5", "bias 6")
BIASES = {"bias 4": 4.0, "bias 5": 5.0, "bias 6": 6.0}
"""Of the gate; 100 steps of σ(b) alone leave 3·10⁻⁶ at a bias of 2, 0.16 at 4."""
VARIANCE = 0.05
"""Of the input to each unit."""

LENGTHS = (100, 300, 1000)
"""Steps T over which a gradient may change by a factor of 10: |slope| < ln 10 / T."""

TRUSTED = 3.0
"""Largest σ_w of the claims on the error of the theory."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size, steps (after a warm-up), gains σ_w, and the examples of each network."""

    units: int = 512
    steps: int = 100
    warmup: int = 50
    gains: tuple[float, ...] = (
        *(0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75),
        *(2.0, 2.5, 3.0, 4.0, 5.0, 6.0),
    )
    batch: int = 4
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)


NODES = np.linspace(-9.0, 9.0, 4001)
WEIGHTS = np.exp(-(NODES**2) / 2)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
"""Trapezoids: φ′(√q z)² is too narrow for Gauss and Hermite's nodes at large q."""


def mean(function, variance: float, centre: float = 0.0) -> float:
    """E f(z) for z ~ N(centre, variance)."""
    return float(WEIGHTS @ function(centre + np.sqrt(variance) * NODES))


def tanh_theory(gain: float) -> float:
    """½ ln χ, χ = σ_w² E φ′(√q z)², with q = σ_w² E φ(√q z)² + input variance."""
    q = 1.0
    for _ in range(300):
        q = gain**2 * mean(lambda z: np.tanh(z) ** 2, q) + VARIANCE
    chi = gain**2 * mean(lambda z: np.cosh(z) ** -4.0, q)
    return 0.5 * np.log(chi)


def minimal_theory(gain: float, bias: float) -> float:
    """½ ln χ, χ = E u² + σ_w² E u′² E(h − z)², with u = σ(e) and e Gaussian."""
    sigma = lambda e: 1 / (1 + np.exp(-e))
    r = mean(lambda z: np.tanh(z) ** 2, VARIANCE)
    q = r
    for _ in range(300):
        spread = gain**2 * (q + r)
        kept = mean(lambda e: sigma(e) ** 2, spread, bias)
        entered = mean(lambda e: (1 - sigma(e)) ** 2, spread, bias)
        q = entered * r / (1 - kept)
    spread = gain**2 * (q + r)
    kept = mean(lambda e: sigma(e) ** 2, spread, bias)
    moved = mean(lambda e: (sigma(e) * (1 - sigma(e))) ** 2, spread, bias)
    return 0.5 * np.log(kept + gain**2 * moved * (q + r))


def run(settings: Settings, pool: Path) -> xr.Dataset:
    """Slopes of the log norm of the gradient, simulated and predicted; natural logs."""
    n = settings.units
    shape = (len(NETWORKS), len(settings.gains), len(settings.seeds))
    slope, theory = np.zeros(shape), np.zeros(shape[:2])
    for k, seed in enumerate(settings.seeds):
        random = np.random.default_rng(seed)
        gauss = random.standard_normal((2, n, n)) / np.sqrt(n)
        turned = np.stack([np.linalg.qr(matrix)[0] for matrix in gauss])
        length = settings.warmup + settings.steps
        x = np.sqrt(VARIANCE) * random.standard_normal((length, settings.batch, n))
        last = random.standard_normal((settings.batch, n))
        for i, network in enumerate(NETWORKS):
            matrices = gauss if "Gaussian" in network else turned
            for j, gain in enumerate(settings.gains):
                given = _network(network, gain, matrices)
                norms = np.asarray(_norms(*given, jnp.float32(x), jnp.float32(last)))
                curve = norms.mean(axis=1)[-settings.steps :]
                rise = (curve[0] - curve[-6]) / (settings.steps - 6)
                slope[i, j, k] = rise * np.log(10.0)
    for i, network in enumerate(NETWORKS):
        for j, gain in enumerate(settings.gains):
            known = network in BIASES
            theory[i, j] = (
                minimal_theory(gain, BIASES[network]) if known else tanh_theory(gain)
            )
    return xr.Dataset(
        {
            "slope": (("network", "gain", "seed"), slope),
            "theory": (("network", "gain"), theory),
        },
        {
            "network": list(NETWORKS),
            "gain": list(settings.gains),
            "seed": list(settings.seeds),
        },
    )


def _network(network: str, gain: float, matrices: np.ndarray) -> tuple[Cell, Any]:
    """A cell with the identity as its input matrix, and its parameters."""
    n = matrices.shape[-1]
    eye, zero = jnp.eye(n), jnp.zeros(n)
    kernel = jnp.float32(gain * matrices)
    if network not in BIASES:
        return Elman(inputs=n, features=n), {"U": kernel[0], "V": eye, "b": zero}
    params = {"U": kernel[0], "Uz": kernel[1], "V": eye, "b": zero}
    bias = jnp.full(n, BIASES[network])
    return MinimalRNN(inputs=n, features=n), {**params, "bu": bias}


@partial(jax.jit, static_argnums=0)
def _norms(cell: Cell, params: Any, x: jax.Array, last: jax.Array) -> jax.Array:
    return lagged_norms(walk_layer(cell, params, x), last)


def off(results: xr.Dataset, *networks: str) -> float:
    """Largest |simulated − predicted| slope over the trusted gains and all seeds."""
    near = results.sel(network=list(networks))
    near = near.sel(gain=results.gain[results.gain <= TRUSTED])
    return float(np.abs(near.slope - near.theory).max())


def widths(results: xr.Dataset, network: str, length: int = 100) -> np.ndarray:
    """Width of {σ_w : |slope| · T < ln 10} for each seed, by linear interpolation."""
    gains = results.gain.to_numpy()
    slopes = results.slope.sel(network=network).transpose("seed", "gain").to_numpy()
    fine = np.linspace(gains[0], gains[-1], 4001)
    inside = [np.abs(np.interp(fine, gains, s)) * length < np.log(10.0) for s in slopes]
    return np.mean(inside, axis=1) * (gains[-1] - gains[0])


def reach(results: xr.Dataset, network: str) -> np.ndarray:
    """Steps ln 10 / |slope| over which the gradient changes by a factor of 10.

    For each σ_w ≤ 3 and seed.
    """
    near = results.slope.sel(network=network)
    near = near.sel(gain=results.gain[results.gain <= TRUSTED])
    return np.log(10.0) / np.abs(near.transpose("seed", "gain").to_numpy())


def per_bias(results: xr.Dataset) -> Estimate:
    """Factor by which the reach of a gradient grows per unit of gate bias.

    Geometric mean over biases and σ_w, for each seed.
    """
    logs = np.log([reach(results, name) for name in BIASES])
    return median(np.exp(np.diff(logs, axis=0).mean(axis=(0, 2))))


def draw(results: xr.Dataset) -> Drawn:
    """Slopes against σ_w for both cells, and the widths of the trainable window."""
    gains = results.gain.to_numpy()
    shades = (SERIES[i][0] for i in (1, 4, 5, 0, 6))
    colours: dict[str, str] = dict(zip(NETWORKS, shades, strict=True))
    size = Size(2.3, 2.15, gap_x=0.62, left=0.62, right=0.2, top=0.3, bottom=0.45)
    with style():
        figure, grid = panels(1, 3, size)
        groups = [NETWORKS[:2], NETWORKS[2:]]
        heads = ["tanh", "MinimalRNN, orthogonal"]
        for axes, names, head in zip(grid[0], groups, heads, strict=False):
            band = np.log(10.0) / LENGTHS[0]
            axes.axhspan(-band, band, color=GRID, alpha=0.6, linewidth=0)
            for name in names:
                line, dots = results.sel(network=name), results.slope.sel(network=name)
                dashed = "--" if "Gaussian" in name else "-"
                axes.plot(gains, line.theory, dashed, color=colours[name], linewidth=1)
                filled = "none" if "Gaussian" in name else colours[name]
                for seed in range(dots.sizes["seed"]):
                    axes.plot(
                        gains,
                        dots[:, seed],
                        "o",
                        markersize=5.5 if "Gaussian" in name else 3,
                        markerfacecolor=filled,
                        color=colours[name],
                        label=name.split(", ")[-1] if seed == 0 else None,
                    )
            axes.legend(fontsize=7, frameon=False, loc="lower right")
            axes.set(xlabel="σ_w", xlim=(0, gains[-1] * 1.03))
            title(axes, head)
        first = grid[0][0]
        first.set_ylabel("nats per step")
        said = "lines: ½ ln χ\ndots: slope of ln‖∂ℓ/∂h‖\nband: < 10 × in 100 steps"
        first.text(0.97, 0.42, said, transform=first.transAxes, ha="right", color=SOFT,
                   fontsize=7, linespacing=1.4)  # fmt: skip
        _draw_widths(grid[0][2], results, colours)
    return figure


def _draw_widths(axes: Axes, results: xr.Dataset, colours: dict[str, str]) -> None:
    """Means over the seeds, one bar for each length."""
    names, span = [NETWORKS[0], *BIASES], float(np.ptp(results.gain.to_numpy()))
    for i, name in enumerate(names):
        for j, length in enumerate(LENGTHS):
            value = widths(results, name, length).mean()
            place = -i - 0.26 * (j - 1)
            axes.barh(place, value, 0.22, color=colours[name], alpha=1 - 0.3 * j)
            said = f" T = {length}: {value:.2f}"
            axes.text(value, place, said, va="center", fontsize=5.5, color=INK)
    axes.set_yticks(-np.arange(len(names)), ["tanh", *BIASES])
    axes.set(xlabel=f"length on the axis of σ_w, of {span:.1f}", xlim=(0, 1.5 * span))
    title(axes, "window: below 10 × in T steps")


FIGURE = Figure(
    name="mean_field",
    place="8",
    title="Mean-field theory of gradients: tanh against MinimalRNN",
    source=(
        "Chen, Pennington & Schoenholz (2018), Dynamical isometry and a mean field "
        "theory of RNNs: gating enables signal propagation in recurrent neural networks"
    ),
    shows=(
        "The rate ½ ln χ of gradients follows from a fixed point of the variances. A "
        "gate makes it vanish over a wide region of parameters, where a plain network "
        "has a single critical point."
    ),
    setup=(
        "512 units, every unit driven by white noise of variance 0.05, 100 steps after "
        "50 of warm-up. ½ ln χ is the log of a mean square, the dots are the mean of a "
        "log; in a large network the two are near"
    ),
    presets={
        "quick": Preset(Settings(), "60 s"),
        "paper": Preset(
            Settings(
                units=1024,
                gains=tuple(np.linspace(0.2, 6, 59).round(2).tolist()),
                seeds=tuple(range(5)),
            ),
            "30 min",
        ),
        "test": Preset(
            Settings(units=64, steps=20, warmup=5, gains=(0.5, 1.5), seeds=(0,)), "8 s"
        ),
    },
    run=run,
    draw=draw,
    claims=(
        Claim(
            "tanh, orthogonal: simulation and theory agree for σ_w ≤ 3 (largest gap)",
            lambda results: off(results, "tanh, orthogonal"),
            "½ ln χ, derived; tolerance from a check at one second's cost",
            high=0.012,
            origin="theory",
        ),
        Claim(
            "tanh, Gaussian: simulation and theory agree for σ_w ≤ 3 (largest gap)",
            lambda results: off(results, "tanh, Gaussian"),
            "the same; a Gaussian matrix fluctuates with 1/√N",
            high=0.035,
            origin="theory",
        ),
        Claim(
            "MinimalRNN, orthogonal, gate bias 4, 5 and 6: they agree for σ_w ≤ 3 "
            "(largest gap)",
            lambda results: off(results, *BIASES),
            "½ ln χ, derived with gates that are independent from step to step",
            high=0.035,
            origin="theory",
        ),
        Claim(
            "the window of σ_w in which 100 steps change the gradient by less than 10 "
            "is at least 3 times as wide for MinimalRNN, bias 4, as for tanh (ratio, "
            "median over the seeds)",
            lambda results: median(
                widths(results, "bias 4") / widths(results, NETWORKS[0])
            ),
            "our threshold",
            low=3.0,
        ),
        Claim(
            "MinimalRNN, σ_w ≤ 3: with one more unit of gate bias a gradient reaches "
            "about e times as far (geometric mean of the ratio of ln 10 / |slope|, "
            "median over the seeds)",
            per_bias,
            "ln σ(b) ≈ −e^−b; our tolerance for what the recurrent weights add",
            low=2.2,
            high=3.2,
            origin="theory",
        ),
        Claim(
            "tanh: the sign of the simulated slope is that of the theory at σ_w = 0.5 "
            "and 1.5 (smallest product)",
            lambda results: float(
                (results.slope * results.theory)
                .sel(network="tanh, orthogonal", gain=[0.5, 1.5])
                .min()
            ),
            "sign alone",
            low=0.0,
            origin="theory",
            presets=("quick", "paper", "test"),
        ),
    ),
    settings=(
        Setting("units", None, lambda settings: settings.units),
        Setting("input", None, "white noise of variance 0.05 at every unit"),
        Setting("gate bias", None, tuple(BIASES.values())),
        Setting("steps", None, lambda settings: settings.steps),
    ),
    remarks=(
        "Whether the window is open at all is a matter of the gate bias: ln σ(b)·T has "
        "to be above −ln 10, so from b = 3.8 on at T = 100, 4.9 at 300 and 6.1 at "
        "1000. Beyond σ_w = 3 the recurrent weights narrow it, too.",
    ),
)
