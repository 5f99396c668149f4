"""FastRNN, a weighted residual, and FastGRNN, whose gate shares its matrices."""

from rnnjax.activations import activation, sigmoid
from rnnjax.cells.base import CELLS, Cell, Init, chrono_or, split_gates
from rnnjax.initializers import constant, gate_bias, normal


class Fast(Cell):
    """Base of both: two matrices, initialised from N(0, 0.1²) as in the authors' code.

    Attributes:
        activation: φ of the candidate.
        recurrent_init: initialiser of U; None: N(0, 0.1²).
        input_init: initialiser of V; None: the same distribution.
        bias: initial bias of the candidate.
    """

    activation: str = "tanh"
    recurrent_init: Init | None = None
    input_init: Init | None = None
    bias: float = 1.0

    initial = ("recurrent_init", "input_init", "bias")

    def setup(self):
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init or normal(0.1))
        self.kernel("U", n, n, self.recurrent_init or normal(0.1))
        self.phi = activation(self.activation)


@CELLS.register("fastrnn")
class FastRNN(Fast):
    """Kusupati et al. (2018), FastRNN: a residual with two learned scalar weights.

        h̃ = φ(U h_{t−1} + V x_t + b)
        h_t = σ(α) h̃ + σ(β) h_{t−1}

    State: h ``(B, n)``. Defaults are those of the authors' code.

    Attributes, in addition to those of `Fast`:
        alpha: initial α.
        beta: initial β; a large value keeps the past.
    """

    alpha: float = -3.0
    beta: float = 3.0

    initial = (*Fast.initial, "alpha", "beta")

    def setup(self):
        super().setup()
        self.b = self.vector("b", self.features, constant(self.bias))
        self.new = self.vector("new", 1, constant(self.alpha))
        self.old = self.vector("old", 1, constant(self.beta))

    def readin(self, x):
        return self.project("V", x) + self.b

    def step(self, h, drive):
        candidate = self.phi(drive + self.recur("U", h), "candidate")
        # scalars, not gates of units: not recorded for probes
        return sigmoid.function(self.new) * candidate + sigmoid.function(self.old) * h


@CELLS.register("fastgrnn")
class FastGRNN(Fast):
    """Kusupati et al. (2018), FastGRNN: gate and candidate share both matrices.

        p = U h_{t−1} + V x_t
        z = σ(p + b_z),   h̃ = φ(p + b_h)
        h_t = z ⊙ h_{t−1} + (σ(ζ) (1 − z) + σ(ν)) ⊙ h̃

    torchrecurrent uses tanh as the gate's σ and initialises ζ, ν = 3, −3. State: h
    ``(B, n)``; b is in the order z, h. Defaults are those of the authors' code, which
    also allows matrices of low rank.

    Attributes, in addition to those of `Fast`:
        gate: σ.
        zeta: initial ζ.
        nu: initial ν.
        update_bias: initial b_z; positive keeps the past.
        chrono: if given, the longest dependency T_max: b_z ~ log U(1, T_max − 1).
    """

    gate: str = "sigmoid"
    zeta: float = 1.0
    nu: float = -4.0
    update_bias: float = 1.0
    chrono: float | None = None

    initial = (*Fast.initial, "zeta", "nu", "update_bias", "chrono")

    def setup(self):
        super().setup()
        keep = chrono_or(self.update_bias, self.chrono)
        self.b = self.vector("b", 2 * self.features, gate_bias([keep, self.bias]))
        self.scale = self.vector("scale", 1, constant(self.zeta))
        self.shift = self.vector("shift", 1, constant(self.nu))
        self.sigma = activation(self.gate)

    def readin(self, x):
        return self.project("V", x)

    def step(self, h, drive):
        p = drive + self.recur("U", h)
        bz, bh = split_gates(self.b, 2)
        z = self.sigma(p + bz, "update")
        new = sigmoid.function(self.scale) * (1 - z) + sigmoid.function(self.shift)
        return z * h + new * self.phi(p + bh, "candidate")
