"""Linear recurrent unit: a complex diagonal recurrence without an activation."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array

from rnnjax.cells.base import CELLS, Cell
from rnnjax.initializers import make_initializer


@CELLS.register("lru")
class LRU(Cell):
    """Orvieto et al. (2023), "Resurrecting recurrent neural networks", ICML.

        λ = exp(−exp(ν) + i exp(θ)),   |λ| < 1
        h_t = λ ⊙ h_{t−1} + exp(γ) ⊙ (B x_t)
        y_t = Re(C h_t) + D x_t

    All parameters are real: ν, θ, γ ``(n,)`` and the real and imaginary parts of B and
    C. State: h complex ``(B, n)``; output y ``(B, n)``. D is a matrix, as in the
    paper's equations; the paper's code has m = n and a diagonal D.

    Attributes:
        r_min: smallest initial |λ|; λ is drawn uniformly from the ring.
        r_max: largest initial |λ|.
        max_phase: largest initial phase of λ.
    """

    r_min: float | Array = 0.0
    r_max: float | Array = 1.0
    max_phase: float | Array = 2 * math.pi

    initial = ("r_min", "r_max", "max_phase")

    def setup(self):
        m, n = self.inputs, self.features
        self.nu = self.vector("nu", n, self._nu)
        self.theta = self.vector("theta", n, self._theta)
        # γ = log √(1 − |λ|²): the state then has the same variance as its input
        normaliser = lambda *_: 0.5 * jnp.log(-jnp.expm1(-2 * jnp.exp(self.nu)))
        self.gamma = self.vector("gamma", n, normaliser)
        normal = lambda size: make_initializer("normal", std=1 / math.sqrt(size))
        self.B_re = self.kernel("B_re", m, n, normal(2 * m))
        self.B_im = self.kernel("B_im", m, n, normal(2 * m))
        self.C_re = self.kernel("C_re", n, n, normal(n))
        self.C_im = self.kernel("C_im", n, n, normal(n))
        self.kernel("D", m, n, normal(m))

    def _nu(self, key, shape, dtype=jnp.float32):
        inner, outer = self.r_min**2, self.r_max**2
        squared = inner + (outer - inner) * positive_uniform(key, shape, dtype)
        return jnp.log(-0.5 * jnp.log(squared)).astype(dtype)

    def _theta(self, key, shape, dtype=jnp.float32):
        phase = self.max_phase * positive_uniform(key, shape, dtype)
        return jnp.log(phase).astype(dtype)

    def initial_state(self, batch):
        dtype = jnp.result_type(self.param_dtype, jnp.complex64)
        return jnp.zeros((*batch, self.features), dtype)

    def kernels(self):
        return {
            "lambda": jnp.exp(-jnp.exp(self.nu) + 1j * jnp.exp(self.theta)),
            "B": self.B_re + 1j * self.B_im,
            "C": self.C_re + 1j * self.C_im,
        }

    def readin(self, x):
        return jnp.exp(self.gamma) * self.project("B", x), self.project("D", x)

    def step(self, h, drive):
        Bx, _ = drive
        return self.recur("lambda", h, form="diagonal") + Bx

    def readout(self, state, drive):
        _, Dx = drive
        return self.project("C", state).real + Dx


def positive_uniform(key, shape, dtype):
    """U(0, 1) without 0, so that the logarithm is finite."""
    return jax.random.uniform(key, shape, dtype, jnp.finfo(dtype).eps, 1.0)
