"""Recurrent additive network: the memory is a weighted sum of the inputs."""

import jax.numpy as jnp

from rnnjax.cells.base import CELLS, chrono_or, split_gates
from rnnjax.cells.gated import Gated
from rnnjax.cells.lstm import LSTMState
from rnnjax.initializers import NegativeOf, gate_bias


@CELLS.register("ran")
class RAN(Gated):
    """Lee, Levy & Zettlemoyer (2017), recurrent additive network: a linear candidate.

        i, f = σ(U• h_{t−1} + V• x_t + b•)
        c_t = i ⊙ V_c x_t + f ⊙ c_{t−1},   h_t = φ(c_t)

    State: (h, c), each ``(B, n)``; fused kernels are in the order i, f and, for the
    input, V_c.

    Attributes, in addition to those of `Gated`:
        activation: φ of the output, tanh or identity in the paper.
        forget_bias: initial b_f; positive keeps the past. With `chrono` it is drawn at
            random, and b_i = −b_f for each unit.
    """

    forget_bias: float = 1.0

    initial = (*Gated.initial, "forget_bias")

    def setup(self):
        super().setup()
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init, gates=3)
        self.kernel("U", n, n, self.recurrent_init, gates=2)
        let_in = 0.0 if self.chrono is None else NegativeOf(1)
        keep = chrono_or(self.forget_bias, self.chrono)
        self.b = self.vector("b", 2 * n, gate_bias([let_in, keep]))

    def initial_state(self, batch):
        zeros = jnp.zeros((*batch, self.features), self.param_dtype)
        return LSTMState(zeros, zeros)

    def readin(self, x):
        gates, content = jnp.split(self.project("V", x), [2 * self.features], axis=-1)
        return gates + self.b, content

    def step(self, state, drive):
        gates, content = drive
        i, f = split_gates(gates + self.recur("U", state.h), 2)
        c = self.sigma(i, "input") * content + self.sigma(f, "forget") * state.c
        return LSTMState(self.phi(c, "memory"), c)
