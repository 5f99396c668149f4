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
    """A bar a cell: its training step, and the matrix products in it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    name = next(iter(rows[0]))
    rows = sorted(rows, key=lambda row: row["products ms"], reverse=True)
    labels = [row[name].strip() for row in rows]
    axes.barh(labels, [row["step ms"] for row in rows], color="#c6dbef")
    axes.barh(labels, [row["products ms"] for row in rows], color="#2171b5")
    for place, row in enumerate(rows):
        ratio = f" {row['/ products']:.2f} ×"
        axes.text(row["step ms"], place, ratio, va="center", fontsize=8)
    batch, length, n = SIZE
    axes.set_xlabel("ms a training step; dark: its matrix products alone")
    axes.set_title(f"batch {batch}, {length} steps, {n} units", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    file = folder / "cells.png"
    figure.savefig(file, dpi=150)
    return file
