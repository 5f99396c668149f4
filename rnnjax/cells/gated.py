"""What most gated cells have in common: two activations and the initialisation."""

from rnnjax.activations import activation
from rnnjax.cells.base import Cell, Init


class Gated(Cell):
    """A cell with gates σ (`self.sigma`) and a candidate φ (`self.phi`).

    Attributes:
        activation: φ of the candidate.
        gate: σ of the gates.
        recurrent_init: initialiser of the recurrent matrix of each gate.
        input_init: initialiser of the input matrix of each gate.
        chrono: if given, the longest dependency T_max in steps. The initial bias of a
            gate that keeps the past is then log U(1, T_max − 1), and that of a gate
            that admits new input is minus that (Tallec & Ollivier 2018).
    """

    activation: str = "tanh"
    gate: str = "sigmoid"
    recurrent_init: Init = "orthogonal"
    input_init: Init = "glorot_uniform"
    chrono: float | None = None

    initial = ("recurrent_init", "input_init", "chrono")

    def setup(self):
        self.sigma, self.phi = activation(self.gate), activation(self.activation)
