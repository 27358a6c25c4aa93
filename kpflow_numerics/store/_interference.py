"""Interference of tasks over the analysed checkpoints: ``/analysis/interference``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from .._typing import FloatArray
from .._validation import InputError
from ..analysis.checkpoint import NetworkAnalysis
from ..analysis.checkpoint_interference import CheckpointInterference
from ._variables import add_coordinate, add_variable, read_text

NAME = "interference"

_HELD = {
    "matrix": "inner product of the gradients by the cell's parameters",
    "contribution_cosines": "cosine between the moves of the states that two tasks cause",
    "accumulated_contribution_cosines": (
        "cosine between those moves, integrated from the first checkpoint to this"
    ),
    "output_contribution_cosines": "cosine between the moves of the outputs that two tasks cause",
    "state_similarity": "cosine between the tasks' mean states",
}
_DERIVED = {
    "cosines": "cosine between the gradients by the cell's parameters",
    "full_cosines": "cosine between the gradients by all parameters, the readout's included",
}
_DIMS = ("checkpoint", "task", "other_task")


def check_interference(analyses: Sequence[NetworkAnalysis]) -> None:
    """Refuse interference of different tasks or parameters.

    Raises
    ------
    InputError
        If it is.
    """
    found = [analysis.interference for analysis in analyses if analysis.interference is not None]
    for name, kinds in (
        ("tasks", {each.names for each in found}),
        ("parameters", {tuple(each.by_parameter) for each in found}),
    ):
        if len(kinds) > 1:
            raise InputError(
                f"analyses must all have the interference of the same {name}; got "
                f"{' and '.join(', '.join(kind) for kind in sorted(kinds))}."
            )


def write_interference(group: h5py.Group, analyses: Sequence[NetworkAnalysis]) -> None:
    """Write what the analyses hold into the group of the analyses; nothing where none holds it."""
    found = [analysis.interference for analysis in analyses]
    first = next((each for each in found if each is not None), None)
    if first is None:
        return
    inner = group.create_group(NAME)
    for name, long_name in (
        ("task", "task, or condition: of the row"),
        ("other_task", "task, or condition: of the column"),
    ):
        add_coordinate(inner, name, list(first.names), dtype=object, long_name=long_name)
    parameters = list(first.by_parameter)
    add_coordinate(inner, "parameter", parameters, dtype=object, long_name="array of parameters")
    present = np.array([each is not None for each in found], np.int8)
    add_variable(inner, "present", ["checkpoint"], data=present, attributes={"dtype": "bool"},
                 long_name="whether the interference was measured")  # fmt: skip
    n_tasks = len(first.names)
    coordinates = {"coordinates": "iteration"}
    for name, long_name in (_HELD | _DERIVED).items():
        data = np.full((len(found), n_tasks, n_tasks), np.nan)
        for row, each in enumerate(found):
            if each is not None:
                data[row] = getattr(each, name)
        add_variable(inner, name, list(_DIMS), data=data, long_name=long_name,
                     attributes=coordinates)  # fmt: skip
    data = np.full((len(found), len(parameters), n_tasks, n_tasks), np.nan)
    for row, each in enumerate(found):
        if each is not None:
            data[row] = list(each.by_parameter.values())
    add_variable(
        inner, "by_parameter", ["checkpoint", "parameter", *_DIMS[1:]], data=data,
        long_name="inner product of the gradients by one array of parameters",
        attributes=coordinates,
    )  # fmt: skip


def read_interference(group: h5py.Group) -> list[CheckpointInterference | None]:
    """Return what each analysis holds; files of schema versions 1 and 2 hold none."""
    inner = group.get(NAME)
    if inner is None:
        return [None] * len(group["iteration"])
    names = tuple(str(name) for name in read_text(inner["task"]))
    parameters = [str(name) for name in read_text(inner["parameter"])]
    arrays: dict[str, Any] = {name: inner[name][()] for name in (*_HELD, "by_parameter")}
    return [
        _read(names, parameters, {name: array[row] for name, array in arrays.items()})
        if is_present
        else None
        for row, is_present in enumerate(inner["present"][()])
    ]


def _read(
    names: tuple[str, ...], parameters: Sequence[str], arrays: dict[str, FloatArray]
) -> CheckpointInterference:
    parts = arrays.pop("by_parameter")
    return CheckpointInterference(
        names=names, by_parameter=dict(zip(parameters, parts, strict=True)), **arrays
    )
