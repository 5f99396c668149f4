"""Chaos-free network: without input every state decays to zero."""

import jax.numpy as jnp

from rnnjax.cells.base import CELLS, chrono_or, split_gates
from rnnjax.cells.gated import Gated
from rnnjax.initializers import NegativeOf, gate_bias


@CELLS.register("cfn")
class CFN(Gated):
    """Laurent & von Brecht (2017), chaos-free network: decays to 0 without input.

        θ, η = σ(U• h_{t−1} + V• x_t + b•)
        h_t = θ ⊙ φ(h_{t−1}) + η ⊙ φ(V_h x_t)

    State: h ``(B, n)``; fused kernels are in the order θ, η and, for the input, V_h.

    Attributes, in addition to those of `Gated`:
        forget_bias: initial b_θ; positive keeps the past. With `chrono` it is drawn at
            random, and b_η = −b_θ for each unit.
        input_bias: initial b_η.
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
