"""Lyapunov exponents against the gain, and the gradient's slope. Quick: 40 s."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawn
from scipy import stats

from rnnjax.activations import tanh
from rnnjax.cells import Cell
from rnnjax.probes.adjoints.decay import decay
from rnnjax.probes.backward.single_layer import lagged_norms, walk_layer
from rnnjax.probes.dynamics.lyapunov import lyapunov
from rnnjax.report.layout import Size, panels, title
from rnnjax.report.style import GRID, INK, SERIES, SOFT, style
from rnnjax.reproduce import (
    Claim,
    Estimate,
    Figure,
    Preset,
    Setting,
    mean,
    median,
    same,
)


THIN = 10
"""Every tenth lag enters the fit of the slope."""

MIDDLE = (0.05, 0.75)
"""Part of i/N over which spectra of two sizes are compared."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Units and steps of the networks whose λ_1 and slope are compared; then, at one
    gain, the sizes and steps of those whose whole spectrum is taken."""

    units: int = 200
    gains: tuple[float, ...] = (0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0)
    steps: int = 2000
    transient: int = 500
    sizes: tuple[int, ...] = (50, 100, 200)
    gain: float = 2.0
    spectrum_steps: int = 400
    spectrum_transient: int = 100
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)


class Map(Cell):
    """h ← J tanh(h): the discrete analogue of dh/dt = −h + J tanh(h)."""

    def setup(self):
        self.kernel("J", self.features, self.features, "lecun_normal")

    def step(self, h, drive):
        return self.recur("J", tanh(h)) + drive


def run(settings: Settings, pool: Path) -> xr.Dataset:
    """Exponents, slopes and spectra; natural logarithms, per step."""
    shape = (len(settings.gains), len(settings.seeds))
    found, slope, radius = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for j, seed in enumerate(settings.seeds):
        matrix, start, last = _draw(settings.units, seed)
        radius[:, j] = np.max(np.abs(np.linalg.eigvals(matrix)))
        for i, gain in enumerate(settings.gains):
            total = settings.transient + settings.steps
            length = (total, settings.transient)
            exponent, norms = _leading(gain * matrix, start, last, *length)
            found[i, j] = exponent
            curve = np.asarray(norms)[::-1][: settings.steps : THIN]
            slope[i, j] = decay(curve, 5).slope * np.log(10.0) / THIN
    largest = max(settings.sizes)
    shape = (len(settings.sizes), len(settings.seeds), largest)
    spectra = np.full(shape, np.nan)
    for i, size in enumerate(settings.sizes):
        for j, seed in enumerate(settings.seeds):
            matrix, start, _ = _draw(size, seed)
            total = settings.spectrum_transient + settings.spectrum_steps
            length = (total, settings.spectrum_transient)
            spectra[i, j, :size] = _spectrum(settings.gain * matrix, start, *length)
    return xr.Dataset(
        {
            "exponent": (("gain", "seed"), found),
            "slope": (("gain", "seed"), slope),
            "radius": (("gain", "seed"), radius),
            "spectrum": (("size", "seed", "index"), spectra),
        },
        {
            "gain": list(settings.gains),
            "seed": list(settings.seeds),
            "size": list(settings.sizes),
        },
        {"gain": settings.gain, "units": settings.units},
    )


def _draw(units: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """J with entries N(0, 1/N), an initial state and a final cotangent."""
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((units, units)) / np.sqrt(units)
    return matrix, *random.standard_normal((2, 1, units))


def _walk(matrix: jax.Array, start: jax.Array, steps: int):
    units = matrix.shape[0]
    cell = Map(inputs=1, features=units)
    return walk_layer(cell, {"J": matrix.T}, jnp.zeros((steps, 1, 1)), start)


@jax.jit(static_argnums=(3, 4))
def _leading(matrix, start, last, steps: int, transient: int):
    walked = _walk(jnp.asarray(matrix, jnp.float32), jnp.float32(start), steps)
    exponents = lyapunov(walked, k=1, transient=transient).exponents
    return exponents[0, 0], lagged_norms(walked, jnp.float32(last))[:, 0]


@jax.jit(static_argnums=(2, 3))
def _spectrum(matrix, start, steps: int, transient: int):
    walked = _walk(jnp.asarray(matrix, jnp.float32), jnp.float32(start), steps)
    return lyapunov(walked, transient=transient, every=2).exponents[0]


def off_theory(results: xr.Dataset) -> float:
    """Largest |λ_1 − ln(g ρ(J))| at the gains up to 0.8."""
    few = results.sel(gain=results.gain[results.gain <= 0.8])
    return float(np.abs(few.exponent - np.log(few.gain * few.radius)).max())


def off_slope(results: xr.Dataset) -> float:
    """Largest difference between the gradient's slope and λ_1."""
    return float(np.abs(results.slope - results.exponent).max())


def at(results: xr.Dataset, gain: float) -> np.ndarray:
    """λ_1 of all seeds at one gain."""
    return results.exponent.sel(gain=gain).to_numpy()


def collapse(results: xr.Dataset) -> Estimate:
    """Largest root mean square difference between spectra of consecutive sizes.

    Spectra are averaged over the seeds; the interval is from the jackknife over seeds.
    """
    spectra, sizes = results.spectrum.to_numpy(), results["size"].to_numpy()
    place = np.linspace(*MIDDLE, 50)

    def gap(chosen: np.ndarray) -> float:
        curves = [
            np.interp(place, (np.arange(n) + 0.5) / n, rows[chosen, :n].mean(axis=0))
            for n, rows in zip(sizes, spectra, strict=True)
        ]
        return np.sqrt(np.mean(np.square(np.diff(curves, axis=0)), axis=1)).max()

    seeds = np.arange(spectra.shape[1])
    without = np.array([gap(seeds[seeds != seed]) for seed in seeds])
    n, value = len(seeds), float(gap(seeds))
    error = np.sqrt((n - 1) * np.var(without))
    half = float(stats.t.ppf(0.975, n - 1) * error)
    # a root mean square is not negative
    return Estimate(value, max(value - half, 0.0), value + half, n)


def draw(results: xr.Dataset) -> Drawn:
    """λ_1 and the slope of the gradient against the gain, their comparison, spectra."""
    gains = results.gain.to_numpy()
    blue, orange = SERIES[0][0], SERIES[1][0]
    size = Size(2.15, 2.0, gap_x=0.62, left=0.62, right=0.15, top=0.3, bottom=0.45)
    with style():
        figure, grid = panels(1, 3, size)
        first, second, third = grid[0]
        fine = np.linspace(0.4, 1.0, 50)
        first.axhline(0, color=SOFT, linewidth=0.7)
        first.plot(fine, np.log(fine), color=INK, linewidth=1.0, linestyle=":")
        first.text(0.52, -0.92, "ln g", fontsize=7, color=INK)
        values = results.exponent.to_numpy()
        first.fill_between(
            gains, values.min(1), values.max(1), color=blue, alpha=0.18, linewidth=0
        )
        first.plot(gains, values.mean(1), color=blue)
        slopes = results.slope.to_numpy()
        across = np.repeat(gains, slopes.shape[1])
        first.plot(across, slopes.ravel(), "o", color=orange, markersize=2.4, alpha=0.8)
        first.set(xlabel="gain g", ylabel="nats per step")
        first.text(0.98, 0.3, "λ₁ (range over networks)", color=blue, **_right(first))
        first.text(0.98, 0.2, "slope of ln‖∂ℓ/∂h‖", color=orange, **_right(first))
        title(first, "largest exponent against the gain")
        ends = np.array([values.min(), values.max()])
        second.plot(ends, ends, color=GRID, linewidth=1.2)
        shades = np.linspace(0, 1, len(gains))
        colours = matplotlib.colormaps["cividis"](0.9 * shades)
        for i, gain in enumerate(gains):
            shown = {"color": colours[i], "markersize": 3.2, "label": f"g = {gain:g}"}
            second.plot(values[i], slopes[i], "o", **shown)
        second.legend(fontsize=6, frameon=False, handletextpad=0.1, loc="upper left")
        second.set(xlabel="λ₁ (Benettin's QR)", ylabel="slope of the gradient")
        title(second, "two measurements of one number")
        third.axhline(0, color=SOFT, linewidth=0.7)
        spectra = results.spectrum.mean("seed").to_numpy()
        for i, units in enumerate(results["size"].to_numpy()):
            place = (np.arange(units) + 0.5) / units
            look = {"color": SERIES[i][0], "linewidth": (4.5, 2.5, 1.0)[i]}
            third.plot(place, spectra[i, :units], label=f"N = {units}", **look)
        third.legend(fontsize=7, frameon=False, loc="lower left")
        third.set(xlabel="index i / N", xlim=(0, 1))
        title(third, f"whole spectrum at g = {results.attrs['gain']:g}")
    return figure


def _right(axes) -> dict:
    return {"transform": axes.transAxes, "ha": "right", "fontsize": 7}


def _median(gain: float):
    return lambda results: median(at(results, gain))


COMPUTED = "six networks of 200 units, computed when the figure was planned, widened"

FIGURE = Figure(
    name="lyapunov",
    place="3",
    title="Lyapunov exponents and the slope of the gradient",
    source=(
        "Engelken, Wolf & Abbott (2020, 2023), Lyapunov spectra of chaotic recurrent "
        "neural networks; a discrete analogue of its flow"
    ),
    shows=(
        "Random networks turn chaotic at gain 1, and their Lyapunov spectrum is "
        "extensive: it depends on i/N alone. The largest exponent is the rate at which "
        "gradients grow or vanish."
    ),
    setup=(
        "h ← g J tanh(h) in place of dh/dt = −h + g J tanh(h), J Gaussian of variance "
        "1/N; λ₁ by Benettin's QR, and beside it the slope of the log norm of the "
        "adjoint of a random loss at the last step, over the same steps"
    ),
    presets={
        "quick": Preset(Settings(), "40 s"),
        "paper": Preset(
            Settings(
                gains=(
                    0.5,
                    0.8,
                    0.9,
                    1.0,
                    1.1,
                    1.2,
                    1.35,
                    1.5,
                    1.75,
                    2.0,
                    2.5,
                    3.0,
                    4.0,
                ),
                steps=10_000,
                transient=1000,
                sizes=(100, 200, 400),
                spectrum_steps=2000,
                seeds=tuple(range(10)),
            ),
            "20 min",
        ),
        "test": Preset(
            Settings(
                units=30,
                gains=(0.5, 0.8),
                steps=400,
                transient=100,
                sizes=(10, 20),
                spectrum_steps=40,
                spectrum_transient=20,
                seeds=(0, 1),
            ),
            "5 s",
        ),
    },
    run=run,
    draw=draw,
    claims=(
        Claim(
            "at g = 0.5 and 0.8, λ₁ = ln(g ρ(J)) for all networks (largest gap)",
            off_theory,
            "linear stability of h = 0",
            high=0.005,
            origin="theory",
            presets=("quick", "paper", "test"),
        ),
        Claim(
            "the slope of the log norm of the gradient is λ₁ at every gain and for "
            "every network (largest difference)",
            off_slope,
            "Oseledets' theorem; our tolerance for the finite length",
            high=0.02,
            origin="theory",
        ),
        *(
            Claim(
                f"at g = {gain} λ₁ is not negative (median over the networks)",
                _median(gain),
                COMPUTED,
                low=-0.002,
            )
            for gain in (1.2, 1.5)
        ),
        Claim(
            "at g = 1.5 the mean λ₁ is positive (mean over the networks)",
            lambda results: mean(at(results, 1.5)),
            "chaos from g = 1 on",
            low=0.0,
            origin="paper",
            strict=True,
        ),
        *(
            Claim(
                f"at g = {gain:g} λ₁ lies near what was computed (median over the "
                "networks)",
                _median(gain),
                COMPUTED,
                low=low,
                high=high,
            )
            for gain, low, high in ((2.0, 0.08, 0.18), (3.0, 0.26, 0.33))
        ),
        Claim(
            "spectra of consecutive sizes fall on one curve of i/N (root mean square "
            "difference for i/N from 0.05 to 0.75 between means over the seeds)",
            collapse,
            "extensivity; our tolerance",
            high=0.05,
            origin="pattern",
        ),
    ),
    settings=(
        Setting(
            "dynamics",
            "dh/dt = −h + g J tanh(h), steps of 0.1",
            "h ← g J tanh(h)",
            "the author's demonstration program",
        ),
        Setting("units N", 100, lambda settings: settings.units, "the same"),
        same("J", "Gaussian, variance 1/N", "the same"),
        Setting(
            "QR decomposition",
            "every step",
            "every step; every second for whole spectra",
            "the same",
        ),
    ),
)
