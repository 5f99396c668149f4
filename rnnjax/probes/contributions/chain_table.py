"""The record of a chain rule written out, as a table and as text."""

import dataclasses

import numpy as np
import polars as pl
from jaxtyping import Float, Int


MEANINGS = {
    "value": "v_t, what meets the weight at this step",
    "z": "pre-activation of the unit that the weight leads to",
    "h": "state of that unit after the step",
    "slope": "phi'(z)",
    "factor": "dh_t/dh_{t-1}; of more than one unit the norm of the Jacobian",
    "slope_factor": "|phi' * dL/dh_t| / |dL/dh_t|, the slopes' half of a factor",
    "weight_factor": "|U^T delta_t| / |delta_t|, the weights' half of it",
    "product": "dh_T/dh_t, all later factors multiplied; T: the last loss step",
    "adjoint": "dL/dh_t; of more than one unit its norm",
    "delta": "dL/dz of the unit",
    "term": "value * delta, what the step gives to dL/dw",
}
"""The columns of the text."""


@dataclasses.dataclass(frozen=True)
class ChainRule:
    """One weight and one sentence; arrays ``(steps,)`` in the order of the walk.

    Attributes:
        weight: name and place of the weight, such as `U[0, 0]`.
        step: position in the sentence, from 0.
        word: the word there, or an empty string.
        value: v_t, what meets the weight (of several uses of a kernel the last one).
        z: pre-activation of the unit that the weight leads to; NaN for a cell with
            several activations.
        h: state of that unit after the step.
        slope: φ′(z_t).
        factor: ∂h_t/∂h_{t−1}: a number for a state of one real number, else the
            spectral norm of the Jacobian of the joint state.
        slope_factor, weight_factor: ‖φ′⊙λ_t‖/‖λ_t‖ and ‖Uᵀδ_t‖/‖δ_t‖; NaN for a cell
            that is not φ(drive + U h) (`two_factors`).
        product: ∂h_T/∂h_t, T the last step that the loss sees: number or spectral norm.
        log10_product: log10 of its size, also where `product` underflows.
        adjoint: ∂L/∂h_t: number or norm.
        delta: δ_t, the cotangent of what the weight is multiplied into.
        term: δ_t v_t, what the step gives to the gradient.
        gradient: the sum of the terms, ∂L/∂w.
        old: w.
        new: w − η ∂L/∂w.
        rate: η.
    """

    weight: str
    step: Int[np.ndarray, "steps"]
    word: tuple[str, ...]
    value: Float[np.ndarray, "steps"]
    z: Float[np.ndarray, "steps"]
    h: Float[np.ndarray, "steps"]
    slope: Float[np.ndarray, "steps"]
    factor: Float[np.ndarray, "steps"]
    slope_factor: Float[np.ndarray, "steps"]
    weight_factor: Float[np.ndarray, "steps"]
    product: Float[np.ndarray, "steps"]
    log10_product: Float[np.ndarray, "steps"]
    adjoint: Float[np.ndarray, "steps"]
    delta: Float[np.ndarray, "steps"]
    term: Float[np.ndarray, "steps"]
    gradient: float
    old: float
    new: float
    rate: float

    def table(self) -> pl.DataFrame:
        """One row a step, one column an array; `total` is the sum up to that row."""
        single = ("weight", "gradient", "old", "new", "rate")
        names = [f.name for f in dataclasses.fields(self) if f.name not in single]
        columns = {name: getattr(self, name) for name in names}
        return pl.DataFrame({**columns, "total": np.cumsum(self.term)})

    def rows(self) -> list[list[str]]:
        """The header, then one row a step, as text: what is worth a column."""
        twice = np.allclose(self.slope_factor, np.abs(self.slope), rtol=1e-4)
        columns = []
        for name in ("step", "word", *MEANINGS):
            if twice and name in ("slope_factor", "weight_factor"):
                continue  # of a single unit they are slope and weight themselves
            cells = list(getattr(self, name))
            if name == "word" and not any(cells):
                continue
            if name not in ("step", "word") and np.all(np.isnan(cells)):
                continue
            texts = [f"{x:.4g}" if isinstance(x, float) else str(x) for x in cells]
            columns.append([name, *texts])
        return [list(row) for row in zip(*columns, strict=True)]

    def text(self) -> str:
        """The rows in columns, the sum, and the update of plain gradient descent."""
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(x.rjust(width) for x, width in zip(row, widths, strict=True))
            for row in rows
        ]
        lines.append(f"sum of terms = dL/d{self.weight} = {self.gradient:.4g}")
        update = f"{self.old:.4g} - {self.rate:.4g} * {self.gradient:.4g}"
        lines.append(
            f"{self.weight} <- {update} = {self.new:.6g}  (plain gradient descent)"
        )
        return "\n".join(lines)

    def legend(self) -> str:
        """What the columns of the text are, a line each."""
        shown = [name for name in self.rows()[0] if name in MEANINGS]
        width = max(map(len, shown))
        return "\n".join(f"{name:<{width}}  {MEANINGS[name]}" for name in shown)
