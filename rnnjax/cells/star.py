"""STAR: a gated unit designed for stacking, with a single recurrent product."""

from rnnjax.cells.base import CELLS, Init, chrono_or, split_gates
from rnnjax.cells.gated import Gated
from rnnjax.initializers import gate_bias


@CELLS.register("star")
class STAR(Gated):
    """Turkoglu, D'Aronco, Wegner & Schindler (2021), stackable recurrent cell.

        k = σ(U h_{t−1} + V_k x_t + b_k)
        z = φ(V_z x_t + b_z)
        h_t = φ((1 − k) ⊙ h_{t−1} + k ⊙ z)

    The authors' code shifts one of the two occurrences of k, as `janet` does; the paper
    does not. State: h ``(B, n)``; fused kernels are in the order k, z.

    Attributes, in addition to those of `Gated`:
        input_init: initialiser of each V•; orthogonal in the authors' code.
        update_bias: initial b_k; negative keeps the past. The paper uses `chrono`.
    """

    input_init: Init = "orthogonal"
    update_bias: float = -1.0

    initial = (*Gated.initial, "update_bias")

    def setup(self):
        super().setup()
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init, gates=2)
        self.kernel("U", n, n, self.recurrent_init)
        let_in = chrono_or(self.update_bias, self.chrono, sign=-1.0)
        self.b = self.vector("b", 2 * n, gate_bias([let_in, 0.0]))

    def readin(self, x):
        k, z = split_gates(self.project("V", x) + self.b, 2)
        return k, self.phi(z, "candidate")

    def step(self, h, drive):
        k, z = drive
        k = self.sigma(k + self.recur("U", h), "update")
        return self.phi((1 - k) * h + k * z, "hidden")
