"""MinimalRNN: one gate, and the input written straight into the state."""

from rnnjax.activations import activation
from rnnjax.cells.base import CELLS, Cell, Init, chrono_or
from rnnjax.initializers import gate_bias


@CELLS.register("minimal_rnn")
class MinimalRNN(Cell):
    """Chen (2017), "MinimalRNN: toward more interpretable and trainable RNNs".

        z_t = φ(V x_t + b)
        u_t = σ(U_h h_{t−1} + U_z z_t + b_u)
        h_t = u_t ⊙ h_{t−1} + (1 − u_t) ⊙ z_t

    Chen, Pennington & Schoenholz (2018) treat its signal propagation in mean field and
    start from orthogonal recurrent matrices. State: h ``(B, n)``.

    Attributes:
        activation: φ of the encoded input.
        gate: the gate's σ.
        recurrent_init: initialiser of U_h and U_z.
        input_init: initialiser of V.
        update_bias: start of b_u; positive keeps the past.
        chrono: if given, the longest dependency T_max: b_u ~ log U(1, T_max − 1).
    """

    activation: str = "tanh"
    gate: str = "sigmoid"
    recurrent_init: Init = "orthogonal"
    input_init: Init = "glorot_uniform"
    update_bias: float = 0.0
    chrono: float | None = None

    initial = ("recurrent_init", "input_init", "update_bias", "chrono")

    def setup(self):
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init)
        self.kernel("Uz", n, n, self.recurrent_init)
        self.kernel("U", n, n, self.recurrent_init)
        self.b = self.vector("b", n)
        keep = chrono_or(self.update_bias, self.chrono)
        self.bu = self.vector("bu", n, gate_bias([keep]))
        self.sigma, self.phi = activation(self.gate), activation(self.activation)

    def readin(self, x):
        z = self.phi(self.project("V", x) + self.b, "candidate")
        return z, self.project("Uz", z) + self.bu

    def step(self, h, drive):
        z, gate = drive
        u = self.sigma(gate + self.recur("U", h), "update")
        return u * h + (1 - u) * z
