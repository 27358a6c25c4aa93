"""The signs of failed learning that a run was found to have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from .._validation import InputError, InputTypeError
from ..analysis.failure_signs import FailureSign
from ._estimates import read_estimates, write_estimates
from ._variables import add_coordinate, add_dimension, add_variable, read_text, replace_group

_WORDS = {
    "side": "on which side of the threshold the sign is raised",
    "meaning": "what was computed, and what it means if the sign is raised",
    "reason": "why the number is not known, where it is not",
    "verdict": "whether the sign is raised",
}


def check_signs(signs: Any) -> tuple[FailureSign, ...]:
    """Return the signs, if one file can hold them.

    Raises
    ------
    InputError, InputTypeError
        If it cannot.
    """
    checked = tuple(signs)
    for sign in checked:
        if not isinstance(sign, FailureSign):
            raise InputTypeError(f"signs must be FailureSign objects; got {sign!r}.")
    names = [sign.name for sign in checked]
    if len(set(names)) < len(names):
        raise InputError(f"signs must have different names; got {', '.join(names)}.")
    return checked


def write_signs(file: h5py.File, signs: Sequence[FailureSign]) -> None:
    """Write checked signs in place of any others."""
    group = replace_group(file, "signs")
    if not signs:
        return
    iterations = sorted({iteration for sign in signs for iteration, _ in sign.course})
    add_coordinate(group, "sign", [sign.name for sign in signs], dtype=object,
                   long_name="sign of failed learning")  # fmt: skip
    add_dimension(group, "checkpoint", len(iterations))
    add_variable(group, "iteration", ["checkpoint"], data=np.array(iterations, np.int64),
                 long_name="updates made before")  # fmt: skip
    for name, long_name in _WORDS.items():
        words = np.array([getattr(sign, name) for sign in signs], dtype=object)
        add_variable(group, name, ["sign"], data=words, long_name=long_name)
    add_variable(group, "threshold", ["sign"], long_name="where the sign begins",
                 data=np.array([sign.threshold for sign in signs], np.float64))  # fmt: skip
    write_estimates(
        group, "number", "number that the sign is judged by", ["sign"], (len(signs),),
        (((row,), row, sign.estimate) for row, sign in enumerate(signs)),
    )  # fmt: skip
    write_estimates(
        group, "course", "number of an analysis", ["sign", "checkpoint"],
        (len(signs), len(iterations)),
        (
            ((row, iterations.index(iteration)), place, estimate)
            for row, sign in enumerate(signs)
            for place, (iteration, estimate) in enumerate(sign.course)
        ),
    )  # fmt: skip


def read_signs(file: h5py.File) -> tuple[FailureSign, ...]:
    """Return the signs in the order in which they were written; none where there are none."""
    group = file.get("signs")
    if group is None or "number" not in group:
        return ()
    values = {
        name: read_text(item) if h5py.check_string_dtype(item.dtype) else item[()]
        for name, item in group.items()
        if name != "checkpoint"
    }
    estimates = {at[0]: estimate for at, estimate in read_estimates(values, "number")}
    courses: dict[int, list[Any]] = {row: [] for row in estimates}
    for (row, column), estimate in read_estimates(values, "course"):
        courses[row].append((int(values["iteration"][column]), estimate))
    return tuple(
        FailureSign(
            name=str(values["sign"][row]),
            estimate=estimates[row],
            threshold=float(values["threshold"][row]),
            side=values["side"][row],
            meaning=str(values["meaning"][row]),
            course=tuple(courses[row]),
            reason=str(values["reason"][row]),
        )
        for row in range(len(values["sign"]))
    )
