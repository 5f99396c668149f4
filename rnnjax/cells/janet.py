"""JANET: an LSTM with only the forget gate."""

from jaxtyping import Array

from rnnjax.cells.base import CELLS, chrono_or, split_gates
from rnnjax.cells.gated import Gated
from rnnjax.initializers import gate_bias


@CELLS.register("janet")
class JANET(Gated):
    """Van der Westhuizen & Lasenby (2018), JANET: an LSTM with only the forget gate.

        s = U_s h_{t−1} + V_s x_t + b_s
        c̃ = φ(U_c h_{t−1} + V_c x_t + b_c)
        h_t = σ(s) ⊙ h_{t−1} + (1 − σ(s − β)) ⊙ c̃

    State: h ``(B, n)``; fused kernels are in the order s, c̃.

    Attributes, in addition to those of `Gated`:
        beta: β; if positive, more input is admitted than is forgotten.
        forget_bias: initial b_s; positive keeps the past. The paper uses `chrono`.
    """

    beta: float | Array = 1.0
    forget_bias: float = 1.0

    initial = (*Gated.initial, "forget_bias")

    def setup(self):
        super().setup()
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init, gates=2)
        self.kernel("U", n, n, self.recurrent_init, gates=2)
        keep = chrono_or(self.forget_bias, self.chrono)
        self.b = self.vector("b", 2 * n, gate_bias([keep, 0.0]))

    def readin(self, x):
        return self.project("V", x) + self.b

    def step(self, h, drive):
        s, c = split_gates(drive + self.recur("U", h), 2)
        new = (1 - self.sigma(s - self.beta, "shut_out")) * self.phi(c, "candidate")
        return self.sigma(s, "forget") * h + new
