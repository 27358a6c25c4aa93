"""Networks trained in PyTorch, read from files that hold no code."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.interop import load_network
from kpflow_numerics.testing import default_tolerance
from kpflow_numerics.training import apply_readout

SHARED = {
    "gru_memory_pro_64": (kpf.GRU(3, 64), {}),
    "rnn_memory_pro_64": (kpf.VanillaRNN(3, 64), {"activation": "tanh"}),
    "lstm_flip_flop_48": (kpf.LSTM(3, 48), {}),
    "rnn_relu_flip_flop_48": (kpf.VanillaRNN(3, 48, activation="relu"), {"activation": "relu"}),
}
SUFFIXES = (".npz", ".safetensors")


def arrays_of(cell: kpf.cells.Cell, n_outputs: int = 2) -> dict[str, np.ndarray]:
    params = cell.init_params(rng=11, dtype=np.float32)
    rng = np.random.default_rng(13)
    arrays = {f"rnn.{name}_l0": array for name, array in params.items()}
    arrays["readout.weight"] = rng.standard_normal((n_outputs, cell.n_units)).astype(np.float32)
    arrays["readout.bias"] = rng.standard_normal(n_outputs).astype(np.float32)
    return arrays


def write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        from safetensors.numpy import save_file

        save_file(arrays, path)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", SHARED)
def test_the_states_and_outputs_of_pytorch(shared_data: Path, name: str, suffix: str) -> None:
    cell, told = SHARED[name]
    network = load_network(shared_data / "pytorch" / f"{name}{suffix}", **told)
    assert network.cell == cell
    assert {array.dtype for array in network.params.values()} == {np.dtype(np.float32)}
    reference = np.load(shared_data / "pytorch" / f"{name}_trajectory.npz")
    exact = {key: array.astype(np.float64) for key, array in network.params.items()}
    states = kpf.simulate(network.cell, exact, reference["inputs"]).hidden
    scale = np.abs(reference["hidden"]).max()
    assert np.abs(states - reference["hidden"]).max() <= 1e-12 * scale
    assert network.readout is not None
    outputs = apply_readout(
        {key: array.astype(np.float64) for key, array in network.readout.items()}, states
    )
    assert np.abs(outputs - reference["outputs"]).max() <= 1e-12 * np.abs(outputs).max()
    in_float32 = kpf.simulate(network.cell, network.params, reference["inputs"]).hidden
    assert in_float32.dtype == np.float32
    # PyTorch's own float32 states are this far from its float64 ones.
    own_error = np.abs(reference["hidden_float32"] - reference["hidden"]).max()
    assert np.abs(in_float32 - reference["hidden"]).max() <= max(1e-6 * scale, 4 * own_error)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (kpf.GRU(2, 5), {}),
        (kpf.GRU(2, 5, bias=False), {}),
        (kpf.LSTM(2, 5), {}),
        (kpf.LSTM(2, 5, bias=False), {}),
        (kpf.VanillaRNN(2, 5, activation="relu"), {"activation": "relu"}),
        (kpf.VanillaRNN(2, 5, bias=False), {"activation": "tanh"}),
        (
            kpf.LeakyRNN(2, 5, form="current", leak=0.3),
            {"activation": "tanh", "form": "current", "leak": 0.3},
        ),
    ],
    ids=str,
)
def test_every_cell_is_recognised(
    tmp_path: Path, suffix: str, cell: kpf.cells.Cell, told: dict
) -> None:
    arrays = arrays_of(cell)
    network = load_network(write(tmp_path / f"net{suffix}", arrays), **told)
    assert network.cell == cell
    for name, array in network.params.items():
        np.testing.assert_array_equal(array, arrays[f"rnn.{name}_l0"])
    assert network.readout is not None
    np.testing.assert_array_equal(network.readout["weight"], arrays["readout.weight"])


def test_a_swapped_gate_would_be_seen(shared_data: Path) -> None:
    network = load_network(shared_data / "pytorch" / "gru_memory_pro_64.npz")
    reference = np.load(shared_data / "pytorch" / "gru_memory_pro_64_trajectory.npz")
    H = network.cell.n_units
    order = np.r_[H : 2 * H, :H, 2 * H : 3 * H]
    swapped = {key: array[order] for key, array in network.params.items()}
    states = kpf.simulate(network.cell, swapped, reference["inputs"]).hidden
    assert np.abs(states - reference["hidden"]).max() > 0.1


def test_cell_modules_have_no_layer_number(tmp_path: Path) -> None:
    cell = kpf.GRU(2, 5)
    arrays = dict(cell.init_params(rng=11))
    network = load_network(write(tmp_path / "net.npz", arrays))
    assert network.cell == cell
    assert network.readout is None
    assert "No linear readout" in network.notes[-1]


def test_notes_tell_what_was_inferred(tmp_path: Path) -> None:
    arrays = arrays_of(kpf.GRU(2, 5)) | {"embedding.scale": np.ones(3, np.float32)}
    del arrays["readout.bias"]
    notes = load_network(write(tmp_path / "net.npz", arrays)).notes
    assert notes[0].startswith("net.npz: GRU(n_inputs=2, n_units=5, bias=True) in 'rnn'")
    assert "Readout 'readout': 2 outputs, without bias." in notes
    assert notes[-1] == "Not used: embedding.scale."


def test_half_precision_is_used_in_single(tmp_path: Path) -> None:
    arrays = {key: array.astype(np.float16) for key, array in arrays_of(kpf.GRU(2, 5)).items()}
    network = load_network(write(tmp_path / "net.npz", arrays))
    assert network.params["weight_hh"].dtype == np.float32
    assert any("float16" in note for note in network.notes)


def test_the_prefix_chooses_among_layers(tmp_path: Path) -> None:
    first, second = kpf.GRU(2, 5), kpf.LSTM(2, 4)
    arrays = {f"encoder.{key}_l0": value for key, value in first.init_params(rng=11).items()}
    arrays |= {f"decoder.{key}_l0": value for key, value in second.init_params(rng=11).items()}
    path = write(tmp_path / "net.npz", arrays)
    with pytest.raises(
        InputError, match=r"several recurrent layers: 'decoder', 'encoder'.*--prefix"
    ):
        load_network(path)
    assert load_network(path, prefix="encoder").cell == first
    assert load_network(path, prefix="decoder").cell == second
    with pytest.raises(InputError, match="prefix must name.*Did you mean 'encoder'"):
        load_network(path, prefix="encodr")


def test_several_readouts_are_asked_about(tmp_path: Path) -> None:
    arrays = arrays_of(kpf.GRU(2, 5)) | {"value.weight": np.ones((1, 5), np.float32)}
    path = write(tmp_path / "net.npz", arrays)
    with pytest.raises(InputError, match="Several layers could be the readout.*--readout"):
        load_network(path)
    network = load_network(path, readout="value")
    assert network.readout is not None
    assert network.readout["weight"].shape == (1, 5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rnn.weight_ih_l1": np.ones((15, 5))}, InputError, "several layers"),
        ({"rnn.weight_ih_l0_reverse": np.ones((15, 2))}, InputError, "bidirectional"),
        ({"rnn.weight_hr_l0": np.ones((3, 5))}, InputError, "projected LSTM"),
        ({"rnn.weight_hh_l0": np.ones((10, 5))}, InputError, "of no known cell"),
        ({"rnn.weight_hh_l0": np.ones(15)}, InputError, "must be a matrix"),
        ({"rnn.weight_ih_l0": np.ones((14, 2))}, InputError, r"must have shape \(15, 2\)"),
        ({"rnn.weight_hh_l0": np.full((15, 5), np.nan)}, InputError, "must be finite"),
        ({"rnn.weight_hh_l0": np.ones((15, 5), int)}, InputTypeError, "must be floating point"),
        ({"rnn.weight_hh_l0": np.ones((15, 5), complex)}, InputTypeError, "must be floating"),
        ({"readout.bias": np.ones(3)}, InputError, r"readout\.bias must have shape \(2,\)"),
    ],
)
def test_what_is_not_supported_is_named(
    tmp_path: Path, change: dict, error: type[Exception], message: str
) -> None:
    path = write(tmp_path / "net.npz", arrays_of(kpf.GRU(2, 5)) | change)
    with pytest.raises(error, match=message):
        load_network(path)


def test_what_the_file_cannot_tell_is_asked_for(tmp_path: Path) -> None:
    vanilla = write(tmp_path / "rnn.npz", arrays_of(kpf.VanillaRNN(2, 5)))
    with pytest.raises(InputError, match="does not tell its activation: give.*--activation"):
        load_network(vanilla)
    with pytest.raises(InputError, match="activation must be one of"):
        load_network(vanilla, activation="softplus")
    leaky = write(tmp_path / "leaky.npz", arrays_of(kpf.LeakyRNN(2, 5)))
    with pytest.raises(InputError, match="does not tell its form"):
        load_network(leaky, activation="tanh")
    gru = write(tmp_path / "gru.npz", arrays_of(kpf.GRU(2, 5)))
    with pytest.raises(InputError, match="activation is not a setting of the gru"):
        load_network(gru, activation="tanh")
    with pytest.raises(InputError, match="has 3 blocks of rows, as gru has; cell 'lstm' has 4"):
        load_network(gru, cell="lstm")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        load_network(tmp_path / "absent.npz")
    with pytest.raises(InputError, match="is a directory"):
        load_network(tmp_path)
    pickle = tmp_path / "net.pt"
    pickle.write_bytes(b"\x80\x02")
    with pytest.raises(InputError, match=r"(?s)is not an archive of torch\.save.*safetensors"):
        load_network(pickle)
    other = tmp_path / "net.onnx"
    other.write_bytes(b"x")
    with pytest.raises(InputError, match=r"must be a \.safetensors, \.npz or \.pt file"):
        load_network(other)
    single = tmp_path / "single.npz"
    with single.open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(InputError, match="holds a single array"):
        load_network(single)
    spoilt = write(tmp_path / "spoilt.npz", arrays_of(kpf.GRU(2, 5)))
    content = bytearray(spoilt.read_bytes())
    content[200:240] = bytes(40)
    spoilt.write_bytes(content)
    with pytest.raises(InputError, match=r"is not a whole \.npz file: Bad CRC-32"):
        load_network(spoilt)
    for suffix in SUFFIXES:
        text = tmp_path / f"text{suffix}"
        text.write_text("not what the name says")
        with pytest.raises(InputError, match=f"is not a whole {re.escape(suffix)} file"):
            load_network(text)
        damaged = write(tmp_path / f"damaged{suffix}", arrays_of(kpf.GRU(2, 5)))
        damaged.write_bytes(damaged.read_bytes()[:100])
        with pytest.raises(InputError, match=f"is not a whole {re.escape(suffix)} file"):
            load_network(damaged)
    empty = write(tmp_path / "empty.npz", {"readout.weight": np.ones((2, 5))})
    with pytest.raises(InputError, match=r"holds no recurrent layer.*readout\.weight"):
        load_network(empty)
    lone = write(tmp_path / "lone.npz", {"rnn.weight_hh_l0": np.ones((15, 5))})
    with pytest.raises(InputError, match=r"but no rnn\.weight_ih"):
        load_network(lone)


def test_pickled_objects_are_never_read(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    np.savez(path, weight_hh=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="pickled objects"):
        load_network(path)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "net.safetensors", arrays_of(kpf.GRU(2, 5)))
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'kpflow-numerics\[torch-files\]'"):
        load_network(path)


def write_bfloat16(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    import safetensors

    halves = {
        name: (np.ascontiguousarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16)
        for name, array in arrays.items()
    }
    entries = {
        name: safetensors.TensorSpec(
            dtype="bfloat16", shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes
        )
        for name, array in halves.items()
    }
    path.write_bytes(bytes(safetensors.serialize(entries)))
    return path


def test_bfloat16_is_used_in_single(tmp_path: Path) -> None:
    arrays = arrays_of(kpf.GRU(2, 5))
    network = load_network(write_bfloat16(tmp_path / "net.safetensors", arrays))
    for name, array in network.params.items():
        assert array.dtype == np.float32
        # Cut off after 8 significant bits.
        original = arrays[f"rnn.{name}_l0"]
        assert (np.abs(array - original) <= 2.0**-7 * np.abs(original)).all()
        assert (array != original).any()
    assert "rnn.weight_hh_l0 is bfloat16; it is used in float32." in network.notes


def test_types_that_numpy_lacks_are_named(tmp_path: Path) -> None:
    import safetensors

    array = np.zeros((15, 5), np.uint8)
    entry = safetensors.TensorSpec(
        dtype="float8_e4m3fn", shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes
    )
    path = tmp_path / "net.safetensors"
    path.write_bytes(bytes(safetensors.serialize({"rnn.weight_hh_l0": entry})))
    with pytest.raises(InputError, match=r"rnn\.weight_hh_l0 in the type F8_E4M3, which NumPy"):
        load_network(path)


def test_one_precision_for_the_whole_network(tmp_path: Path) -> None:
    arrays = arrays_of(kpf.GRU(2, 5))
    doubled = {
        key: array.astype(np.float64) if key.startswith("readout") else array
        for key, array in arrays.items()
    }
    network = load_network(write(tmp_path / "head.npz", doubled))
    assert network.readout is not None
    assert {a.dtype for a in (*network.params.values(), *network.readout.values())} == {
        np.dtype(np.float32)
    }
    assert "The readout is float64; it is used in float32." in network.notes
    mixed = arrays | {"rnn.bias_hh_l0": arrays["rnn.bias_hh_l0"].astype(np.float64)}
    network = load_network(write(tmp_path / "mixed.npz", mixed))
    assert {array.dtype for array in network.params.values()} == {np.dtype(np.float64)}
    assert any("several precisions; float64 is used" in note for note in network.notes)


def test_two_biases_become_the_one_of_a_leaky_cell(tmp_path: Path) -> None:
    arrays = arrays_of(kpf.VanillaRNN(2, 5))
    network = load_network(
        write(tmp_path / "net.npz", arrays), activation="tanh", form="rate", leak=1.0
    )
    assert network.cell == kpf.LeakyRNN(2, 5, leak=1.0)
    both = arrays["rnn.bias_ih_l0"] + arrays["rnn.bias_hh_l0"]
    np.testing.assert_array_equal(network.params["bias"], both)
    assert any("added into the one bias" in note for note in network.notes)
    # With leak 1 the rate form is the vanilla cell.
    vanilla = load_network(tmp_path / "net.npz", activation="tanh")
    inputs = np.random.default_rng(5).standard_normal((3, 7, 2)).astype(np.float32)
    np.testing.assert_allclose(
        kpf.simulate(network.cell, network.params, inputs).states,
        kpf.simulate(vanilla.cell, vanilla.params, inputs).states,
        atol=default_tolerance(np.float32, 7),
    )


@pytest.mark.parametrize(
    ("dropped", "message"),
    [
        ("bias_hh", "has bias_ih; a gru has bias_ih and bias_hh, or no bias"),
        ("bias_ih", "has bias_hh; a gru has bias_ih and bias_hh, or no bias"),
    ],
)
def test_half_of_the_biases_is_refused(tmp_path: Path, dropped: str, message: str) -> None:
    arrays = arrays_of(kpf.GRU(2, 5))
    del arrays[f"rnn.{dropped}_l0"]
    with pytest.raises(InputError, match=message):
        load_network(write(tmp_path / "net.npz", arrays))


def test_one_bias_is_that_of_a_leaky_cell(tmp_path: Path) -> None:
    path = write(tmp_path / "net.npz", arrays_of(kpf.LeakyRNN(2, 5)))
    with pytest.raises(InputError, match="give cell='leaky-rnn' \\(--cell\\)"):
        load_network(path, cell="vanilla-rnn", activation="tanh")


def test_a_file_of_torch_save_is_known_by_its_content(tmp_path: Path, shared_data: Path) -> None:
    path = tmp_path / "net.npz"
    path.write_bytes((shared_data / "pytorch" / "gru_memory_pro_64.pt").read_bytes())
    found = load_network(path)
    wanted = load_network(shared_data / "pytorch" / "gru_memory_pro_64.npz")
    assert found.cell == wanted.cell
    for name, array in wanted.params.items():
        np.testing.assert_array_equal(found.params[name], array)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ({"rnn.weight_hh_l0": np.ones((3, 1))}, "got dict. Save it first: numpy.savez"),
        (None, "path must be the name of a file; got NoneType.$"),
    ],
)
def test_what_is_no_path_is_refused(path: object, message: str) -> None:
    with pytest.raises(InputTypeError, match=message):
        load_network(path)


def test_layers_that_are_not_used_are_named(tmp_path: Path) -> None:
    arrays = arrays_of(kpf.GRU(2, 5), n_outputs=7)
    arrays |= {"second.weight": np.ones((2, 7), np.float32), "norm.bias": np.ones(5, np.float32)}
    network = load_network(write(tmp_path / "net.npz", arrays))
    assert network.unused == ("norm.bias", "second.weight")
    assert repr(network).endswith(", without norm.bias, second.weight)")


def test_the_repr_is_short(tmp_path: Path) -> None:
    network = load_network(write(tmp_path / "net.npz", arrays_of(kpf.GRU(2, 5))))
    assert repr(network).startswith("Network(GRU(n_inputs=2, n_units=5, bias=True), 2 outputs, ")
