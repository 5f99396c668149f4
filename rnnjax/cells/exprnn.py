"""expRNN: an orthogonal recurrent matrix, as the exponential of a skew matrix."""

import math

import jax
import jax.numpy as jnp
from jax.scipy.linalg import expm

from rnnjax.activations import modrelu
from rnnjax.cells.base import CELLS, Cell, Init
from rnnjax.errors import unknown
from rnnjax.initializers import make_initializer
from rnnjax.types import wide_type


@CELLS.register("exprnn")
class ExpRNN(Cell):
    """Lezcano-Casado & Martínez-Rubio (2019), "Cheap orthogonal constraints", ICML.

        B = exp(A − Aᵀ),   A strictly upper triangular
        h_t = modReLU(T x_t + B h_{t−1}, b)

    The n(n − 1)/2 entries of A, row by row, are the parameter ``A``; B is computed once
    per sequence. The authors train A with a tenth of the learning rate of the other
    parameters. State: h ``(B, n)``, real.

    Attributes:
        skew_init: initialiser of A; B then rotates in the planes of pairs of
            neighbouring units. ``henaff``: by angles from U(−π, π); ``cayley``: the
            entries of A are −√((1 − cos θ)/(1 + cos θ)), θ ~ U(0, π/2).
        input_init: initialiser of T; None: N(0, 2/m).
    """

    skew_init: str = "cayley"
    input_init: Init | None = None

    initial = ("skew_init", "input_init")
    unitary = ("B",)

    def setup(self):
        m, n = self.inputs, self.features
        kaiming = make_initializer("normal", std=math.sqrt(2 / m))
        self.kernel("T", m, n, self.input_init or kaiming)
        self.A = self.vector("A", n * (n - 1) // 2, skew_blocks(n, self.skew_init))
        self.b = self.vector("b", n, make_initializer("uniform", bound=0.01))

    def kernels(self):
        n = self.features
        A = jnp.zeros((n, n), self.param_dtype)
        A = A.at[jnp.triu_indices(n, 1)].set(self.A)
        wide = wide_type(A.dtype)  # there is no solver for 16 bits
        B = expm((A - A.T).astype(wide)).astype(A.dtype)
        return {"B": B.T}

    def readin(self, x):
        return self.project("T", x)

    def step(self, h, drive):
        return modrelu(drive + self.recur("B", h), self.b)


def skew_blocks(n, name):
    """Initialiser of the entries above the diagonal; non-zero only for pairs of units.

    The pairs are (0, 1), (2, 3), …
    """
    if name not in ("henaff", "cayley"):
        raise unknown("skew_init", name, ("henaff", "cayley"))

    def init(key, shape, dtype=jnp.float32):
        if name == "henaff":
            s = jax.random.uniform(key, (n // 2,), dtype, -math.pi, math.pi)
        else:
            angle = jax.random.uniform(key, (n // 2,), dtype, 0.0, math.pi / 2)
            s = -jnp.sqrt((1 - jnp.cos(angle)) / (1 + jnp.cos(angle)))
        first = 2 * jnp.arange(n // 2)
        matrix = jnp.zeros((n, n), dtype).at[first, first + 1].set(s)
        return matrix[jnp.triu_indices(n, 1)]

    return init
