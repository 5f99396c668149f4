"""Structurally constrained network: slow context units added to an Elman network."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.activations import activation
from rnnjax.cells.base import CELLS, Cell, Init
from rnnjax.checks import LONGEST, check_int


class SCRNState(NamedTuple):
    """Hidden units h ``(B, n)`` and context units s ``(B, p)``."""

    h: Float[Array, "*b n"]
    s: Float[Array, "*b p"]


@CELLS.register("scrn")
class SCRN(Cell):
    """Mikolov, Joulin, Chopra, Mathieu & Ranzato (2015), SCRN: slow context units.

        s_t = (1 − α) B x_t + α s_{t−1}
        h_t = φ(R h_{t−1} + A x_t + P s_t),   φ = σ
        output [h_t; s_t], which the next layer multiplies by a matrix [U, V]

    torchrecurrent feeds the output φ(U h_t + V s_t) back instead of h_t, and uses α = 0
    by default. State: (h, s), ``(B, n)`` and ``(B, p)``; output ``(B, n + p)``.

    Attributes:
        activation: φ.
        alpha: α; the closer to 1, the slower the context units.
        context: p, the number of context units; None: n.
        recurrent_init: initialiser of R.
        input_init: initialiser of A, B and P.
    """

    activation: str = "sigmoid"
    alpha: float | Array = 0.95
    context: int | None = None
    recurrent_init: Init = "orthogonal"
    input_init: Init = "glorot_uniform"

    initial = ("recurrent_init", "input_init")

    def setup(self):
        m, n, p = self.inputs, self.features, self.slow
        check_int("cell.context", p, 1, LONGEST)
        self.kernel("A", m, n, self.input_init)
        self.kernel("B", m, p, self.input_init)
        self.kernel("R", n, n, self.recurrent_init)
        self.kernel("P", p, n, self.input_init)
        self.phi = activation(self.activation)

    @property
    def slow(self) -> int:
        """The number of context units."""
        return self.features if self.context is None else self.context

    @property
    def output_size(self):
        return self.features + self.slow

    def initial_state(self, batch):
        sizes = self.features, self.slow
        return SCRNState(*(jnp.zeros((*batch, k), self.param_dtype) for k in sizes))

    def readin(self, x):
        return self.project("A", x), self.project("B", x)

    def step(self, state, drive):
        Ax, Bx = drive
        s = (1 - self.alpha) * Bx + self.alpha * state.s
        z = Ax + self.recur("R", state.h) + self.recur("P", s)
        return SCRNState(self.phi(z, "hidden"), s)

    def readout(self, state, drive):
        return jnp.concatenate(state, axis=-1)
