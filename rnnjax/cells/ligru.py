"""Light GRU: no reset gate, and ReLU in the candidate."""

from rnnjax.cells.base import CELLS, chrono_or, split_gates
from rnnjax.cells.gated import Gated
from rnnjax.initializers import gate_bias


@CELLS.register("ligru")
class LiGRU(Gated):
    """Ravanelli, Brakel, Omologo & Bengio (2018), light GRU: ReLU, no reset gate.

        z = σ(U_z h_{t−1} + V_z x_t + b_z)
        h̃ = φ(U_h h_{t−1} + V_h x_t + b_h),   φ = ReLU
        h_t = z ⊙ h_{t−1} + (1 − z) ⊙ h̃

    The paper applies batch normalisation to V• x_t; here, as in other libraries, there
    is a bias instead. State: h ``(B, n)``; fused kernels are in the order z, h̃.

    Attributes, in addition to those of `Gated`:
        update_bias: initial b_z; positive keeps the past.
    """

    activation: str = "relu"
    update_bias: float = 0.0

    initial = (*Gated.initial, "update_bias")

    def setup(self):
        super().setup()
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init, gates=2)
        self.kernel("U", n, n, self.recurrent_init, gates=2)
        keep = chrono_or(self.update_bias, self.chrono)
        self.b = self.vector("b", 2 * n, gate_bias([keep, 0.0]))

    def readin(self, x):
        return self.project("V", x) + self.b

    def step(self, h, drive):
        z, candidate = split_gates(drive + self.recur("U", h), 2)
        z = self.sigma(z, "update")
        return z * h + (1 - z) * self.phi(candidate, "candidate")
