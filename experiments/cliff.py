"""The cliff in the error surface of a one-unit network. Quick and paper: 2 s."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import lax
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure as Drawn
from scipy import ndimage

from rnnjax.activations import ACTIVATIONS
from rnnjax.report.layout import title
from rnnjax.report.style import INK, SERIES, SOFT, style
from rnnjax.reproduce import Claim, Figure, Preset, Setting, same


CLIPPED, FREE = SERIES[0], SERIES[1]
STEPS, START, TARGET = 50, 0.5, 0.7
W_RANGE, B_RANGE = (4.5, 7.0), (-3.5, -2.0)
WINDOW = 0.01
"""Δb within which the error has to jump for a point to belong to the wall."""

JUMP = 0.3


@dataclasses.dataclass(frozen=True)
class Settings:
    """Points of the grid (`fine` to a window of b), and the descent from the wall.

    The rate is that of the paper's experiments, the threshold that of its section 4.
    """

    w_points: int = 251
    b_points: int = 151
    fine: int = 5
    rate: float = 0.01
    threshold: float = 1.0
    descent: int = 100
    seeds: tuple[int, ...] = ()


def error(point: jax.Array) -> jax.Array:
    """(σ(x_50) − 0.7)² for x_t = w σ(x_{t−1}) + b, x_0 = 0.5."""
    sigma = ACTIVATIONS["sigmoid"]
    w, b = point
    last, _ = lax.scan(
        lambda x, _: (w * sigma(x) + b, None),
        jnp.full((), START, point.dtype),
        length=STEPS,
    )
    return (sigma(last) - TARGET) ** 2


def run(settings: Settings, pool: Path) -> xr.Dataset:
    """Error and gradient on the grid, and two descents from its steepest point."""
    with jax.enable_x64(True):
        both = jax.value_and_grad(error)
        grid = jax.jit(jax.vmap(jax.vmap(both)))
        w = np.linspace(*W_RANGE, settings.w_points)
        b = np.linspace(*B_RANGE, settings.b_points)
        spread = np.linspace(*B_RANGE, (settings.b_points - 1) * settings.fine + 1)
        points = lambda b: jnp.asarray(np.stack(np.meshgrid(w, b), -1))
        value, gradient = map(np.asarray, grid(points(b)))
        close = np.asarray(grid(points(spread))[0])
        slope = np.linalg.norm(gradient, axis=-1)
        at = np.unravel_index(np.argmax(slope), slope.shape)
        start = np.array([w[at[1]], b[at[0]]])
        paths = {
            clipped: _descend(jax.jit(both), start, settings, clipped)
            for clipped in (False, True)
        }
    window = round(WINDOW / (spread[1] - spread[0]))
    jump = np.abs(close[window:] - close[:-window])
    return xr.Dataset(
        {
            "error": (("b", "w"), value.astype(np.float32)),
            "gradient": (("b", "w"), slope.astype(np.float32)),
            "secant": (("b", "w"), _at(b, spread, jump).astype(np.float32)),
            "wall": (("b_fine", "w"), jump > JUMP),
            "path": (("clipped", "update", "axis"), np.stack(list(paths.values()))),
        },
        {
            "w": w,
            "b": b,
            "b_fine": spread[: len(jump)],
            "clipped": [0, 1],
            "axis": ["w", "b", "error"],
        },
    )


def _at(b: np.ndarray, spread: np.ndarray, jump: np.ndarray) -> np.ndarray:
    """Slope of the secant over the window at each b of the grid; 0 at its upper end."""
    places = np.searchsorted(spread, b - 1e-9)
    known = places < len(jump)
    inside = jump[np.where(known, places, 0)]
    return np.where(known[:, None], inside, 0.0) / WINDOW


def _descend(both, start: np.ndarray, settings: Settings, clipped: bool) -> np.ndarray:
    """Points (w, b, error) of a gradient descent."""
    here, seen = start, []
    for _ in range(settings.descent + 1):
        value, gradient = both(jnp.asarray(here))
        seen.append([*here, float(value)])
        gradient = np.asarray(gradient)
        if clipped:
            size = np.linalg.norm(gradient)
            gradient = gradient * min(1.0, settings.threshold / size)
        here = here - settings.rate * gradient
    return np.array(seen)


def steepness(results: xr.Dataset) -> float:
    """Largest over median gradient norm."""
    return float(results.gradient.max() / results.gradient.median())


def largest_wall(results: xr.Dataset) -> float:
    """Share of the points with a jump above 0.3 that form one connected piece.

    Where the jump itself is close to 0.3, isolated points depend on the grid.
    """
    steep = results.wall.to_numpy().astype(bool)
    pieces: Any
    pieces, count = ndimage.label(steep, np.ones((3, 3)))  # pyright: ignore
    sizes = ndimage.sum_labels(steep, pieces, range(1, count + 1))
    return float(np.max(sizes, initial=0) / max(steep.sum(), 1))


def steps_inside(results: xr.Dataset, clipped: int) -> int:
    """Number of updates before the descent leaves the box."""
    path = results.path.sel(clipped=clipped).to_numpy()[1:]
    inside = np.all(
        [
            (low <= path[:, i]) & (path[:, i] <= high)
            for i, (low, high) in enumerate((W_RANGE, B_RANGE))
        ],
        axis=0,
    )
    return len(inside) if inside.all() else int(np.argmin(inside))


def gain(results: xr.Dataset) -> float:
    """Error after the clipped descent minus that at its start."""
    errors = results.path.sel(clipped=1, axis="error")
    return float(errors[-1] - errors[0])


def draw(results: xr.Dataset) -> Drawn:
    """The surface with both descents, and its steepness as a map."""
    w, b, value = (results[name].to_numpy() for name in ("w", "b", "error"))
    free, clipped = results.path.to_numpy()
    away = np.linalg.norm(free[1, :2] - free[0, :2])
    end = _to_the_edge(free[0, :2], free[1, :2])
    with style():
        figure = Drawn(figsize=(7.6, 3.3))
        solid: Any = figure.add_axes((0.0, -0.06, 0.54, 1.08), projection="3d")
        flat = figure.add_axes((0.6, 0.14, 0.31, 0.74))
        bar = figure.add_axes((0.922, 0.14, 0.013, 0.74))
        _surface(solid, w, b, value)
        lift = 0.012
        solid.plot(*clipped[:, :2].T, clipped[:, 2] + lift, color=CLIPPED[0], zorder=5)
        solid.plot(
            [free[0, 0], end[0]],
            [free[0, 1], end[1]],
            [free[0, 2] + lift] * 2,
            color=FREE[0],
            linestyle="--",
            zorder=6,
        )
        solid.scatter(*free[0, :2], free[0, 2] + lift, color=INK, s=12, zorder=7)
        image = flat.imshow(
            _steepest(results),
            norm=LogNorm(1e-2, 1e2),
            cmap="cividis",
            extent=(*W_RANGE, *B_RANGE),
            origin="lower",
            aspect="auto",
        )
        flat.plot(*clipped[:, :2].T, color=CLIPPED[1], linewidth=2.2)
        arrow = {"arrowstyle": "->", "color": FREE[1], "linewidth": 1.4, "ls": "--"}
        flat.annotate("", tuple(end), tuple(free[0, :2]), arrowprops=arrow)
        flat.plot([free[0, 0]], [free[0, 1]], "o", color="white", markersize=3.5)
        flat.text(
            free[0, 0] + 0.1, free[0, 1] - 0.04, "start", color="white", fontsize=7
        )
        flat.set(xlim=W_RANGE, ylim=B_RANGE, xlabel="weight w", ylabel="bias b")
        title(flat, "slope at its steepest within Δb = 0.01")
        edge = figure.colorbar(image, cax=bar)
        edge.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        updates = len(clipped) - 1
        label: Any = {"fontsize": 7, "va": "top"}
        figure.text(0.02, 0.99, f"{updates} clipped steps", color=CLIPPED[0], **label)
        said = f"one unclipped step, of length {away:.1f}: out of the box"
        figure.text(0.02, 0.94, said, color=FREE[0], **label)
    return figure


def _steepest(results: xr.Dataset) -> np.ndarray:
    """Norm of the gradient, or slope of the secant over the window if it is larger."""
    slope = results.gradient.to_numpy()
    return np.maximum(slope, results.secant.to_numpy())


def _surface(solid: Any, w: np.ndarray, b: np.ndarray, value: np.ndarray) -> None:
    tones = LinearSegmentedColormap.from_list(
        "error", ["#eef1f5", "#a9bad0", "#5b7697"]
    )
    ww, bb = np.meshgrid(w, b)
    solid.computed_zorder = False
    solid.plot_surface(
        *(ww, bb, value),
        cmap=tones,
        vmin=0.0,
        vmax=0.46,
        rcount=151,
        ccount=126,
        linewidth=0,
        antialiased=False,
        rasterized=True,
        zorder=1,
    )
    solid.view_init(elev=30, azim=38)
    solid.set(xlim=W_RANGE, ylim=B_RANGE, zlim=(0, 0.46))
    solid.set(xticks=[5, 6, 7], yticks=[-3.5, -3.0, -2.5], zticks=[0, 0.2, 0.4])
    solid.set_xlabel("w", labelpad=-8)
    solid.set_ylabel("b", labelpad=-8)
    solid.set_zlabel("error", labelpad=-8)
    solid.tick_params(pad=-3, labelsize=6.5)
    solid.set_box_aspect((1.35, 1.1, 0.7), zoom=0.95)
    for axis in (solid.xaxis, solid.yaxis, solid.zaxis):
        axis.set_pane_color((1, 1, 1, 0))
        axis._axinfo["grid"].update(color="#e6e9ed", linewidth=0.4)
        axis.line.set_color(SOFT)


def _to_the_edge(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Where the path from `start` to `end` leaves the box, or `end` if it does not."""
    part = 1.0
    for here, there, (low, high) in zip(start, end, (W_RANGE, B_RANGE), strict=True):
        if there > high:
            part = min(part, (high - here) / (there - here))
        if there < low:
            part = min(part, (low - here) / (there - here))
    return start + part * (end - start)


TEXT = "caption of the figure"

SURFACE = ("recurrence", "error", "plotted")
"""Lines of the setting that concern the surface itself."""

FIGURE = Figure(
    name="cliff",
    place="2",
    title="The cliff in the error surface",
    source=(
        "Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent "
        "neural networks, Fig. 6"
    ),
    shows=(
        "A single unit over 50 steps has an error surface with a wall of high "
        "curvature; gradient descent that touches it is thrown far away, clipped "
        "descent is not"
    ),
    setup=(
        "x_t = w σ(x_{t−1}) + b, x_0 = 0.5, error (σ(x_50) − 0.7)², as in the paper; "
        "w in [4.5, 7], b in [−3.5, −2], float64. Both descents start at the steepest "
        "point of the grid, with learning rate 0.01 and threshold 1; the paper states "
        "none of the three for this figure"
    ),
    presets={
        "quick": Preset(Settings(), "2 s"),
        "paper": Preset(Settings(501, 301), "3 s"),
        "test": Preset(Settings(fine=1), "1 s"),
    },
    run=run,
    draw=draw,
    claims=(
        Claim(
            "the largest gradient is more than 1000 times the median one",
            steepness,
            "our threshold for “a wall”",
            low=1e3,
            settings=SURFACE,
            origin="pattern",
        ),
        Claim(
            "the points where the error jumps by more than 0.3 within Δb = 0.01 form "
            "one wall (share of them in the largest connected piece)",
            largest_wall,
            "our reading of the figure",
            low=0.99,
            settings=SURFACE,
            origin="pattern",
        ),
        Claim(
            "from the steepest point, unclipped descent leaves the box with its first "
            "step (steps inside)",
            lambda results: steps_inside(results, 0),
            "the dashed arrow of the figure",
            low=0,
            high=0,
            presets=("quick", "paper", "test"),
            origin="pattern",
        ),
        Claim(
            "clipped descent from there stays inside for 100 steps (steps inside)",
            lambda results: steps_inside(results, 1),
            "our number of steps",
            low=100,
        ),
        Claim(
            "and ends lower (error at the end less that at the start)",
            gain,
            "sign alone",
            high=0.0,
            presets=("quick", "paper", "test"),
            strict=True,
        ),
    ),
    settings=(
        same("recurrence", "x_t = w σ(x_{t−1}) + b, x_0 = 0.5", TEXT),
        same("error", "(σ(x_50) − 0.7)²", TEXT),
        same("plotted", "w 4.5 to 7, b −3.5 to −2", "the figure's axes"),
        Setting("start of the descents", None, "steepest point of the grid"),
        Setting("learning rate", None, lambda settings: settings.rate),
        Setting("clipping threshold", None, lambda settings: settings.threshold),
    ),
    remarks=(
        "0.01 and 1 are the rate and the threshold of the paper's other experiments.",
    ),
)
