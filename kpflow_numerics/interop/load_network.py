"""Recurrent networks from the state_dict of a PyTorch module."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._typing import Array, Params
from .._validation import InputError, InputTypeError, check_array, check_choice, suggest
from ..cells import Cell, cell_from_config
from .state_dict import read_state_dict

_RECURRENT = re.compile(
    r"(?P<prefix>.*?)(?P<name>weight_ih|weight_hh|weight_hr|bias_ih|bias_hh|bias)"
    r"(?:_l(?P<layer>\d+))?(?P<reverse>_reverse)?"
)
_KIND_OF_GATES = {1: "vanilla-rnn", 3: "gru", 4: "lstm"}
_GATES_OF_KIND = {"vanilla-rnn": 1, "leaky-rnn": 1, "gru": 3, "lstm": 4}


@dataclass(frozen=True, repr=False, eq=False)
class Network:
    """A network that was trained elsewhere.

    Attributes
    ----------
    cell : Cell
        The cell.
    params : dict of str to ndarray
        Its parameters, in the precision of the file.
    readout : dict of str to ndarray, or None
        ``weight (O, H)`` and, if it has one, ``bias (O,)``, where the file has a linear readout.
    source : Path
        The file.
    notes : tuple of str
        What was inferred, and which arrays of the file are not used, in sentences for people.
    unused : tuple of str
        Names of those arrays: layers that are no part of `cell` and `readout`.
    """

    cell: Cell
    params: Params
    readout: Params | None
    source: Path
    notes: tuple[str, ...]
    unused: tuple[str, ...] = ()

    def __repr__(self) -> str:
        outputs = "no readout" if self.readout is None else f"{len(self.readout['weight'])} outputs"
        left = f", without {', '.join(self.unused)}" if self.unused else ""
        return f"Network({self.cell!r}, {outputs}, from {str(self.source)!r}{left})"


def load_network(
    path: str | Path,
    *,
    cell: str | None = None,
    activation: str | None = None,
    form: str | None = None,
    leak: float | None = None,
    prefix: str | None = None,
    readout: str | None = None,
) -> Network:
    r"""Read a recurrent network from the state_dict of a PyTorch module.

    Cell type, sizes and biases follow from the names and shapes of the arrays, which are those of
    ``nn.RNN``, ``nn.GRU``, ``nn.LSTM`` and their ``Cell`` forms. What they cannot tell must be
    given.

    Parameters
    ----------
    path : str or Path
        A ``.safetensors`` or ``.npz`` file, or one of ``torch.save`` (``.pt``, ``.pth``), which is
        read without PyTorch and without running anything that it may hold.
    cell : {"vanilla-rnn", "leaky-rnn", "gru", "lstm"}, optional
        The cell; by default the one of the file's shapes.
    activation : {"tanh", "relu"}, optional
        Activation of a vanilla or leaky cell, which a state_dict does not hold.
    form : {"rate", "current"}, optional
        Form of a leaky cell.
    leak : float, optional
        Leak ``dt / tau`` of a leaky cell.
    prefix : str, optional
        Name of the recurrent layer, such as ``"rnn"``, where the file has several.
    readout : str, optional
        Name of the linear readout, where several layers could be it.

    Returns
    -------
    Network

    Raises
    ------
    InputError
        If the file cannot be read, holds no recurrent layer or one that is not supported, an
        array has the wrong shape or is not finite, or something must be told that was not.
    InputTypeError
        If `path` is no path, or an array is complex or not floating point.
    ModuleNotFoundError
        If the file is ``.safetensors`` and that package is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> arrays = {"rnn.weight_ih_l0": np.ones((24, 3)), "rnn.weight_hh_l0": np.ones((24, 8))}
    >>> with TemporaryDirectory() as folder:
    ...     np.savez(Path(folder) / "gru.npz", **arrays)
    ...     network = kpf.load_network(Path(folder) / "gru.npz")
    >>> network.cell
    GRU(n_inputs=3, n_units=8, bias=False)
    >>> print(*network.notes, sep="\n")
    gru.npz: GRU(n_inputs=3, n_units=8, bias=False) in 'rnn', 264 parameters.
    No linear readout of the 8 units was found.
    """
    if not isinstance(path, (str, os.PathLike)):
        advice = (
            " Save it first: numpy.savez(path, **{k: v.numpy() for k, v in state_dict.items()})."
            if isinstance(path, Mapping)
            else ""
        )
        raise InputTypeError(f"path must be the name of a file; got {type(path).__name__}.{advice}")
    source = Path(path)
    notes: list[str] = []
    arrays = read_state_dict(source, notes)
    prefix = _choose_prefix(arrays, prefix, source)
    found, used = _layer(arrays, prefix, source)
    built = _build_cell(found, cell, activation, form, leak, source)
    floats = {name: _floating(array, used[name], notes) for name, array in found.items()}
    params = built.check_params(_with_biases_of(built, floats, source, notes), name=str(source))
    dtype = params["weight_hh"].dtype
    if any(array.dtype != dtype for array in floats.values()):
        notes.append(f"The recurrent layer is of several precisions; {dtype} is used.")
    where = f" in {prefix.rstrip('.')!r}" if prefix else ""
    notes.insert(0, f"{source.name}: {built!r}{where}, {built.n_parameters:,} parameters.")
    weights, names = _read_readout(arrays, set(used.values()), built.n_units, readout, notes)
    if weights is not None and weights["weight"].dtype != dtype:
        notes.append(f"The readout is {weights['weight'].dtype}; it is used in {dtype}.")
        weights = {name: array.astype(dtype) for name, array in weights.items()}
    unused = tuple(sorted(set(arrays) - set(used.values()) - names))
    if unused:
        notes.append(f"Not used: {', '.join(unused)}.")
    return Network(built, params, weights, source, tuple(notes), unused)


def _choose_prefix(arrays: Mapping[str, Array], wanted: str | None, source: Path) -> str:
    """Return what stands before the names of the recurrent layer's parameters."""
    prefixes = sorted(
        {
            match["prefix"]
            for match in map(_RECURRENT.fullmatch, arrays)
            if match and match["name"] == "weight_hh"
        }
    )
    listed = ", ".join(repr(prefix.rstrip(".")) for prefix in prefixes)
    if not prefixes:
        names = ", ".join(sorted(arrays)[:12]) or "nothing"
        raise InputError(
            f"{source} holds no recurrent layer: a state_dict with weight_ih_l0 and weight_hh_l0 "
            f"(nn.RNN, nn.GRU, nn.LSTM) is wanted; it holds {names}."
        )
    if wanted is not None:
        for prefix in prefixes:
            if wanted.rstrip(".") == prefix.rstrip("."):
                return prefix
        raise InputError(
            f"prefix must name a recurrent layer of {source}, one of {listed}; got {wanted!r}."
            f"{suggest(wanted, [prefix.rstrip('.') for prefix in prefixes])}"
        )
    if len(prefixes) > 1:
        raise InputError(
            f"{source} holds several recurrent layers: {listed}. Choose one with prefix= "
            "(--prefix on the command line)."
        )
    return prefixes[0]


def _layer(
    arrays: Mapping[str, Array], prefix: str, source: Path
) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the recurrent layer's arrays by parameter, and their names in the file."""
    found: dict[str, Array] = {}
    used: dict[str, str] = {}
    for key, array in arrays.items():
        match = _RECURRENT.fullmatch(key)
        if match is None or match["prefix"] != prefix:
            continue
        layer = int(match["layer"] or 0)
        if layer > 0 or match["reverse"] or match["name"] == "weight_hr":
            what = (
                "several layers" if layer > 0
                else "a bidirectional layer" if match["reverse"]
                else "a projected LSTM (proj_size)"
            )  # fmt: skip
            raise InputError(
                f"{source} holds {what} ({key}); single-layer, one-directional networks are "
                "supported."
            )
        found[match["name"]] = array
        used[match["name"]] = key
    if "weight_ih" not in found:
        raise InputError(f"{source} holds {used['weight_hh']} but no {prefix}weight_ih for it.")
    for name in ("weight_ih", "weight_hh"):
        if found[name].ndim != 2:
            raise InputError(
                f"{source}: {used[name]} must be a matrix; got shape {found[name].shape}."
            )
    return found, used


def _build_cell(
    found: Mapping[str, Array],
    kind: str | None,
    activation: str | None,
    form: str | None,
    leak: float | None,
    source: Path,
) -> Cell:
    rows, n_units = found["weight_hh"].shape
    gates = rows // n_units if n_units and rows % n_units == 0 else 0
    if gates not in _KIND_OF_GATES:
        raise InputError(
            f"{source}: weight_hh of shape {(rows, n_units)} is of no known cell; it has H rows "
            "for each gate: 1 (nn.RNN), 3 (nn.GRU) or 4 (nn.LSTM)."
        )
    if kind is None:
        is_leaky = gates == 1 and (form is not None or leak is not None or "bias" in found)
        kind = "leaky-rnn" if is_leaky else _KIND_OF_GATES[gates]
    expected = _GATES_OF_KIND[check_choice(kind, "cell", _GATES_OF_KIND)]
    if gates != expected:
        raise InputError(
            f"{source}: weight_hh of shape {(rows, n_units)} has {gates} blocks of rows, as "
            f"{_KIND_OF_GATES[gates]} has; cell {kind!r} has {expected}."
        )
    settings: dict[str, Any] = {
        "n_inputs": found["weight_ih"].shape[1],
        "n_units": n_units,
        "bias": any(name.startswith("bias") for name in found),
    }
    told = {"activation": activation, "form": form, "leak": leak}
    needed = {"vanilla-rnn": ("activation",), "leaky-rnn": ("activation", "form", "leak")}
    for name, value in told.items():
        if name in needed.get(kind, ()):
            if value is None:
                raise InputError(
                    f"{source} holds a {kind}, and a state_dict does not tell its {name}: give "
                    f"{name}= (--{name} on the command line), one of {_accepted(name)}."
                )
            settings[name] = value
        elif value is not None:
            raise InputError(f"{name} is not a setting of the {kind} in {source}; leave it out.")
    return cell_from_config(kind, settings)


def _with_biases_of(
    cell: Cell, found: Mapping[str, Array], source: Path, notes: list[str]
) -> dict[str, Array]:
    """Return the parameters with the biases that the cell has: two, one or none."""
    biases = [name for name in ("bias", "bias_ih", "bias_hh") if name in found]
    wanted = [name for name in cell.parameter_shapes if name.startswith("bias")]
    if wanted == ["bias"] and biases == ["bias_ih", "bias_hh"]:
        rows = (cell.n_units,)
        both = [check_array(found[name], name, rows) for name in biases]
        notes.append("bias_ih and bias_hh are added into the one bias of a leaky cell.")
        kept = {name: array for name, array in found.items() if name not in biases}
        return kept | {"bias": both[0] + both[1]}
    if biases != wanted:
        advice = " For a leaky cell, give cell='leaky-rnn' (--cell)." if biases == ["bias"] else ""
        raise InputError(
            f"{source}: the recurrent layer has {' and '.join(biases)}; a {cell.kind} has "
            f"{' and '.join(wanted)}, or no bias.{advice}"
        )
    return dict(found)


def _accepted(name: str) -> str:
    return {
        "activation": "'tanh' (PyTorch's default) and 'relu'",
        "form": "'rate' and 'current'",
        "leak": "the numbers above 0 up to 1 (dt / tau)",
    }[name]


def _floating(array: Array, key: str, notes: list[str]) -> Array:
    if array.dtype == np.float16:
        notes.append(f"{key} is float16; it is used in float32.")
        return array.astype(np.float32)
    if array.dtype.kind != "f":
        raise InputTypeError(f"{key} must be floating point; got dtype {array.dtype}.")
    return array


def _read_readout(
    arrays: Mapping[str, Array],
    taken: set[str],
    n_units: int,
    wanted: str | None,
    notes: list[str],
) -> tuple[Params | None, set[str]]:
    """Return the linear layer that reads the units, and the names of its arrays."""
    layers = {
        key.removesuffix("weight").rstrip("."): key
        for key, array in arrays.items()
        if key not in taken
        and (key == "weight" or key.endswith(".weight"))
        and array.ndim == 2
        and array.shape[1] == n_units
    }
    if wanted is not None:
        check_choice(wanted, "readout", layers)
        layers = {wanted: layers[wanted]}
    if not layers:
        notes.append(f"No linear readout of the {n_units} units was found.")
        return None, set()
    if len(layers) > 1:
        raise InputError(
            f"Several layers could be the readout: {', '.join(map(repr, layers))}. Choose one with "
            "readout= (--readout on the command line)."
        )
    layer, weight_key = next(iter(layers.items()))
    weight = check_array(
        _floating(arrays[weight_key], weight_key, notes), weight_key, ("O", n_units)
    )
    bias_key = weight_key.removesuffix("weight") + "bias"
    found, names = {"weight": weight}, {weight_key}
    if bias_key in arrays:
        bias = _floating(arrays[bias_key], bias_key, notes)
        found["bias"] = check_array(bias, bias_key, (len(weight),), dtype=weight.dtype)
        names.add(bias_key)
    without = "" if "bias" in found else ", without bias"
    notes.append(f"Readout {layer!r}: {len(weight)} outputs{without}.")
    return found, names
