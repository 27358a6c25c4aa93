"""How well a number is known, drawn: certain bounds solid, intervals of a probability dashed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..results import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points: TypeAlias = "list[tuple[int, Estimate]]"

CERTAIN = "certain"
PROBABLE = "probable"

_BANDS: dict[str, Any] = {CERTAIN: {"alpha": 0.25}, PROBABLE: {"alpha": 0.1}}
_BARS: dict[str, Any] = {CERTAIN: {"linestyle": "-"}, PROBABLE: {"linestyle": (0, (2.0, 1.0))}}


def draw_intervals(ax: Axes, points: Points, colour: Any) -> None:
    """Draw a bar from lower to upper at each point that is not exact, and bands between them.

    The bars and bands of one kind are each one collection whose gid is ``"<kind> bars"`` or
    ``"<kind> bands"``, the kind being ``"certain"`` or ``"probable"``. A band joins two
    neighbours; it is certain only where both are.
    """
    from matplotlib.collections import LineCollection, PolyCollection

    bars: dict[str, list[Any]] = {CERTAIN: [], PROBABLE: []}
    bands: dict[str, list[Any]] = {CERTAIN: [], PROBABLE: []}
    for iteration, estimate in points:
        if not estimate.is_exact:
            ends = [(iteration, estimate.lower), (iteration, estimate.upper)]
            bars[_kind(estimate)].append(ends)
    for (start, first), (stop, second) in pairwise(points):
        if not (first.is_exact and second.is_exact):
            corners = [
                (start, first.lower),
                (stop, second.lower),
                (stop, second.upper),
                (start, first.upper),
            ]
            bands[_kind(first, second)].append(corners)
    for kind in (CERTAIN, PROBABLE):
        if bands[kind]:
            drawn: Any = PolyCollection(
                bands[kind], facecolor=colour, edgecolor="none", gid=f"{kind} bands", zorder=1.5,
                **_BANDS[kind],
            )  # fmt: skip
            ax.add_collection(drawn)
        if bars[kind]:
            drawn = LineCollection(
                bars[kind], colors=[colour], linewidth=0.9, gid=f"{kind} bars", clip_on=False,
                zorder=2.5, **_BARS[kind],
            )  # fmt: skip
            ax.add_collection(drawn)
            places, heights = np.array(bars[kind]).reshape(-1, 2).T
            ax.plot(places, heights, linestyle="", marker="_", markersize=4.0, markeredgewidth=0.8,
                    color=colour, clip_on=False, gid=f"{kind} ends")  # fmt: skip


def known_how(estimates: Sequence[Estimate]) -> str:
    """Return how a line of numbers is known, for a legend: each way that occurs in it."""
    ways = []
    if any(estimate.is_exact for estimate in estimates):
        ways.append("exact")
    inexact = [estimate for estimate in estimates if not estimate.is_exact]
    if any(estimate.is_certified for estimate in inexact):
        ways.append("certain bounds")
    confidences = [each.confidence for each in inexact if not each.is_certified]
    if confidences:
        ways.append(f"{100 * min(confidences):.3g} % interval, dashed")
    return "; ".join(ways)


def _kind(*estimates: Estimate) -> str:
    return CERTAIN if all(estimate.is_certified for estimate in estimates) else PROBABLE
