"""Files of torch.save read without PyTorch; what could run code is refused before it runs.

``tests/data/torch`` was made by PyTorch 2.13; the others are written here, byte by byte.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError
from kpflow_numerics.interop.torch_file import is_torch_file, read_torch_file

DATA = Path(__file__).parents[1] / "data" / "torch"
BASE = np.arange(24.0)


def write_archive(
    path: Path, program: bytes, storages: dict[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED, **others: bytes,
) -> Path:  # fmt: skip
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("net/data.pkl", program)
        for key, data in (storages or {}).items():
            archive.writestr(f"net/data/{key}", data)
        for name, data in others.items():
            archive.writestr(f"net/{name}", data)
    return path


def text(word: str) -> bytes:
    data = word.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def entries(numbers: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(integer, numbers)) + b"t"


def storage(kind: str, key: str, count: int) -> bytes:
    name = f"ctorch\n{kind}\n".encode()
    return b"(" + text("storage") + name + text(key) + text("cpu") + integer(count) + b"tQ"


def tensor(
    kind: str,
    key: str,
    count: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    offset: int = 0,
    hooks: bytes = b")",
) -> bytes:
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n("
    parts = storage(kind, key, count) + integer(offset) + entries(size) + entries(stride)
    return rebuild + parts + b"\x89" + hooks + b"tR"


def program(**named: bytes) -> bytes:
    items = b"".join(text(name) + value for name, value in named.items())
    return b"\x80\x02}(" + items + b"u."


def read(path: Path) -> dict[str, np.ndarray]:
    return read_torch_file(path, [])


def test_every_kind_of_tensor_that_pytorch_wrote() -> None:
    notes: list[str] = []
    found = read_torch_file(DATA / "kinds.pt", notes)
    wanted = {
        "base": BASE,
        "view": BASE[4:16].reshape(3, 4),
        "transposed": BASE.reshape(4, 6).T,
        "step": BASE[1::5],
        "scalar": BASE[7],
        "empty": BASE[:0],
        "half": np.arange(3, dtype=np.float16),
        "bfloat": np.array([0x3FC00000, 0xC0100000, 0x714A0000], np.uint32).view(np.float32),
        "long": np.array([-(2**40)]),
        "int": np.array([[1], [2]], np.int32),
        "short": np.array([-3], np.int16),
        "char": np.array([-4], np.int8),
        "byte": np.array([255], np.uint8),
        "bool": np.array([True, False]),
        "complex": np.array([1 + 2j], np.complex64),
        "expanded": np.full((2, 3), 3.0, np.float32),
        "zero": np.zeros((0, 3), np.float32),
    }
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert found[name].flags.c_contiguous
    assert found["view"].base is not found["base"]
    assert notes == ["bfloat is bfloat16; it is used in float32."]


def test_networks_are_loaded_as_from_npz(tmp_path: Path) -> None:
    arrays = read(DATA / "gru.pt")
    np.savez(tmp_path / "gru.npz", **arrays)
    wanted = kpf.load_network(tmp_path / "gru.npz")
    found = kpf.load_network(DATA / "gru.pt")
    assert found.cell == wanted.cell == kpf.GRU(2, 4)
    assert found.readout is not None
    assert wanted.readout is not None
    for name, array in wanted.params.items():
        np.testing.assert_array_equal(found.params[name], array)
    np.testing.assert_array_equal(found.readout["weight"], wanted.readout["weight"])


def test_what_pytorch_wrote_is_what_another_format_holds(shared_data: Path) -> None:
    found = read(shared_data / "pytorch" / "gru_memory_pro_64.pt")
    with np.load(shared_data / "pytorch" / "gru_memory_pro_64.npz") as wanted:
        assert sorted(found) == sorted(wanted.files)
        for name in wanted.files:
            np.testing.assert_array_equal(found[name], wanted[name])


def test_a_state_dict_within_a_checkpoint_is_found() -> None:
    network = kpf.load_network(DATA / "checkpoint.pth")
    assert network.cell == kpf.GRU(2, 4)
    assert "The state_dict under 'model' is used." in network.notes
    assert not any("exp_avg" in note for note in network.notes)


def test_of_several_state_dicts_one_is_chosen() -> None:
    with pytest.raises(InputError, match=r"several recurrent layers: 'ema\.rnn', 'model\.rnn'"):
        kpf.load_network(DATA / "two.pt")
    chosen = kpf.load_network(DATA / "two.pt", prefix="model.rnn", readout="model.readout")
    wanted = kpf.load_network(DATA / "gru.pt")
    np.testing.assert_array_equal(chosen.params["weight_hh"], wanted.params["weight_hh"])


@pytest.mark.parametrize(("order", "word"), [("<", b"little"), (">", b"big")])
def test_the_byte_order_is_that_of_the_file(tmp_path: Path, order: str, word: bytes) -> None:
    data = BASE.astype(f"{order}f8").tobytes()
    made = program(a=tensor("DoubleStorage", "0", 24, (2, 3), (3, 2), 5))
    path = write_archive(tmp_path / "a.pt", made, {"0": data}, byteorder=word)
    found = read(path)["a"]
    np.testing.assert_array_equal(found, [[5, 7, 9], [8, 10, 12]])
    assert found.dtype.isnative


class Planted:
    """What a pickle makes by calling something."""

    def __init__(self, function, *arguments) -> None:
        self.made = (function, arguments)

    def __reduce__(self):
        return self.made


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", ["system", "eval", "exec", "getattr", "remove"])
def test_a_planted_call_is_refused_and_not_made(tmp_path: Path, name: str, protocol: int) -> None:
    trace = tmp_path / "trace"
    trace.write_text("still here")
    planted = {
        "system": Planted(os.system, f"rm {trace}"),
        "eval": Planted(eval, f"__import__('os').remove({str(trace)!r})"),
        "exec": Planted(exec, f"import os; os.remove({str(trace)!r})"),
        "getattr": Planted(getattr, OrderedDict, "fromkeys"),
        "remove": Planted(os.remove, str(trace)),
    }[name]
    made = pickle.dumps(OrderedDict(a=planted), protocol)
    path = write_archive(tmp_path / "net.pt", made)
    with pytest.raises(InputError, match=rf"(?s)\.{name}, not the tensors.*safetensors"):
        kpf.load_network(path)
    assert trace.exists()


def test_the_planted_calls_would_have_been_made(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text("still here")
    pickle.loads(pickle.dumps(Planted(os.remove, str(trace)), 2))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"ctorch.storage\n_load_from_bytes\n.", r"torch\.storage\._load_from_bytes"),
        (b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", "not the tensors"),
        (b"cnumpy\nload\n.", r"numpy\.load"),
        (b"(ios\nsystem\n.", "instruction INST"),
        (b"\x82\x01.", "instruction EXT1"),
        (b"ccollections\nOrderedDict\n)\x81.", "instruction NEWOBJ"),
        (b"Ptext\n.", "instruction PERSID"),
        (b"}r\xff\xff\xff\x7f.", "impossible memo"),
    ],
)
def test_other_instructions_and_names_are_refused(tmp_path: Path, body: bytes, match: str) -> None:
    path = write_archive(tmp_path / "net.pt", b"\x80\x02" + body)
    with pytest.raises(InputError, match=match):
        read(path)


def attributes_of_the_module() -> dict[str, dict[str, object]]:
    module = sys.modules[read_torch_file.__module__]
    return {
        name: dict(vars(item))
        for name, item in vars(module).items()
        if name[:2] != "__" and hasattr(item, "__dict__")
    }


@pytest.mark.parametrize(
    "target", [b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n",
               b"ccollections\nOrderedDict\n"],
)  # fmt: skip
@pytest.mark.parametrize(
    "state", [b"}" + text("x") + text("y") + b"s", b"N}" + text("__call__") + text("y") + b"s\x86"]
)
def test_what_the_names_stand_for_cannot_be_changed(tmp_path: Path, target, state) -> None:
    before = attributes_of_the_module()
    path = write_archive(tmp_path / "net.pt", b"\x80\x02" + target + state + b"b.")
    with pytest.raises(InputError, match="not a whole file of torch.save"):
        read(path)
    assert attributes_of_the_module() == before


def test_a_dictionary_within_itself_ends(tmp_path: Path) -> None:
    inside = b"}q\x00(" + b"".join(text(f"k{place}") + b"h\x00" for place in range(20)) + b"u."
    with pytest.raises(InputError, match="no named tensors"):
        read(write_archive(tmp_path / "net.pt", b"\x80\x02" + inside))


FLOATS = BASE.astype("<f4").tobytes()


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (tensor("FloatStorage", "0", 24, (5, 5), (5, 1)), "goes beyond its storage"),
        (tensor("FloatStorage", "0", 24, (4,), (1,), 21), "goes beyond its storage"),
        (tensor("FloatStorage", "0", 24, (4,), (-1,), 8), "ValueError: a tensor of size"),
        (tensor("FloatStorage", "0", 24, (-4,), (1,)), "ValueError: a tensor of size"),
        (tensor("FloatStorage", "0", 24, (2, 2), (1,)), "ValueError: a tensor of size"),
        (tensor("FloatStorage", "0", 24, (4,), (1,), -2), "ValueError: a tensor of size"),
        (tensor("FloatStorage", "0", 24, (2**15, 2**15), (0, 0)), "an expanded tensor"),
        (tensor("FloatStorage", "0", 25, (4,), (1,)), "not a whole file"),
        (tensor("FloatStorage", "1", 24, (4,), (1,)), "not a whole file of torch.save: KeyError"),
        (tensor("QInt8Storage", "0", 24, (4,), (1,)), r"torch\.QInt8Storage"),
        (tensor("FloatStorage", "0", 24, (4,), (1,), hooks=text("hook")), "hooks or metadata"),
        (
            tensor("FloatStorage", "0", 24, (4,), (1,)) + text("b")
            + tensor("IntStorage", "0", 24, (4,), (1,)),
            "referred to as two different ones",
        ),
        (b"(" + text("module") + text("x") * 4 + b"tQ", "refers to 'module'"),
        (text("no tensor"), "no named tensors"),
    ],
)  # fmt: skip
def test_damaged_tensors_are_refused(tmp_path: Path, value: bytes, match: str) -> None:
    path = write_archive(tmp_path / "net.pt", program(a=value), {"0": FLOATS})
    with pytest.raises(InputError, match=match):
        read(path)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"(?s)whole module.*torch\.nn\.modules\.rnn\.GRU.*safetens"
    ):
        kpf.load_network(DATA / "whole_module.pt")
    with pytest.raises(InputError, match=r"not an archive.*before 1\.6"):
        kpf.load_network(DATA / "legacy.pt")
    single = b"\x80\x02" + tensor("FloatStorage", "0", 24, (4,), (1,)) + b"."
    with pytest.raises(InputError, match="holds a single tensor"):
        read(write_archive(tmp_path / "one.pt", single, {"0": FLOATS}))
    script = write_archive(tmp_path / "script.pt", b"\x80\x02}.", **{"constants.pkl": b""})
    with pytest.raises(InputError, match="TorchScript"):
        read(script)
    made = program(a=tensor("FloatStorage", "0", 24, (4,), (1,)))
    bomb = write_archive(tmp_path / "bomb.pt", made, {"0": FLOATS}, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="compressed record"):
        read(bomb)
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("readme", "x")
    assert not is_torch_file(tmp_path / "other.pt")
    with pytest.raises(InputError, match="not one of torch.save"):
        kpf.load_network(tmp_path / "other.pt")


@pytest.mark.parametrize("place", range(0, 3100, 61))
def test_a_damaged_byte_is_an_input_error_or_harmless(tmp_path: Path, place: int) -> None:
    data = bytearray((DATA / "gru.pt").read_bytes())
    data[place] ^= 0x15
    path = tmp_path / "gru.pt"
    path.write_bytes(bytes(data))
    try:
        found = read(path)
    except InputError:
        return
    wanted = read(DATA / "gru.pt")
    for name in wanted.keys() & found.keys():
        np.testing.assert_array_equal(found[name], wanted[name])


@pytest.mark.parametrize("length", [0, 10, 1000, 3000])
def test_a_truncated_file_is_an_input_error(tmp_path: Path, length: int) -> None:
    path = tmp_path / "gru.pt"
    path.write_bytes((DATA / "gru.pt").read_bytes()[:length])
    with pytest.raises(InputError, match="not an archive of torch.save"):
        kpf.load_network(path)
    assert not is_torch_file(path)


def test_a_pickle_cut_short_is_an_input_error(tmp_path: Path) -> None:
    made = program(a=tensor("FloatStorage", "0", 24, (4,), (1,)))
    for length in range(len(made)):
        path = write_archive(tmp_path / "net.pt", made[:length], {"0": FLOATS})
        with pytest.raises(InputError, match=r"torch\.save"):
            read(path)
