"""Leading modes over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._validation import InputError, check_choice, check_integer
from ..analysis.checkpoint import NetworkAnalysis
from ..tasks import Task, TrialBatch
from ._axes import PERIOD_NAMES_HEIGHT, draw_periods, drawing_on, key_target
from ._conditions import TrialColours, trial_colours
from ._source import Source, read_record

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def modes(
    source: Source,
    *,
    operator: str = "NTK",
    mode: int = 0,
    index: int = -1,
    batch: TrialBatch | None = None,
    task: Task | None = None,
    condition: str | None = None,
    key: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the course of one leading mode over time, a line a trial.

    Parameters
    ----------
    source : str, Path, RunFile, NetworkAnalysis or sequence of NetworkAnalysis
        What to draw.
    operator : {"NTK", "K"}
        The operator.
    mode : int
        Which mode; 0 is that of the largest eigenvalue.
    index : int
        Which of the source's analyses; the last by default.
    batch : TrialBatch, optional
        The trials, for their colours; a run file's own by default. Without them lines are grey.
    task : Task, optional
        The task, for its periods; a run file's own by default.
    condition : str, optional
        The column of the condition table that colours the lines; the task's primary condition by
        default.
    key : bool
        Whether the colours are explained.
    ax : Axes, optional
        Where to draw; a new figure of a column's width by default.

    Returns
    -------
    Axes
        The title names the mode and the share of its squared norm that the course explains. The
        course has unit norm over all trials and steps.

    Raises
    ------
    InputError
        If the analysis holds no such mode, or the batch has other trials or no such condition.

    Examples
    --------
    >>> from kpflow_numerics import plotting
    >>> ax = plotting.modes("run.h5", operator="K", mode=1)  # doctest: +SKIP
    """
    record = read_record(source, batch, task)
    analysis = record.analysis(index)
    courses = analysis.modes[check_choice(operator, "operator", analysis.modes)]
    check_integer(mode, "mode", minimum=0, maximum=len(courses) - 1)
    n_trials, n_steps = courses.shape[1:]
    check_trials(record.batch, n_trials, n_steps)
    colours = trial_colours(n_trials, record.batch, record.task, condition)
    periods = record.task.periods if record.task is not None else {}
    with drawing_on(ax, height=2.1) as axes:
        draw_course(axes, analysis, operator, mode, colours)
        draw_periods(axes, periods, n_steps)
        raised = PERIOD_NAMES_HEIGHT if periods else 0.0
        axes.set_title(mode_title(analysis, operator, mode), pad=3.0 + raised)
        if key:
            target = key_target(ax, axes)
            colours.draw_key(target, [axes], raised=raised + 14.0)
    return axes


def draw_course(
    ax: Axes, analysis: NetworkAnalysis, operator: str, mode: int, colours: TrialColours
) -> None:
    """Draw a line for each trial, and name the vertical axis."""
    for course, colour in zip(analysis.modes[operator][mode], colours.colours, strict=True):
        ax.plot(np.arange(1, len(course) + 1), course, color=colour, linewidth=0.9)
    ax.set_ylabel("Course (unit norm)")


def mode_title(analysis: NetworkAnalysis, operator: str, mode: int) -> str:
    """Return the name of a mode and the share of it that its course explains."""
    share = 100.0 * float(analysis.mode_fractions[operator][mode])
    return f"{operator} mode {mode + 1}, course holds {share:.3g} %"


def check_trials(batch: TrialBatch | None, n_trials: int, n_steps: int) -> None:
    """Raise unless the batch has the trials and steps of the analysis."""
    if batch is not None and (batch.n_trials, batch.n_steps) != (n_trials, n_steps):
        raise InputError(
            f"batch must have the {n_trials} trials of {n_steps} steps that were analysed; got "
            f"{batch.n_trials} trials of {batch.n_steps} steps."
        )
