"""Minimal gated unit: one gate both resets and updates."""

from rnnjax.cells.base import CELLS, chrono_or, split_gates
from rnnjax.cells.gated import Gated
from rnnjax.initializers import gate_bias


@CELLS.register("mgu")
class MGU(Gated):
    """Zhou, Wu, Zhang & Zhou (2016), minimal gated unit: one gate resets and updates.

        f = σ(U_f h_{t−1} + V_f x_t + b_f)
        h̃ = φ(U_h (f ⊙ h_{t−1}) + V_h x_t + b_h)
        h_t = (1 − f) ⊙ h_{t−1} + f ⊙ h̃

    `flax.linen.MGUCell` is a different cell, in which f multiplies the old state.
    State: h ``(B, n)``; fused kernels are in the order f, h̃; two products in sequence.

    Attributes, in addition to those of `Gated`:
        forget_bias: initial b_f; negative keeps the past.
    """

    forget_bias: float = 0.0

    initial = (*Gated.initial, "forget_bias")

    def setup(self):
        super().setup()
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init, gates=2)
        self.kernel("U", n, n, self.recurrent_init)
        self.kernel("Uh", n, n, self.recurrent_init)
        let_in = chrono_or(self.forget_bias, self.chrono, sign=-1.0)
        self.b = self.vector("b", 2 * n, gate_bias([let_in, 0.0]))

    def readin(self, x):
        return self.project("V", x) + self.b

    def step(self, h, drive):
        gate, candidate = split_gates(drive, 2)
        f = self.sigma(gate + self.recur("U", h), "forget")
        candidate = self.phi(candidate + self.recur("Uh", f * h), "candidate")
        return (1 - f) * h + f * candidate
