"""Update gate RNN: an Elman network with one gate that mixes old and new."""

from rnnjax.cells.base import CELLS, chrono_or, split_gates
from rnnjax.cells.gated import Gated
from rnnjax.initializers import gate_bias


@CELLS.register("ugrnn")
class UGRNN(Gated):
    """Collins, Sohl-Dickstein & Sussillo (2017), update gate RNN: a single gate.

        g = σ(U_g h_{t−1} + V_g x_t + b_g)
        c = φ(U_c h_{t−1} + V_c x_t + b_c)
        h_t = g ⊙ h_{t−1} + (1 − g) ⊙ c

    State: h ``(B, n)``; fused kernels are in the order g, c.

    Attributes, in addition to those of `Gated`:
        update_bias: initial b_g; positive keeps the past.
    """

    update_bias: float = 1.0

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
        g, c = split_gates(drive + self.recur("U", h), 2)
        g = self.sigma(g, "update")
        return g * h + (1 - g) * self.phi(c, "candidate")
