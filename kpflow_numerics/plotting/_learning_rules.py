"""Cosines of learning rules with a reference over training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._validation import InputError, InputTypeError, check_choice
from ..analysis import LearningRuleDynamics
from ._axes import draw_legend, drawing_on, integer_ticks, key_target, labelled_handles
from ._intervals import draw_intervals, known_how
from .style import GREY, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUANTITIES = {
    "operators": "of the operators",
    "states": "of the moves of $h$",
    "updates": r"of the updates of $\theta$",
}
"""What :func:`learning_rules` draws, and how the axis names it."""

LABELS = {
    "bptt": "$PKP^*$",
    "feedback-alignment": "$PKP_B^*$",
    "functional": "$PP^*$",
    "gauss-newton": "Gauss-Newton",
    "gauss-newton-outputs": "Gauss-Newton, outputs",
    "adam": "Adam",
}
_MARKERS = "os^Dv<>"
_LINES = ("-", (0, (4.0, 1.5)), (0, (1.0, 1.0)))


def learning_rules(
    source: LearningRuleDynamics | Sequence[LearningRuleDynamics],
    *,
    quantity: str = "operators",
    ax: Axes | None = None,
) -> Axes:
    """Draw the cosine of each learning rule with the reference over training.

    Parameters
    ----------
    source : LearningRuleDynamics or sequence of LearningRuleDynamics
        What :func:`kpflow_numerics.learning_rule_dynamics` returned, for one run or for several
        with equal checkpoints.
    quantity : {"operators", "states", "updates"}
        Cosine of the operators, of the moves of the states, or of the updates of the parameters.
    ax : Axes, optional
        Where to draw; a new figure of a column's width by default.

    Returns
    -------
    Axes
        With a line a rule. Of one run with its 95 % intervals; of several their mean, with bars
        from the smallest to the largest.

    Raises
    ------
    InputError
        If there is nothing to draw, or the checkpoints of the runs differ.
    InputTypeError
        If the source is of the wrong type.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> found = kpf.learning_rule_dynamics("run.h5")  # doctest: +SKIP
    >>> ax = kpf.plotting.learning_rules(found, quantity="updates")  # doctest: +SKIP
    """
    runs = _runs(source)
    check_choice(quantity, "quantity", QUANTITIES)
    reference = runs[0].alignments[0].reference
    names = [name for name in runs[0].names if name != reference]
    lines = {name: [run.course(name, quantity) for run in runs] for name in names}
    lines = {name: courses for name, courses in lines.items() if all(courses)}
    if not lines:
        raise InputError(
            f"There is no cosine of {quantity} to draw; compare two rules at least, and give "
            "errors for the moves and the updates."
        )
    with drawing_on(ax, height=2.8) as axes:
        axes.axhline(0.0, color=GREY, linewidth=0.6)
        for name, courses in lines.items():
            # A rule looks the same in every figure, also where another one has no line.
            place = names.index(name)
            iterations = [iteration for iteration, _ in courses[0]]
            values = np.array([[float(estimate) for _, estimate in course] for course in courses])
            label = _label(name)
            if len(runs) == 1 and quantity == "operators":
                label += f" ({known_how([estimate for _, estimate in courses[0]])})"
            line = axes.plot(
                iterations,
                values.mean(axis=0),
                color=PALETTE[place % len(PALETTE)],
                linestyle=_LINES[place // len(PALETTE) % len(_LINES)],
                marker=_MARKERS[place % len(_MARKERS)],
                label=label,
                clip_on=False,
            )[0]
            if len(runs) == 1:
                draw_intervals(axes, courses[0], line.get_color())
            else:
                low, high = values.min(axis=0), values.max(axis=0)
                axes.vlines(iterations, low, high, color=line.get_color(), linewidth=0.9)
        low = min(float(np.min([e.value for c in each for _, e in c])) for each in lines.values())
        axes.set_ylim(min(0.0, 1.1 * low), 1.0)
        over = f"\nmean and range of {len(runs)} runs" if len(runs) > 1 else ""
        axes.set_ylabel(f"Cosine {QUANTITIES[quantity]}\nwith {_label(reference)}{over}")
        axes.set_xlabel("Training iteration")
        integer_ticks(axes)
        draw_legend(key_target(ax, axes), labelled_handles([axes]))
    return axes


def _runs(
    source: LearningRuleDynamics | Sequence[LearningRuleDynamics],
) -> list[LearningRuleDynamics]:
    runs = [source] if isinstance(source, LearningRuleDynamics) else source
    if not isinstance(runs, Sequence) or not all(
        isinstance(run, LearningRuleDynamics) for run in runs
    ):
        raise InputTypeError(
            "source must be a LearningRuleDynamics, as kpf.learning_rule_dynamics returns it, or a "
            f"sequence of them; got {type(source).__name__}."
        )
    if not runs:
        raise InputError("source must hold at least one LearningRuleDynamics; got none.")
    for run in runs:
        if (run.iterations, run.names) != (runs[0].iterations, runs[0].names):
            raise InputError(
                "The runs must have the same rules at the same iterations; got "
                f"{run!r} beside {runs[0]!r}."
            )
    return list(runs)


def _label(name: str) -> str:
    kind, _, window = name.partition("-")
    if kind == "truncated" and window.isdigit():
        return "$PK$" if window == "0" else f"$PKP_{{{window}}}^*$"
    if kind == "chunks" and window.isdigit():
        return f"chunks of {int(window) + 1}"
    return LABELS.get(name, name)
