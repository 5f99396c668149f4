"""Multiplicative LSTM: the input selects the recurrent matrix."""

from rnnjax.cells.base import CELLS
from rnnjax.cells.lstm import LSTM


@CELLS.register("multiplicative_lstm")
class MultiplicativeLSTM(LSTM):
    """Krause, Lu, Murray & Renals (2016): the recurrent matrix depends on the input.

        m = (V_m x_t) ⊙ (U_m h_{t−1})
        i, f, o = σ(U• m + V• x_t + b•),   g = φ(U_g m + V_g x_t + b_g)
        c_t = f ⊙ c_{t−1} + i ⊙ g,   h_t = o ⊙ φ(c_t)

    torchrecurrent adds biases to both factors of m. The mLSTM of xLSTM is a different
    cell. State, order of the gates and attributes as in `LSTM`; two products in
    sequence.
    """

    def setup(self):
        super().setup()
        n = self.features
        self.kernel("Vm", self.inputs, n, self.input_init)
        self.kernel("Um", n, n, self.recurrent_init)

    def readin(self, x):
        return self.project("Vm", x), super().readin(x)

    def step(self, state, drive):
        factor, gates = drive
        m = factor * self.recur("Um", state.h)
        return self.remember(gates + self.recur("U", m), state.c)
