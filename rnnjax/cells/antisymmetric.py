"""AntisymmetricRNN: Euler's method for a stable differential equation; also gated."""

import jax.numpy as jnp
from jaxtyping import Array

from rnnjax.activations import activation
from rnnjax.cells.base import CELLS, Cell, Init, split_gates


@CELLS.register("antisymmetric")
class AntisymmetricRNN(Cell):
    """Chang, Chen, Haber & Chi (2019), eq. 11, "AntisymmetricRNN", ICLR.

        A = U − Uᵀ − γ I
        h_t = h_{t−1} + ε φ(A h_{t−1} + V x_t + b)
        ∂h_t/∂h_{t−1} = I + ε diag(φ'(z_t)) A

    The eigenvalues of A have real part −γ. State: h ``(B, n)``.

    Attributes:
        activation: φ.
        epsilon: step size ε.
        gamma: diffusion γ, which damps what Euler's method amplifies.
        recurrent_init: initialiser of U; the paper's variance σ_w²/n corresponds to
            ("lecun_normal", σ_w).
        input_init: initialiser of V; the variance is 1/m in the paper.
    """

    activation: str = "tanh"
    epsilon: float | Array = 0.1
    gamma: float | Array = 0.01
    recurrent_init: Init = "lecun_normal"
    input_init: Init = "lecun_normal"

    initial = ("recurrent_init", "input_init")

    def setup(self):
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init)
        self.U = self.kernel("U", n, n, self.recurrent_init)
        self.b = self.vector("b", n)
        self.phi = activation(self.activation)

    def kernels(self):
        damping = self.gamma * jnp.eye(self.features, dtype=self.param_dtype)
        return {"A": self.U - self.U.T - damping}

    def readin(self, x):
        return self.project("V", x) + self.b

    def step(self, h, drive):
        return h + self.epsilon * self.phi(self.recur("A", h) + drive, "hidden")


@CELLS.register("gated_antisymmetric")
class GatedAntisymmetricRNN(AntisymmetricRNN):
    """Chang, Chen, Haber & Chi (2019), with an input gate that shares the matrix A.

        A = U − Uᵀ − γ I
        z = σ(A h_{t−1} + V_z x_t + b_z)
        h_t = h_{t−1} + ε z ⊙ φ(A h_{t−1} + V_h x_t + b_h)

    A single product serves both. State: h ``(B, n)``; fused arrays are in the order
    z, h.

    Attributes, in addition to those of `AntisymmetricRNN`:
        gate: σ.
    """

    gate: str = "sigmoid"

    def setup(self):
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init, gates=2)
        self.U = self.kernel("U", n, n, self.recurrent_init)
        self.b = self.vector("b", 2 * n)
        self.sigma, self.phi = activation(self.gate), activation(self.activation)

    def step(self, h, drive):
        Ah = self.recur("A", h)
        gate, hidden = split_gates(drive, 2)
        z = self.sigma(Ah + gate, "input")
        return h + self.epsilon * z * self.phi(Ah + hidden, "hidden")
