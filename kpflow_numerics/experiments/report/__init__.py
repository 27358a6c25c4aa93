"""One self-contained page that shows a run to a person.

Each section is a file with a function that takes the :class:`Subject` and yields sections; their
order is that of :data:`MAIN_SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from ..._errors import InputError
from ...store import RunFile
from ._checks import validation_sections
from ._figures import figure_sections
from ._file import check_free, write_page
from ._html import Markup, element, page
from ._interference import interference_sections
from ._provenance import provenance_sections
from ._section import Section, Subject
from ._signs import sign_sections
from ._summary import summary_sections, what_was_trained
from ._tables import number_sections

Sections: TypeAlias = Callable[[Subject], Iterable[Section]]

MAIN_SECTIONS: tuple[Sections, ...] = (
    summary_sections,
    sign_sections,
    figure_sections,
    interference_sections,
    number_sections,
    validation_sections,
)
"""What the page shows, in its order."""

FOOT_SECTIONS: tuple[Sections, ...] = (provenance_sections,)
"""What stands at the foot of the page."""


def write_report(path: str | Path, *, run: Any, overwrite: bool = True) -> Path:
    """Write a page about an analysed run: figures, numbers, checks, settings.

    Parameters
    ----------
    path : str or Path
        The page, of HTML; its directory is made if it does not exist.
    run : RunFile, str or Path
        The run, with at least one analysis.
    overwrite : bool
        Whether a file of this name may be replaced; it can always be written again.

    Returns
    -------
    Path
        Of the page. It holds everything it shows, needs no network and no script, fits a phone
        and prints.

    Raises
    ------
    InputError
        If the run has no analysis, or the file exists and `overwrite` is False.
    MissingExtraError
        If Matplotlib is not installed.

    Examples
    --------
    >>> from kpflow_numerics.experiments.report import write_report
    >>> write_report("report.html", run="run.h5")  # doctest: +SKIP
    """
    if isinstance(run, (str, Path)):
        with RunFile.open(run) as opened:
            return write_report(path, run=opened, overwrite=overwrite)
    check_free(path, overwrite=overwrite)
    return write_page(path, report_html(run), overwrite=overwrite)


def report_html(run: Any) -> str:
    """Return the page about an analysed run.

    Parameters
    ----------
    run : RunFile
        An open run file with at least one analysis.

    Raises
    ------
    InputError
        If the run has no analysis.
    """
    subject = Subject(run)
    if not subject.analyses:
        raise InputError(
            "There is nothing to report: the run has no analysis. Analyse it first, with "
            "kpf.analyze or `kpflow analyze`."
        )
    title = f"{type(run.cell).__name__} on {run.task.name}"
    main, foot = (
        [section for sections in group for section in sections(subject)]
        for group in (MAIN_SECTIONS, FOOT_SECTIONS)
    )
    return page(
        title,
        element(
            "header",
            element("h1", title),
            element("p", what_was_trained(run), class_="subtitle"),
            _contents([*main, *foot]),
        ),
        element("main", *_markup(main)),
        element("footer", *_markup(foot)),
    )


def _contents(sections: Iterable[Section]) -> Markup:
    """Return links to the sections that have a heading."""
    entries = (
        element("li", element("a", section.heading, href=f"#{section.anchor}"))
        for section in sections
        if section.heading
    )
    return element("nav", element("ul", *entries), aria_label="Contents")


def _markup(sections: Iterable[Section]) -> Iterator[Markup]:
    for section in sections:
        yield from section.markup()
