"""Axes to draw on, and what several figures share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

from .._validation import InputTypeError
from ._require import require_matplotlib
from .style import COLUMN_WIDTH, GREY, PERIOD_COLOURS, paper_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PERIOD_NAMES_HEIGHT = 10.0
"""Points that the names of the periods take above the axes."""


@contextmanager
def drawing_on(ax: Axes | None, height: float = 2.4) -> Iterator[Axes]:
    """Give the axes that came, or new ones of a column's width, in the package's style.

    The new figure is not registered with pyplot: nothing has to be closed, and no screen is
    needed.
    """
    require_matplotlib()
    from matplotlib.axes import Axes

    if ax is not None and not isinstance(ax, Axes):
        raise InputTypeError(f"ax must be a matplotlib Axes or None; got {type(ax).__name__}.")
    with nullcontext() if ax is not None else paper_style():
        yield new_figure(COLUMN_WIDTH, height).subplots() if ax is None else ax


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure with a constrained layout, in inches."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def labelled_handles(axes: Sequence[Axes]) -> list[Any]:
    """Return what the axes have labelled, each label once."""
    handles: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    return list(handles.values())


def draw_legend(
    target: Axes | Figure,
    handles: Sequence[Any],
    *,
    title: str | None = None,
    raised: float = 0.0,
) -> None:
    """Put a legend above the axes, or above all axes of a figure, where it covers no data.

    Parameters
    ----------
    target : Axes or Figure
        A figure must have a constrained layout, which makes room for the legend.
    handles : sequence
        What the legend shows.
    title : str, optional
        Stands above the entries.
    raised : float
        Distance from the axes in points, where something else stands between.
    """
    from matplotlib.figure import Figure
    from matplotlib.transforms import offset_copy

    figure: Any = target if isinstance(target, Figure) else target.get_figure()
    settings: dict[str, Any] = {
        "handles": handles,
        "ncols": _columns(handles, figure.bbox.width / figure.dpi),
        "borderaxespad": 0.2,
        "borderpad": 0.2,
        "title": title,
        "title_fontproperties": {"size": "small"},
        "alignment": "left",
    }
    if isinstance(target, Figure):
        target.legend(loc="outside upper left", **settings)
        return
    above = offset_copy(target.transAxes, figure, y=raised, units="points")
    target.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), bbox_transform=above, **settings)


def _columns(handles: Sequence[Any], width: float) -> int:
    """Return how many columns of a legend fit a width in inches, as even as its rows allow.

    A letter takes 3.6 points.
    """
    longest = max(len(handle.get_label().replace("$", "")) for handle in handles)
    most = max(1, min(len(handles), int(72 * width / (3.6 * longest + 22.0))))
    n_rows = -(-len(handles) // most)
    return -(-len(handles) // n_rows)


def key_target(ax: Axes | None, axes: Axes) -> Axes | Figure:
    """Return where a key goes: above the whole figure if it is ours, otherwise above the axes."""
    return cast("Figure", axes.get_figure()) if ax is None else axes


def integer_ticks(ax: Axes) -> None:
    """Put the ticks of the horizontal axis on integers, of the kind that checkpoints are at."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(
        MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    )


def plain_log_ticks(ax: Axes) -> None:
    """Make the vertical axis logarithmic, its ticks plain numbers where these stay short."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if low < 1e-3 or high > 1e6:
        return
    factors = (1.0, 2.0, 5.0) if high < 100.0 * low else (1.0,)
    ax.yaxis.set_major_locator(LogLocator(subs=factors))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def draw_periods(
    ax: Axes, periods: Mapping[str, slice], n_steps: int, *, named: bool = True
) -> None:
    """Shade the periods of a trial, name them above the axes, and set the axis of steps.

    Step ``t`` from 1 to T stands at ``t``, so a period of the slice ``a:b`` runs from ``a + 1/2``
    to ``b + 1/2``.
    """
    integer_ticks(ax)
    ax.set_xlim(0.5, n_steps + 0.5)
    ax.set_xlabel("Step")
    for index, (name, period) in enumerate(periods.items()):
        start, stop = period.start + 0.5, period.stop + 0.5
        ax.axvspan(start, stop, color=PERIOD_COLOURS[index % 2], linewidth=0, zorder=0)
        if named:
            ax.annotate(
                name,
                ((start + stop) / 2, 1.0),
                xycoords=ax.get_xaxis_transform(),
                xytext=(0.0, 1.5),
                textcoords="offset points",
                horizontalalignment="center",
                verticalalignment="bottom",
                fontsize="small",
                color=GREY,
            )
