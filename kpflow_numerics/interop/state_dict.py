"""Named arrays of a PyTorch state_dict, read from files that hold no code."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

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


def read_state_dict(path: str | Path) -> dict[str, Array]:
    """Return the named arrays of a ``.safetensors`` or ``.npz`` file.

    Nothing is unpickled.

    Parameters
    ----------
    path : str or Path
        The file.

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
        raise InputError(f"{path} is a directory; a .safetensors or .npz file is wanted.")
    match path.suffix.lower():
        case ".npz":
            return _read_npz(path)
        case ".safetensors":
            return _read_safetensors(path)
        case ".pt" | ".pth" | ".bin" | ".ckpt" | ".pkl" | ".pickle":
            raise InputError(
                f"{path} is a pickle, which can run code when it is read and is not supported. "
                f"{SAVE_ADVICE}"
            )
        case _:
            raise InputError(
                f"{path} must be a .safetensors or .npz file; its ending is {path.suffix!r}. "
                f"{SAVE_ADVICE}"
            )


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise InputError(f"{path} is not a whole .npz file: {error}.") from error
    except TypeError as error:
        raise InputError(
            f"{path} holds a single array, not the named arrays of a .npz file."
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path} holds pickled objects or damaged arrays ({error}), which are never read. "
            f"{SAVE_ADVICE}"
        ) from error


def _read_safetensors(path: Path) -> dict[str, Array]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Reading .safetensors needs the package safetensors: "
            "pip install 'kpflow-numerics[torch-files]'"
        ) from error
    try:
        arrays: dict[str, Any] = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is not a whole .safetensors file: {error}.") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} holds tensors of a type that NumPy does not have ({error}), such as bfloat16. "
            "Save it as float32: {k: v.float() for k, v in model.state_dict().items()}."
        ) from error
    return arrays
