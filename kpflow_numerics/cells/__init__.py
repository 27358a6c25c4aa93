"""Recurrent cells, one a file."""

from .base import Cell, SiteCell
from .vanilla_rnn import VanillaRNN

__all__ = ["Cell", "SiteCell", "VanillaRNN"]
