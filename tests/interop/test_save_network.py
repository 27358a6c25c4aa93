"""A saved network is the one that is loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._errors import InputError, InputTypeError
from kpflow_numerics.interop import Network, load_network, save_network
from kpflow_numerics.training import init_readout

CELLS = [
    (kpf.GRU(2, 5), {}),
    (kpf.GRU(2, 5, bias=False), {}),
    (kpf.LSTM(2, 5), {}),
    (kpf.VanillaRNN(2, 5, activation="relu"), {"activation": "relu"}),
    (kpf.LeakyRNN(2, 5, form="current", leak=0.3),
     {"activation": "tanh", "form": "current", "leak": 0.3}),
    (kpf.LeakyRNN(2, 5, bias=False), {"activation": "tanh", "form": "rate", "leak": 0.1}),
]  # fmt: skip


def network_of(cell: kpf.cells.Cell, dtype: type = np.float64) -> Network:
    readout = init_readout(cell.n_units, 3, rng=8, dtype=dtype)
    return Network(cell, cell.init_params(rng=6, dtype=dtype), readout, Path("memory"), ())


def assert_same_bits(left: dict, right: dict) -> None:
    assert sorted(left) == sorted(right)
    for name, array in left.items():
        assert array.dtype == right[name].dtype, name
        assert array.tobytes() == right[name].tobytes(), name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize(("cell", "told"), CELLS, ids=str)
def test_a_round_trip_keeps_every_bit(tmp_path, cell, told, suffix, dtype):
    network = network_of(cell, dtype)
    path = tmp_path / f"net{suffix}"
    save_network(path, network)
    loaded = load_network(path, **told)
    assert loaded.cell == cell
    assert_same_bits(loaded.params, network.params)
    assert_same_bits(loaded.readout, network.readout)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_a_real_network_keeps_every_bit(tmp_path, shared_data):
    network = load_network(shared_data / "pytorch" / "gru_memory_pro_64.safetensors")
    path = tmp_path / "net.npz"
    save_network(path, network)
    assert_same_bits(load_network(path).params, network.params)


def test_a_network_without_readout(tmp_path):
    cell = kpf.GRU(2, 5)
    path = tmp_path / "net.npz"
    save_network(path, Network(cell, cell.init_params(rng=6), None, path, ()))
    assert load_network(path).readout is None


def test_nothing_is_overwritten_unasked(tmp_path):
    path = tmp_path / "net.npz"
    save_network(path, network_of(kpf.GRU(2, 5)))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"net\.npz exists\..*overwrite=True"):
        save_network(path, network_of(kpf.LSTM(2, 5)))
    assert path.read_bytes() == before
    save_network(path, network_of(kpf.LSTM(2, 5)), overwrite=True)
    assert load_network(path).cell == kpf.LSTM(2, 5)


def test_what_cannot_be_saved_is_named(tmp_path):
    network = network_of(kpf.GRU(2, 5))
    with pytest.raises(InputTypeError, match="network must be a Network; got dict"):
        save_network(tmp_path / "net.npz", {})
    with pytest.raises(InputTypeError, match=r"got \w*Path\. The path comes first"):
        save_network(network, tmp_path / "net.npz")
    with pytest.raises(InputError, match=r"must end in \.safetensors or \.npz; got 'net\.pt'"):
        save_network(tmp_path / "net.pt", network)
    own = kpf.AutogradCell(lambda params, x, h: h + params["b"], {"b": (5,)}, 2, 5)
    with pytest.raises(InputError, match="cannot be read from a file of weights"):
        save_network(tmp_path / "net.npz", network_of(own))
    bad = Network(network.cell, network.params | {"extra": np.ones(3)}, None, Path("memory"), ())
    with pytest.raises(InputError, match="has an entry 'extra'"):
        save_network(tmp_path / "net.npz", bad)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "net.npz"
    save_network(path, network_of(kpf.GRU(2, 5)))
    before = path.read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="No space left"):
        save_network(path, network_of(kpf.LSTM(2, 5)), overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'kpflow-numerics\[torch-files\]'"):
        save_network(tmp_path / "net.safetensors", network_of(kpf.GRU(2, 5)))
