"""LSTM with peepholes: the gates also read the memory."""

from rnnjax.cells.base import CELLS, Init, split_gates
from rnnjax.cells.lstm import LSTM, LSTMState
from rnnjax.initializers import uniform


@CELLS.register("peephole_lstm")
class PeepholeLSTM(LSTM):
    """Gers, Schraudolph & Schmidhuber (2002), LSTM whose gates also read the memory.

        i, f = σ(U• h_{t−1} + V• x_t + p• ⊙ c_{t−1} + b•)
        g = φ(U_g h_{t−1} + V_g x_t + b_g)
        c_t = f ⊙ c_{t−1} + i ⊙ g
        o = σ(U_o h_{t−1} + V_o x_t + p_o ⊙ c_t + b_o),   h_t = o ⊙ φ(c_t)

    The output gate reads the new memory. State and order of the gates as in `LSTM`.

    Attributes, in addition to those of `LSTM`:
        peephole_init: initialiser of p_i, p_f and p_o; None: U(±0.1).
    """

    peephole_init: Init | None = None

    initial = (*LSTM.initial, "peephole_init")

    def setup(self):
        super().setup()
        for name in ("pi", "pf", "po"):
            self.vector(name, self.features, self.peephole_init or uniform(0.1))

    def step(self, state, drive):
        peep = lambda name, c: self.recur(name, c, form="diagonal")
        i, f, g, o = split_gates(drive + self.recur("U", state.h), 4)
        c = self.sigma(f + peep("pf", state.c), "forget") * state.c
        i = self.sigma(i + peep("pi", state.c), "input")
        c = c + i * self.phi(g, "candidate")
        o = self.sigma(o + peep("po", c), "output")
        return LSTMState(o * self.phi(c, "memory"), c)
