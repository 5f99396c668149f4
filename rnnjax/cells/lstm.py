"""Long short-term memory with a forget gate."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.activations import activation
from rnnjax.cells.base import CELLS, Cell, Init, chrono_or, split_gates
from rnnjax.initializers import NegativeOf, gate_bias


class LSTMState(NamedTuple):
    """Output h and memory c, each ``(B, n)``."""

    h: Float[Array, "*b n"]
    c: Float[Array, "*b n"]


@CELLS.register("lstm")
class LSTM(Cell):
    """Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000).

        i, f, o = σ(U• h_{t−1} + V• x_t + b•),   g = φ(U_g h_{t−1} + V_g x_t + b_g)
        c_t = f ⊙ c_{t−1} + i ⊙ g,   h_t = o ⊙ φ(c_t)

    State: (h, c), each ``(B, n)``; fused kernels hold the order i, f, g, o.

    Attributes:
        activation: φ of the candidate and of the output.
        gate: the gates' σ.
        recurrent_init: initialiser of each U•, gate by gate.
        input_init: initialiser of each V•.
        forget_bias: start of b_f (Jozefowicz et al. 2015 recommend 1).
        chrono: if given, the longest dependency T_max in steps: b_f starts at
            log U(1, T_max − 1) and b_i = −b_f (Tallec & Ollivier 2018).
    """

    activation: str = "tanh"
    gate: str = "sigmoid"
    recurrent_init: Init = "orthogonal"
    input_init: Init = "glorot_uniform"
    forget_bias: float = 1.0
    chrono: float | None = None

    initial = ("recurrent_init", "input_init", "forget_bias", "chrono")

    def setup(self):
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init, gates=4)
        self.kernel("U", n, n, self.recurrent_init, gates=4)
        let_in = 0.0 if self.chrono is None else NegativeOf(1)
        keep = chrono_or(self.forget_bias, self.chrono)
        self.b = self.vector("b", 4 * n, gate_bias([let_in, keep, 0.0, 0.0]))
        self.sigma, self.phi = activation(self.gate), activation(self.activation)

    def initial_state(self, batch):
        zeros = jnp.zeros((*batch, self.features), self.param_dtype)
        return LSTMState(zeros, zeros)

    def readin(self, x):
        return self.project("V", x) + self.b

    def step(self, state, drive):
        i, f, g, o = split_gates(drive + self.recur("U", state.h), 4)
        c = self.sigma(f, "forget") * state.c
        c = c + self.sigma(i, "input") * self.phi(g, "candidate")
        return LSTMState(self.sigma(o, "output") * self.phi(c, "memory"), c)
