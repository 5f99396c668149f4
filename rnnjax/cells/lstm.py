"""Long short-term memory with a forget gate."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.cells.base import CELLS, chrono_or, split_gates
from rnnjax.cells.gated import Gated
from rnnjax.initializers import NegativeOf, gate_bias


class LSTMState(NamedTuple):
    """Output h and memory c, each ``(B, n)``."""

    h: Float[Array, "*b n"]
    c: Float[Array, "*b n"]


@CELLS.register("lstm")
class LSTM(Gated):
    """Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000).

        i, f, o = σ(U• h_{t−1} + V• x_t + b•),   g = φ(U_g h_{t−1} + V_g x_t + b_g)
        c_t = f ⊙ c_{t−1} + i ⊙ g,   h_t = o ⊙ φ(c_t)

    State: (h, c), each ``(B, n)``; fused kernels are in the order i, f, g, o.

    Attributes, in addition to those of `Gated`:
        forget_bias: initial b_f (Jozefowicz et al. 2015 recommend 1). With `chrono` it
            is drawn at random, and b_i = −b_f for each unit.
    """

    forget_bias: float = 1.0

    initial = (*Gated.initial, "forget_bias")

    def setup(self):
        super().setup()
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init, gates=4)
        self.kernel("U", n, n, self.recurrent_init, gates=4)
        let_in = 0.0 if self.chrono is None else NegativeOf(1)
        keep = chrono_or(self.forget_bias, self.chrono)
        self.b = self.vector("b", 4 * n, gate_bias([let_in, keep, 0.0, 0.0]))

    def initial_state(self, batch):
        zeros = jnp.zeros((*batch, self.features), self.param_dtype)
        return LSTMState(zeros, zeros)

    def readin(self, x) -> Any:
        return self.project("V", x) + self.b

    def step(self, state, drive):
        return self.remember(drive + self.recur("U", state.h), state.c)

    def remember(self, z, c):
        """The new state from the pre-activations ``(B, 4n)`` and the old memory."""
        i, f, g, o = split_gates(z, 4)
        c = self.sigma(f, "forget") * c
        c = c + self.sigma(i, "input") * self.phi(g, "candidate")
        return LSTMState(self.sigma(o, "output") * self.phi(c, "memory"), c)
