"""What a section of a report is made of, and what it is made from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...analysis import NetworkAnalysis
from ._html import Markup, element

OPERATORS = {
    "K": "how the parameters act on the states within one step",
    "P": "how the dynamics carry a change of state forward in time; its rank and spectrum are "
    "those of P P*",
    "NTK": "P K P*, the tangent kernel of the hidden states: how gradient descent moves them",
}
MAIN_RECIPE = "participation-ratio"


def measured(operator: str) -> str:
    """Return what rank, trace and spectrum of an operator are of: for P, ``P P*``."""
    return "P P*" if operator == "P" else operator


class Subject:
    """The run that a report is about, read once for all of its sections.

    Attributes
    ----------
    run : RunFile
        An open run file with at least one analysis.
    """

    def __init__(self, run: Any) -> None:
        self.run = run

    @cached_property
    def analyses(self) -> list[NetworkAnalysis]:
        """The analyses of the run, by iteration."""
        return list(self.run.analyses)

    @property
    def last(self) -> NetworkAnalysis:
        """The last analysis."""
        return self.analyses[-1]


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; without a heading it belongs to the section before.

    Attributes
    ----------
    heading : str
        The heading.
    parts : iterable of Markup
        Paragraphs, tables and figures.
    """

    heading: str
    parts: Iterable[Markup]

    @property
    def anchor(self) -> str:
        """The heading as a word that links can name."""
        return re.sub(r"[^a-z0-9]+", "-", self.heading.lower()).strip("-")

    def markup(self) -> list[Markup]:
        """Return the section as HTML."""
        heading = [element("h2", self.heading, id=self.anchor)] if self.heading else []
        return [*heading, *self.parts]
