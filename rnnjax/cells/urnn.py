"""Unitary evolution RNN: a complex state that the recurrence never stretches."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.layout import Layout, with_layout_constraint

from rnnjax.activations import modrelu
from rnnjax.cells.base import CELLS, Cell
from rnnjax.initializers import make_initializer


@CELLS.register("urnn")
class URNN(Cell):
    """Arjovsky, Shah & Bengio (2016), eq. 6, "Unitary evolution RNNs", ICML.

        W = D_3 R_2 F⁻¹ D_2 Π R_1 F D_1,   D = diag(e^{iθ}),   R = I − 2 v v* / ‖v‖²
        h_t = modReLU(W h_{t−1} + V x_t, b)

    F is the unitary Fourier transform, Π a fixed permutation. All parameters are real:
    angles θ ``(3, n)``, real and imaginary parts of v_1, v_2 ``(4, n)`` and of V. W is
    formed once per sequence. State: h complex ``(B, n)``; output [Re h; Im h]
    ``(B, 2n)``. The paper learns h_0, drawn from U(±√(3/2n)).

    Attributes:
        permutation_seed: seed of Π.
    """

    permutation_seed: int = 0

    def setup(self):
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
        n = self.features
        order = np.random.RandomState(self.permutation_seed).permutation(n)
        D1, D2, D3 = jnp.exp(1j * self.angles)
        re1, im1, re2, im2 = self.reflections
        # Each row is a basis vector on its way through the factors, so that row i ends
        # as W e_i: the kernel Wᵀ that acts from the right.
        with jax.default_matmul_precision("highest"):
            h = fourier(jnp.fft.fft, jnp.diag(D1))
            h = D2[None, :] * reflect(h, re1 + 1j * im1)[:, order]
            h = fourier(jnp.fft.ifft, h)
            h = D3[None, :] * reflect(h, re2 + 1j * im2)
        return {"W": h, "V": self.V_re + 1j * self.V_im}

    def readin(self, x):
        return self.project("V", x)

    def step(self, h, drive):
        return modrelu(self.recur("W", h) + drive, self.b)

    def readout(self, state, drive):
        return jnp.concatenate([state.real, state.imag], axis=-1)


def fourier(transform, rows):
    """The unitary Fourier transform of each row, or its inverse."""
    # XLA's transform fails on a CPU unless rows lie one after the other in memory; the
    # two constraints hold that for the transform itself and for the one on the way back
    in_rows = lambda x: with_layout_constraint(x, Layout(tuple(range(x.ndim))))
    return in_rows(transform(in_rows(rows), norm="ortho"))


def reflect(rows, v):
    """Each row h as (I − 2 v v* / ‖v‖²) h."""
    along = rows @ v.conj() / jnp.sum(v.real**2 + v.imag**2)
    return rows - 2 * along[:, None] * v[None, :]
