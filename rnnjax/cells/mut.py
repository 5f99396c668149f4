"""MUT1: the best of the cells found by an evolutionary search."""

import jax.numpy as jnp

from rnnjax.cells.base import CELLS, chrono_or
from rnnjax.cells.gated import Gated
from rnnjax.initializers import gate_bias


@CELLS.register("mut1")
class MUT1(Gated):
    """Jozefowicz, Zaremba & Sutskever (2015), MUT1: found by search, similar to a GRU.

        z = σ(V_z x_t + b_z)
        r = σ(U_r h_{t−1} + V_r x_t + b_r)
        h_t = (1 − z) ⊙ h_{t−1} + z ⊙ φ(U_h (r ⊙ h_{t−1}) + φ(V_h x_t) + b_h)

    The paper has φ(x_t), which needs m = n; here, as in other libraries, x_t is
    multiplied by a matrix V_h. State: h ``(B, n)``; fused kernels are in the order z,
    r, h; two products in sequence.

    Attributes, in addition to those of `Gated`:
        update_bias: initial b_z; negative keeps the past.
    """

    update_bias: float = 0.0

    initial = (*Gated.initial, "update_bias")

    def setup(self):
        super().setup()
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init, gates=3)
        self.kernel("U", n, n, self.recurrent_init)
        self.kernel("Uh", n, n, self.recurrent_init)
        let_in = chrono_or(self.update_bias, self.chrono, sign=-1.0)
        self.b = self.vector("b", 2 * n, gate_bias([let_in, 0.0]))
        self.bh = self.vector("bh", n)

    def readin(self, x):
        n = self.features
        gates, new = jnp.split(self.project("V", x), [2 * n], axis=-1)
        z, r = jnp.split(gates + self.b, 2, axis=-1)
        return self.sigma(z, "update"), r, self.phi(new, "encoded") + self.bh

    def step(self, h, drive):
        z, r, new = drive
        r = self.sigma(r + self.recur("U", h), "reset")
        candidate = self.phi(new + self.recur("Uh", r * h), "candidate")
        return (1 - z) * h + z * candidate
