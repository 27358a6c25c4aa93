"""Every figure of a run, composed for a page and written to files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .._validation import InputError, check_choice
from ..analysis.activity_quantities import CENTRED_COSINE, COSINE, MODE_SHARE
from ._axes import (
    PERIOD_NAMES_HEIGHT,
    draw_legend,
    draw_periods,
    labelled_handles,
    new_figure,
)
from ._conditions import TrialColours, trial_colours
from ._interference import interference_course, interference_matrix
from ._loss import History, accuracy, loss, read_history
from ._modes import draw_course, mode_title
from ._quantities import lyapunov_spectrum, quantity_dynamics
from ._rank_dynamics import PUBLISHED, rank_dynamics, rank_recipes
from ._source import Record, read_record
from ._spectra import spectra
from ._trajectories import end_markers, trajectories
from .style import PAGE_WIDTH, paper_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("pdf", "svg", "png")

_QUANTITIES = {
    "alignments": "alignment",
    "core-cosines": COSINE,
    "core-cosines-centred": CENTRED_COSINE,
    "self-reference": MODE_SHARE,
}
"""Figures of quantities over training, and the quantity that each shows."""


def save_figures(
    run: Any,
    directory: str | Path,
    *,
    formats: Sequence[str] = ("pdf", "png"),
    overwrite: bool = True,
) -> list[Path]:
    """Write every figure that a run has the data for.

    Parameters
    ----------
    run : RunFile, str or Path
        The run, with at least one analysis.
    directory : str or Path
        Where the files go; made if it does not exist.
    formats : sequence of {"pdf", "svg", "png"}
        A file of each; PDF and SVG are vector graphics.
    overwrite : bool
        Whether files of these names may be replaced; they can always be drawn again.

    Returns
    -------
    list of Path
        The files: ``training`` (loss and accuracy), ``ranks`` (of the operators over training),
        ``ranks-K-recipes``, ``ranks-published`` (by the recipe of the published Figure 4),
        ``alignments``, ``core-cosines``, ``core-cosines-centred`` and ``self-reference`` (shares in
        the modes of the activity) over training, ``lyapunov`` (the exponents), ``interference`` of
        tasks (their matrices) and ``interference-courses``, ``spectra``, ``modes`` and
        ``trajectories``.
        What needs several checkpoints, or a history of training, is left out where there is none.

    Raises
    ------
    InputError
        If a file exists and `overwrite` is False, a format is unknown, or there is no analysis.
    MissingExtraError
        If Matplotlib is not installed.

    Examples
    --------
    >>> from kpflow_numerics import plotting
    >>> paths = plotting.save_figures("run.h5", "figures")  # doctest: +SKIP
    """
    for name in formats:
        check_choice(name, "formats", FORMATS)
    if isinstance(run, (str, Path)):
        from ..store import RunFile

        with RunFile.open(run) as opened:
            return save_figures(opened, directory, formats=formats, overwrite=overwrite)
    folder = Path(directory)
    figures = dict(run_figures(run))
    paths = {
        folder / f"{name}.{extension}": figure
        for name, figure in figures.items()
        for extension in formats
    }
    existing = [str(path) for path in paths if path.exists()]
    if existing and not overwrite:
        raise InputError(
            f"{', '.join(existing)} already exist. Choose another directory, or pass "
            "overwrite=True to replace them."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for figure in figures.values():
        _settle(figure)
    for path, figure in paths.items():
        _save(figure, path)
    return list(paths)


def _settle(figure: Figure) -> None:
    """Lay a figure out once, rather than again for each format."""
    with paper_style():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def _save(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all, with the same bytes for the same figure."""
    dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
    extension = path.suffix[1:]
    partial = path.with_name(f".{path.name}.partial")
    try:
        with paper_style():
            figure.savefig(partial, format=extension, metadata=dates[extension])
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def run_figures(run: Any) -> Iterator[tuple[str, Figure]]:
    """Yield the name and the figure of each kind that a run has the data for."""
    record = read_record(run)
    with paper_style():
        history = read_history(run) if hasattr(run, "losses") else None
        if history is not None and len(history.losses):
            yield "training", _training(history)
        if len(record.analyses) > 1:
            yield "ranks", _single(rank_dynamics, record)
            if _n_recipes(record, "K") > 1:
                yield "ranks-K-recipes", _single(rank_recipes, record)
            if any(entry.recipe == PUBLISHED for a in record.analyses for entry in a.ranks):
                yield "ranks-published", _single(partial(rank_dynamics, recipe=PUBLISHED), record)
            held = {entry.name for a in record.analyses for entry in a.quantities}
            for title, name in _QUANTITIES.items():
                if name in held:
                    yield title, _single(partial(quantity_dynamics, name=name), record)
        beside = Record(tuple(each for each in record.analyses if each.interference is not None))
        if beside.analyses:
            yield "interference", _interference(beside)
        if len(beside.analyses) > 1:
            yield "interference-courses", _interference_courses(beside)
        if record.analysis(-1).lyapunov:
            yield "lyapunov", _single(lyapunov_spectrum, record)
        if record.analysis(-1).spectra:
            yield "spectra", _spectra(record)
        if any(len(courses) for courses in record.analysis(-1).modes.values()):
            yield "modes", _modes(record)
        yield "trajectories", _trajectories(record)


def _training(history: History) -> Figure:
    if not history.has_accuracy:
        return cast("Figure", loss(history).get_figure())
    figure = new_figure(PAGE_WIDTH, 2.2)
    left, right = figure.subplots(1, 2)
    loss(history, ax=left)
    accuracy(history, ax=right)
    return figure


def _single(draw: Callable[..., Axes], record: Record) -> Figure:
    return cast("Figure", draw(record).get_figure())


def _n_recipes(record: Record, operator: str) -> int:
    return len(
        {entry.recipe for a in record.analyses for entry in a.ranks if entry.operator == operator}
    )


def _spectra(record: Record) -> Figure:
    """Return a panel for the first and the last analysis, with one legend."""
    if len(record.analyses) == 1:
        return _single(spectra, record)
    figure = new_figure(PAGE_WIDTH, 2.5)
    panels = figure.subplots(1, 2, sharey=True)
    for index, ax in zip((0, -1), panels, strict=True):
        spectra(record, index=index, key=False, ax=ax)
        ax.set_title(f"iteration {record.analysis(index).iteration}")
        ax.label_outer()
    draw_legend(figure, labelled_handles(panels))
    return figure


def _interference(record: Record) -> Figure:
    """Return the matrices of gradients and of mean states at the first and last analysis."""
    ends = (0, -1) if len(record.analyses) > 1 else (-1,)
    figure = new_figure(PAGE_WIDTH, 2.9 * len(ends))
    panels = figure.subplots(len(ends), 2, squeeze=False)
    for row, index in zip(panels, ends, strict=True):
        for quantity, ax in zip(("gradients", "states"), row, strict=True):
            interference_matrix(record, quantity=quantity, index=index, ax=ax)
            ax.set_title(f"{ax.get_title()}, iteration {record.analysis(index).iteration}")
    return figure


def _interference_courses(record: Record) -> Figure:
    """Return a panel each for gradients, accumulated moves and mean states, with one key."""
    figure = new_figure(PAGE_WIDTH, 2.6)
    panels = figure.subplots(1, 3, sharey=True)
    for quantity, ax in zip(
        ("gradients", "accumulated-contributions", "states"), panels, strict=True
    ):
        interference_course(record, quantity=quantity, key=False, ax=ax)
        ax.set_title(ax.get_ylabel().partition("\n")[2].replace("\n", ", "))
        ax.set_ylabel("Cosine between tasks")
        ax.label_outer()
    draw_legend(figure, labelled_handles(panels))
    return figure


def _trajectories(record: Record) -> Figure:
    """Return a panel for the first and the last analysis, with one key."""
    if len(record.analyses) == 1:
        return _single(trajectories, record)
    figure = new_figure(PAGE_WIDTH, 3.2)
    panels = figure.subplots(1, 2)
    for index, ax in zip((0, -1), panels, strict=True):
        trajectories(record, index=index, key=False, ax=ax)
        ax.set_title(f"iteration {record.analysis(index).iteration}")
    _colours(record).draw_key(figure, panels, markers=end_markers())
    return figure


def _modes(record: Record) -> Figure:
    """Return a column for each operator, a row for each mode, with one key."""
    analysis = record.analysis(-1)
    operators = [name for name in ("K", "NTK") if len(analysis.modes.get(name, ()))]
    n_modes = max(len(analysis.modes[operator]) for operator in operators)
    figure = new_figure(PAGE_WIDTH, 0.7 + 1.25 * n_modes)
    panels = figure.subplots(n_modes, len(operators), sharex=True, squeeze=False)
    colours = _colours(record)
    periods = record.task.periods if record.task is not None else {}
    for (mode, column), ax in np.ndenumerate(panels):
        operator = operators[column]
        draw_course(ax, analysis, operator, mode, colours)
        draw_periods(ax, periods, analysis.modes[operator].shape[2], named=mode == 0)
        raised = PERIOD_NAMES_HEIGHT if mode == 0 and periods else 0.0
        ax.set_title(mode_title(analysis, operator, mode), pad=3.0 + raised)
        ax.set_xlabel(f"Step, at iteration {analysis.iteration:,}" if mode == n_modes - 1 else "")
        ax.set_ylabel("Course (unit norm)" if column == 0 else "")
    colours.draw_key(figure, panels.ravel().tolist())
    return figure


def _colours(record: Record) -> TrialColours:
    n_trials = len(record.analysis(-1).principal_components)
    return trial_colours(n_trials, record.batch, record.task, None)
