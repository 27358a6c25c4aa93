"""How tasks interfere: labelled matrices of cosines, and their courses over training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .._typing import FloatArray
from .._validation import InputError, check_choice
from ..analysis import CheckpointInterference, InterferenceResult, NetworkAnalysis
from ._axes import draw_legend, drawing_on, integer_ticks, key_target, labelled_handles
from ._source import Source, read_record
from .style import GREY, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Interference: TypeAlias = "CheckpointInterference | InterferenceResult"

_QUANTITIES = {
    "gradients": ("cosines", "gradients"),
    "all-gradients": ("full_cosines", "gradients, readout included"),
    "contributions": ("contribution_cosines", "moves of the states"),
    "accumulated-contributions": (
        "accumulated_contribution_cosines",
        "moves of the states, accumulated",
    ),
    "output-contributions": ("output_contribution_cosines", "moves of the outputs"),
    "states": ("state_similarity", "mean states"),
}
"""What can be drawn: the attribute of an analysis, and between what the cosines are."""

_MOST_NUMBERS = 8
_MOST_NAMES = 30
_MOST_LETTERS = 26
_MOST_LINES = len(PALETTE)
_LEVELS = 41
_MARKERS = "os^Dv<>"


def interference_matrix(
    source: Source | Interference,
    *,
    quantity: str = "gradients",
    index: int = -1,
    colour_bar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the cosines between tasks at one checkpoint as a labelled matrix.

    Parameters
    ----------
    source : InterferenceResult, str, Path, RunFile, NetworkAnalysis or sequence of NetworkAnalysis
        What to draw.
    quantity : str
        ``"gradients"``, ``"contributions"`` (moves of the states); from analyses also
        ``"all-gradients"`` (the readout's included), ``"accumulated-contributions"``,
        ``"output-contributions"`` and ``"states"`` (mean trajectories).
    index : int
        Which of the source's analyses; the last by default.
    colour_bar : bool
        Whether the scale stands beside the matrix.
    ax : Axes, optional
        Where to draw; a new figure of a column's width by default.

    Returns
    -------
    Axes
        Blue is interference. A task without a direction is left white. Up to eight tasks have
        their numbers in the cells; more than thirty have no names.

    Raises
    ------
    InputError
        If the source holds no interference, or not this quantity.

    Examples
    --------
    >>> from kpflow_numerics import plotting
    >>> ax = plotting.interference_matrix("run.h5", quantity="states")  # doctest: +SKIP
    """
    attribute, label = _quantity(quantity)
    held = _one(source, index)
    values = _values(held, attribute, quantity)
    with drawing_on(ax, height=2.9) as axes:
        _draw_matrix(axes, values, held.names)
        axes.set_title(f"Cosines between {label}")
        if colour_bar:
            _draw_colour_bar(axes, "Cosine")
    return axes


def interference_parts(
    source: Source | Interference,
    *,
    index: int = -1,
    pairs: Sequence[tuple[str, str]] | None = None,
    key: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw what each array of parameters adds to the cosine between the gradients of two tasks.

    Parameters
    ----------
    source : InterferenceResult, str, Path, RunFile, NetworkAnalysis or sequence of NetworkAnalysis
        What to draw.
    index : int
        Which of the source's analyses; the last by default.
    pairs : sequence of (str, str), optional
        As :func:`interference_course` takes them.
    key : bool
        Whether to name the arrays.
    ax : Axes, optional
        Where to draw; a new figure of a column's width by default.

    Returns
    -------
    Axes
        For each pair a bar of parts: the inner product of the two gradients by an array, over the
        norms of both by all arrays. Parts below zero lie to the left. A black line marks their sum,
        the cosine of the gradients by all parameters, the readout's included where it is known.

    Raises
    ------
    InputError
        If the source holds no interference, or a pair is not of its tasks.

    Examples
    --------
    >>> from kpflow_numerics import plotting
    >>> ax = plotting.interference_parts("run.h5")  # doctest: +SKIP
    """
    held = _one(source, index)
    chosen = _default_pairs(held) if pairs is None else _check_pairs(pairs, held.names)
    total = np.sum(list(held.by_parameter.values()), axis=0)
    norms = np.sqrt(total.diagonal())
    rows = np.arange(len(chosen))
    with drawing_on(ax, height=1.2 + 0.24 * len(chosen)) as axes:
        axes.axvline(0.0, color=GREY, linewidth=0.6)
        ends = {True: np.zeros(len(chosen)), False: np.zeros(len(chosen))}
        for place, (name, part) in enumerate(held.by_parameter.items()):
            widths = np.array(
                [part[i, j] / norms[i] / norms[j] if norms[i] * norms[j] else 0.0
                 for i, j in chosen]
            )  # fmt: skip
            left = np.where(widths > 0, ends[True], ends[False])
            axes.barh(rows, widths, left=left, height=0.7, label=name,
                      color=PALETTE[place % len(PALETTE)], alpha=0.85,
                      hatch="" if place < len(PALETTE) else "///")  # fmt: skip
            ends[True] += np.maximum(widths, 0.0)
            ends[False] += np.minimum(widths, 0.0)
        sums = ends[True] + ends[False]
        axes.vlines(sums, rows - 0.42, rows + 0.42, colors="black", linewidth=1.4, label="sum")
        axes.set_yticks(rows, [_pair_label(held.names, pair) for pair in chosen])
        axes.invert_yaxis()
        axes.set_xlabel("Part of the cosine")
        if key:
            draw_legend(key_target(ax, axes), labelled_handles([axes]))
    return axes


def interference_course(
    source: Source | Sequence[Source],
    *,
    quantity: str = "gradients",
    pairs: Sequence[tuple[str, str]] | None = None,
    key: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the cosines between pairs of tasks over training.

    Parameters
    ----------
    source : str, Path, RunFile, sequence of NetworkAnalysis, or a sequence of these
        What to draw: a run, or several with the same tasks and analysed iterations, such as seeds.
    quantity : str
        As :func:`interference_matrix` takes it.
    pairs : sequence of (str, str), optional
        Names of the tasks of each line; by default all pairs, of more than seven those whose
        gradients have the least cosine at the last analysis (of the first run).
    key : bool
        Whether to name the pairs.
    ax : Axes, optional
        Where to draw; a new figure of a column's width by default.

    Returns
    -------
    Axes
        Exact numbers, which need no intervals; below zero is interference. Of several runs their
        mean, with bars from the smallest to the largest.

    Raises
    ------
    InputError
        If the source holds no interference, its runs do not fit each other, or a pair is not of
        its tasks.

    Examples
    --------
    >>> from kpflow_numerics import plotting
    >>> ax = plotting.interference_course(
    ...     "run.h5", quantity="accumulated-contributions")  # doctest: +SKIP
    >>> ax = plotting.interference_course(
    ...     ["seed-3.h5", "seed-4.h5", "seed-5.h5"])  # doctest: +SKIP
    """
    attribute, label = _quantity(quantity)
    runs = [_points(each) for each in _runs(source)]
    iterations = [iteration for iteration, _ in runs[0]]
    names = runs[0][0][1].names
    for points in runs:
        if any(held.names != names for _, held in points):
            raise InputError("The analyses must be of the same tasks to be drawn as one course.")
        if [iteration for iteration, _ in points] != iterations:
            raise InputError(
                "The runs must be analysed at the same iterations; got "
                f"{[iteration for iteration, _ in points]} beside {iterations}."
            )
    chosen = _default_pairs(runs[0][-1][1]) if pairs is None else _check_pairs(pairs, names)
    labels = [_pair_label(names, pair) for pair in chosen]
    courses = np.array(
        [[_values(held, attribute, quantity) for _, held in points] for points in runs]
    )
    with drawing_on(ax, height=2.2 + 0.15 * _rows(labels) * key) as axes:
        axes.axhline(0.0, color=GREY, linewidth=0.6)
        for place, pair in enumerate(chosen):
            values = courses[(..., *pair)]
            colour = PALETTE[place % len(PALETTE)]
            axes.plot(
                iterations,
                values.mean(axis=0),
                color=colour,
                marker=_MARKERS[place % len(_MARKERS)],
                linestyle="-" if place < len(PALETTE) else "--",
                label=labels[place],
                clip_on=False,
            )
            if len(runs) > 1:
                low, high = values.min(axis=0), values.max(axis=0)
                axes.vlines(iterations, low, high, colors=colour, linewidth=0.9, gid="range")
        axes.set_ylim(-1.0, 1.0)
        over = f"\nmean and range of {len(runs)} runs" if len(runs) > 1 else ""
        axes.set_ylabel("\n".join(["Cosine between", *label.split(", ")]) + over)
        axes.set_xlabel("Training iteration")
        integer_ticks(axes)
        if key:
            draw_legend(key_target(ax, axes), labelled_handles([axes]))
    return axes


def _runs(source: Any) -> list[Any]:
    """Return several sources, or the one."""
    is_many = isinstance(source, Sequence) and not isinstance(source, str)
    if is_many and source and not isinstance(source[0], NetworkAnalysis):
        return list(source)
    return [source]


def _points(source: Any) -> list[tuple[int, CheckpointInterference]]:
    """Return the iterations and interference of a run, in order."""
    points = [
        (analysis.iteration, analysis.interference)
        for analysis in sorted(read_record(source).analyses, key=lambda each: each.iteration)
        if analysis.interference is not None
    ]
    if not points:
        raise _nothing()
    return points


def _quantity(quantity: str) -> tuple[str, str]:
    return _QUANTITIES[check_choice(quantity, "quantity", _QUANTITIES)]


def _one(source: Any, index: int) -> Interference:
    if isinstance(source, (InterferenceResult, CheckpointInterference)):
        return source
    held = read_record(source).analysis(index).interference
    if held is None:
        raise _nothing()
    return held


def _nothing() -> InputError:
    return InputError(
        "There is no interference to draw: a run has it if it is of several tasks, or was analysed "
        "with --interference conditions."
    )


def _values(held: Interference, attribute: str, quantity: str) -> FloatArray:
    values: FloatArray | None = getattr(held, attribute, None)
    if values is None:
        known = ", ".join(name for name, (own, _) in _QUANTITIES.items() if hasattr(held, own))
        raise InputError(
            f"{held!r} does not hold the cosines of {quantity!r}, which analyses do; it holds "
            f"those of {known}."
        )
    return values


def _default_pairs(held: Interference) -> list[tuple[int, int]]:
    pairs = list(itertools.combinations(range(len(held.names)), 2))
    if len(pairs) <= _MOST_LINES:
        return pairs
    order = sorted(pairs, key=lambda pair: np.nan_to_num(held.cosines[pair], nan=2.0))
    return sorted(order[:_MOST_LINES])


def _check_pairs(pairs: Sequence[tuple[str, str]], names: Sequence[str]) -> list[tuple[int, int]]:
    found = []
    for pair in pairs:
        if len(pair) != 2 or any(name not in names for name in pair):
            raise InputError(f"pairs must be of two of {', '.join(names)}; got {tuple(pair)!r}.")
        found.append((names.index(pair[0]), names.index(pair[1])))
    if not found:
        raise InputError("pairs must hold at least one pair of tasks; got none.")
    return found


def _pair_label(names: Sequence[str], pair: tuple[int, int]) -> str:
    return f"{names[pair[0]]} / {names[pair[1]]}"


def _rows(labels: Sequence[str]) -> int:
    """Return about how many rows a legend of a column's width takes."""
    return math.ceil(len(labels) / (2 if max(map(len, labels)) <= _MOST_LETTERS else 1))


def _draw_matrix(axes: Axes, values: FloatArray, names: Sequence[str]) -> None:
    import matplotlib

    edges = np.arange(len(names) + 1) - 0.5
    # Not an image, which an SVG could not hold but as pixels; nor is a bar of less than 50 levels.
    axes.pcolormesh(
        edges, edges, np.ma.masked_invalid(values), vmin=-1.0, vmax=1.0,
        cmap=matplotlib.colormaps["RdBu_r"].resampled(_LEVELS), gid="cosines",
    )  # fmt: skip
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    count = len(names)
    places = range(count if count <= _MOST_NAMES else 0)
    axes.set_xticks(places, names[: len(places)], rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names[: len(places)])
    if count > _MOST_NUMBERS:
        axes.tick_params(axis="both", labelsize=max(3.0, 56.0 / count))
        axes.tick_params(axis="x", labelrotation=90)
    if count > _MOST_NUMBERS:
        return
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            axes.text(
                column, row, f"{value:.2f}".replace("-", "−"), ha="center", va="center",
                fontsize="small", color="white" if abs(value) > 0.65 else "black",
            )  # fmt: skip


def _draw_colour_bar(axes: Axes, label: str) -> None:
    figure = axes.get_figure()
    assert figure is not None
    bar = figure.colorbar(axes.collections[0], ax=axes, fraction=0.05, pad=0.03)
    bar.outline.set_visible(False)
    bar.set_label(label)
