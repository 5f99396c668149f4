"""Gated recurrent units, with the reset gate before or after the recurrent product."""

import jax.numpy as jnp

from rnnjax.cells.base import CELLS, chrono_or, split_gates
from rnnjax.cells.gated import Gated
from rnnjax.initializers import gate_bias


@CELLS.register("gru")
class GRU(Gated):
    """Cho et al. (2014, arXiv v1), reset after the product: cuDNN, PyTorch, flax.

        r, z = σ(U• h_{t−1} + V• x_t + b•)
        h̃ = φ(V_h x_t + b_h + r ⊙ (U_h h_{t−1} + c))
        h_t = z ⊙ h_{t−1} + (1 − z) ⊙ h̃

    State: h ``(B, n)``; fused kernels hold the gates in the order r, z, h̃.

    Attributes, in addition to those of `Gated`:
        update_bias: initial b_z; positive keeps the past.
    """

    update_bias: float = 0.0

    initial = (*Gated.initial, "update_bias")

    def setup(self):
        super().setup()
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init, gates=3)
        self.kernel("U", n, n, self.recurrent_init, gates=3)
        keep = chrono_or(self.update_bias, self.chrono)
        self.b = self.vector("b", 3 * n, gate_bias([0.0, keep, 0.0]))
        self.c = self.vector("c", n)

    def readin(self, x):
        return self.project("V", x) + self.b

    def step(self, h, drive):
        xr, xz, xh = split_gates(drive, 3)
        ur, uz, uh = split_gates(self.recur("U", h), 3)
        r, z = self.sigma(xr + ur, "reset"), self.sigma(xz + uz, "update")
        candidate = self.phi(xh + r * (uh + self.c), "candidate")
        return z * h + (1 - z) * candidate


@CELLS.register("gru_before")
class GRUBefore(GRU):
    """Cho et al. (2014, as published, arXiv v3), reset gate before the product.

        r, z = σ(U• h_{t−1} + V• x_t + b•)
        h̃ = φ(V_h x_t + b_h + U_h (r ⊙ h_{t−1}))
        h_t = z ⊙ h_{t−1} + (1 − z) ⊙ h̃

    State, order of the gates and attributes as in `GRU`; two products in sequence.
    """

    def setup(self):
        Gated.setup(self)
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init, gates=3)
        self.kernel("U", n, n, self.recurrent_init, gates=2)
        self.kernel("Uh", n, n, self.recurrent_init)
        keep = chrono_or(self.update_bias, self.chrono)
        self.b = self.vector("b", 3 * n, gate_bias([0.0, keep, 0.0]))

    def step(self, h, drive):
        n = self.features
        gates, candidate = jnp.split(drive, [2 * n], axis=-1)
        gates = self.sigma(gates + self.recur("U", h), ("reset", "update"))
        r, z = split_gates(gates, 2)
        candidate = self.phi(candidate + self.recur("Uh", r * h), "candidate")
        return z * h + (1 - z) * candidate
