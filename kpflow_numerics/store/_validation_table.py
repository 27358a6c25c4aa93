"""The validation report of a run."""

from __future__ import annotations

import json

import h5py
import numpy as np

from ..results import Check, ValidationReport
from ._variables import add_coordinate, add_variable, read_text, replace_group


def write_report(file: h5py.File, report: ValidationReport) -> None:
    """Write the report in place of any other."""
    group = replace_group(file, "validation")
    group.attrs["title"] = report.title
    group.attrs["passed"] = int(report.passed)
    group.attrs["notes"] = json.dumps(list(report.notes))
    checks = report.checks
    add_coordinate(group, "check", np.arange(len(checks)), long_name="place in the report")
    for name, long_name in (
        ("name", "what was checked"),
        ("formula", "the identity"),
        ("explanation", "how the error was measured"),
    ):
        words = np.array([getattr(check, name) for check in checks], dtype=object)
        add_variable(group, name, ["check"], data=words, long_name=long_name)
    for name, long_name in (
        ("error", "how far the identity is from holding"),
        ("threshold", "what the error must not exceed"),
    ):
        numbers = np.array([getattr(check, name) for check in checks], dtype=np.float64)
        add_variable(group, name, ["check"], data=numbers, long_name=long_name)
    passed = np.array([check.passed for check in checks], dtype=np.int8)
    add_variable(group, "passed", ["check"], data=passed, long_name="whether the identity holds",
                 attributes={"dtype": "bool"})  # fmt: skip


def read_report(file: h5py.File) -> ValidationReport | None:
    """Return the report, or None where there is none."""
    group = file.get("validation")
    if group is None:
        return None
    words = zip(
        *(read_text(group[name]) for name in ("name", "formula", "explanation")), strict=True
    )
    numbers = zip(group["error"][:], group["threshold"][:], group["passed"][:], strict=True)
    return ValidationReport(
        checks=tuple(
            Check(name, formula, float(error), float(threshold), bool(passed), explanation)
            for (name, formula, explanation), (error, threshold, passed) in zip(
                words, numbers, strict=True
            )
        ),
        passed=bool(group.attrs["passed"]),
        title=str(group.attrs["title"]),
        notes=tuple(json.loads(group.attrs["notes"])),
    )
