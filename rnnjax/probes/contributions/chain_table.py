"""The result of writing out the chain rule, as a table and as text."""

import dataclasses

import numpy as np
import polars as pl
from jaxtyping import Float, Int


MEANINGS = {
    "value": "v_t, the value that the weight multiplies at this step",
    "z": "pre-activation of the unit to which the weight contributes",
    "h": "state of that unit after the step",
    "slope": "phi'(z)",
    "factor": "dh_t/dh_{t-1}; for more than one unit the norm of the Jacobian",
    "slope_factor": "|phi' * dL/dh_t| / |dL/dh_t|, the slopes' part of a factor",
    "weight_factor": "|U^T delta_t| / |delta_t|, the weights' part of it",
    "product": "dh_T/dh_t, all later factors multiplied; T: the last loss step",
    "adjoint": "dL/dh_t; for more than one unit its norm",
    "delta": "dL/dz of the unit",
    "term": "value * delta, the contribution of the step to dL/dw",
}
"""Explanations of the columns of the text."""


@dataclasses.dataclass(frozen=True)
class ChainRule:
    """One weight and one sentence; arrays ``(steps,)`` in the order of the walk.

    Attributes:
        weight: name and index of the weight, such as `U[0, 0]`.
        step: position in the sentence, from 0.
        word: the word at that position, or an empty string.
        value: v_t, the value that the weight multiplies (if a kernel is used several
            times in a step, that of the last use).
        z: pre-activation of the unit to which the weight contributes; NaN for a cell
            with several activations.
        h: state of that unit after the step.
        slope: φ′(z_t).
        factor: ∂h_t/∂h_{t−1}: its value if the state is a single real number, else the
            spectral norm of the Jacobian of the joint state.
        slope_factor, weight_factor: ‖φ′⊙λ_t‖/‖λ_t‖ and ‖Uᵀδ_t‖/‖δ_t‖; NaN for a cell
            that is not of the form φ(drive + U h) (`two_factors`).
        product: ∂h_T/∂h_t, with T the last step that the loss depends on: its value or
            its spectral norm.
        log10_product: log10 of its size, which is finite even if `product` underflows.
        adjoint: ∂L/∂h_t: its value or its norm.
        delta: δ_t, the cotangent of the output of the product with the weight.
        term: δ_t v_t, the contribution of the step to the gradient.
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
        """One row per step and one column per array; `total` is the running sum."""
        single = ("weight", "gradient", "old", "new", "rate")
        names = [f.name for f in dataclasses.fields(self) if f.name not in single]
        columns = {name: getattr(self, name) for name in names}
        return pl.DataFrame({**columns, "total": np.cumsum(self.term)})

    def rows(self) -> list[list[str]]:
        """The header, then one row per step, as text; without uninformative columns."""
        twice = np.allclose(self.slope_factor, np.abs(self.slope), rtol=1e-4)
        columns = []
        for name in ("step", "word", *MEANINGS):
            if twice and name in ("slope_factor", "weight_factor"):
                continue  # for a single unit they are just the slope and the weight
            cells = list(getattr(self, name))
            if name == "word" and not any(cells):
                continue
            if name not in ("step", "word") and np.all(np.isnan(cells)):
                continue
            texts = [f"{x:.4g}" if isinstance(x, float) else str(x) for x in cells]
            columns.append([name, *texts])
        return [list(row) for row in zip(*columns, strict=True)]

    def text(self) -> str:
        """The aligned table, the sum, and the update of plain gradient descent."""
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
        """Explanations of the columns of the text, one per line."""
        shown = [name for name in self.rows()[0] if name in MEANINGS]
        width = max(map(len, shown))
        return "\n".join(f"{name:<{width}}  {MEANINGS[name]}" for name in shown)
