"""The merged result of a sweep: labelled arrays on the grid, in one HDF5 file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .._typing import Array, FloatArray
from .._validation import InputError, suggest
from . import _disk
from ._disk import StoreError, reason
from ._variables import TEXT, add_coordinate, add_dimension, add_variable, read_text
from .schema import SWEEP_NAME

SCHEMA_VERSION = 1

STATUS_MEANINGS = ("done", "failed", "unfinished", "damaged")
"""What the numbers of the variable ``status`` mean, from 0 on."""

ANCILLARY = {
    "lower": "lower end of the interval of the {}",
    "upper": "upper end of the interval of the {}",
    "standard_error": "standard error of the {}",
    "confidence": "probability that the interval holds the {}",
    "method": "how the {} was found",
}
"""What a variable of estimates has beside it, as ``<name>_<part>``."""


@dataclass(frozen=True, eq=False)
class GridVariable:
    """A labelled array.

    Attributes
    ----------
    dims : tuple of str
        A dimension for each axis.
    values : ndarray
        NaN, or an empty string, where there is nothing.
    long_name : str
        What it is.
    units : str
        ``"1"`` for a pure number.
    """

    dims: tuple[str, ...]
    values: Array
    long_name: str
    units: str = "1"


@dataclass(frozen=True, eq=False, repr=False)
class SweepGrid:
    """The results of a sweep, as labelled arrays.

    Attributes
    ----------
    axes : tuple of str
        What varied, in the order of the grid's axes.
    coordinates : dict of str to ndarray
        The values along each dimension: those of the axes, and ``checkpoint``, ``operator``,
        ``recipe``, ``quantity``, ``of_task``, ``tolerance``, ... where the sweep kept them.
    linked : dict of str to dict of str to ndarray
        For an axis of several settings, the values of each.
    variables : dict of str to GridVariable
        The results; the first axes of each are those of the grid.
    failures : tuple of dict
        ``index``, ``label``, ``error``, ``message`` and ``traceback`` of each cell that failed.
    plan_toml : str
        The plan.
    provenance : dict
        Versions, platform and threads of the workers.
    seconds : ndarray
        Time that each cell took, on the grid; it is no result, and differs from run to run.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> grid = kpf.SweepGrid.open("runs/gain-sweep/sweep.h5")  # doctest: +SKIP
    >>> grid.select("rank", operator="K", recipe="participation-ratio",
    ...             checkpoint="last")  # doctest: +SKIP
    >>> grid.select("interference_cosines", of_task="memory-pro", other_task="memory-anti",
    ...             checkpoint="last")  # doctest: +SKIP
    """

    axes: tuple[str, ...]
    coordinates: dict[str, Array]
    variables: dict[str, GridVariable]
    linked: dict[str, dict[str, Array]] = field(default_factory=dict)
    failures: tuple[dict[str, Any], ...] = ()
    plan_toml: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    seconds: FloatArray = field(default_factory=lambda: np.empty(0))

    def __repr__(self) -> str:
        grid = " x ".join(f"{name} ({len(self.coordinates[name])})" for name in self.axes)
        done = int((self.status == 0).sum())
        return f"SweepGrid({grid}: {done} of {self.status.size} cells done)"

    @property
    def shape(self) -> tuple[int, ...]:
        """Places on each axis of the grid."""
        return tuple(len(self.coordinates[name]) for name in self.axes)

    @property
    def status(self) -> Array:
        """State of each cell, as a place in ``("done", "failed", "unfinished", "damaged")``."""
        return self.variables["status"].values

    def variable(self, name: str) -> GridVariable:
        """Return a variable.

        Raises
        ------
        InputError
            If there is none of that name; the message lists those that there are.
        """
        if name not in self.variables:
            held = [key for key, each in self.variables.items() if each.values.dtype.kind == "f"]
            raise InputError(
                f"The sweep holds no {name!r}; it holds {', '.join(held)}.{suggest(name, held)}"
            )
        return self.variables[name]

    def select(self, name: str, /, **places: Any) -> FloatArray:
        """Return a variable on the grid, at given places of its other dimensions.

        Parameters
        ----------
        name : str
            The variable, such as ``"rank"`` or ``"final_loss"``.
        **places
            A coordinate for each dimension that is not an axis of the grid, such as
            ``operator="K"``; for ``checkpoint`` also ``"first"`` and ``"last"``, the last one
            that a cell has. Coordinates of the grid's axes narrow it.

        Returns
        -------
        ndarray
            Its axes are those of the grid that are not narrowed.

        Raises
        ------
        InputError
            If a dimension or a coordinate is not there, or a dimension is left open.
        """
        variable = self.variable(name)
        values, dims = variable.values, list(variable.dims)
        # The last checkpoint is that of each cell, and so comes before the grid is narrowed.
        for dim, wanted in sorted(places.items(), key=lambda each: each[0] != "checkpoint"):
            if dim not in dims:
                raise InputError(
                    f"{name} has no dimension {dim!r}; it has {', '.join(dims)}."
                    f"{suggest(dim, dims)}"
                )
            axis = dims.index(dim)
            if dim == "checkpoint" and isinstance(wanted, str):
                values = _end_of(values, axis, wanted, self._n_checkpoints())
            else:
                values = values.take(self._place(dim, wanted), axis=axis)
            dims.pop(axis)
        is_open = [dim for dim in dims if dim not in self.axes]
        if is_open:
            raise InputError(
                f"{name} has the further dimensions {', '.join(is_open)}; say where on each, such "
                f"as {is_open[0]}={self.coordinates[is_open[0]][0]!r}."
            )
        return values

    def _n_checkpoints(self) -> Array | None:
        """Return how many checkpoints of each cell were analysed; None where that is not known."""
        iterations = self.variables.get("checkpoint_iteration")
        return None if iterations is None else np.isfinite(iterations.values).sum(axis=-1)

    def _place(self, dim: str, wanted: Any) -> int:
        coordinate = self.coordinates[dim]
        if coordinate.dtype.kind in "OU":
            found = np.flatnonzero(coordinate == str(wanted))
        else:
            found = np.flatnonzero(np.isclose(coordinate, wanted, rtol=1e-9, atol=0.0))
        if not len(found):
            listed = ", ".join(str(value) for value in coordinate[:12])
            raise InputError(f"{dim} has no place {wanted!r}; its places are {listed}.")
        return int(found[0])

    def write(self, path: str | Path) -> Path:
        """Write the grid to an HDF5 file, in place of an earlier one of its sweep, in one step.

        Raises
        ------
        InputError
            If there is another file, or a directory.
        StoreError
            If the system refuses.
        """
        path = Path(path)
        self._check_replaceable(path)
        partial = path.with_name(f".{path.name}.partial")
        try:
            try:
                with h5py.File(partial, "w") as file:
                    _write(file, self)
                with partial.open("rb+", buffering=0) as written:
                    os.fsync(written.fileno())
                _disk.replace(partial, path)
            finally:
                _disk.remove(partial)
        except OSError as error:
            raise StoreError(f"Could not write {path}: {reason(error)}.") from error
        return path

    def _check_replaceable(self, path: Path) -> None:
        """Refuse to replace what this sweep cannot make again."""
        if not path.exists():
            return
        try:
            is_earlier = SweepGrid.open(path).plan_toml == self.plan_toml
        except InputError:
            is_earlier = False
        if not is_earlier:
            raise InputError(
                f"{path} exists and is not a merged file of this sweep, so it is not replaced. "
                "Choose another name, or delete it yourself."
            )

    @classmethod
    def open(cls, path: str | Path) -> SweepGrid:
        """Read a grid from the file that :meth:`write` or ``kpflow sweep merge`` made.

        Raises
        ------
        InputError
            If there is no such file, or it is none.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"There is no file {path}. Merge the sweep: kpflow sweep merge.")
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("schema_name") != SWEEP_NAME:
                    raise InputError(f"{path} is not a merged sweep of kpflow_numerics.")
                return _read(file)
        except OSError as error:
            raise InputError(f"{path} cannot be read as HDF5: {error}.") from error


def _end_of(values: Array, axis: int, which: str, counts: Array | None) -> Array:
    """Return the values at the first checkpoint, or at the last one that each cell has.

    A value at the last one may be missing, as a cosine of what has no direction is. Without the
    cells' `counts` of checkpoints, the last is the last at which there is a value.
    """
    if which not in ("first", "last"):
        raise InputError(f'checkpoint must be a number, "first" or "last"; got {which!r}.')
    ordered = np.moveaxis(values, axis, -1)
    if which == "first":
        return np.asarray(ordered[..., 0])
    if counts is None:
        known = np.isfinite(ordered) * np.arange(1, ordered.shape[-1] + 1)
        counts = known.max(axis=-1, initial=0)
    # A count is of a cell: the same along all that is no axis of the grid.
    counts = counts.reshape(*counts.shape, *[1] * (ordered.ndim - 1 - counts.ndim))
    counts = np.broadcast_to(counts, ordered.shape[:-1])
    last = np.take_along_axis(ordered, np.maximum(counts - 1, 0)[..., None], axis=-1)
    return np.asarray(last[..., 0])


def _write(file: h5py.File, grid: SweepGrid) -> None:
    file.attrs["schema_name"] = SWEEP_NAME
    file.attrs["schema_version"] = SCHEMA_VERSION
    file.attrs["Conventions"] = "CF-1.11"
    file.attrs["title"] = repr(grid)
    file.attrs["axes"] = " ".join(grid.axes)
    for name, values in grid.coordinates.items():
        add_coordinate(file, name, values, long_name=_COORDINATES.get(name, f"setting {name}"))
    for axis, columns in grid.linked.items():
        for key, values in columns.items():
            add_variable(file, linked_name(key), [axis], data=_storable(values),
                         long_name=f"setting {key}", attributes={"setting": key})  # fmt: skip
    auxiliary = [linked_name(key) for columns in grid.linked.values() for key in columns]
    if auxiliary:
        file.attrs["coordinates"] = " ".join(auxiliary)
    for name, variable in grid.variables.items():
        attributes: dict[str, Any] = {}
        parts = [f"{name}_{part}" for part in ANCILLARY if f"{name}_{part}" in grid.variables]
        if parts:
            attributes["ancillary_variables"] = " ".join(parts)
        if name == "status":
            attributes["flag_values"] = np.arange(len(STATUS_MEANINGS), dtype=np.int8)
            attributes["flag_meanings"] = " ".join(STATUS_MEANINGS)
        add_variable(file, name, variable.dims, data=_storable(variable.values),
                     long_name=variable.long_name, units=variable.units,
                     attributes=attributes)  # fmt: skip
    _write_failures(file.create_group("failures"), grid.failures)
    provenance = file.create_group("provenance")
    for name, value in grid.provenance.items():
        provenance.attrs[name] = value
    provenance.create_dataset("plan", data=grid.plan_toml, dtype=TEXT)
    add_variable(provenance, "seconds", grid.axes, data=grid.seconds,
                 long_name="time since the cell was last resumed", units="s")  # fmt: skip


def linked_name(key: str) -> str:
    """Return the name of the variable that holds a setting of a linked axis."""
    return key.replace(".", "_")


def _storable(values: Array) -> Array:
    return values.astype(object) if values.dtype.kind == "U" else values


_COORDINATES = {
    "checkpoint": "place among the checkpoints that were analysed",
    "operator": "operator; P stands for P P*",
    "recipe": "recipe of the effective rank",
    "quantity": "quantity and its operators; P stands for P P*",
    "tolerance": "training loss that is to be reached",
    "iteration": "training iteration",
    "of_task": "task, or condition: of the row",
    "other_task": "task, or condition: of the column",
    "exponent": "place among the Lyapunov exponents",
    "index": "place among the eigenvalues",
}
_FAILURE = ("label", "error", "message", "traceback")


def _write_failures(group: h5py.Group, failures: Sequence[Mapping[str, Any]]) -> None:
    group.attrs["long_name"] = "cells that failed"
    add_dimension(group, "failure", len(failures))
    cells = np.array([each["index"] for each in failures], np.int64)
    add_variable(group, "cell", ["failure"], data=cells, long_name="number of the cell")
    for name in _FAILURE:
        words = np.array([each[name] for each in failures], object)
        add_variable(group, name, ["failure"], data=words, long_name=name)


def _read(file: h5py.File) -> SweepGrid:
    axes = tuple(str(file.attrs["axes"]).split())
    auxiliary = str(file.attrs.get("coordinates", "")).split()
    coordinates: dict[str, Array] = {}
    linked: dict[str, dict[str, Array]] = {axis: {} for axis in axes}
    variables: dict[str, GridVariable] = {}
    for name, item in file.items():
        if isinstance(item, h5py.Group):
            continue
        values = read_text(item) if h5py.check_string_dtype(item.dtype) else item[()]
        if item.is_scale:
            coordinates[name] = values
            continue
        dims = tuple(_dimension(item, axis) for axis in range(item.ndim))
        if name in auxiliary:
            linked[dims[0]][str(item.attrs["setting"])] = values
        else:
            units = str(item.attrs.get("units", "1"))
            variables[name] = GridVariable(dims, values, str(item.attrs["long_name"]), units)
    failures = file["failures"]
    words = {name: list(read_text(failures[name])) for name in _FAILURE}
    return SweepGrid(
        axes=axes,
        coordinates=coordinates,
        variables=variables,
        linked={axis: columns for axis, columns in linked.items() if columns},
        failures=tuple(
            {"index": int(index), **{name: words[name][row] for name in _FAILURE}}
            for row, index in enumerate(failures["cell"][()])
        ),
        plan_toml=str(read_text(file["provenance/plan"])),
        provenance=dict(file["provenance"].attrs),
        seconds=file["provenance/seconds"][()],
    )


def _dimension(variable: h5py.Dataset, axis: int) -> str:
    scale = next(iter(variable.dims[axis].values()))
    return str(Path(scale.name).name)
