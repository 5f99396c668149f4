"""Newton iterations of DEER against the Lyapunov exponent. Quick: 15 s."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import lax
from matplotlib.figure import Figure as Drawn

from rnnjax.cells.elman import Elman
from rnnjax.probes.backward.single_layer import walk_layer
from rnnjax.probes.dynamics.lyapunov import lyapunov
from rnnjax.recurrence.functional import make_weights
from rnnjax.recurrence.newton import Newton
from rnnjax.report.layout import Size, panels, title
from rnnjax.report.style import GRID, INK, SERIES, SOFT, style
from rnnjax.reproduce import Claim, Estimate, Figure, Preset, Setting, median, same


STRENGTH = 0.5
"""Standard deviation of what drives each unit."""

TOLERANCE = 1e-6
"""Of correction and residual, relative to the largest state."""

FRONT = 10
"""Corrections after which so many states are looked at."""

STABLE, CHAOTIC = -0.1, 0.02
"""λ_1 below and above which a network is called so."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Units, gains and lengths of random tanh networks; steps for λ_1."""

    units: int = 16
    gains: tuple[float, ...] = (0.3, 0.6, 0.9, 1.1, 1.3, 1.5, 1.8, 2.2, 2.6, 3.0)
    lengths: tuple[int, ...] = (25, 50, 100, 200)
    steps: int = 2000
    transient: int = 200
    seeds: tuple[int, ...] = (0, 1, 2, 3)


def run(settings: Settings, pool: Path) -> xr.Dataset:
    """λ_1 and, for every length, the diagnostics of the iteration; in float64."""
    shape = len(settings.gains), len(settings.seeds)
    drawn = [
        _draw(settings, gain, [seed, place])
        for place, gain in enumerate(settings.gains)
        for seed in settings.seeds
    ]
    found: dict[str, list[np.ndarray]] = {}
    with jax.enable_x64(True):
        kernels, inputs = (jnp.asarray(np.stack(x)) for x in zip(*drawn, strict=True))
        exponent = _exponents(kernels, inputs, settings.transient)
        for length in settings.lengths:
            for key, value in _solve(kernels, inputs[:, :length]).items():
                found.setdefault(key, []).append(np.asarray(value).reshape(shape))
    dims = ("length", "gain", "seed")
    return xr.Dataset(
        {
            "exponent": (dims[1:], np.asarray(exponent).reshape(shape)),
            **{key: (dims, np.stack(values)) for key, values in found.items()},
        },
        {
            "length": list(settings.lengths),
            "gain": list(settings.gains),
            "seed": list(settings.seeds),
        },
        {"units": settings.units},
    )


def _draw(
    settings: Settings, gain: float, seed: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """U with entries N(0, g²/n) and the drive of the units; drawn for each network."""
    random = np.random.default_rng(seed)
    n = settings.units
    kernel = random.standard_normal((n, n)) * gain / np.sqrt(n)
    steps = max(settings.steps, *settings.lengths)
    return kernel, STRENGTH * random.standard_normal((steps, n))


def _cell(kernel: jax.Array) -> tuple[Any, Any]:
    n = kernel.shape[0]
    cell = Elman(inputs=n, features=n).clone(param_dtype=jnp.float64)
    return cell, {"U": kernel, "V": jnp.eye(n), "b": jnp.zeros(n)}


@jax.jit(static_argnums=2)
def _exponents(kernels: jax.Array, inputs: jax.Array, transient: int) -> jax.Array:
    def one(pair: Any) -> jax.Array:
        kernel, x = pair
        walked = walk_layer(*_cell(kernel), x[:, None])
        return lyapunov(walked, k=1, transient=transient).exponents[0, 0]

    return lax.map(one, (kernels, inputs))


@jax.jit
def _solve(kernels: jax.Array, inputs: jax.Array) -> dict[str, jax.Array]:
    """Iterations, convergence, deviation and overflows, for one network at a time."""
    steps = inputs.shape[1]

    def one(pair: Any) -> dict[str, jax.Array]:
        kernel, x = pair
        cell, params = _cell(kernel)
        walked = walk_layer(cell, params, x[:, None])
        static, weights = make_weights(cell, params)

        def iterate(most: int) -> Any:
            method = Newton(tolerance=TOLERANCE, iterations=most)
            return method.iterate(static, weights, walked.initial, walked.drive)

        states, report = iterate(steps + 1)
        first, _ = iterate(FRONT)
        return {
            "iterations": report.iterations,
            "converged": report.converged,
            "overflows": report.overflows,
            "deviation": jnp.max(jnp.abs(states - walked.states)),
            "front": jnp.max(jnp.abs(first - walked.states)[:FRONT]),
        }

    return lax.map(one, (kernels, inputs))


def group(results: xr.Dataset, chaotic: bool) -> xr.DataArray:
    """Which networks count as stable, or as chaotic."""
    return results.exponent > CHAOTIC if chaotic else results.exponent < STABLE


def growth(results: xr.Dataset, chaotic: bool) -> Estimate:
    """d ln iterations / d ln T of each network, where all lengths converged."""
    chosen = (group(results, chaotic) & results.converged.all("length")).to_numpy()
    if not chosen.any():
        return median([])
    iterations = np.log(results.iterations.to_numpy()[:, chosen])
    return median(np.polyfit(np.log(results.length.to_numpy()), iterations, 1)[0])


def per_step(results: xr.Dataset, chaotic: bool) -> Estimate:
    """Iterations / T at the largest T, of all networks of the group."""
    chosen = group(results, chaotic).to_numpy()
    last = results.iterations.isel(length=-1).to_numpy()[chosen]
    return median(last / float(results.length[-1]))


def steep(results: xr.Dataset) -> Estimate:
    """Iterations at T = 200 of each network with λ_1 < −0.4."""
    chosen = (results.exponent < -0.4).to_numpy()
    return median(results.iterations.sel(length=200).to_numpy()[chosen])


def draw(results: xr.Dataset) -> Drawn:
    """Iterations against λ_1 and against T, and effects of overflow and rounding."""
    exponent, length = results.exponent.to_numpy(), results.length.to_numpy()
    size = Size(2.2, 2.0, gap_x=0.62, left=0.6, right=0.15, top=0.3, bottom=0.45)
    with style():
        figure, grid = panels(1, 3, size)
        first, second, third = grid[0]
        for i, steps in enumerate(length):
            here = results.sel(length=steps)
            count, done = here.iterations.to_numpy(), here.converged.to_numpy()
            look = {"color": SERIES[i][0], "markersize": 3, "alpha": 0.85}
            first.plot(exponent[done], count[done], "o", label=f"T = {steps}", **look)
            first.plot(exponent[~done], count[~done], "x", **look)
        first.axvline(0, color=SOFT, linewidth=0.7)
        first.set(xlabel="λ₁, nats per step", ylabel="iterations", yscale="log")
        first.legend(fontsize=6.5, frameon=False, handletextpad=0.1, loc="upper left")
        title(first, "iterations against λ₁")
        for chaotic, colour in ((False, SERIES[0][0]), (True, SERIES[1][0])):
            chosen = group(results, chaotic).to_numpy()
            if chosen.any():
                lines = results.iterations.to_numpy()[:, chosen]
                name = f"λ₁ > {CHAOTIC}" if chaotic else f"λ₁ < {STABLE}"
                second.plot(length, lines, color=colour, linewidth=0.5, alpha=0.5)
                second.plot(length, np.median(lines, 1), "o-", color=colour,
                            markersize=3.5, label=name.replace("-", "−"))  # fmt: skip
        second.plot(length, length, color=INK, linewidth=0.9, linestyle=":", label="T")
        second.set(xlabel="length T", ylabel="iterations", xscale="log", yscale="log")
        second.set_xticks(length, [str(t) for t in length])
        second.minorticks_off()
        second.legend(fontsize=6.5, frameon=False)
        title(second, "iterations against T")
        third.axvline(0, color=SOFT, linewidth=0.7)
        for done, marker, text in (
            (True, "o", "converged"),
            (False, "x", "not converged"),
        ):
            chosen = results.converged.to_numpy() == done
            across = np.broadcast_to(exponent, chosen.shape)[chosen]
            values = np.maximum(results.deviation.to_numpy()[chosen], 1e-17)
            if across.size:
                third.plot(across, values, marker, markersize=3, label=text,
                           color=SERIES[2 + (not done)][0], alpha=0.85)  # fmt: skip
        third.axhline(1e-5, color=SOFT, linewidth=0.8, linestyle=":")
        third.grid(axis="y", color=GRID, linewidth=0.5)
        third.set(xlabel="λ₁, nats per step", ylabel="largest |Δh|", yscale="log")
        third.legend(fontsize=6.5, frameon=False, handletextpad=0.1, loc="center left")
        title(third, "deviation from the loop")
    return figure


def _deviation(results: xr.Dataset) -> float:
    return float(results.deviation.where(results.converged).max())


FIGURE = Figure(
    name="newton_iterations",
    place="14a",
    title="Parallel Newton iterations and the Lyapunov exponent",
    source=(
        "Lim, Zhu, Selfridge & Kasim (2024), Parallelizing non-linear sequential "
        "models over the sequence length; Gonzalez et al. (2024), Towards scalable "
        "and stable parallelization of nonlinear RNNs, for how many iterations are "
        "needed"
    ),
    shows=(
        "DEER solves all steps at once by Newton's method. A contracting network needs "
        "few iterations however long the sequence, a chaotic one about as many as "
        "there are steps, and its linear recurrence may overflow."
    ),
    setup=(
        "h_t = tanh(U h_{t−1} + x_t), 16 units, U Gaussian of variance g²/16, x white "
        "of standard deviation ½, float64; iterations until correction and residual "
        "are below 10⁻⁶, at most T + 1; λ₁ by Benettin's QR over 1800 steps. No time "
        "is claimed"
    ),
    presets={
        "quick": Preset(Settings(), "15 s"),
        "paper": Preset(
            Settings(
                lengths=(25, 50, 100, 200, 400, 800),
                steps=10_000,
                seeds=tuple(range(10)),
            ),
            "20 min, extrapolated",
        ),
        "test": Preset(
            Settings(
                units=6,
                gains=(0.4, 1.2),
                lengths=(12, 24),
                steps=60,
                transient=20,
                seeds=(0,),
            ),
            "3 s",
        ),
    },
    run=run,
    draw=draw,
    claims=(
        Claim(
            "what has converged equals the loop (largest deviation of a state)",
            _deviation,
            "fixed point of the iteration; our tolerance",
            high=1e-5,
            origin="theory",
            presets=("quick", "paper", "test"),
        ),
        Claim(
            "10 corrections make the first 10 states exact (largest deviation)",
            lambda results: float(results.front.max()),
            "induction over the steps; rounding",
            high=1e-10,
            origin="theory",
            presets=("quick", "paper", "test"),
        ),
        Claim(
            "λ₁ < −0.4 needs at most 8 iterations at T = 200 (median over the "
            "networks)",
            steep,
            "30 networks, computed when the figure was planned",
            high=8,
        ),
        Claim(
            "λ₁ < −0.1: iterations grow slower than √T (exponent of T, median over the "
            "networks)",
            lambda results: growth(results, False),
            "sublinear in theory; our threshold",
            high=0.5,
            origin="pattern",
        ),
        Claim(
            "λ₁ > 0.02: iterations grow like T (exponent of T, median over the "
            "networks for which all lengths converge)",
            lambda results: growth(results, True),
            "about T in theory; our tolerance",
            low=0.7,
            high=1.2,
            origin="pattern",
        ),
        Claim(
            "λ₁ < −0.1: at the largest T at most T/10 iterations (part of T, median "
            "over the networks)",
            lambda results: per_step(results, False),
            "our threshold",
            high=0.1,
        ),
        Claim(
            "λ₁ > 0.02: at the largest T at least T/2 iterations (part of T, median "
            "over the networks)",
            lambda results: per_step(results, True),
            "our threshold",
            low=0.5,
        ),
    ),
    settings=(
        Setting("networks", "GRU, autoregressive GRU", "tanh, 16 units", "their code"),
        Setting("steps T", "10 000 to 1 000 000", lambda s: s.lengths, "their code"),
        same("iteration", "undamped Newton, full Jacobians", "DEER"),
    ),
)
