"""Recurrent highway network: several gated layers within each time step."""

from rnnjax.activations import activation
from rnnjax.cells.base import CELLS, Cell, Init, split_gates, uniform_fan
from rnnjax.checks import check_int
from rnnjax.initializers import gate_bias


DEEPEST = 1000
"""Largest depth, far beyond any real use; it catches typing errors."""


@CELLS.register("rhn")
class RHN(Cell):
    """Zilly, Srivastava, Koutník & Schmidhuber (2017), eq. 6–9, ICML.

        s_0 = h_{t−1},   then for l = 1 … L
        H, T, C = φ, σ, σ of V_• x_t [l = 1] + R_•ˡ s_{l−1} + b_•ˡ
        s_l = H ⊙ T + s_{l−1} ⊙ C,   C = 1 − T if coupled
        h_t = s_L

    State: h ``(B, n)``; fused kernels hold the gates in the order H, T, C; L products
    in sequence.

    Attributes:
        depth: recurrence depth L.
        coupled: C = 1 − T, as in the paper's experiments.
        activation: φ of H.
        gate: σ of T and C.
        transform_bias: initial b_T; −2 to −4 lets the state pass. b_C is initialised to
            −b_T, so that as far as the biases go C = 1 − T at first.
        recurrent_init: initialiser of each R_•ˡ; None: U(±1/√n), close to the U(±0.04)
            of the paper for n = 830.
        input_init: initialiser of each V_•; None: the same distribution.
    """

    depth: int = 5
    coupled: bool = True
    activation: str = "tanh"
    gate: str = "sigmoid"
    transform_bias: float = -2.0
    recurrent_init: Init | None = None
    input_init: Init | None = None

    initial = ("transform_bias", "recurrent_init", "input_init")

    def setup(self):
        n = self.features
        check_int("cell.depth", self.depth, 1, DEEPEST)
        self.gates = 2 if self.coupled else 3
        start = [0.0, self.transform_bias, -self.transform_bias][: self.gates]
        bias = gate_bias(start)
        recurrent_init = self.recurrent_init or uniform_fan(n)
        input_init = self.input_init or uniform_fan(n)
        self.kernel("V", self.inputs, n, input_init, self.gates)
        layers = range(1, self.depth + 1)
        for l in layers:
            self.kernel(f"R{l}", n, n, recurrent_init, self.gates)
        self.b = [self.vector(f"b{l}", self.gates * n, bias) for l in layers]
        self.sigma, self.phi = activation(self.gate), activation(self.activation)

    def readin(self, x):
        return self.project("V", x) + self.b[0]

    def step(self, s, drive):
        for l in range(1, self.depth + 1):
            z = self.recur(f"R{l}", s) + (drive if l == 1 else self.b[l - 1])
            candidate, transform, *carry = split_gates(z, self.gates)
            T = self.sigma(transform, f"transform{l}")
            C = self.sigma(carry[0], f"carry{l}") if carry else 1 - T
            s = self.phi(candidate, f"candidate{l}") * T + s * C
        return s
