"""Bistable recurrent cells: each unit can remember on its own, without the others."""

import jax.numpy as jnp

from rnnjax.activations import activation
from rnnjax.cells.base import CELLS, Cell, Init, chrono_or, split_gates
from rnnjax.initializers import constant, gate_bias


class Bistable(Cell):
    """Base of BRC and nBRC, which differ in how the gates a and c read the state.

    Attributes:
        activation: φ of the feedback a and of the candidate.
        gate: σ of the update gate c.
        input_init: initialiser of each V•.
        update_bias: initial b_c; positive keeps the past.
        chrono: if given, the longest dependency T_max: b_c ~ log U(1, T_max − 1).
    """

    activation: str = "tanh"
    gate: str = "sigmoid"
    input_init: Init = "glorot_uniform"
    update_bias: float = 0.0
    chrono: float | None = None

    initial = ("input_init", "update_bias", "chrono")

    def setup(self):
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init, gates=3)
        keep = chrono_or(self.update_bias, self.chrono)
        self.b = self.vector("b", 2 * n, gate_bias([0.0, keep]))
        self.sigma, self.phi = activation(self.gate), activation(self.activation)

    def readin(self, x):
        gates, new = jnp.split(self.project("V", x), [2 * self.features], axis=-1)
        return gates + self.b, new

    def mix(self, h, a, c, new):
        """h_t from the pre-activations of a and c and from V_h x_t."""
        a, c = 1 + self.phi(a, "feedback"), self.sigma(c, "update")
        return c * h + (1 - c) * self.phi(new + a * h, "candidate")


@CELLS.register("brc")
class BRC(Bistable):
    """Vecoven, Ernst & Drion (2021), bistable cell: gates of a unit see only that unit.

        a = 1 + φ(V_a x_t + w_a ⊙ h_{t−1} + b_a)
        c = σ(V_c x_t + w_c ⊙ h_{t−1} + b_c)
        h_t = c ⊙ h_{t−1} + (1 − c) ⊙ φ(V_h x_t + a ⊙ h_{t−1})

    A unit is bistable where a > 1. State: h ``(B, n)``; fused arrays are in the order
    a, c and, for the input, V_h.

    Attributes, in addition to those of `Bistable`:
        self_weight: initial value of w_a and w_c.
    """

    self_weight: float = 1.0

    initial = (*Bistable.initial, "self_weight")

    def setup(self):
        super().setup()
        self.vector("wa", self.features, constant(self.self_weight))
        self.vector("wc", self.features, constant(self.self_weight))

    def step(self, h, drive):
        gates, new = drive
        a, c = split_gates(gates, 2)
        a = a + self.recur("wa", h, form="diagonal")
        c = c + self.recur("wc", h, form="diagonal")
        return self.mix(h, a, c, new)


@CELLS.register("nbrc")
class NBRC(Bistable):
    """Vecoven, Ernst & Drion (2021), neuromodulated: the gates see all units.

        a = 1 + φ(V_a x_t + U_a h_{t−1} + b_a)
        c = σ(V_c x_t + U_c h_{t−1} + b_c)
        h_t = c ⊙ h_{t−1} + (1 − c) ⊙ φ(V_h x_t + a ⊙ h_{t−1})

    State and order as in `BRC`.

    Attributes, in addition to those of `Bistable`:
        recurrent_init: initialiser of U_a and U_c; Glorot's in the authors' code.
    """

    recurrent_init: Init = "glorot_uniform"

    initial = (*Bistable.initial, "recurrent_init")

    def setup(self):
        super().setup()
        self.kernel("U", self.features, self.features, self.recurrent_init, gates=2)

    def step(self, h, drive):
        gates, new = drive
        a, c = split_gates(gates + self.recur("U", h), 2)
        return self.mix(h, a, c, new)
