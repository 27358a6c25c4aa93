"""Checkpoints as stacked arrays, and the training history before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from .._typing import Array, FloatArray, Params
from .._validation import InputError, InputTypeError
from ..results import Checkpoint
from ._variables import (
    TEXT,
    add_coordinate,
    add_dimension,
    add_variable,
    find_dimension,
    read_names,
    set_row,
    write_names,
)
from .schema import axis_names

INDEX = "iteration"
_SCALARS = {
    "loss": "training loss on the batch of the iteration",
    "evaluation_loss": "loss on the evaluation batch",
    "accuracy": "accuracy on the evaluation batch",
    "gradient_norm": "norm of the gradient before clipping",
}
_FAMILIES = {"params": "params", "readout": "readout", "optimizer": "optimizer_state"}
_HISTORY = {
    "loss": "training loss at the parameters of the iteration",
    "gradient_norm": "norm of the gradient before clipping",
}


def add_empty_history(file: h5py.File) -> None:
    """Add the groups of a run that has not begun."""
    training = file.create_group("training")
    add_coordinate(
        training, "iteration", [], dtype=np.int64, long_name="updates made before", growing=True
    )
    for name, long_name in _HISTORY.items():
        add_variable(
            training, name, ["iteration"], long_name=long_name, shape=(0,), dtype=np.float64,
            growing=True,
        )  # fmt: skip
    checkpoints = file.create_group("checkpoints")
    add_coordinate(
        checkpoints, "checkpoint", [], dtype=np.int64, long_name="place in the file", growing=True
    )
    add_variable(
        checkpoints, INDEX, ["checkpoint"], long_name="updates made before", shape=(0,),
        dtype=np.int64, growing=True,
    )  # fmt: skip
    attributes = {"coordinates": INDEX}
    for name, long_name in _SCALARS.items():
        add_variable(
            checkpoints, name, ["checkpoint"], long_name=long_name, shape=(0,), dtype=np.float64,
            growing=True, attributes=attributes,
        )  # fmt: skip
    add_variable(
        checkpoints, "rng_state", ["checkpoint"], shape=(0,), dtype=TEXT, growing=True,
        long_name="state of the random numbers, as JSON",
    )  # fmt: skip


def check_checkpoint(file: h5py.File, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that does not continue those in the file.

    Raises
    ------
    InputError, InputTypeError
        If it does not.
    """
    if not isinstance(checkpoint, Checkpoint):
        raise InputTypeError(f"checkpoint must be a Checkpoint; got {checkpoint!r}.")
    group = file["checkpoints"]
    iterations = group[INDEX][:]
    if len(iterations) and checkpoint.iteration < iterations[-1] and (
        checkpoint.iteration not in iterations
    ):  # fmt: skip
        raise InputError(
            f"checkpoint.iteration must be one of the file's or greater than the last, "
            f"{iterations[-1]}; got {checkpoint.iteration}."
        )
    for name, field in _FAMILIES.items():
        arrays = _check_arrays(getattr(checkpoint, field), f"checkpoint.{field}")
        if name not in group:
            continue
        stored = {key: group[name][key] for key in read_names(group[name])}
        if set(arrays) != set(stored):
            raise InputError(
                f"checkpoint.{field} must hold {', '.join(stored) or 'nothing'}, as the earlier "
                f"checkpoints of the file; got {', '.join(arrays) or 'nothing'}."
            )
        for key, array in arrays.items():
            found, wanted = (array.shape, array.dtype), (stored[key].shape[1:], stored[key].dtype)
            if found != wanted:
                raise InputError(
                    f"checkpoint.{field}[{key!r}] must have shape {wanted[0]} and dtype "
                    f"{wanted[1]}, as in the earlier checkpoints of the file; got {found[0]} and "
                    f"{found[1]}."
                )


def append_history(file: h5py.File, pending: Mapping[int, tuple[float, float]]) -> None:
    """Add the iterations recorded since the last commit; those recorded again replace earlier."""
    if not pending:
        return
    group = file["training"]
    stored = group["iteration"][:]
    kept = len(stored)
    if kept and min(pending) <= stored[-1]:
        kept = int(np.searchsorted(stored, min(pending)))
        columns = zip(stored[kept:], *(group[name][kept:] for name in _HISTORY), strict=True)
        pending = {int(row[0]): (row[1], row[2]) for row in columns} | dict(pending)
    iterations = sorted(pending)
    added = {
        **{
            name: [pending[iteration][place] for iteration in iterations]
            for place, name in enumerate(_HISTORY)
        },
        "iteration": iterations,
    }
    for name, values in added.items():
        group[name].resize(kept + len(iterations), axis=0)
        group[name][kept:] = values


def write_checkpoint(file: h5py.File, checkpoint: Checkpoint, n_units: int) -> None:
    """Write a checkpoint at its place, the index last."""
    group = file["checkpoints"]
    iterations = group[INDEX][:]
    row = int(np.searchsorted(iterations, checkpoint.iteration))
    set_row(group["checkpoint"], row, row)
    for name, field in _FAMILIES.items():
        arrays = {key: np.asarray(value) for key, value in getattr(checkpoint, field).items()}
        if name not in group:
            _add_family(group, name, arrays, n_units)
        for key, array in arrays.items():
            set_row(group[name][key], row, array)
    for name in _SCALARS:
        set_row(group[name], row, getattr(checkpoint, name))
    set_row(group["rng_state"], row, checkpoint.rng_state)
    set_row(group[INDEX], row, checkpoint.iteration)


def read_checkpoint(file: h5py.File, row: int) -> Checkpoint:
    """Return the checkpoint of a row."""
    group = file["checkpoints"]
    return Checkpoint(
        iteration=int(group[INDEX][row]),
        **{name: float(group[name][row]) for name in _SCALARS},  # type: ignore[arg-type]
        **{field: _read_family(group[name], row) for name, field in _FAMILIES.items()},  # type: ignore[arg-type]
        rng_state=group["rng_state"].asstr()[row],
    )


def read_column(file: h5py.File, name: str) -> FloatArray:
    """Return a column of the training history."""
    values: FloatArray = file["training"][name][:]
    return values


def _check_arrays(arrays: Any, name: str) -> dict[str, Array]:
    if not isinstance(arrays, Mapping):
        raise InputTypeError(f"{name} must map names to arrays; got {type(arrays).__name__}.")
    checked = {key: np.asarray(array) for key, array in arrays.items()}
    for key, array in checked.items():
        if array.dtype.kind not in "biuf":
            raise InputTypeError(f"{name}[{key!r}] must be real; got dtype {array.dtype}.")
    return checked


def _add_family(group: h5py.Group, name: str, arrays: Mapping[str, Array], n_units: int) -> None:
    family = group.create_group(name)
    write_names(family, list(arrays))
    for key, array in arrays.items():
        known = key if name == "params" else f"readout/{key}" if name == "readout" else (
            key.partition("/")[2]
        )  # fmt: skip
        dims = axis_names(known, array.shape, n_units)
        for axis, (dim, length) in enumerate(zip(dims, array.shape, strict=True)):
            if dim not in group:
                add_dimension(group, dim, length)
            elif len(find_dimension(group, dim)) != length:
                dims = (*dims[:axis], f"{name}_{key.replace('/', '_')}_{axis}", *dims[axis + 1 :])
                add_dimension(group, dims[axis], length)
        add_variable(
            family,
            key,
            ["checkpoint", *dims],
            long_name=f"{key} of the {name}",
            shape=(0, *array.shape),
            dtype=array.dtype,
            growing=True,
        )


def _read_family(family: h5py.Group, row: int) -> Params:
    return {name: np.asarray(family[name][row]) for name in read_names(family)}
