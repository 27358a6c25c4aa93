"""Alignments and other quantities over training, and Lyapunov spectra."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from .._validation import InputError
from ..analysis.activity_quantities import CENTRED_COSINE, CONTROLS, COSINE, MODE_SHARE
from ._axes import draw_legend, drawing_on, integer_ticks, key_target, labelled_handles
from ._intervals import Points, draw_intervals, known_how
from ._source import Source, read_record
from .style import GREY, OPERATOR_LABELS, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = "oDv^s<>"
_LETTERS_OF_A_LABEL = 24
_FROM_0_TO_1 = frozenset({"alignment", COSINE, CENTRED_COSINE, MODE_SHARE})


def quantity_dynamics(source: Source, *, name: str = "alignment", ax: Axes | None = None) -> Axes:
    """Draw a quantity over training, a line for each operator or each pair that has it.

    Parameters
    ----------
    source : str, Path, RunFile, NetworkAnalysis or sequence of NetworkAnalysis
        What to draw.
    name : str
        The quantity, as an analysis names it: ``"alignment"``, ``"trace"``, ``"Frobenius norm"``,
        ``"Kaplan-Yorke dimension"``, ``"cosine over trials and steps"``, ``"share in the leading
        modes"``, ...
    ax : Axes, optional
        Where to draw; a new figure of a column's width by default.

    Returns
    -------
    Axes
        With intervals as in :func:`rank_dynamics`: certain bounds solid, intervals of a
        probability dashed and lighter. Controls, such as what is compared with ones, are dotted.

    Raises
    ------
    InputError
        If no analysis holds such a quantity.

    Examples
    --------
    >>> from kpflow_numerics import plotting
    >>> ax = plotting.quantity_dynamics("run.h5", name="alignment")  # doctest: +SKIP
    """
    analyses = sorted(read_record(source).analyses, key=lambda analysis: analysis.iteration)
    lines: dict[tuple[str, ...], Points] = {}
    for analysis in analyses:
        for entry in analysis.quantities:
            if entry.name == name:
                points = lines.setdefault(entry.operators, [])
                points.append((analysis.iteration, entry.estimate))
    if not lines:
        held = sorted({entry.name for analysis in analyses for entry in analysis.quantities})
        raise InputError(
            f"No analysis holds the quantity {name!r}; they hold {', '.join(held) or 'none'}."
        )
    with drawing_on(ax, height=2.4 + 0.15 * max(0, len(lines) - 2)) as axes:
        for place, (operators, points) in enumerate(lines.items()):
            colour = PALETTE[(place + 3) % len(PALETTE)]
            estimates = [estimate for _, estimate in points]
            label = ", ".join(OPERATOR_LABELS.get(each, each) for each in operators)
            axes.plot(
                [iteration for iteration, _ in points],
                [estimate.value for estimate in estimates],
                color=colour,
                marker=_MARKERS[place % len(_MARKERS)],
                linestyle=":" if CONTROLS.intersection(operators) else "-",
                label=f"{label} ({known_how(estimates)})".lstrip(),
                clip_on=False,
            )
            draw_intervals(axes, points, colour)
        if name in _FROM_0_TO_1:
            axes.set_ylim(0.0, 1.0)
        axes.set_ylabel(textwrap.fill(name[0].upper() + name[1:], _LETTERS_OF_A_LABEL))
        axes.set_xlabel("Training iteration")
        integer_ticks(axes)
        draw_legend(key_target(ax, axes), labelled_handles([axes]))
    return axes


def lyapunov_spectrum(source: Source, *, index: int = -1, ax: Axes | None = None) -> Axes:
    """Draw the finite-time Lyapunov exponents with their 95 % intervals against their index.

    Parameters
    ----------
    source : str, Path, RunFile, NetworkAnalysis or sequence of NetworkAnalysis
        What to draw.
    index : int
        Which of the source's analyses; the last by default.
    ax : Axes, optional
        Where to draw; a new figure of a column's width by default.

    Returns
    -------
    Axes
        Exponents of minus infinity (singular steps) are left out; a line marks zero.

    Raises
    ------
    InputError
        If there is no such analysis, or it holds no finite exponent.

    Examples
    --------
    >>> from kpflow_numerics import plotting
    >>> ax = plotting.lyapunov_spectrum("run.h5")  # doctest: +SKIP
    """
    found = read_record(source).analysis(index).lyapunov
    exponents = found.get("exponents", np.array([]))
    finite = np.isfinite(exponents)
    if not finite.any():
        raise InputError(
            "The analysis holds no finite Lyapunov exponent; analyse with "
            'quantities=["lyapunov"], or --set analysis.quantities=\'["lyapunov"]\'.'
        )
    places = np.arange(1, len(exponents) + 1)[finite]
    with drawing_on(ax) as axes:
        axes.axhline(0.0, color=GREY, linewidth=0.6)
        known = np.isfinite(found["lower"][finite]) & np.isfinite(found["upper"][finite])
        axes.vlines(
            places[known],
            found["lower"][finite][known],
            found["upper"][finite][known],
            colors=PALETTE[1],
            linewidth=0.9,
            linestyles=(0, (2.5, 1.5)),
            label="95 % interval",
        )
        axes.plot(places, exponents[finite], color=PALETTE[1], marker="o", markersize=2.0,
                  linewidth=0.8, label="exponent")  # fmt: skip
        axes.set_xlabel("Index of exponent")
        axes.set_ylabel("Lyapunov exponent (per step)")
        integer_ticks(axes)
        draw_legend(key_target(ax, axes), labelled_handles([axes]))
    return axes
