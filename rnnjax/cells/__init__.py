"""Recurrent cells, one file each; importing this package fills the registry `CELLS`.

To write a cell of your own, this package is all you need: `Cell` and the activations.
"""

from rnnjax.activations import activation, hard_sigmoid, relu, sigmoid, softplus, tanh
from rnnjax.cells.antisymmetric import AntisymmetricRNN, GatedAntisymmetricRNN
from rnnjax.cells.atr import ATR
from rnnjax.cells.base import CELLS, Cell, register_cell
from rnnjax.cells.brc import BRC, NBRC
from rnnjax.cells.cfn import CFN
from rnnjax.cells.cornn import CoRNN
from rnnjax.cells.elman import Elman
from rnnjax.cells.exprnn import ExpRNN
from rnnjax.cells.fastrnn import FastGRNN, FastRNN
from rnnjax.cells.gru import GRU, GRUBefore
from rnnjax.cells.indrnn import IndRNN
from rnnjax.cells.janet import JANET
from rnnjax.cells.leaky import Leaky
from rnnjax.cells.lem import LEM
from rnnjax.cells.lightru import LightRU
from rnnjax.cells.ligru import LiGRU
from rnnjax.cells.lru import LRU
from rnnjax.cells.lstm import LSTM
from rnnjax.cells.mgu import MGU
from rnnjax.cells.mingru import MinGRU, MinLSTM
from rnnjax.cells.minimal_rnn import MinimalRNN
from rnnjax.cells.multiplicative_lstm import MultiplicativeLSTM
from rnnjax.cells.mut import MUT1
from rnnjax.cells.peephole_lstm import PeepholeLSTM
from rnnjax.cells.ran import RAN
from rnnjax.cells.rhn import RHN
from rnnjax.cells.scrn import SCRN
from rnnjax.cells.star import STAR
from rnnjax.cells.ugrnn import UGRNN
from rnnjax.cells.urnn import URNN
from rnnjax.registry import import_modules


import_modules(__name__, __path__)


__all__ = [
    "ATR",
    "BRC",
    "CELLS",
    "CFN",
    "GRU",
    "JANET",
    "LEM",
    "LRU",
    "LSTM",
    "MGU",
    "MUT1",
    "NBRC",
    "RAN",
    "RHN",
    "SCRN",
    "STAR",
    "UGRNN",
    "URNN",
    "AntisymmetricRNN",
    "Cell",
    "CoRNN",
    "Elman",
    "ExpRNN",
    "FastGRNN",
    "FastRNN",
    "GRUBefore",
    "GatedAntisymmetricRNN",
    "IndRNN",
    "Leaky",
    "LiGRU",
    "LightRU",
    "MinGRU",
    "MinLSTM",
    "MinimalRNN",
    "MultiplicativeLSTM",
    "PeepholeLSTM",
    "activation",
    "hard_sigmoid",
    "register_cell",
    "relu",
    "sigmoid",
    "softplus",
    "tanh",
]
