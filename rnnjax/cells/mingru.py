"""minGRU and minLSTM: gates depend only on the input, and steps are linear in h."""

import math

import jax.numpy as jnp

from rnnjax.activations import Activation, activation, sigmoid, softplus
from rnnjax.cells.base import CELLS, Cell, Init, chrono_or, split_gates
from rnnjax.initializers import NegativeOf, gate_bias


class InputGated(Cell):
    """h_t = f_t ⊙ h_{t−1} + i_t ⊙ h̃_t, where f_t, i_t and h̃_t depend only on x_t.

    Attributes:
        positive: apply g to the candidate (see `MinGRU`).
        activation: φ of the candidate if not `positive`; the paper has none.
        input_init: initialiser of each V•.
        chrono: if given, the longest dependency T_max in steps (see `Gated.chrono`).
    """

    positive: bool = False
    activation: str = "identity"
    input_init: Init = "glorot_uniform"
    chrono: float | None = None

    initial = ("input_init", "chrono")

    def setup(self):
        self.phi = POSITIVE_PART if self.positive else activation(self.activation)

    def step(self, h, drive):
        keep, new = drive
        return keep * h + new


@CELLS.register("mingru")
class MinGRU(InputGated):
    """Feng et al. (2024), section 3.1, "Were RNNs all we needed?".

        z_t = σ(V_z x_t + b_z)
        h̃_t = V_h x_t + b_h,   or g(V_h x_t + b_h) if positive
        h_t = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ h̃_t

    g(v) = v + ½ for v ≥ 0 and σ(v) for v < 0; the paper's scan in log space needs it.
    There is no matrix product with the state: the recurrence is linear and diagonal.
    State: h ``(B, n)``; the fused kernel is in the order z, h̃.

    Attributes, in addition to those of `InputGated`:
        update_bias: initial b_z; negative keeps the past.
    """

    update_bias: float = 0.0

    initial = (*InputGated.initial, "update_bias")

    def setup(self):
        super().setup()
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init, gates=2)
        let_in = chrono_or(self.update_bias, self.chrono, sign=-1.0)
        self.b = self.vector("b", 2 * n, gate_bias([let_in, 0.0]))

    def readin(self, x):
        z, candidate = split_gates(self.project("V", x) + self.b, 2)
        keep, update = sigmoid(-z, "keep"), sigmoid(z, "update")
        return keep, update * self.phi(candidate, "candidate")


@CELLS.register("minlstm")
class MinLSTM(InputGated):
    """Feng et al. (2024), section 3.2: forget and input gates normalised to sum to 1.

        f_t, i_t = σ(V• x_t + b•),   f'_t = f_t / (f_t + i_t),   i'_t = 1 − f'_t
        h_t = f'_t ⊙ h_{t−1} + i'_t ⊙ h̃_t,   h̃_t as in `MinGRU`

    f' is computed as σ(log f − log i), so that probes record f' and i' as the gates.
    State: h ``(B, n)``; the fused kernel is in the order f, i, h̃.

    Attributes, in addition to those of `InputGated`:
        forget_bias: initial b_f; positive keeps the past. With `chrono` it is drawn at
            random, and b_i = −b_f for each unit: then f' = f at x = 0.
    """

    forget_bias: float = 0.0

    initial = (*InputGated.initial, "forget_bias")

    def setup(self):
        super().setup()
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init, gates=3)
        let_in = 0.0 if self.chrono is None else NegativeOf(0)
        keep = chrono_or(self.forget_bias, self.chrono)
        self.b = self.vector("b", 3 * n, gate_bias([keep, let_in, 0.0]))

    def readin(self, x):
        f, i, candidate = split_gates(self.project("V", x) + self.b, 3)
        ratio = softplus.function(-i) - softplus.function(-f)  # log f − log i
        keep, let_in = sigmoid(ratio, "forget"), sigmoid(-ratio, "input")
        return keep, let_in * self.phi(candidate, "candidate")


def positive_part(v):
    """v + ½ for v ≥ 0, σ(v) for v < 0."""
    return jnp.where(v >= 0, v + 0.5, sigmoid.function(v))


POSITIVE_PART = Activation(
    name="positive_part",
    function=positive_part,
    slope=lambda v: jnp.where(jnp.greater_equal(v, 0), 1.0, sigmoid.slope(v)),
    slope_bounds=(0.0, 1.0),
    range=(0.0, math.inf),
    formula=r"z + 1/2 \text{ for } z \ge 0, \text{ else } \sigma(z)",
)
