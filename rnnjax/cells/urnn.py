"""Unitary evolution RNN: a complex state and a norm-preserving recurrent matrix."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rnnjax.activations import modrelu
from rnnjax.cells.base import CELLS, Cell
from rnnjax.cells.products import as_reals
from rnnjax.checks import SEEDS, check_int
from rnnjax.initializers import make_initializer


@CELLS.register("urnn")
class URNN(Cell):
    """Arjovsky, Shah & Bengio (2016), eq. 6, "Unitary evolution RNNs", ICML.

        W = D_3 R_2 F⁻¹ D_2 Π R_1 F D_1,   D = diag(e^{iθ}),   R = I − 2 v v* / ‖v‖²
        h_t = modReLU(W h_{t−1} + V x_t, b)

    F is the unitary Fourier transform, Π a fixed permutation. Parameters are real:
    angles θ ``(3, n)``, real and imaginary parts of v_1, v_2 ``(4, n)`` and of V.
    State: h complex ``(B, n)``; output [Re h; Im h] ``(B, 2n)``. The paper learns h_0,
    drawn from U(±√(3/2n)).

    Attributes:
        permutation_seed: seed of Π.
        factored: apply W factor by factor at each step, in O(n log n), instead of
            forming it once per sequence. The angles and v are then parameters of the
            step, and W is not a kernel that a probe can measure.
    """

    permutation_seed: int = 0
    factored: bool = False

    unitary = ("W",)

    def setup(self):
        check_int("cell.permutation_seed", self.permutation_seed, 0, SEEDS)
        m, n = self.inputs, self.features
        uniform = lambda bound: make_initializer("uniform", bound=bound)
        glorot = lambda rows, columns: uniform(math.sqrt(6 / (rows + columns)))
        self.V_re = self.kernel("V_re", m, n, glorot(m, 2 * n))
        self.V_im = self.kernel("V_im", m, n, glorot(m, 2 * n))
        self.angles = self.kernel("angles", 3, n, uniform(math.pi))
        self.reflections = self.kernel("reflections", 4, n, glorot(2, 2 * n))
        self.b = self.vector("b", n, uniform(0.01))

    @property
    def output_size(self):
        return 2 * self.features

    def initial_state(self, batch):
        dtype = jnp.result_type(self.param_dtype, jnp.complex64)
        return jnp.zeros((*batch, self.features), dtype)

    def kernels(self):
        V = self.V_re + 1j * self.V_im
        if self.factored:
            return {"V": V}
        # row i becomes W e_i, which gives the kernel Wᵀ that acts from the right
        with jax.numpy_rank_promotion("allow"):
            return {"W": self.rotate(jnp.eye(self.features, dtype=V.dtype)), "V": V}

    def rotate(self, h):
        """W h for each row h, computed factor by factor."""
        order = np.random.RandomState(self.permutation_seed).permutation(self.features)
        D1, D2, D3 = jnp.exp(1j * self.angles)
        re1, im1, re2, im2 = self.reflections
        with jax.default_matmul_precision("highest"):
            h = fourier(jnp.fft.fft, D1 * h)
            h = D2 * reflect(h, re1 + 1j * im1)[..., order]
            h = fourier(jnp.fft.ifft, h)
            return D3 * reflect(h, re2 + 1j * im2)

    def readin(self, x):
        return self.project("V", x)

    def step(self, h, drive):
        h = self.rotate(h) if self.factored else self.recur("W", h)
        return modrelu(h + drive, self.b)

    def readout(self, state, drive):
        return as_reals(state)


def fourier(transform, rows):
    """The unitary Fourier transform of each row, or its inverse."""
    return in_rows(transform(in_rows(rows), norm="ortho"))


def in_rows(x):
    """x with its rows contiguous in memory.

    XLA's Fourier transform fails on a CPU if the surrounding code prefers another
    layout; in the backward pass the cotangent goes through here as well. (JAX's layout
    constraints are no alternative: in jax 0.10.2 they give wrong gradients when a
    compiled function is differentiated.)
    """
    return lax.optimization_barrier(x.reshape(-1)).reshape(x.shape)


def reflect(rows, v):
    """Each row h as (I − 2 v v* / ‖v‖²) h."""
    along = rows @ v.conj() / jnp.sum(v.real**2 + v.imag**2)
    return rows - 2 * along[..., None] * v
