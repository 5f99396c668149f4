"""Long expressive memory: two learned time scales."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.activations import activation
from rnnjax.cells.base import CELLS, Cell, Init, split_gates, uniform_fan


class LEMState(NamedTuple):
    """Output y and slow memory z, each ``(B, n)``."""

    y: Float[Array, "*b n"]
    z: Float[Array, "*b n"]


@CELLS.register("lem")
class LEM(Cell):
    """Rusch, Mishra, Erichson & Mahoney (2022), eq. 3, "LEM", ICLR.

        Δt_t = Δt σ(U_1 y_{t−1} + V_1 x_t + b_1)
        Δt̄_t = Δt σ(U_2 y_{t−1} + V_2 x_t + b_2)
        z_t = (1 − Δt_t) ⊙ z_{t−1} + Δt_t ⊙ φ(U_z y_{t−1} + V_z x_t + b_z)
        y_t = (1 − Δt̄_t) ⊙ y_{t−1} + Δt̄_t ⊙ φ(U_y z_t + V_y x_t + b_y)

    The second stage reads the new z_t. State: (y, z), each ``(B, n)``; fused kernels
    are in the order 1, 2, z, y.

    Attributes:
        dt: largest time step Δt.
        activation: φ.
        gate: σ.
        recurrent_init: initialiser of each U_•; None: U(±1/√n).
        input_init: initialiser of each V_•; None: the same distribution.
    """

    dt: float | Array = 1.0
    activation: str = "tanh"
    gate: str = "sigmoid"
    recurrent_init: Init | None = None
    input_init: Init | None = None

    initial = ("recurrent_init", "input_init")

    def setup(self):
        n = self.features
        fan = uniform_fan(n)
        self.kernel("V", self.inputs, n, self.input_init or fan, gates=4)
        self.kernel("U", n, n, self.recurrent_init or fan, gates=3)
        self.kernel("Uy", n, n, self.recurrent_init or fan)
        self.b = self.vector("b", 4 * n, fan)
        self.sigma, self.phi = activation(self.gate), activation(self.activation)

    def initial_state(self, batch):
        zeros = jnp.zeros((*batch, self.features), self.param_dtype)
        return LEMState(zeros, zeros)

    def readin(self, x):
        return self.project("V", x) + self.b

    def step(self, state, drive):
        y, z = state
        x1, x2, xz, xy = split_gates(drive, 4)
        u1, u2, uz = split_gates(self.recur("U", y), 3)
        dt_z = self.dt * self.sigma(u1 + x1, "step_z")
        dt_y = self.dt * self.sigma(u2 + x2, "step_y")
        z = (1 - dt_z) * z + dt_z * self.phi(uz + xz, "candidate_z")
        y = (1 - dt_y) * y + dt_y * self.phi(self.recur("Uy", z) + xy, "candidate_y")
        return LEMState(y, z)
