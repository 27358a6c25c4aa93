"""Hidden states in the plane of two principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._validation import InputError, check_integer
from ..tasks import Task, TrialBatch
from ._axes import drawing_on, key_target
from ._conditions import trial_colours
from ._modes import check_trials
from ._source import Source, read_record
from .style import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


def trajectories(
    source: Source,
    *,
    components: tuple[int, int] = (0, 1),
    index: int = -1,
    batch: TrialBatch | None = None,
    task: Task | None = None,
    condition: str | None = None,
    key: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the hidden states of each trial in the plane of two principal components.

    Parameters
    ----------
    source : str, Path, RunFile, NetworkAnalysis or sequence of NetworkAnalysis
        What to draw.
    components : tuple of int
        The two components, each 0, 1 or 2; 0 is that of the largest variance.
    index : int
        Which of the source's analyses; the last by default.
    batch : TrialBatch, optional
        The trials, for their colours; a run file's own by default. Without them lines are grey.
    task : Task, optional
        The task, for its primary condition; a run file's own by default.
    condition : str, optional
        The column of the condition table that colours the lines; the task's primary condition by
        default.
    key : bool
        Whether colours and markers are explained.
    ax : Axes, optional
        Where to draw; a new figure of a column's width by default.

    Returns
    -------
    Axes
        Both axes have one scale and name the share of the variance. A hollow circle marks the
        first step of a trial, a full one the last.

    Raises
    ------
    InputError
        If the components are not two different ones of the three, or the batch has other trials
        or no such condition.

    Examples
    --------
    >>> from kpflow_numerics import plotting
    >>> ax = plotting.trajectories("run.h5", components=(0, 2))  # doctest: +SKIP
    """
    record = read_record(source, batch, task)
    analysis = record.analysis(index)
    scores = analysis.principal_components
    n_trials, n_steps, n_components = scores.shape
    horizontal, vertical = (
        check_integer(component, "components", minimum=0, maximum=n_components - 1)
        for component in components
    )
    if horizontal == vertical:
        raise InputError(f"components must be two different ones; got {components}.")
    check_trials(record.batch, n_trials, n_steps)
    colours = trial_colours(n_trials, record.batch, record.task, condition)
    with drawing_on(ax, height=2.7) as axes:
        for trial in range(n_trials):
            x, y = scores[trial, :, horizontal], scores[trial, :, vertical]
            colour = colours.colours[trial]
            axes.plot(x, y, color=colour, linewidth=0.8)
            axes.plot(x[:1], y[:1], "o", color=colour, markerfacecolor="white", markersize=2.8)
            axes.plot(x[-1:], y[-1:], "o", color=colour, markersize=3.2)
        axes.set_aspect("equal", adjustable="datalim")
        for component, label in ((horizontal, axes.set_xlabel), (vertical, axes.set_ylabel)):
            share = 100 * float(analysis.explained_variance[component])
            label(f"PC {component + 1} ({share:.3g} % of variance)")
        if key:
            target = key_target(ax, axes)
            colours.draw_key(target, [axes], markers=end_markers())
    return axes


def end_markers() -> list[Line2D]:
    """Return the entries of a legend for the ends of trials."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=GREY, marker="o", linestyle="", markerfacecolor=face, label=label)
        for face, label in (("white", "first step"), (GREY, "last step"))
    ]
