"""Effective ranks over training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from .._validation import InputError
from ..analysis.checkpoint import NetworkAnalysis
from ._axes import (
    draw_legend,
    drawing_on,
    integer_ticks,
    key_target,
    labelled_handles,
    plain_log_ticks,
)
from ._intervals import Points, draw_intervals, known_how
from ._source import Source, read_record
from .style import OPERATOR_COLOURS, OPERATOR_LABELS, OPERATOR_MARKERS, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines: TypeAlias = "dict[tuple[str, str], Points]"

RECIPE_COLOURS = (*PALETTE[3:], *PALETTE[:3])
RECIPE_MARKERS = "oDv^s<>"
RECIPE_NAMES = {
    "participation-ratio": "participation ratio",
    "variance-95": "95 % of variance",
    "variance-95-interpolated": "95 % of variance, interpolated",
    "entropy": "entropy",
    "stable": "stable rank",
    "paper-figure-4": "published Figure 4, of averaged $AA^*$",
}
PUBLISHED = "paper-figure-4"


def rank_dynamics(
    source: Source,
    *,
    recipe: str = "participation-ratio",
    operators: Sequence[str] = ("K", "P", "NTK"),
    ax: Axes | None = None,
) -> Axes:
    """Draw effective ranks of the operators over training.

    Parameters
    ----------
    source : str, Path, RunFile, NetworkAnalysis or sequence of NetworkAnalysis
        What to draw.
    recipe : str
        The recipe of the rank, named on the axis.
    operators : sequence of {"K", "P", "NTK"}
        The operators; one without this recipe in any analysis is left out. P stands for
        ``P P*``.
    ax : Axes, optional
        Where to draw; a new figure of a column's width by default.

    Returns
    -------
    Axes
        With a line an operator. Values that are not exact have bars from the estimate's lower to
        its upper end, joined by a band: solid where the bounds are certain, dashed and lighter
        where they hold with the probability that the legend names. Exact values, bounds and
        intervals of one operator are told apart point by point.

    Raises
    ------
    InputError
        If no analysis holds such a rank.

    Notes
    -----
    The vertical axis is logarithmic where the ranks span more than a factor of 8.

    Examples
    --------
    >>> from kpflow_numerics import plotting
    >>> ax = plotting.rank_dynamics("run.h5")  # doctest: +SKIP
    >>> ax.figure.savefig("ranks.pdf")  # doctest: +SKIP
    """
    analyses = sorted(read_record(source).analyses, key=lambda analysis: analysis.iteration)
    drawn = _lines(analyses, [(operator, recipe) for operator in operators])
    with drawing_on(ax) as axes:
        for (operator, _), points in drawn.items():
            label = OPERATOR_LABELS.get(operator, operator)
            if recipe == PUBLISHED:
                label = f"A = {operator}"
            colour = OPERATOR_COLOURS.get(operator)
            _draw_line(axes, points, label, colour, OPERATOR_MARKERS.get(operator, "o"))
        name = RECIPE_NAMES.get(recipe, recipe)
        axes.set_ylabel(
            "Rank of averaged $AA^*$\n(published Figure 4)"
            if recipe == PUBLISHED
            else f"Effective rank\n({name})"
        )
        _finish(axes, drawn)
        draw_legend(key_target(ax, axes), labelled_handles([axes]))
    return axes


def rank_recipes(
    source: Source,
    *,
    operator: str = "K",
    recipes: Sequence[str] = tuple(RECIPE_NAMES),
    ax: Axes | None = None,
) -> Axes:
    """Draw the effective rank of one operator over training by several recipes.

    Parameters
    ----------
    source : str, Path, RunFile, NetworkAnalysis or sequence of NetworkAnalysis
        What to draw.
    operator : {"K", "P", "NTK"}
        The operator; P stands for ``P P*``.
    recipes : sequence of str
        The recipes; one that is in no analysis is left out.
    ax : Axes, optional
        Where to draw; a new figure of a column's width by default.

    Returns
    -------
    Axes
        With a line a recipe, drawn as :func:`rank_dynamics` draws an operator's.

    Raises
    ------
    InputError
        If no analysis holds such a rank.

    Examples
    --------
    >>> from kpflow_numerics import plotting
    >>> ax = plotting.rank_recipes("run.h5")  # doctest: +SKIP
    """
    analyses = sorted(read_record(source).analyses, key=lambda analysis: analysis.iteration)
    drawn = _lines(analyses, [(operator, recipe) for recipe in recipes])
    with drawing_on(ax, height=2.6) as axes:
        for place, ((_, recipe), points) in enumerate(drawn.items()):
            label = RECIPE_NAMES.get(recipe, recipe)
            colour, marker = RECIPE_COLOURS[place % 7], RECIPE_MARKERS[place % 7]
            _draw_line(axes, points, label, colour, marker)
        axes.set_ylabel(f"Effective rank of {OPERATOR_LABELS.get(operator, operator)}")
        _finish(axes, drawn)
        draw_legend(key_target(ax, axes), labelled_handles([axes]))
    return axes


def _lines(analyses: Sequence[NetworkAnalysis], wanted: Sequence[tuple[str, str]]) -> Lines:
    """Return the points of each operator and recipe that the analyses hold, in order."""
    lines: Lines = {pair: [] for pair in wanted}
    for analysis in analyses:
        for entry in analysis.ranks:
            if (entry.operator, entry.recipe) in lines:
                point = (analysis.iteration, entry.estimate)
                lines[entry.operator, entry.recipe].append(point)
    lines = {pair: points for pair, points in lines.items() if points}
    if not lines:
        held = sorted({(entry.operator, entry.recipe) for a in analyses for entry in a.ranks})
        raise InputError(
            "No analysis holds an effective rank of "
            f"{', '.join(f'{operator} by {recipe}' for operator, recipe in wanted)}; they hold "
            f"{', '.join(f'{operator} by {recipe}' for operator, recipe in held) or 'none'}."
        )
    return lines


def _finish(ax: Axes, lines: Lines) -> None:
    values = [estimate.value for points in lines.values() for _, estimate in points]
    if min(values) > 0 and max(values) > 8 * min(values):
        plain_log_ticks(ax)
    ax.set_xlabel("Training iteration")
    integer_ticks(ax)


def _draw_line(ax: Axes, points: Points, label: str, colour: str | None, marker: str) -> None:
    iterations = [iteration for iteration, _ in points]
    estimates = [estimate for _, estimate in points]
    line = ax.plot(
        iterations,
        [estimate.value for estimate in estimates],
        color=colour,
        marker=marker,
        label=f"{label} ({known_how(estimates)})",
        clip_on=False,
    )[0]
    draw_intervals(ax, points, line.get_color())
