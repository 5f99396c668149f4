"""What most gated cells have in common: their two activations and how they start."""

from rnnjax.activations import activation
from rnnjax.cells.base import Cell, Init


class Gated(Cell):
    """A cell with gates σ (`self.sigma`) and a candidate φ (`self.phi`).

    Attributes:
        activation: φ of the candidate.
        gate: the gates' σ.
        recurrent_init: initialiser of each recurrent matrix, gate by gate.
        input_init: initialiser of each input matrix, gate by gate.
        chrono: if given, the longest dependency T_max in steps: the bias b of the gate
            that keeps the past starts at log U(1, T_max − 1), that of a gate which
            lets the new in instead at minus that (Tallec & Ollivier 2018).
    """

    activation: str = "tanh"
    gate: str = "sigmoid"
    recurrent_init: Init = "orthogonal"
    input_init: Init = "glorot_uniform"
    chrono: float | None = None

    initial = ("recurrent_init", "input_init", "chrono")

    def setup(self):
        self.sigma, self.phi = activation(self.gate), activation(self.activation)
