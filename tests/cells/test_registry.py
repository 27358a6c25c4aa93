"""Cells by name, and the settings that their constructors accept."""

from __future__ import annotations

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.cells import CELLS, cell_from_config
from kpflow_numerics.cells.base import Cell
from tests.cases.cells import LOW_RANK_CELLS, SITE_CELLS


@pytest.mark.parametrize("cell", SITE_CELLS + LOW_RANK_CELLS, ids=repr)
def test_settings_give_the_cell_back(cell: Cell) -> None:
    again = cell_from_config(cell.kind, cell.settings())
    assert again == cell
    assert hash(again) == hash(cell)
    assert repr(again) == repr(cell)


def test_names() -> None:
    assert {name: kind.__name__ for name, kind in CELLS.items()} == {
        "vanilla-rnn": "VanillaRNN",
        "leaky-rnn": "LeakyRNN",
        "gru": "GRU",
        "lstm": "LSTM",
        "low-rank-rnn": "LowRankRNN",
    }


def test_the_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError, match="does not support item assignment"):
        CELLS["gru"] = kpf.LSTM  # type: ignore[index]


@pytest.mark.parametrize(
    ("kind", "settings", "error", "message"),
    [
        ("gur", {}, ValueError, "kind must be one of 'vanilla-rnn', .*'gur'. Did you mean 'gru'"),
        (3, {}, ValueError, "kind must be one of .*; got 3"),
        ("gru", 7, TypeError, "settings must map the names of settings to values; got int"),
        ("gru", {"n_inputs": 2}, ValueError, "settings lacks 'n_units'; the cell 'gru' takes"),
        (
            "leaky-rnn",
            {"n_inputs": 2, "n_units": 3, "leek": 0.1},
            ValueError,
            "settings has an entry 'leek' that the cell 'leaky-rnn' does not know.*mean 'leak'",
        ),
        (
            "gru",
            {"n_inputs": 2, "n_units": 3, "activation": "tanh"},
            ValueError,
            "settings has an entry 'activation' that the cell 'gru' does not know",
        ),
    ],
)
def test_unknown_kinds_and_settings_are_refused(kind, settings, error, message) -> None:
    with pytest.raises(error, match=message):
        cell_from_config(kind, settings)


@pytest.mark.parametrize("kind", CELLS.values())
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"n_inputs": 0}, ValueError, "n_inputs must be at least 1; got 0"),
        ({"n_units": 2.0}, TypeError, "n_units must be an integer; got 2.0"),
        ({"n_units": True}, TypeError, "n_units must be an integer; got True"),
        ({"bias": "no"}, TypeError, r"bias must be True or False; got 'no' \(str\)"),
        ({"bias": 1}, TypeError, "bias must be True or False; got 1"),
    ],
)
def test_constructors_refuse(kind, settings, error, message) -> None:
    with pytest.raises(error, match=message):
        kind(**({"n_inputs": 2, "n_units": 3} | settings))


@pytest.mark.parametrize("kind", [kpf.VanillaRNN, kpf.LeakyRNN])
def test_an_unknown_activation_is_refused(kind) -> None:
    with pytest.raises(ValueError, match="activation must be one of 'tanh', 'relu'; got 'rleu'"):
        kind(2, 3, activation="rleu")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"leak": 0.0}, ValueError, "leak must be .* greater than 0 and at most 1; got 0.0"),
        ({"leak": 1.5}, ValueError, "leak must be .* at most 1; got 1.5"),
        ({"leak": np.nan}, ValueError, "leak must be finite"),
        ({"leak": "slow"}, TypeError, "leak must be a real number; got 'slow'"),
        ({"form": "voltage"}, ValueError, "form must be one of 'rate', 'current'; got 'voltage'"),
    ],
)
def test_settings_of_the_leaky_cell(settings, error, message) -> None:
    with pytest.raises(error, match=message):
        kpf.LeakyRNN(2, 3, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank must be at least 1; got 0"),
        ({"rank": 4}, "rank must be at most n_units=3, the rank of any recurrent weights; got 4"),
        ({"form": "voltage"}, "form must be one of 'rate', 'current'; got 'voltage'"),
        ({"leak": 1.5}, "leak must be .* at most 1; got 1.5"),
        ({"activation": "rleu"}, "activation must be one of 'tanh', 'relu'; got 'rleu'"),
    ],
)
def test_settings_of_the_low_rank_cell(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        kpf.LowRankRNN(2, 3, **settings)
