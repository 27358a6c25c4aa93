"""Named arrays of a PyTorch state_dict, read without running anything that a file may hold."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .._typing import Array
from .._validation import InputError
from .torch_file import SAVE_ADVICE, is_torch_file, read_torch_file

_NPY_SIGNATURE = b"\x93NUMPY"
_NUMPY_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "<u1",
    "BOOL": "?",
}


def read_state_dict(path: str | Path, notes: list[str] | None = None) -> dict[str, Array]:
    """Return the named arrays of a ``.safetensors``, ``.npz``, ``.pt`` or ``.pth`` file.

    No object is unpickled: of files of ``torch.save``, an allow-list of instructions and names is
    followed, which can make nothing but containers, numbers, strings and arrays.

    Parameters
    ----------
    path : str or Path
        The file.
    notes : list of str, optional
        Takes a sentence about each array that is not returned in the type it is stored in.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    InputError
        If the file is missing, of another format, damaged, or holds pickled objects.
    ModuleNotFoundError
        If it is ``.safetensors`` and that package is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no file {path}.")
    if path.is_dir():
        raise InputError(f"{path} is a directory; a .safetensors, .npz or .pt file is wanted.")
    match path.suffix.lower():
        case ".npz":
            if is_torch_file(path):
                return read_torch_file(path, [] if notes is None else notes)
            return _read_npz(path)
        case ".safetensors":
            return _read_safetensors(path, [] if notes is None else notes)
        case ".pt" | ".pth" | ".bin" | ".ckpt" | ".pkl" | ".pickle":
            return read_torch_file(path, [] if notes is None else notes)
        case _:
            raise InputError(
                f"{path} must be a .safetensors, .npz or .pt file; its ending is {path.suffix!r}. "
                f"{SAVE_ADVICE}"
            )


def _read_npz(path: Path) -> dict[str, Array]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            if file.read(len(_NPY_SIGNATURE)) == _NPY_SIGNATURE:
                raise InputError(
                    f"{path} holds a single array, not the named arrays of a .npz file."
                )
        raise InputError(f"{path} is not a whole .npz file: it is truncated, or something else.")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise InputError(f"{path} is not a whole .npz file: {error}.") from error
    except ValueError as error:
        raise InputError(
            f"{path} holds pickled objects or damaged arrays ({error}), which are never read. "
            f"{SAVE_ADVICE}"
        ) from error


def _read_safetensors(path: Path, notes: list[str]) -> dict[str, Array]:
    try:
        import safetensors
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Reading .safetensors needs the package safetensors: "
            "pip install 'kpflow-numerics[torch-files]'"
        ) from error
    try:
        entries: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise InputError(f"{path} is not a whole .safetensors file: {error}.") from error
    notes += [
        f"{name} is bfloat16; it is used in float32."
        for name, entry in entries
        if entry["dtype"] == "BF16"
    ]
    return {name: _decode(path, name, entry) for name, entry in entries}


def _decode(path: Path, name: str, entry: dict[str, Any]) -> Array:
    kind, shape = entry["dtype"], entry["shape"]
    if kind == "BF16":
        # NumPy has no such type; it is the upper half of a float32.
        halves = np.frombuffer(entry["data"], dtype="<u2").astype(np.uint32)
        return (halves << 16).view(np.float32).reshape(shape)
    if kind not in _NUMPY_TYPES:
        raise InputError(
            f"{path} holds {name} in the type {kind}, which NumPy does not have. Save it as "
            "float32: {k: v.float() for k, v in model.state_dict().items()}."
        )
    return np.frombuffer(entry["data"], dtype=_NUMPY_TYPES[kind]).reshape(shape)
