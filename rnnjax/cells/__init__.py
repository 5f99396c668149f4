"""Recurrent cells, one file each; importing this package fills the registry `CELLS`."""

from rnnjax.cells.antisymmetric import AntisymmetricRNN
from rnnjax.cells.base import CELLS, Cell
from rnnjax.cells.cornn import CoRNN
from rnnjax.cells.elman import Elman
from rnnjax.cells.exprnn import ExpRNN
from rnnjax.cells.gru import GRU, GRUBefore
from rnnjax.cells.indrnn import IndRNN
from rnnjax.cells.lem import LEM
from rnnjax.cells.lru import LRU
from rnnjax.cells.lstm import LSTM
from rnnjax.cells.mingru import MinGRU
from rnnjax.cells.minimal_rnn import MinimalRNN
from rnnjax.cells.rhn import RHN
from rnnjax.cells.urnn import URNN


__all__ = [
    "CELLS",
    "GRU",
    "LEM",
    "LRU",
    "LSTM",
    "RHN",
    "URNN",
    "AntisymmetricRNN",
    "Cell",
    "CoRNN",
    "Elman",
    "ExpRNN",
    "GRUBefore",
    "IndRNN",
    "MinGRU",
    "MinimalRNN",
]
