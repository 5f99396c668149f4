"""Chaos-free network: without input every state falls to zero."""

import jax.numpy as jnp

from rnnjax.cells.base import CELLS, chrono_or, split_gates
from rnnjax.cells.gated import Gated
from rnnjax.initializers import NegativeOf, gate_bias


@CELLS.register("cfn")
class CFN(Gated):
    """Laurent & von Brecht (2017), chaos-free network: units fall to 0 without input.

        θ, η = σ(U• h_{t−1} + V• x_t + b•)
        h_t = θ ⊙ φ(h_{t−1}) + η ⊙ φ(V_h x_t)

    State: h ``(B, n)``; fused kernels hold the order θ, η and, of the input, V_h.

    Attributes, with those of `Gated`:
        forget_bias: start of b_θ; positive keeps the past. With `chrono` it is drawn
            and b_η = −b_θ, unit by unit.
        input_bias: start of b_η.
    """

    forget_bias: float = 1.0
    input_bias: float = -1.0

    initial = (*Gated.initial, "forget_bias", "input_bias")

    def setup(self):
        super().setup()
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init, gates=3)
        self.kernel("U", n, n, self.recurrent_init, gates=2)
        let_in = self.input_bias if self.chrono is None else NegativeOf(0)
        keep = chrono_or(self.forget_bias, self.chrono)
        self.b = self.vector("b", 2 * n, gate_bias([keep, let_in]))

    def readin(self, x):
        gates, new = jnp.split(self.project("V", x), [2 * self.features], axis=-1)
        return gates + self.b, self.phi(new, "candidate")

    def step(self, h, drive):
        gates, new = drive
        theta, eta = split_gates(gates + self.recur("U", h), 2)
        kept = self.sigma(theta, "forget") * self.phi(h, "memory")
        return kept + self.sigma(eta, "input") * new
