"""A network into a file that PyTorch reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .._errors import InputError, InputTypeError
from .._typing import Array
from ..cells import CELLS
from .load_network import Network


def save_network(path: str | Path, network: Network, *, overwrite: bool = False) -> None:
    """Write a network as a state_dict with PyTorch's names.

    The recurrent layer is ``rnn``, the linear one ``readout``. The activation of a vanilla cell,
    and the settings of a leaky one, are not in the file: :func:`load_network` asks for them.

    Parameters
    ----------
    path : str or Path
        A ``.safetensors`` or ``.npz`` file. It appears in one step, when it is whole.
    network : Network
        The network. Its `source` and `notes` are not kept.
    overwrite : bool
        Whether a file that exists may be replaced.

    Raises
    ------
    InputError
        If the file exists, its suffix is another, a parameter does not fit the cell, or the cell
        has code of the user's own.
    InputTypeError
        If `network` is not a Network.
    ModuleNotFoundError
        If a ``.safetensors`` file is written without the package safetensors.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import kpflow_numerics as kpf
    >>> from kpflow_numerics.interop import save_network
    >>> cell = kpf.GRU(n_inputs=3, n_units=8)
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "network.npz"
    ...     save_network(path, kpf.Network(cell, cell.init_params(rng=7), None, path, ()))
    ...     kpf.load_network(path).cell == cell
    True
    """
    if not isinstance(network, Network):
        order = " The path comes first." if isinstance(path, Network) else ""
        raise InputTypeError(f"network must be a Network; got {type(network).__name__}.{order}")
    target = Path(path)
    if target.suffix.lower() not in (".safetensors", ".npz"):
        raise InputError(f"path must end in .safetensors or .npz; got {target.name!r}.")
    if target.exists() and not overwrite:
        raise InputError(
            f"{target} exists. Choose another name, or replace it with overwrite=True."
        )
    if network.cell.kind not in CELLS:
        raise InputError(
            f"{network.cell!r} cannot be read from a file of weights; cells of kind "
            f"{', '.join(CELLS)} can."
        )
    arrays = _named_arrays(network)
    scratch = target.with_name(f"{target.stem}.new{target.suffix}")
    try:
        if target.suffix.lower() == ".npz":
            with scratch.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
        else:
            _write_safetensors(scratch, arrays)
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def _named_arrays(network: Network) -> dict[str, Array]:
    # A cell with one bias is none of PyTorch's modules with numbered layers.
    ending = "" if network.cell.kind == "leaky-rnn" else "_l0"
    params = network.cell.check_params(network.params)
    arrays: dict[str, Array] = {f"rnn.{name}{ending}": array for name, array in params.items()}
    for name, array in (network.readout or {}).items():
        arrays[f"readout.{name}"] = np.ascontiguousarray(array)
    return arrays


def _write_safetensors(path: Path, arrays: dict[str, Array]) -> None:
    try:
        from safetensors.numpy import save_file
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Writing .safetensors needs the package safetensors: "
            "pip install 'kpflow-numerics[torch-files]'"
        ) from error
    save_file(arrays, path)
