"""minGRU: a gated unit whose gate sees the input alone, linear in its state."""

import math

import jax.numpy as jnp

from rnnjax.activations import Activation, activation, sigmoid
from rnnjax.cells.base import CELLS, Cell, Init, chrono_or, split_gates
from rnnjax.initializers import gate_bias


@CELLS.register("mingru")
class MinGRU(Cell):
    """Feng et al. (2024), section 3.1, "Were RNNs all we needed?".

        z_t = σ(V_z x_t + b_z)
        h̃_t = V_h x_t + b_h,   or g(V_h x_t + b_h) if positive
        h_t = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ h̃_t

    g(v) = v + ½ for v ≥ 0 and σ(v) below, which the paper's scan in log space needs.
    No product with the state: the recurrence is linear and diagonal.
    State: h ``(B, n)``; the fused kernel holds the order z, h̃.

    Attributes:
        positive: apply g to the candidate.
        activation: φ of the candidate when not positive; the paper has none.
        input_init: initialiser of each V•.
        update_bias: start of b_z; negative keeps the past.
        chrono: if given, the longest dependency T_max: b_z ~ −log U(1, T_max − 1).
    """

    positive: bool = False
    activation: str = "identity"
    input_init: Init = "glorot_uniform"
    update_bias: float = 0.0
    chrono: float | None = None

    initial = ("input_init", "update_bias", "chrono")

    def setup(self):
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init, gates=2)
        let_in = chrono_or(self.update_bias, self.chrono, sign=-1.0)
        self.b = self.vector("b", 2 * n, gate_bias([let_in, 0.0]))
        self.phi = POSITIVE_PART if self.positive else activation(self.activation)

    def readin(self, x):
        z, candidate = split_gates(self.project("V", x) + self.b, 2)
        keep, update = sigmoid(-z, "keep"), sigmoid(z, "update")
        return keep, update * self.phi(candidate, "candidate")

    def step(self, h, drive):
        keep, new = drive
        return keep * h + new


def positive_part(v):
    """v + ½ for v ≥ 0, σ(v) below."""
    return jnp.where(v >= 0, v + 0.5, sigmoid.function(v))


POSITIVE_PART = Activation(
    name="positive_part",
    function=positive_part,
    slope=lambda v: jnp.where(jnp.greater_equal(v, 0), 1.0, sigmoid.slope(v)),
    slope_bounds=(0.0, 1.0),
    range=(0.0, math.inf),
    formula=r"z + 1/2 \text{ for } z \ge 0, \text{ else } \sigma(z)",
)
