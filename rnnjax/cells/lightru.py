"""Light recurrent unit: a candidate from the input only, one gate, one product."""

from rnnjax.cells.base import CELLS, chrono_or, split_gates
from rnnjax.cells.gated import Gated
from rnnjax.initializers import gate_bias


@CELLS.register("lightru")
class LightRU(Gated):
    """Ye et al. (2024), light recurrent unit: the candidate depends on the input only.

        f = σ(U h_{t−1} + V_f x_t + b_f)
        h̃ = φ(V_h x_t)
        h_t = (1 − f) ⊙ h_{t−1} + f ⊙ h̃

    The paper calls it LRU, which is the name of a different cell here (`lru`). State: h
    ``(B, n)``; the fused kernel is in the order f, h̃.

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
        let_in = chrono_or(self.forget_bias, self.chrono, sign=-1.0)
        self.b = self.vector("b", n, gate_bias([let_in]))

    def readin(self, x):
        f, new = split_gates(self.project("V", x), 2)
        return f + self.b, self.phi(new, "candidate")

    def step(self, h, drive):
        f, new = drive
        f = self.sigma(f + self.recur("U", h), "forget")
        return (1 - f) * h + f * new
