"""Leading eigenvalues of the operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._validation import InputError
from ._axes import draw_legend, drawing_on, key_target, labelled_handles, plain_log_ticks
from ._source import Source, read_record
from .style import OPERATOR_COLOURS, OPERATOR_LABELS, OPERATOR_MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWN_RANGE = 1e-14


def spectra(
    source: Source,
    *,
    index: int = -1,
    operators: Sequence[str] = ("K", "P", "NTK"),
    key: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the leading eigenvalues of the operators against their index.

    Parameters
    ----------
    source : str, Path, RunFile, NetworkAnalysis or sequence of NetworkAnalysis
        What to draw.
    index : int
        Which of the source's analyses; the last by default.
    operators : sequence of {"K", "P", "NTK"}
        The operators; P stands for ``P P*``. One without a spectrum is left out.
    key : bool
        Whether there is a legend.
    ax : Axes, optional
        Where to draw; a new figure of a column's width by default.

    Returns
    -------
    Axes
        Markers are hollow, and the legend says "incomplete", where the certificate found that
        eigenvalues are missing or not all converged.

    Raises
    ------
    InputError
        If there is no such analysis, or it holds none of these spectra.

    Notes
    -----
    The axis is logarithmic; eigenvalues below 1e-14 of the operator's largest are rounding and
    are not drawn.

    Examples
    --------
    >>> from kpflow_numerics import plotting
    >>> ax = plotting.spectra("run.h5", index=0)  # doctest: +SKIP
    """
    analysis = read_record(source).analysis(index)
    drawn = [operator for operator in operators if len(analysis.spectra.get(operator, ()))]
    if not drawn:
        raise InputError(
            f"The analysis holds no spectrum of {', '.join(operators)}; it holds those of "
            f"{', '.join(analysis.spectra) or 'none'}."
        )
    with drawing_on(ax) as axes:
        for operator in drawn:
            values = np.asarray(analysis.spectra[operator])
            kept = values > DRAWN_RANGE * values.max()
            complete = analysis.complete.get(operator, False)
            label = OPERATOR_LABELS.get(operator, operator)
            axes.plot(
                np.arange(1, len(values) + 1)[kept],
                values[kept],
                color=OPERATOR_COLOURS.get(operator),
                marker=OPERATOR_MARKERS.get(operator, "o"),
                markerfacecolor=None if complete else "white",
                linewidth=0.8,
                label=label if complete else f"{label} (incomplete)",
            )
        plain_log_ticks(axes)
        axes.set_xlabel("Index of eigenvalue")
        axes.set_ylabel("Eigenvalue")
        longest = max(len(analysis.spectra[operator]) for operator in drawn)
        axes.set_xticks([1, *range(5, longest + 1, 5 * max(1, longest // 25))])
        if key:
            draw_legend(key_target(ax, axes), labelled_handles([axes]))
    return axes
