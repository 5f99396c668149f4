"""Leaky recurrent network: Euler's method for a differential equation."""

from jaxtyping import Array

from rnnjax.activations import activation
from rnnjax.cells.base import CELLS, Cell, Init
from rnnjax.initializers import constant


@CELLS.register("leaky")
class Leaky(Cell):
    """Jaeger, Lukoševičius, Popovici & Siewert (2007), CTRNN with time step Δt = α τ.

        τ dh/dt = −h + φ(U h + V x + b), hence with α = Δt / τ
        h_t = (1 − α) h_{t−1} + α φ(U h_{t−1} + V x_t + b)
        ∂h_t/∂h_{t−1} = (1 − α) I + α diag(φ'(z_t)) U

    This is the form in terms of rates; in the form in terms of potentials u, the matrix
    multiplies φ(u). α = 1 is `elman`. State: h ``(B, n)``.

    Attributes:
        activation: φ.
        alpha: α in (0, 1]; 0.2 is a step of 20 ms for τ = 100 ms (Song, Yang & Wang
            2016).
        recurrent_init: initialiser of U.
        input_init: initialiser of V.
        bias: initial value of b.
    """

    activation: str = "tanh"
    alpha: float | Array = 0.2
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
        rate = self.phi(drive + self.recur("U", h), "hidden")
        return (1 - self.alpha) * h + self.alpha * rate
