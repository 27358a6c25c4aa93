"""A sign of failed learning over training, against its threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._validation import InputError, InputTypeError
from ..analysis.failure_signs import FailureSign
from ._axes import drawing_on, integer_ticks
from ._intervals import draw_intervals
from .style import GREY, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_VERDICT_COLOURS = {"raised": PALETTE[1], "not raised": PALETTE[0]}
_SMALLEST = 1e-30
_DECADES_APART = 30.0


def failure_sign(sign: FailureSign, *, ax: Axes | None = None) -> Axes:
    """Draw the numbers that a sign is judged by, its threshold, and the side where it is raised.

    Parameters
    ----------
    sign : FailureSign
        One of :func:`kpflow_numerics.failure_signs`.
    ax : Axes, optional
        Where to draw; a new figure of a column's width by default.

    Returns
    -------
    Axes
        Intervals as in :func:`rank_dynamics`; the axis is logarithmic where the numbers lie more
        than a factor of 30 apart. The side where the sign is raised is shaded.

    Raises
    ------
    InputError
        If the number of the sign is not known.

    Examples
    --------
    >>> from kpflow_numerics import plotting
    >>> axes = [plotting.failure_sign(sign) for sign in signs]  # doctest: +SKIP
    """
    if not isinstance(sign, FailureSign):
        raise InputTypeError(f"sign must be a FailureSign; got {type(sign).__name__}.")
    if not sign.course:
        raise InputError(f"There is nothing to draw: {sign}.")
    points = list(sign.course)
    values = [estimate.value for _, estimate in points]
    colour = _VERDICT_COLOURS.get(sign.verdict, GREY)
    is_positive = sign.threshold > 0 and min(values) >= 0
    known = [max(value, _SMALLEST) for value in (*values, sign.threshold)]
    is_logarithmic = is_positive and max(known) > _DECADES_APART * min(known)
    if is_logarithmic:
        values = [max(value, _SMALLEST) for value in values]
    with drawing_on(ax) as axes:
        from matplotlib.patheffects import Normal, Stroke

        axes.plot([iteration for iteration, _ in points], values, color=colour, marker="o",
                  clip_on=False)  # fmt: skip
        draw_intervals(axes, points, colour)
        if is_logarithmic:
            axes.set_yscale("log")
        axes.margins(y=0.15)
        axes.axhline(sign.threshold, color=GREY, linewidth=0.8, linestyle=(0, (4.0, 2.0)))
        low, high = axes.get_ylim()
        raised = (low, sign.threshold) if sign.side == "below" else (sign.threshold, high)
        axes.axhspan(*raised, color=PALETTE[1], alpha=0.08, linewidth=0, gid="raised side")
        axes.set_ylim(low, high)
        axes.annotate(
            f"raised {sign.side} {sign.threshold:.3g}",
            (1.0, sign.threshold),
            xycoords=("axes fraction", "data"),
            xytext=(-2, -2 if sign.side == "below" else 2),
            textcoords="offset points",
            ha="right",
            va="top" if sign.side == "below" else "bottom",
            fontsize="small",
            color=GREY,
            path_effects=[Stroke(linewidth=2.0, foreground="white"), Normal()],
        )
        axes.set_ylabel(_label(sign))
        axes.set_xlabel("Training iteration")
        integer_ticks(axes)
    return axes


def _label(sign: FailureSign) -> str:
    quantity = sign.course[-1][1].quantity or sign.name
    return quantity[0].upper() + quantity[1:]
