"""Elman's simple recurrent network."""

from rnnjax.activations import activation
from rnnjax.cells.base import CELLS, Cell, Init
from rnnjax.initializers import constant


@CELLS.register("elman")
class Elman(Cell):
    """Elman (1990), "Finding structure in time"; IRNN is `variant=elman_relu`.

        h_t = φ(U h_{t−1} + V x_t + b),   ∂h_t/∂h_{t−1} = diag(φ'(z_t)) U

    Cognitive Science 14. With φ = ReLU and U initialised to I it is the IRNN of Le,
    Jaitly & Hinton (2015). State: h ``(B, n)``.

    Attributes:
        activation: φ, any name of `rnnjax list activations`.
        recurrent_init: initialiser of U.
        input_init: initialiser of V.
        bias: initial value of b.
    """

    activation: str = "tanh"
    recurrent_init: Init = "orthogonal"
    input_init: Init = "glorot_uniform"
    bias: float = 0.0

    initial = ("recurrent_init", "input_init", "bias")

    def setup(self):
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init)
        self.kernel("U", n, n, self.recurrent_init)
        self.b = self.vector("b", n, constant(self.bias))
        self.phi = activation(self.activation)

    def readin(self, x):
        return self.project("V", x) + self.b

    def step(self, h, drive):
        return self.phi(drive + self.recur("U", h), "hidden")
