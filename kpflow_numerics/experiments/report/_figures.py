"""The figures, under the headings that they belong to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from ._html import Markup, element
from ._panels import report_panels
from ._section import Section, Subject


def figure_sections(subject: Subject) -> Iterator[Section]:
    """Yield a section for each group of figures."""
    places = itertools.count(1)
    for heading, panels in report_panels(subject.run).items():
        drawn = (
            element(
                "figure", Markup(panel.svg(f"figure-{place}")), element("figcaption", panel.caption)
            )
            for panel, place in zip(panels, places, strict=False)
        )
        yield Section(heading, [element("div", *drawn, class_="figures")])
