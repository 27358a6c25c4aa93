"""The validation report of the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ._html import Markup, element, table
from ._numbers import number
from ._section import Section, Subject


def validation_sections(subject: Subject) -> Iterator[Section]:
    """Yield the section of the checks."""
    yield Section("Validation", [_validation(subject.run.validation)])


def _validation(report: Any) -> Markup:
    if report is None:
        return element(
            "p", "The network has not been validated: run ", element("code", "kpflow validate"), "."
        )
    rows = [
        [
            check.name,
            element("code", check.formula),
            number(check.error),
            number(check.threshold),
            element("span", "passed", class_="good")
            if check.passed
            else element("span", "FAILED", class_="bad"),
            check.explanation,
        ]
        for check in report.checks
    ]
    return table(
        ["check", "formula", "error", "threshold", "verdict", "meaning"],
        rows,
        caption="Every identity that the analysis rests on, checked on this network.",
        numeric=(2, 3),
        wide=(1, 5),
    )
