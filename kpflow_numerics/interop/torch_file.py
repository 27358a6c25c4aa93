"""Tensors of a file made by ``torch.save``, read without PyTorch and without running anything.

Such a file is a zip archive of a pickle, ``data.pkl``, and the bytes of each storage, ``data/KEY``.
A pickle is a program. Here it may use the few instructions that a state_dict needs, and name
nothing but what rebuilds a tensor of a storage, an OrderedDict, and the types of storages, in whose
place stand objects of this module that have no attributes to change. Everything else is refused
before it runs.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from .._typing import Array
from .._validation import InputError

SAVE_ADVICE = (
    "Save the weights in a format that holds nothing but arrays, in Python with PyTorch:\n"
    "  from safetensors.torch import save_file\n"
    '  save_file(model.state_dict(), "network.safetensors")\n'
    "or\n"
    "  import numpy as np\n"
    '  np.savez("network.npz", **{k: v.numpy() for k, v in model.state_dict().items()})'
)

_BFLOAT16 = "bfloat16"
_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "ComplexFloatStorage": "c8",
    "ComplexDoubleStorage": "c16",
}
_INSTRUCTIONS = frozenset(
    {"PROTO", "FRAME", "STOP", "MARK", "MEMOIZE"}
    | {"NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
    | {"BINUNICODE", "SHORT_BINUNICODE", "EMPTY_DICT", "SETITEM", "SETITEMS"}
    | {"EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
    | {"BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"}
    | {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPERSID"}
)
_ORDERS: dict[bytes, Literal["<", ">"]] = {b"little": "<", b"big": ">"}
_MOST_REPEATED_ENTRIES = 2**24


class _StorageType(NamedTuple):
    name: str


class _Storage(NamedTuple):
    entries: str
    array: Array


class _Tensor(NamedTuple):
    array: Array
    is_bfloat16: bool


class _RefusedError(Exception):
    """What the pickle asks for is not among what is allowed."""


def is_torch_file(path: Path) -> bool:
    """Return whether a file is an archive made by ``torch.save``."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.rpartition("/")[2] == "data.pkl" for name in archive.namelist())


def read_torch_file(path: Path, notes: list[str]) -> dict[str, Array]:
    """Return the named arrays of a state_dict that ``torch.save`` wrote.

    A state_dict within dictionaries, such as ``{"model": state_dict, "epoch": 3}``, is found; of
    several, each keeps the names of the dictionaries before its own.

    Parameters
    ----------
    path : Path
        The file.
    notes : list of str
        Takes a sentence about each array that is not in the type it is stored in, and about where
        the state_dict was found.

    Raises
    ------
    InputError
        If the file is damaged, or holds anything but tensors, numbers, strings and containers.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path} is not an archive of torch.save: it is truncated, was written by PyTorch "
            f"before 1.6, or is another pickle, which can run code when it is read. {SAVE_ADVICE}"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            content = _unpickled(archive)
    except _RefusedError as error:
        raise InputError(f"{path} {error} {SAVE_ADVICE}") from error
    except (zipfile.BadZipFile, pickle.UnpicklingError, ValueError, TypeError, LookupError,
            AttributeError, EOFError, OSError, OverflowError, RecursionError) as error:  # fmt: skip
        raise InputError(
            f"{path} is not a whole file of torch.save: {type(error).__name__}: {error}."
        ) from error
    tensors = _state_dict(content, path, notes)
    notes += [f"{name} is bfloat16; it is used in float32." for name, tensor in tensors.items()
              if tensor.is_bfloat16]  # fmt: skip
    return {name: tensor.array for name, tensor in tensors.items()}


def _unpickled(archive: zipfile.ZipFile) -> Any:
    names = archive.namelist()
    found = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
    if len(found) != 1:
        raise _RefusedError("is a zip archive, but not one of torch.save.")
    root = found[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in names or any(name.startswith(f"{root}code/") for name in names):
        raise _RefusedError("is a TorchScript program (torch.jit.save), not a state_dict.")
    program = _record(archive, found[0])
    _check_instructions(program)
    order: Literal["<", ">"] = "<"
    if f"{root}byteorder" in names:
        order = _ORDERS[_record(archive, f"{root}byteorder").strip()]
    return _Unpickler(program, archive, root, order).load()


def _record(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise _RefusedError(f"has the compressed record {name}, which torch.save does not make.")
    return archive.read(name)


def _check_instructions(program: bytes) -> None:
    """Refuse a pickle with other instructions than a state_dict's, before any of them runs."""
    for instruction, argument, _ in pickletools.genops(program):
        if instruction.name not in _INSTRUCTIONS:
            raise _RefusedError(
                f"holds a pickle with the instruction {instruction.name}, which no state_dict "
                "needs; it was not run."
            )
        if instruction.name == "GLOBAL":
            _meaning(*str(argument).split(" ", 1))
        # The place in the memo decides how much room is made for it.
        if instruction.name in ("BINPUT", "LONG_BINPUT") and int(argument or 0) > len(program):
            raise _RefusedError("holds a pickle with an impossible memo; it was not run.")


def _meaning(module: str, name: str) -> Any:
    """Return what stands for a name of a pickle; all but a few names are refused."""
    if (module, name) == ("collections", "OrderedDict"):
        return OrderedDict
    if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
        return _TensorOfStorage()
    if module == "torch" and name in _STORAGES:
        return _StorageType(name)
    if module == "torch" or module.startswith("torch."):
        what = "a whole module or another object of PyTorch" if "nn" in module else "an object"
    else:
        what = "an object of another library or of a script"
    raise _RefusedError(
        f"holds {what}, {module}.{name}, not the tensors of a state_dict alone. Reading it "
        "could run any code, so it was not read."
    )


class _Unpickler(pickle.Unpickler):
    """Builds dictionaries, lists and tensors, and nothing else."""

    def __init__(
        self, program: bytes, archive: zipfile.ZipFile, root: str, order: Literal["<", ">"]
    ) -> None:
        super().__init__(io.BytesIO(program))
        self._archive = archive
        self._root = root
        self._order = order
        self._storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name of the pickle stands for, if it may have it."""
        return _meaning(module, name)

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the storage that a reference of the pickle names: its type and its entries."""
        kind, storage_type, key, _, count = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise _RefusedError(f"refers to {kind!r}, not to the storage of a tensor.")
        if not isinstance(key, str) or not isinstance(count, int):
            raise ValueError("a storage without key and size")
        entries = _STORAGES[storage_type.name]
        dtype = np.dtype("u2" if entries == _BFLOAT16 else entries).newbyteorder(self._order)
        if key not in self._storages:
            data = _record(self._archive, f"{self._root}data/{key}")
            array = np.frombuffer(data, dtype, count=count) if count else np.zeros(0, dtype)
            self._storages[key] = _Storage(entries, array)
        storage = self._storages[key]
        if storage.entries != entries or len(storage.array) != count:
            raise ValueError(f"the storage {key} is referred to as two different ones")
        return storage


class _TensorOfStorage:
    """Stands for ``torch._utils._rebuild_tensor_v2``."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> _Tensor:
        return _tensor(*arguments)


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _: Any, hooks: Any, metadata: Any = None
) -> _Tensor:
    """Return the part of a storage that a tensor is, as an array of its own."""
    if hooks or metadata:
        raise _RefusedError("holds a tensor with hooks or metadata, which only PyTorch can read.")
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor of no storage")
    kind, entries = storage
    lengths = [offset, *size, *stride]
    if len(size) != len(stride) or not all(isinstance(n, int) and n >= 0 for n in lengths):
        raise ValueError(f"a tensor of size {size!r} and stride {stride!r}")
    if not prod(size):
        array = np.zeros(size, entries.dtype)
    else:
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if last >= len(entries):
            raise ValueError(f"a tensor of size {size!r} goes beyond its storage")
        if prod(size) > max(len(entries), _MOST_REPEATED_ENTRIES):
            raise _RefusedError(f"holds an expanded tensor of size {size!r}.")
        strides = [step * entries.itemsize for step in stride]
        array = np.lib.stride_tricks.as_strided(entries[offset:], size, strides, writeable=False)
    native = np.array(array, dtype=entries.dtype.newbyteorder("="), order="C")
    if kind != _BFLOAT16:
        return _Tensor(native, False)
    # NumPy has no such type; it is the upper half of a float32.
    return _Tensor((native.astype(np.uint32) << 16).view(np.float32), True)


def _state_dict(content: Any, path: Path, notes: list[str]) -> dict[str, _Tensor]:
    if isinstance(content, _Tensor):
        raise InputError(f"{path} holds a single tensor, not the named tensors of a state_dict.")
    found = dict(_state_dicts(content, "", set()))
    if not found:
        raise InputError(
            f"{path} holds no named tensors: a state_dict is wanted, alone or in a dictionary such "
            f"as {{'model': state_dict}}. {SAVE_ADVICE}"
        )
    if len(found) == 1:
        (where, tensors), = found.items()  # fmt: skip
        if where:
            notes.append(f"The state_dict under {where!r} is used.")
        return tensors
    return {
        f"{where}.{name}" if where else name: tensor
        for where, tensors in found.items()
        for name, tensor in tensors.items()
    }


def _state_dicts(
    content: Any, where: str, seen: set[int]
) -> Iterator[tuple[str, dict[str, _Tensor]]]:
    """Yield each dictionary with tensors, and under which names it stands.

    Those of optimisers stand under numbers, and are not looked into; none is looked into twice.
    """
    if not isinstance(content, Mapping) or id(content) in seen:
        return
    seen.add(id(content))
    named = {name: value for name, value in content.items() if isinstance(name, str)}
    tensors = {name: value for name, value in named.items() if isinstance(value, _Tensor)}
    if tensors:
        yield where, tensors
    for name, value in named.items():
        yield from _state_dicts(value, f"{where}.{name}" if where else name, seen)
