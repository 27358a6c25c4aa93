"""The cells by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import MappingProxyType
from typing import Any

from .._validation import InputError, InputTypeError, check_choice, suggest
from .autograd_cell import AutogradCell
from .base import Cell
from .gru import GRU
from .leaky_rnn import LeakyRNN
from .low_rank_rnn import LowRankRNN
from .lstm import LSTM
from .vanilla_rnn import VanillaRNN

CELLS: Mapping[str, type[Cell]] = MappingProxyType(
    {cell.kind: cell for cell in (VanillaRNN, LeakyRNN, GRU, LSTM, LowRankRNN)}
)


def cell_from_config(kind: str, settings: Mapping[str, Any]) -> Cell:
    """Return the cell of a kind with the settings of a configuration or a run file.

    Parameters
    ----------
    kind : {"vanilla-rnn", "leaky-rnn", "gru", "lstm", "low-rank-rnn"}
        Name of the cell's class.
    settings : mapping of str to object
        The constructor's arguments, as :meth:`Cell.settings` returns them.

    Returns
    -------
    Cell

    Raises
    ------
    InputError
        If the kind or a setting is unknown, a setting is missing, or a value is not accepted.
    InputTypeError
        If `settings` is not a mapping, or a value has a wrong type.

    Examples
    --------
    >>> from kpflow_numerics.cells import cell_from_config
    >>> cell_from_config("gru", {"n_inputs": 3, "n_units": 8})
    GRU(n_inputs=3, n_units=8, bias=True)
    """
    if kind == AutogradCell.kind:
        step = settings.get("name") if isinstance(settings, Mapping) else None
        raise InputError(
            f"The cell is an AutogradCell with the step {step!r}, and a file cannot hold a "
            "function. Build the cell in Python, AutogradCell(step, ...), and pass it as the cell."
        )
    cell = CELLS[check_choice(kind, "kind", CELLS)]
    if not isinstance(settings, Mapping):
        raise InputTypeError(
            f"settings must map the names of settings to values; got {type(settings).__name__}."
        )
    accepted = [field.name for field in fields(cell)]
    for name in settings:
        if name not in accepted:
            raise InputError(
                f"settings has an entry {name!r} that the cell {kind!r} does not know; it takes "
                f"{', '.join(accepted)}.{suggest(str(name), accepted)}"
            )
    for field in fields(cell):
        if field.default is MISSING and field.name not in settings:
            raise InputError(
                f"settings lacks {field.name!r}; the cell {kind!r} takes {', '.join(accepted)}."
            )
    return cell(**settings)
