"""Coupled oscillatory RNN: units are damped oscillators driven by the input."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.activations import activation
from rnnjax.cells.base import CELLS, Cell, Init, uniform_fan


class OscillatorState(NamedTuple):
    """Position y and velocity z, each ``(B, n)``."""

    y: Float[Array, "*b n"]
    z: Float[Array, "*b n"]


@CELLS.register("cornn")
class CoRNN(Cell):
    """Rusch & Mishra (2021), eq. 3, "Coupled oscillatory recurrent neural network".

        z_t = z_{t−1} + Δt (φ(W y_{t−1} + 𝒲 z_{t−1} + V x_t + b) − γ y_{t−1} − ε z̄)
        y_t = y_{t−1} + Δt z_t

    with z̄ = z_{t−1} (the authors' code) or, if implicit, z̄ = z_t (the scheme that the
    paper analyses), hence z_t = (z_{t−1} + Δt (φ(·) − γ y_{t−1})) / (1 + Δt ε).
    State: (y, z), each ``(B, n)``. The defaults of Δt, γ and ε are those of the paper
    for pixel MNIST.

    Attributes:
        dt: time step Δt.
        gamma: restoring force γ > 0 (square of the frequency).
        epsilon: damping ε > 0.
        implicit: treat the damping implicitly.
        activation: φ.
        recurrent_init: initialiser of W and 𝒲; None: U(±1/√(m + 2n)).
        input_init: initialiser of V; None: the same distribution.
    """

    dt: float | Array = 0.042
    gamma: float | Array = 2.7
    epsilon: float | Array = 4.7
    implicit: bool = False
    activation: str = "tanh"
    recurrent_init: Init | None = None
    input_init: Init | None = None

    initial = ("recurrent_init", "input_init")

    def setup(self):
        n = self.features
        fan = uniform_fan(self.inputs + 2 * n)
        self.kernel("V", self.inputs, n, self.input_init or fan)
        self.kernel("Wy", n, n, self.recurrent_init or fan)
        self.kernel("Wz", n, n, self.recurrent_init or fan)
        self.b = self.vector("b", n, fan)
        self.phi = activation(self.activation)

    def initial_state(self, batch):
        zeros = jnp.zeros((*batch, self.features), self.param_dtype)
        return OscillatorState(zeros, zeros)

    def readin(self, x):
        return self.project("V", x) + self.b

    def step(self, state, drive):
        y, z = state
        force = self.recur("Wy", y) + self.recur("Wz", z) + drive
        force = self.phi(force, "force") - self.gamma * y
        if self.implicit:
            z = (z + self.dt * force) / (1 + self.dt * self.epsilon)
        else:
            z = z + self.dt * (force - self.epsilon * z)
        return OscillatorState(y + self.dt * z, z)
