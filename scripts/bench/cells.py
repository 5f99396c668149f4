"""What a cell costs beyond its matrix products: a training step over those alone.

The products are x V for all steps, v U and δ Uᵀ step by step and the gradients of the
kernels, in a loop of the same length on the same device; how many columns a cell's
kernels have is read off its seams.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.bench.steps import Size, columns, floor, ours
from scripts.bench.timing import interleaved


CELLS = (
    *("elman", "antisymmetric", "cornn", "mgu", "janet", "ugrnn", "ran", "gru"),
    *("gru_before", "lstm", "peephole_lstm", "lem"),
)
SIZE: Size = (64, 50, 128)
UPDATES = 8


def rows(seconds: float, only: str = "") -> Iterator[dict[str, Any]]:
    """One row for each cell whose name contains `only`."""
    for cell in CELLS:
        if only in cell:
            steps = {
                "step": ours(cell, SIZE, UPDATES),
                "floor": floor(cell, SIZE, UPDATES),
            }
            timed = interleaved(steps, seconds / 3)
            step, products = (timed[k].median / UPDATES for k in ("step", "floor"))
            inside, outside = columns(cell, SIZE[-1])
            yield {
                f"{'cell':13}": f"{cell:13}",
                "columns of U, V": f"{inside}+{outside}",
                "products ms": 1e3 * products,
                "step ms": 1e3 * step,
                "/ products": step / products,
                "± %": 100 * timed["step"].spread,
            }


def draw(rows: list[dict[str, Any]], folder: Path) -> Path:
    """A training step against the cell's matrix products."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.2), layout="constrained")
    axes = figure.add_subplot()
    name = next(iter(rows[0]))
    for row in rows:
        x, y = row["products ms"], row["step ms"]
        axes.plot(x, y, "o", color="tab:blue", markersize=4)
        axes.annotate(
            row[name].strip(), (x, y), (4, 3), textcoords="offset points", fontsize=7
        )
    most = 1.1 * max(row["products ms"] for row in rows)
    for factor, style in ((1, "-"), (2, "--")):
        axes.plot([0, most], [0, factor * most], style, color="gray", linewidth=0.8)
    axes.set_xlim(0, most)
    axes.set_ylim(0, None)
    axes.set_xlabel("ms, matrix products alone")
    axes.set_ylabel("ms, a training step")
    axes.set_title("lines: 1 × and 2 × the products", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    file = folder / "cells.png"
    figure.savefig(file, dpi=150)
    return file
