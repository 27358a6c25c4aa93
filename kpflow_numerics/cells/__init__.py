"""Recurrent cells, one a file."""

from .autograd_cell import AutogradCell
from .base import Cell, SiteCell, StructuredCell
from .gru import GRU
from .leaky_rnn import LeakyRNN
from .low_rank_rnn import LowRankRNN
from .lstm import LSTM
from .registry import CELLS, cell_from_config
from .vanilla_rnn import VanillaRNN

__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "AutogradCell",
    "Cell",
    "LeakyRNN",
    "LowRankRNN",
    "SiteCell",
    "StructuredCell",
    "VanillaRNN",
    "cell_from_config",
]
