"""The results of a sweep against what varied in it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._typing import FloatArray
from .._validation import InputError, InputTypeError, check_choice
from ..analysis.activity_quantities import CENTRED_COSINE, COSINE, MODE_SHARE
from ..analysis.median import MedianInterval, median_interval
from ..store import SweepGrid
from ._axes import draw_legend, drawing_on, key_target, labelled_handles, plain_log_ticks
from ._rank_dynamics import RECIPE_NAMES
from .style import GREY, OPERATOR_LABELS, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAIN_RECIPE = "participation-ratio"
MAX_LINES = 7
"""As many lines as there are colours that can be told apart."""

_MARKERS = "os^Dv<>"
_LABELS = {
    "final_loss": "Training loss at the end",
    "final_evaluation_loss": "Evaluation loss after training",
    "final_accuracy": "Accuracy after training",
    "n_iterations": "Iterations made",
    "iterations_to_tolerance": "Iterations to a loss of {tolerance:g}",
    "rank": "Effective rank of {operator}",
    "quantity_value": "{quantity}",
    "evaluation_loss": "Evaluation loss",
    "accuracy": "Accuracy",
    "lyapunov": "Lyapunov exponent {exponent}",
    "interference_cosines": "Cosine between gradients of\n{of_task} and {other_task}",
}
_LETTERS_OF_A_LABEL = 26
_FROM_0_TO_1 = (COSINE, CENTRED_COSINE, MODE_SHARE)
"""How quantities begin that are drawn on the whole of their range."""

_SIGNED = "cosines"
"""How the names of variables end whose sign is the point: on a linear axis, with a line at 0."""


@dataclass(frozen=True)
class SweepLine:
    """One line of a figure of a sweep: medians along an axis.

    Attributes
    ----------
    label : str
        Which places of the other axis it is of; empty where there is one line.
    points : tuple of MedianInterval
        One for each place on the axis.
    """

    label: str
    points: tuple[MedianInterval, ...]


def sweep_lines(
    grid: SweepGrid, quantity: str, along: str, places: dict[str, Any]
) -> tuple[tuple[SweepLine, ...], tuple[str, ...]]:
    """Return the lines of a quantity along an axis, and the axes that each median is over.

    The medians are over the seeds. A further axis of at most :data:`MAX_LINES` places gives a line
    each, the shortest one if there are several; the medians are over the others too.
    """
    check_choice(along, "along", grid.axes)
    values = grid.select(quantity, **places)
    axes = [name for name in grid.axes if name not in places]
    if along not in axes:
        raise InputError(f"{along} is narrowed to one place, and cannot be the horizontal axis.")
    if quantity == "iterations_to_tolerance":
        values = np.where(np.isnan(values) & _is_done(grid, places), math.inf, values)
    others = [name for name in axes if name != along and name not in seed_axes(grid)]
    short = [name for name in others if 1 < len(grid.coordinates[name]) <= MAX_LINES]
    split = min(short, key=lambda name: len(grid.coordinates[name])) if short else None
    pooled = tuple(
        name for name in axes
        if name not in (along, split) and len(grid.coordinates[name]) > 1
    )  # fmt: skip
    ordered = np.moveaxis(values, axes.index(along), 0)
    rest = [name for name in axes if name != along]
    if split is None:
        return (SweepLine("", tuple(median_interval(each) for each in ordered)),), pooled
    ordered = np.moveaxis(ordered, 1 + rest.index(split), 0)
    lines = tuple(
        SweepLine(
            place_label(label) if split in grid.linked else f"{split} = {place_label(label)}",
            tuple(median_interval(each) for each in part),
        )
        for label, part in zip(grid.coordinates[split], ordered, strict=True)
    )
    return lines, pooled


def _is_done(grid: SweepGrid, places: dict[str, Any]) -> Any:
    narrowed = {name: place for name, place in places.items() if name in grid.axes}
    return grid.select("status", **narrowed) == 0


def seed_axes(grid: SweepGrid) -> tuple[str, ...]:
    """Return the axes of which the places are repetitions of the same."""
    return tuple(
        name for name in grid.axes
        if name in ("seed", "training_seed")
        or set(grid.linked.get(name, {})) == {"training.seed"}
    )  # fmt: skip


def place_label(value: Any) -> str:
    """Return a place on an axis as it is shown."""
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def quantity_label(name: str) -> str:
    """Return a quantity by the operators that it is of: what is measured of P is of ``P P*``."""
    what, of, operands = name.partition(" of ")
    parts = operands.split(", ")
    if not of or not set(parts) <= {"K", "P", "NTK", "core", "ones"}:
        return name
    return f"{what} of {' and '.join('P P*' if part == 'P' else part for part in parts)}"


def sweep(
    source: str | Path | SweepGrid,
    quantity: str = "final_evaluation_loss",
    /,
    *,
    along: str,
    control: Mapping[str, Any] | None = None,
    ax: Axes | None = None,
    **places: Any,
) -> Axes:
    """Draw a result of a sweep along one of its axes.

    Parameters
    ----------
    source : SweepGrid, str or Path
        The merged sweep, or its file.
    quantity : str
        A variable of the grid, such as ``"final_evaluation_loss"``, ``"iterations_to_tolerance"``
        or ``"rank"``.
    along : str
        The axis of the sweep that is the horizontal one.
    control : mapping, optional
        Places that differ where the control of the quantity is, such as ``{"quantity": "share in
        the leading modes of chance"}``; its medians are hollow, on dotted lines.
    ax : Axes, optional
        Where to draw; a new figure of a column's width by default.
    **places
        Where on the other dimensions, as :meth:`SweepGrid.select` takes it: ``operator="K"``,
        ``checkpoint="last"``; places on axes of the sweep narrow it.

    Returns
    -------
    Axes
        With the median over the seeds, and an interval that holds the median of all seeds with the
        probability that the key names; a line for each place of one further axis. Where fewer than
        half of the runs reach a tolerance, the median is a hollow mark at the top.

    Raises
    ------
    InputError
        If the sweep does not hold the quantity, or no run has it.

    Examples
    --------
    >>> from kpflow_numerics import plotting
    >>> ax = plotting.sweep("runs/gain-sweep/sweep.h5", "rank", along="gain", operator="K",
    ...                     recipe="participation-ratio", checkpoint="last")  # doctest: +SKIP
    """
    grid = read_grid(source)
    lines, pooled = sweep_lines(grid, quantity, along, places)
    controls: tuple[SweepLine, ...] = ()
    if control is not None:
        controls, _ = sweep_lines(grid, quantity, along, {**places, **control})
    medians = np.array([[point.median for point in line.points] for line in lines])
    if np.isnan(medians).all():
        raise InputError(f"No run of the sweep holds {quantity}.")
    with drawing_on(ax, height=2.6) as axes:
        positions = _set_positions(axes, grid, along)
        finite = medians[np.isfinite(medians)]
        if joined := not _is_of_words(grid, along):
            beside = [positions] * len(lines)
        else:
            beside = [positions + shift for shift in _shifts(len(lines))]
        for place, line in enumerate(lines):
            _draw_medians(axes, beside[place], line, place, joined=joined)
        for place, line in enumerate(controls):
            _draw_control(axes, beside[place], line, place, joined=joined)
        if str(places.get("quantity")).startswith(_FROM_0_TO_1):
            axes.set_ylim(0.0, 1.0)
        elif quantity.endswith(_SIGNED):
            axes.axhline(0.0, color=GREY, linewidth=0.6, zorder=0, gid="zero")
        elif finite.size and finite.min() > 0 and finite.max() > 8 * finite.min():
            plain_log_ticks(axes)
        for place, line in enumerate(lines):
            _draw_intervals(axes, beside[place], line, place, joined=joined)
        axes.set_xlabel(along)
        axes.set_ylabel(_label(quantity, places))
        if control is not None:
            axes.plot([], [], color=GREY, marker=_MARKERS[0], fillstyle="none", linestyle=":",
                      label=_control_label(control))  # fmt: skip
        handles = labelled_handles([axes])
        if handles:
            draw_legend(key_target(ax, axes), handles, title=_key(lines, pooled))
    return axes


def read_grid(source: Any) -> SweepGrid:
    """Return the grid of a merged sweep, or of its file."""
    if isinstance(source, str | Path):
        return SweepGrid.open(source)
    if not isinstance(source, SweepGrid):
        raise InputTypeError(
            f"A sweep is drawn from a SweepGrid or its file; got {type(source).__name__}."
        )
    return source


def _is_of_words(grid: SweepGrid, along: str) -> bool:
    """Whether nothing lies between the places of an axis, as between words or seeds."""
    return grid.coordinates[along].dtype.kind not in "if" or along in seed_axes(grid)


def _shifts(count: int) -> FloatArray:
    """Return how far lines stand beside each other, so that none hides another."""
    return (np.arange(count) - 0.5 * (count - 1)) * min(0.08, 0.6 / count)


def _set_positions(ax: Axes, grid: SweepGrid, along: str) -> FloatArray:
    """Set the horizontal axis, and return where the places stand on it."""
    coordinate = grid.coordinates[along]
    if _is_of_words(grid, along):
        positions = np.arange(len(coordinate), dtype=np.float64)
        labels = [place_label(value).replace(", ", "\n") for value in coordinate]
        ax.set_xticks(positions, labels)
        if sum(max(map(len, label.split("\n"))) for label in labels) > 45:
            ax.tick_params(axis="x", rotation=30)
        ax.set_xlim(-0.5, len(positions) - 0.5)
        return positions
    values = coordinate.astype(np.float64)
    if values.min() > 0 and values.max() > 8 * values.min():
        ax.set_xscale("log")
    ax.set_xticks(
        values, _tick_labels(np.log(values) if ax.get_xscale() == "log" else values, values)
    )
    ax.minorticks_off()
    return values


def _tick_labels(positions: FloatArray, values: FloatArray) -> list[str]:
    """Return the text of each place on the grid; empty where it would run into another."""
    labels = [""] * len(values)
    width = max(float(np.ptp(positions)), 1e-300)
    taken: list[tuple[float, float]] = []
    order = np.argsort(positions)
    for place in (order[0], *order[:0:-1]):
        text = f"{values[place]:.3g}"
        half = 0.5 * (0.03 * len(text) + 0.02)
        middle = float(positions[place] - positions.min()) / width
        if all(abs(middle - other) >= half + room for other, room in taken):
            labels[place] = text
            taken.append((middle, half))
    return labels


def _draw_medians(
    ax: Axes, positions: FloatArray, line: SweepLine, place: int, *, joined: bool
) -> None:
    order = np.argsort(positions)
    medians = np.array([point.median for point in line.points])[order]
    shown = np.isfinite(medians)
    ax.plot(positions[order][shown], medians[shown], color=PALETTE[place % MAX_LINES],
            marker=_MARKERS[place % MAX_LINES], label=line.label or "median", clip_on=False,
            linestyle="-" if joined else "", zorder=3)  # fmt: skip
    ends = [(x, end) for x, point in zip(positions, line.points, strict=True)
            for end in (point.lower, point.upper) if math.isfinite(end)]  # fmt: skip
    if ends:
        ax.update_datalim(ends)
        ax.autoscale_view(scalex=False)


def _draw_control(
    ax: Axes, positions: FloatArray, line: SweepLine, place: int, *, joined: bool
) -> None:
    order = np.argsort(positions)
    medians = np.array([point.median for point in line.points])[order]
    ax.plot(positions[order], medians, color=PALETTE[place % MAX_LINES],
            marker=_MARKERS[place % MAX_LINES], fillstyle="none", clip_on=False, gid="control",
            linestyle=":" if joined else "", zorder=2)  # fmt: skip


def _control_label(control: Mapping[str, Any]) -> str:
    """Return what the control is of, without what it shares with the quantity."""
    words = (quantity_label(str(value)) for value in control.values())
    return f"control: {', '.join(word.partition(' of ')[2] or word for word in words)}"


def _draw_intervals(
    ax: Axes, positions: FloatArray, line: SweepLine, place: int, *, joined: bool
) -> None:
    """Draw from the lower to the upper end; one that is infinite reaches the top of the axes."""
    colour = PALETTE[place % MAX_LINES]
    bottom, top = ax.get_ylim()
    order = [i for i in np.argsort(positions) if line.points[i].n_values > 1]
    order = [i for i in order if math.isfinite(line.points[i].lower)]
    at = positions[order]
    low = np.array([line.points[i].lower for i in order])
    high = np.array([min(line.points[i].upper, top) for i in order])
    ax.vlines(at, low, high, color=colour, linewidth=0.9, alpha=0.8, zorder=2, gid="intervals")
    if joined:
        ax.fill_between(at, low, high, color=colour, alpha=0.13, linewidth=0, zorder=1)
    ax.set_ylim(bottom, top)
    beyond = [
        x for x, point in zip(positions, line.points, strict=True) if point.median == math.inf
    ]
    if beyond:
        ax.plot(beyond, [1.0] * len(beyond), color=colour, marker=_MARKERS[place % MAX_LINES],
                fillstyle="none", linestyle="", transform=ax.get_xaxis_transform(),
                clip_on=False, gid="not reached")  # fmt: skip


def _key(lines: Sequence[SweepLine], pooled: Sequence[str]) -> str | None:
    """Return what the medians are over, and what their intervals are."""
    if not pooled:
        return None
    confidences = [p.confidence for line in lines for p in line.points if p.n_values > 1]
    known = f", {100 * min(confidences):.3g} % interval" if confidences else ""
    return f"median over {', '.join(pooled)}{known}"


def _label(quantity: str, places: dict[str, Any]) -> str:
    words = dict(places)
    if "operator" in words:
        words["operator"] = OPERATOR_LABELS.get(words["operator"], words["operator"])
    try:
        if "quantity" in words:
            named = quantity_label(str(words["quantity"]))
            named = named[0].upper() + named[1:]
            words["quantity"] = textwrap.fill(named, _LETTERS_OF_A_LABEL)
        label = _LABELS.get(quantity, quantity).format(**words)
    except KeyError:
        label = quantity
    when = {"first": "at the start", "last": "after training"}.get(str(places.get("checkpoint")))
    recipe = places.get("recipe")
    notes = [when] if when else []
    if recipe and recipe != MAIN_RECIPE:
        notes.append(RECIPE_NAMES.get(recipe, recipe))
    return "\n".join([label, *notes])
