"""The results of all cells of a sweep as one labelled grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..._typing import Array
from ...store import GridVariable, SweepGrid
from ...store.sweep_grid import ANCILLARY, STATUS_MEANINGS
from .axes import SweepAxis, text_of
from .cell import ESTIMATE_FIELDS
from .directory import DAMAGED, DONE, FAILED, SweepDirectory
from .status import read_status

_SCALARS = {
    "final_loss": "training loss on the batch of the last iteration",
    "final_evaluation_loss": "loss on the evaluation batch after training",
    "final_accuracy": "accuracy on the evaluation batch after training",
    "n_iterations": "iterations of training that were made",
}
_CHECKPOINT_SCALARS = {
    "iteration": ("checkpoint_iteration", "iteration of the checkpoint"),
    "evaluation_loss": ("evaluation_loss", "loss on the evaluation batch"),
    "accuracy": ("accuracy", "accuracy on the evaluation batch"),
}
_EXPONENTS = {
    "exponents": ("lyapunov", "finite-time Lyapunov exponent, descending"),
    "lower": ("lyapunov_lower", "lower end of the 95 % interval of the Lyapunov exponent"),
    "upper": ("lyapunov_upper", "upper end of the 95 % interval of the Lyapunov exponent"),
    "standard_errors": ("lyapunov_standard_error", "standard error of the Lyapunov exponent"),
}
_INTERFERENCE = {
    "matrix": (
        "interference_matrix",
        "inner product of the gradients of two tasks by the cell's parameters, err_i* NTK err_j",
    ),
    "cosines": (
        "interference_cosines",
        "cosine between the gradients of two tasks by the cell's parameters",
    ),
    "full_matrix": (
        "interference_full_matrix",
        "inner product of the gradients of two tasks by all parameters, the readout's included",
    ),
    "full_cosines": (
        "interference_full_cosines",
        "cosine between the gradients of two tasks by all parameters, the readout's included",
    ),
    "contribution_cosines": (
        "contribution_cosines",
        "cosine between the moves of the states that two tasks cause",
    ),
    "accumulated_contribution_cosines": (
        "accumulated_contribution_cosines",
        "cosine between those moves, integrated from the first checkpoint to this",
    ),
    "output_contribution_cosines": (
        "output_contribution_cosines",
        "cosine between the moves of the outputs that two tasks cause",
    ),
    "state_similarity": ("state_similarity", "cosine between the mean states of two tasks"),
}
Entries: TypeAlias = Iterable[tuple[Any, Any]]
"""Where values go, the cell of the grid and then places along further axes; and the values."""

_TIMELY = ("created", "git_commit", "git_state")


def merge_sweep(directory: str | Path, output: str | Path | None = None) -> SweepGrid:
    """Merge the results of a sweep into one HDF5 file of labelled arrays.

    Parameters
    ----------
    directory : str or Path
        The directory that :func:`plan_sweep` made. The sweep need not be finished: values are NaN
        where a cell has none, and the variable ``status`` says why.
    output : str or Path, optional
        The file; by default ``sweep.h5`` in the directory. A merged file of this sweep can always
        be made again, and is replaced in one step; nothing else is ever replaced.

    Returns
    -------
    SweepGrid
        What was written. ``xarray.open_dataset(output, engine="h5netcdf")`` opens it as well.

    Raises
    ------
    InputError
        If the directory holds no sweep, or `output` is there and something else.
    StoreError
        If the system refuses.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> grid = kpf.merge_sweep("runs/gain-sweep")  # doctest: +SKIP
    """
    found = SweepDirectory.open(directory)
    grid = merge(found)
    grid.write(found.path / "sweep.h5" if output is None else output)
    return grid


def merge(directory: SweepDirectory) -> SweepGrid:
    """Return the grid of an open directory, without writing it."""
    plan = directory.plan
    status = read_status(directory)
    records = {
        index: directory.result(index)
        for index, state in enumerate(status.states)
        if state == DONE
    }  # fmt: skip
    grid = _Builder(plan.axes, {index: record["result"] for index, record in records.items()})
    grid.add_status(status.states)
    grid.add_scalars(plan.tolerances)
    grid.add_losses()
    grid.add_checkpoints()
    return SweepGrid(
        axes=tuple(axis.name for axis in plan.axes),
        coordinates=grid.coordinates,
        variables=grid.variables,
        linked={axis.name: _columns(axis) for axis in plan.axes if axis.is_linked},
        failures=tuple(
            {
                "index": failure.index,
                "label": failure.label,
                "error": failure.error,
                "message": failure.message,
                "traceback": failure.traceback,
            }
            for failure in status.failures
        ),
        plan_toml=plan.to_toml(),
        provenance=_provenance(records.values()),
        seconds=grid.on_grid((index, record["seconds"]) for index, record in records.items()),
    )


def _provenance(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the workers were, each value that occurred among them."""
    seen: dict[str, list[str]] = {}
    for record in records:
        for name, value in record["provenance"].items():
            values = seen.setdefault(name, [])
            if str(value) not in values:
                values.append(str(value))
    merged = {name: "; ".join(values) for name, values in seen.items() if name not in _TIMELY}
    for name in _TIMELY:
        if name in seen:
            merged[name] = " to ".join(dict.fromkeys((min(seen[name]), max(seen[name]))))
    return merged


def coordinate(values: Iterable[Any]) -> Array:
    """Return values of a setting as a coordinate: numbers, or words where not all are numbers."""
    listed = list(values)
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in listed):
        return np.array([text_of(value) for value in listed], object)
    return np.array(listed)


def _columns(axis: SweepAxis) -> dict[str, Array]:
    return {
        key: coordinate(values[place] for values in axis.values)
        for place, key in enumerate(axis.keys)
    }


class _Builder:
    """Puts what the cells have into arrays on the grid."""

    def __init__(self, axes: tuple[SweepAxis, ...], results: Mapping[int, Mapping[str, Any]]):
        self._axes = tuple(axis.name for axis in axes)
        self._shape = tuple(len(axis) for axis in axes)
        self._results = results
        self._checkpoints = {
            index: result["checkpoints"] for index, result in results.items()
            if "checkpoints" in result
        }  # fmt: skip
        self.coordinates: dict[str, Array] = {}
        self.variables: dict[str, GridVariable] = {}
        for axis in axes:
            self.coordinates[axis.name] = (
                np.array([axis.label(place) for place in range(len(axis))], object)
                if axis.is_linked
                else coordinate(values[0] for values in axis.values)
            )

    def on_grid(self, entries: Entries, shape: tuple[int, ...] = ()) -> Array:
        """Return numbers on the grid and further axes, NaN where there is none."""
        array = np.full((int(np.prod(self._shape)), *shape), np.nan)
        for place, value in entries:
            array[place] = np.nan if value is None else value
        return array.reshape(*self._shape, *shape)

    def _add(self, name: str, dims: tuple[str, ...], entries: Entries, long_name: str) -> None:
        shape = tuple(len(self.coordinates[dim]) for dim in dims)
        values = self.on_grid(entries, shape)
        self.variables[name] = GridVariable((*self._axes, *dims), values, long_name)

    def add_status(self, states: Iterable[str]) -> None:
        numbers = {DONE: 0, FAILED: 1, DAMAGED: 3}
        values = np.array([numbers.get(state, 2) for state in states], np.int8)
        meaning = ", ".join(f"{number} {word}" for number, word in enumerate(STATUS_MEANINGS))
        self.variables["status"] = GridVariable(
            self._axes, values.reshape(self._shape), f"state of the cell: {meaning}"
        )

    def add_scalars(self, tolerances: tuple[float, ...]) -> None:
        for name, long_name in _SCALARS.items():
            finals = [(index, result[name]) for index, result in self._results.items()]
            self._add(name, (), finals, long_name)
        if not tolerances:
            return
        self.coordinates["tolerance"] = np.array(tolerances)
        entries = [
            ((index, place), value)
            for index, result in self._results.items()
            for place, value in enumerate(result["iterations_to_tolerance"])
        ]
        self._add("iterations_to_tolerance", ("tolerance",), entries,
                  "first iteration whose training loss is at most the tolerance; NaN where none "
                  "is")  # fmt: skip

    def add_losses(self) -> None:
        curves = {i: result["losses"] for i, result in self._results.items() if "losses" in result}
        if not curves:
            return
        self.coordinates["iteration"] = np.arange(max(map(len, curves.values())))
        entries = [((index, slice(len(curve))), curve) for index, curve in curves.items()]
        self._add("loss", ("iteration",), entries, "training loss on the batch of the iteration")

    def add_checkpoints(self) -> None:
        if not self._checkpoints:
            return
        longest = max(map(len, self._checkpoints.values()))
        self.coordinates["checkpoint"] = np.arange(longest)
        for key, (name, long_name) in _CHECKPOINT_SCALARS.items():
            values = [(at, checkpoint[key]) for at, checkpoint in self._each_checkpoint()]
            self._add(name, ("checkpoint",), values, long_name)
        self._add_estimates("rank", "ranks", ("operator", "recipe"), "effective rank")
        self._add_estimates("quantity_value", "quantities", ("quantity",), "value of the quantity")
        self._add_exponents()
        self._add_interference()
        self._add_spectra()

    def _each_checkpoint(self) -> Iterable[tuple[tuple[int, int], Mapping[str, Any]]]:
        for index, checkpoints in self._checkpoints.items():
            for place, checkpoint in enumerate(checkpoints):
                yield (index, place), checkpoint

    def _add_estimates(self, name: str, key: str, dims: tuple[str, ...], long_name: str) -> None:
        """Add estimates, each stored as its labels followed by its parts."""
        entries = [
            (at, entry) for at, checkpoint in self._each_checkpoint()
            for entry in checkpoint.get(key, ())
        ]  # fmt: skip
        if not entries:
            return
        found = {
            dim: self._labels(dim, (entry[axis] for _, entry in entries))
            for axis, dim in enumerate(dims)
        }
        placed = [
            ((*at, *(found[dim].index(entry[axis]) for axis, dim in enumerate(dims))), entry[-1])
            for at, entry in entries
        ]
        for part, field in enumerate(ESTIMATE_FIELDS):
            values = [(at, parts[part]) for at, parts in placed]
            full = name if field == "value" else f"{name}_{field}"
            text = long_name if field == "value" else ANCILLARY[field].format(long_name)
            if field == "method":
                self._add_words(full, ("checkpoint", *dims), values, text)
            else:
                self._add(full, ("checkpoint", *dims), values, text)

    def _labels(self, dim: str, wanted: Iterable[str]) -> list[str]:
        """Return the labels along a dimension, made when they are first asked for."""
        if dim not in self.coordinates:
            if dim == "operator":
                wanted = self._operators()
            self.coordinates[dim] = np.array(list(dict.fromkeys(wanted)), object)
        return list(self.coordinates[dim])

    def _operators(self) -> Iterable[str]:
        for _, checkpoint in self._each_checkpoint():
            yield from (entry[0] for entry in checkpoint.get("ranks", ()))
            yield from checkpoint.get("spectra", ())

    def _add_words(
        self, name: str, dims: tuple[str, ...], entries: Entries, long_name: str
    ) -> None:
        shape = tuple(len(self.coordinates[dim]) for dim in dims)
        array = np.full((int(np.prod(self._shape)), *shape), "", object)
        for place, value in entries:
            array[place] = value
        words = array.reshape(*self._shape, *shape)
        self.variables[name] = GridVariable((*self._axes, *dims), words, long_name)

    def _add_exponents(self) -> None:
        held = [
            (at, each["lyapunov"]) for at, each in self._each_checkpoint() if each.get("lyapunov")
        ]
        if not held:
            return
        longest = max(len(arrays["exponents"]) for _, arrays in held)
        self.coordinates["exponent"] = np.arange(longest)
        for key, (name, long_name) in _EXPONENTS.items():
            entries = [((*at, slice(len(arrays[key]))), arrays[key]) for at, arrays in held]
            self._add(name, ("checkpoint", "exponent"), entries, long_name)

    def _add_interference(self) -> None:
        """Add the matrices of every cell at the places of its own tasks, NaN at all others."""
        held = [
            (at, each["interference"]) for at, each in self._each_checkpoint()
            if "interference" in each
        ]  # fmt: skip
        if not held:
            return
        names = list(dict.fromkeys(name for _, found in held for name in found["names"]))
        dims = ("of_task", "other_task")
        for dim in dims:
            self.coordinates[dim] = np.array(names, object)
        for key, (variable, long_name) in _INTERFERENCE.items():
            entries = []
            for at, found in held:
                places = [names.index(name) for name in found["names"]]
                entries.append(((*at, *np.ix_(places, places)), np.array(found[key], np.float64)))
            self._add(variable, ("checkpoint", *dims), entries, long_name)

    def _add_spectra(self) -> None:
        held = [
            (at, operator, values) for at, each in self._each_checkpoint()
            for operator, values in each.get("spectra", {}).items()
        ]  # fmt: skip
        if not held:
            return
        operators = self._labels("operator", (operator for _, operator, _ in held))
        self.coordinates["index"] = np.arange(max(len(values) for _, _, values in held))
        entries = [
            ((*at, operators.index(operator), slice(len(values))), values)
            for at, operator, values in held
        ]
        self._add("eigenvalue", ("checkpoint", "operator", "index"), entries,
                  "leading eigenvalue, descending")  # fmt: skip
