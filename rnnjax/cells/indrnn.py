"""Independently recurrent network: each unit is connected only to itself."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from rnnjax.activations import activation
from rnnjax.cells.base import CELLS, Cell, Init
from rnnjax.initializers import constant


@CELLS.register("indrnn")
class IndRNN(Cell):
    """Li, Li, Cook, Zhu & Gao (2018), eq. 4, "Independently recurrent network", CVPR.

        h_t = φ(V x_t + u ⊙ h_{t−1} + b),   ∂h_t/∂h_{t−1} = diag(φ'(z_t) ⊙ u)

    The paper keeps |u| ≤ 2^{1/T} during training. State: h ``(B, n)``.

    Attributes:
        activation: φ.
        u_min: smallest initial u; in the paper's last layer u_min = u_max.
        u_max: largest initial u; 2^{1/T} in the paper.
        input_init: initialiser of V.
        bias: initial value of b.
    """

    activation: str = "relu"
    u_min: float | Array = 0.0
    u_max: float | Array = 1.0
    input_init: Init = "glorot_uniform"
    bias: float = 0.0

    initial = ("u_min", "u_max", "input_init", "bias")

    def setup(self):
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init)
        self.vector("u", n, self._u)
        self.b = self.vector("b", n, constant(self.bias))
        self.phi = activation(self.activation)

    def _u(self, key, shape, dtype=jnp.float32):
        draw = jax.random.uniform(key, shape, dtype)
        return (self.u_min + (self.u_max - self.u_min) * draw).astype(dtype)

    def readin(self, x):
        return self.project("V", x) + self.b

    def step(self, h, drive):
        return self.phi(drive + self.recur("u", h, form="diagonal"), "hidden")
