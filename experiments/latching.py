"""Latching one bit against noise. Quick: 20 s."""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import lax
from matplotlib.figure import Figure as Drawn

from rnnjax.activations import ACTIVATIONS
from rnnjax.probes.factors.slopes import log_slope
from rnnjax.report.layout import Size, panels, title
from rnnjax.report.style import GRID, INK, SERIES, SOFT, style
from rnnjax.reproduce import Claim, Estimate, Figure, Preset, Setting, same, share


LEARNED, GOAL, START = 3, 0.8, 0.1
"""Trainable inputs of each class, the target, and the bound of their first values."""

SOLVED, FRESH = 0.95, 200
"""Share of fresh sequences with the right sign from which a trial has converged."""

NOISE, WEIGHT = 0.2, 1.25


@dataclasses.dataclass(frozen=True)
class Settings:
    """Lengths, trials, updates and rate; and the grid of first weight and noise.

    The paper states neither the rate nor the budget: both are ours, fixed beforehand.
    """

    lengths: tuple[int, ...] = (5, 8, 12, 16, 20, 25, 30, 40, 50, 60)
    trials: int = 18
    updates: int = 2000
    rate: float = 0.05
    weights: tuple[float, ...] = (0.25, 0.5, 0.75, 0.95, 1.1, 1.25, 1.5, 1.75, 2.0)
    noises: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
    grid_length: int = 20
    seeds: tuple[int, ...] = (0,)


def states(weight: jax.Array, inputs: jax.Array) -> jax.Array:
    """z_t = w y_{t−1} + x_t, y_t = tanh(z_t), y_0 = 0, of one sequence ``(T,)``."""

    def step(y, x):
        z = weight * y + x
        return jnp.tanh(z), z

    return lax.scan(step, jnp.zeros(()), inputs)[1]


@partial(jax.jit, static_argnums=(4, 5))
@partial(jax.vmap, in_axes=(0, 0, 0, 0, None, None, None))
def trial(key, length, weight, noise, longest: int, updates: int, rate):
    """Train one unit and its inputs online.

    Returns accuracy, log10 |∂y_T/∂y_L| and the weight after training.
    """
    goals = jnp.array([GOAL, -GOAL])
    own = jax.random.uniform(key, (2, LEARNED), minval=-START, maxval=START)

    def sequences(params, key, count):
        drawn = noise * jax.random.normal(key, (count, 2, longest))
        learned = jnp.broadcast_to(params[1][None], (count, 2, LEARNED))
        inputs = jnp.concatenate([learned, drawn[..., LEARNED:]], axis=-1)
        return jax.vmap(jax.vmap(partial(states, params[0])))(inputs)

    def loss(params, key):
        last = jnp.tanh(sequences(params, key, 1)[0, :, length - 1])
        return 0.5 * jnp.sum((last - goals) ** 2)

    def update(number, params):
        gradient = jax.grad(loss)(params, jax.random.fold_in(key, number))
        return jax.tree.map(lambda p, g: p - rate * g, params, gradient)

    params = lax.fori_loop(0, updates, update, (weight, own))
    seen = sequences(params, jax.random.fold_in(key, updates), FRESH)
    right = jnp.mean(jnp.sign(seen[:, :, length - 1]) == jnp.sign(goals)[None])
    after = (jnp.arange(longest) >= LEARNED) & (jnp.arange(longest) < length)
    slopes = log_slope(ACTIVATIONS["tanh"], seen)
    factors = (jnp.log(jnp.abs(params[0])) + slopes) / jnp.log(10.0)
    product = jnp.sum(jnp.where(after[None, None], factors, 0.0), axis=-1)
    return right, jnp.median(product), params[0]


def run(settings: Settings, pool: Path) -> xr.Dataset:
    """Trials over lengths, and over first weight and noise at one length."""
    root = jax.random.key(settings.seeds[0])

    def trials(number, length, weight, noise, longest):
        keys = jax.random.split(jax.random.fold_in(root, number), len(length))
        given = jnp.int32(length), jnp.float32(weight), jnp.float32(noise)
        fixed = longest, settings.updates, settings.rate
        return [np.asarray(x) for x in trial(keys, *given, *fixed)]

    count = len(settings.lengths) * settings.trials
    length = np.repeat(settings.lengths, settings.trials)
    by_length = trials(
        0, length, np.full(count, WEIGHT), np.full(count, NOISE), max(settings.lengths)
    )
    shape = (len(settings.lengths), settings.trials)
    right, product, weight = (x.reshape(shape) for x in by_length)
    grid = (len(settings.weights), len(settings.noises), settings.trials)
    first, noise, _ = np.meshgrid(
        settings.weights, settings.noises, np.arange(settings.trials), indexing="ij"
    )
    long = np.full(first.size, settings.grid_length)
    on_grid = trials(1, long, first.ravel(), noise.ravel(), settings.grid_length)
    dims = ("length", "trial")
    return xr.Dataset(
        {
            "right": (dims, right),
            "log10_product": (dims, product),
            "weight": (dims, weight),
            "grid_right": (("first", "noise", "trial"), on_grid[0].reshape(grid)),
        },
        {
            "length": list(settings.lengths),
            "first": list(settings.weights),
            "noise": list(settings.noises),
        },
    )


def success(results: xr.Dataset) -> xr.DataArray:
    """Whether each trial converged, by length."""
    return results.right >= SOLVED


@dataclasses.dataclass(frozen=True)
class Logistic:
    """Success = σ(a + b ln T): b with its standard error, and T of half success."""

    intercept: float
    slope: float
    error: float

    @property
    def half(self) -> float:
        return float(np.exp(-self.intercept / self.slope))


def logistic(results: xr.Dataset) -> Logistic:
    """Maximum likelihood by Newton's method (iteratively reweighted least squares)."""
    solved = success(results)
    y = solved.to_numpy().astype(float).ravel()
    x = np.repeat(np.log(results.length.to_numpy()), solved.sizes["trial"])
    design, theta = np.stack([np.ones_like(x), x], axis=1), np.zeros(2)
    information = np.eye(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ theta, -30, 30)))
        information = design.T @ (design * (p * (1 - p))[:, None])
        information += 1e-9 * np.eye(2)
        theta = theta + np.linalg.solve(information, design.T @ (y - p))
    error = np.sqrt(np.linalg.inv(information)[1, 1])
    return Logistic(float(theta[0]), float(theta[1]), float(error))


def falls(results: xr.Dataset) -> Estimate:
    """Slope of the logistic curve with its 95 % Wald interval."""
    fit = logistic(results)
    half = 1.96 * fit.error
    return Estimate(fit.slope, fit.slope - half, fit.slope + half, results.right.size)


def latched(results: xr.Dataset) -> Estimate:
    """Share of converged trials with |∂y_T/∂y_L| < 10⁻³, T from 20 on."""
    long = results.sel(length=results.length[results.length >= 20])
    return share(long.log10_product.to_numpy()[success(long).to_numpy()] < -3)


def on_grid(results: xr.Dataset, where) -> Estimate:
    """Share of converged trials in a part of the grid."""
    first, noise = xr.broadcast(results["first"], results.noise)
    chosen = where(first, noise).transpose("first", "noise").to_numpy()
    return share((results.grid_right >= SOLVED).to_numpy()[chosen])


def draw(results: xr.Dataset) -> Drawn:
    """Success against T, as a map over weight and noise, and the latch's gradient."""
    length = results.length.to_numpy()
    blue, orange = SERIES[0][0], SERIES[1][0]
    size = Size(2.15, 2.1, gap_x=0.65, left=0.62, right=0.65, top=0.3, bottom=0.45)
    with style():
        figure, grid = panels(1, 3, size)
        first, second, third = grid[0]
        rate = success(results).mean("trial").to_numpy()
        fit = logistic(results)
        fine = np.geomspace(length[0], length[-1], 100)
        curve = 1 / (1 + np.exp(-fit.intercept - fit.slope * np.log(fine)))
        first.plot(fine, curve, color=blue)
        first.plot(length, rate, "o", color=blue, markersize=4)
        first.set(xlabel="length T", ylabel="share of trials that converge")
        first.set(ylim=(-0.04, 1.04), xscale="log")
        first.set_xticks([5, 10, 20, 40], ["5", "10", "20", "40"])
        first.minorticks_off()
        first.grid(axis="y", color=GRID, linewidth=0.5)
        if length[0] < fit.half < length[-1]:
            first.plot([fit.half] * 2, [0, 0.66], color=SOFT, linewidth=0.8, ls=":")
            first.text(fit.half, 0.62, f" half at T = {fit.half:.0f}", fontsize=7,
                       color=SOFT)  # fmt: skip
        title(first, "learning to latch, w₀ = 1.25, s = 0.2")
        share = (results.grid_right >= SOLVED).mean("trial").to_numpy()
        image = second.imshow(share, origin="lower", aspect="auto", cmap="cividis",
                              vmin=0, vmax=1)  # fmt: skip
        for i, j in np.ndindex(*share.shape):
            tone = INK if share[i, j] > 0.6 else "#e8ecf2"
            second.text(j, i, f"{100 * share[i, j]:.0f}", color=tone, fontsize=5.5,
                        ha="center", va="center")  # fmt: skip
        image.set_interpolation("nearest")
        labels = lambda values: [f"{value:g}" for value in values]
        second.set_xticks(range(share.shape[1]), labels(results.noise.to_numpy()))
        second.set_yticks(range(share.shape[0]), labels(results["first"].to_numpy()))
        second.set(xlabel="noise s", ylabel="first weight w₀")
        second.spines[:].set_visible(False)
        second.tick_params(length=0)
        title(second, "trials that converge, %")
        done = success(results).to_numpy()
        across = np.broadcast_to(length[:, None], done.shape)
        spread = across * np.exp(np.linspace(-0.03, 0.03, done.shape[1]))[None]
        values = results.log10_product.to_numpy()
        for mask, colour, text in (
            (done, blue, "converged"),
            (~done, orange, "failed"),
        ):
            third.plot(spread[mask], values[mask], "o", color=colour, markersize=2.2,
                       alpha=0.7, label=text)  # fmt: skip
        third.set_ylim(max(values.min(), -120) - 5, 8)
        if (beyond := int((values < -125).sum())) > 0:
            said = f"{beyond} below"
            third.text(0.98, 0.03, said, transform=third.transAxes, ha="right",
                       fontsize=6.5, color=SOFT)  # fmt: skip
        third.axhline(-3, color=SOFT, linewidth=0.8, linestyle=":")
        third.set(xlabel="length T", ylabel="log₁₀ |∂y_T/∂y_L|", xscale="log")
        third.set_xticks([5, 10, 20, 40], ["5", "10", "20", "40"])
        third.minorticks_off()
        third.legend(fontsize=7, frameon=False, loc="lower left", handletextpad=0.1)
        title(third, "what latches, vanishes")
    return figure


NOTES = "notes on the paper, by a reader of it"

FIGURE = Figure(
    name="latching",
    place="10",
    title="Latching one bit against noise",
    source=(
        "Bengio, Simard & Frasconi (1994), Learning long-term dependencies with "
        "gradient descent is difficult, the latching experiment"
    ),
    shows=(
        "A single tanh unit that has to hold the class of the first inputs against "
        "noise learns it more rarely the longer it has to hold it, and not at all from "
        "a small weight. A robust latch is where the gradient vanishes."
    ),
    setup=(
        "y_t = tanh(w y_{t−1} + x_t); w and the first 3 inputs of each class are "
        "learned, the others are noise N(0, s²); targets ±0.8 at T; 18 trials a point. "
        "Rate 0.05, 2000 online updates of one sequence a class, and “converged” (95 % "
        "of fresh sequences have the right sign) are ours"
    ),
    presets={
        "quick": Preset(Settings(), "20 s"),
        "paper": Preset(Settings(trials=100, updates=20_000), "20 min"),
        "test": Preset(
            Settings((5, 40), 8, 300, weights=(0.25, 1.5), noises=(0.1,)), "4 s"
        ),
    },
    run=run,
    draw=draw,
    claims=(
        Claim(
            "the chance to converge falls with T: slope of a logistic curve in ln T "
            "(Wald's interval over the trials)",
            falls,
            "the paper's text: learning becomes rarer; sign alone",
            high=0.0,
            origin="paper",
            strict=True,
        ),
        Claim(
            "most trials converge at T = 5 (share)",
            lambda results: share(success(results).sel(length=5)),
            "our threshold",
            low=0.8,
        ),
        Claim(
            "few converge at the largest T (share)",
            lambda results: share(success(results)[-1]),
            "our threshold",
            high=0.3,
        ),
        Claim(
            "where a trial converged, |∂y_T/∂y_L| < 10⁻³ for T ≥ 20, L = 3 (share of "
            "those trials)",
            latched,
            "the trade-off of the paper's theorem; our thresholds",
            low=0.8,
            origin="pattern",
        ),
        Claim(
            "at T = 20 trials with w₀ < 1 and s > 0 rarely converge (share)",
            lambda results: on_grid(results, lambda w, s: (w < 1) & (s > 0)),
            "the paper's figure has noise everywhere; our threshold",
            high=0.1,
            origin="pattern",
        ),
        Claim(
            "those with w₀ ≥ 1.2 and s ≤ 0.2 mostly do (share)",
            lambda results: on_grid(results, lambda w, s: (w >= 1.2) & (s <= 0.2)),
            "our threshold",
            low=0.5,
        ),
    ),
    settings=(
        same("unit", "y_t = tanh(w y_{t−1} + x_t), y_0 = 0", NOTES),
        same("learned inputs", "3 of each class", NOTES),
        same("targets", "±0.8", NOTES),
        Setting("trials a point", 18, lambda settings: settings.trials, NOTES),
        same("w₀ and s of the curve", "1.25, 0.2", NOTES),
        Setting("learning rate", None, lambda settings: settings.rate),
        Setting("updates", None, lambda settings: settings.updates),
        Setting("when a trial has converged", None, "95 % of 200 fresh signs right"),
    ),
    remarks=(
        "Without any noise (left column of the map, which the paper does not have) "
        "small weights do converge: the weight itself grows.",
    ),
)
