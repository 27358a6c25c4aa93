"""The evaluation batch of a run."""

from __future__ import annotations

import h5py
import numpy as np

from .._typing import Array
from ..tasks import Task, TrialBatch
from ._variables import (
    add_coordinate,
    add_dimension,
    add_variable,
    read_names,
    read_text,
    replace_group,
    write_names,
)


def write_batch(file: h5py.File, batch: TrialBatch, task: Task) -> None:
    """Write the batch in place of any other."""
    group = replace_group(file, "evaluation")
    add_dimension(group, "trial", batch.n_trials)
    add_dimension(group, "time", batch.n_steps)
    for name, labels, size in (
        ("input", task.input_names, batch.n_inputs),
        ("output", task.output_names, batch.n_outputs),
    ):
        if len(labels) == size:
            add_coordinate(group, name, list(labels), long_name=f"{name} channel")
        else:
            add_dimension(group, name, size)
    add_variable(group, "inputs", ["trial", "time", "input"], data=batch.inputs,
                 long_name="inputs of the network")  # fmt: skip
    add_variable(group, "targets", ["trial", "time", "output"], data=batch.targets,
                 long_name="wanted outputs")  # fmt: skip
    add_variable(group, "mask", ["trial", "time"], data=batch.mask,
                 long_name="weight of each step in the loss")  # fmt: skip
    add_variable(group, "task_id", ["trial"], data=batch.task_ids,
                 long_name="place of the trial's task among the task names")  # fmt: skip
    add_coordinate(group, "task_name", list(batch.task_names), long_name="name of the task")
    conditions = group.create_group("conditions")
    write_names(conditions, list(batch.conditions))
    for place, (name, column) in enumerate(batch.conditions.items()):
        _add_condition(conditions, place, name, column)


def read_batch(file: h5py.File) -> TrialBatch:
    """Return the batch."""
    group = file["evaluation"]
    conditions = group["conditions"]
    return TrialBatch(
        inputs=group["inputs"][:],
        targets=group["targets"][:],
        mask=group["mask"][:],
        conditions={
            name: _read_condition(conditions[_variable_name(place, name)])
            for place, name in enumerate(read_names(conditions))
        },
        task_ids=group["task_id"][:],
        task_names=tuple(read_text(group["task_name"])),
    )


def _variable_name(place: int, name: str) -> str:
    """Return a name that HDF5 accepts, and that no dimension or other condition has."""
    is_plain = name.replace("_", "a").isalnum() and name.isascii()
    is_free = name not in ("trial", "time") and not name.startswith("condition_")
    return name if is_plain and is_free else f"condition_{place}"


def _add_condition(group: h5py.Group, place: int, name: str, column: Array) -> None:
    data = column
    attributes: dict[str, str | int] = {}
    if column.dtype.kind == "U":
        data, attributes = column.astype(object), {"characters": column.dtype.itemsize // 4}
    elif column.dtype.kind == "b":
        # As netCDF, which has no booleans, and xarray agree.
        data, attributes = column.astype(np.int8), {"dtype": "bool"}
    add_variable(
        group, _variable_name(place, name), ["trial"], data=data, long_name=name,
        attributes=attributes,
    )  # fmt: skip


def _read_condition(variable: h5py.Dataset) -> Array:
    if "characters" in variable.attrs:
        text: Array = read_text(variable).astype(f"U{variable.attrs['characters']}")
        return text
    values: Array = variable[:]
    return values.astype(bool) if variable.attrs.get("dtype") == "bool" else values
