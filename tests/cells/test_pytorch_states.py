"""Networks trained in PyTorch pass through the states that PyTorch computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.cells.base import Cell

NETWORKS: dict[str, Cell] = {
    "gru_memory_pro_64": kpf.GRU(3, 64),
    "rnn_memory_pro_64": kpf.VanillaRNN(3, 64),
    "lstm_flip_flop_48": kpf.LSTM(3, 48),
    "rnn_relu_flip_flop_48": kpf.VanillaRNN(3, 48, activation="relu"),
}
NAMES = pytest.mark.parametrize("name", NETWORKS)


def load(folder: Path, name: str, dtype: type) -> tuple[dict[str, np.ndarray], dict]:
    """The network's parameters, and PyTorch's trajectory through it."""
    with np.load(folder / "pytorch" / f"{name}.npz") as file:
        keys = NETWORKS[name].parameter_shapes
        params = {key: file[f"rnn.{key}_l0"] for key in keys}
    assert {value.dtype for value in params.values()} == {np.dtype(np.float32)}
    with np.load(folder / "pytorch" / f"{name}_trajectory.npz") as file:
        trajectory = dict(file)
    return {key: value.astype(dtype) for key, value in params.items()}, trajectory


def hidden_states(name: str, params: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    return kpf.simulate(NETWORKS[name], params, inputs).hidden


def largest_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@NAMES
def test_states_in_double_precision(shared_data: Path, name: str) -> None:
    params, trajectory = load(shared_data, name, np.float64)
    found = hidden_states(name, params, trajectory["inputs"])
    assert largest_error(found, trajectory["hidden"]) <= 1e-13


@NAMES
def test_states_in_single_precision(shared_data: Path, name: str) -> None:
    params, trajectory = load(shared_data, name, np.float32)
    found, expected = hidden_states(name, params, trajectory["inputs"]), trajectory["hidden"]
    assert found.dtype == np.float32
    assert np.linalg.norm(found - expected) <= 1e-6 * np.linalg.norm(expected)
    # Rounding errors grow along a trajectory: PyTorch's own, at one entry, to 1.7e-6 of the GRU.
    of_pytorch = largest_error(trajectory["hidden_float32"].astype(np.float64), expected)
    assert largest_error(found, expected) <= 3 * of_pytorch


@pytest.mark.parametrize(
    ("name", "gates"), [("gru_memory_pro_64", (1, 0, 2)), ("lstm_flip_flop_48", (0, 1, 3, 2))]
)
def test_a_wrong_gate_order_is_seen(shared_data: Path, name: str, gates: tuple[int, ...]) -> None:
    params, trajectory = load(shared_data, name, np.float64)
    for key, value in params.items():
        blocks = np.split(value, len(gates))
        params[key] = np.concatenate([blocks[gate] for gate in gates])
    found = hidden_states(name, params, trajectory["inputs"])
    assert largest_error(found, trajectory["hidden"]) > 1e-2
