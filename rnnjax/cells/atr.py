"""Addition-subtraction twin-gated network: gates from a sum and a difference."""

from rnnjax.activations import activation
from rnnjax.cells.base import CELLS, Cell, Init


@CELLS.register("atr")
class ATR(Cell):
    """Zhang, Xiong, Su, Lin & Zhang (2018), twin gates: σ of a sum and a difference.

        p = V x_t,   q = U h_{t−1}
        i = σ(p + q),   f = σ(p − q)
        h_t = i ⊙ p + f ⊙ h_{t−1}

    There is no bias in the paper: it would act on both gates and on the candidate.
    torchrecurrent adds two biases. State: h ``(B, n)``.

    Attributes:
        gate: σ of the gates.
        recurrent_init: initialiser of U.
        input_init: initialiser of V.
    """

    gate: str = "sigmoid"
    recurrent_init: Init = "orthogonal"
    input_init: Init = "glorot_uniform"

    initial = ("recurrent_init", "input_init")

    def setup(self):
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init)
        self.kernel("U", n, n, self.recurrent_init)
        self.sigma = activation(self.gate)

    def readin(self, x):
        return self.project("V", x)

    def step(self, h, p):
        q = self.recur("U", h)
        return self.sigma(p + q, "input") * p + self.sigma(p - q, "forget") * h
