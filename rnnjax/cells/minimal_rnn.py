"""MinimalRNN: one gate, and a candidate that depends only on the input."""

from rnnjax.cells.base import CELLS, chrono_or
from rnnjax.cells.gated import Gated
from rnnjax.initializers import gate_bias


@CELLS.register("minimal_rnn")
class MinimalRNN(Gated):
    """Chen (2017), "MinimalRNN: toward more interpretable and trainable RNNs".

        z_t = φ(V x_t + b)
        u_t = σ(U_h h_{t−1} + U_z z_t + b_u)
        h_t = u_t ⊙ h_{t−1} + (1 − u_t) ⊙ z_t

    Chen, Pennington & Schoenholz (2018) study its signal propagation by mean-field
    theory and initialise recurrent matrices as orthogonal. State: h ``(B, n)``.

    Attributes, in addition to those of `Gated`:
        update_bias: initial b_u; positive keeps the past.
    """

    update_bias: float = 0.0

    initial = (*Gated.initial, "update_bias")

    def setup(self):
        super().setup()
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init)
        self.kernel("Uz", n, n, self.recurrent_init)
        self.kernel("U", n, n, self.recurrent_init)
        self.b = self.vector("b", n)
        keep = chrono_or(self.update_bias, self.chrono)
        self.bu = self.vector("bu", n, gate_bias([keep]))

    def readin(self, x):
        z = self.phi(self.project("V", x) + self.b, "candidate")
        return z, self.project("Uz", z) + self.bu

    def step(self, h, drive):
        z, gate = drive
        u = self.sigma(gate + self.recur("U", h), "update")
        return u * h + (1 - u) * z
