"""Which way to an accuracy is the cheapest: one that is sure, or an estimate that stops in time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..results import Cost, Estimate
from ._budget import EXACT_FLOPS, told_cost
from ._view import SpectralView

PRODUCTS_OF_BOUNDS = 200
"""Products that leading eigenpairs for certain bounds are taken to need beside the trace."""


@dataclass(frozen=True)
class SureWay:
    """A way that meets any accuracy for a price that is known beforehand.

    Attributes
    ----------
    flops : float
        What it takes by the operator's cost model; 0 where that is not known and it is taken.
    find : callable
        Goes it.
    """

    flops: float
    find: Callable[[], Estimate]


def cheapest_within(
    rtol: float,
    ways: Sequence[SureWay],
    sample: Callable[[float], Estimate],
    sample_flops: float | None,
    least_samples: float,
) -> Estimate:
    """Return a quantity within an accuracy, by the way that is cheapest by the flops.

    A sure way that takes no more than the least estimate is taken at once. Otherwise an estimate
    is made which may spend as much as the cheapest sure way takes. Where that did not do, this way
    is taken: no more than twice the flops of the better of the two are ever spent.

    Parameters
    ----------
    rtol : float
        Half the width of the interval relative to the value.
    ways : sequence of SureWay
        Those that can be gone.
    sample : callable
        Makes an estimate with at most so many samples, and stops where it is as narrow.
    sample_flops : float or None
        Flops of a sample; None where they are not known, and ways up to 2e12 flops are taken.
    least_samples : float
        Samples that an estimate takes at the least.
    """
    sure = min(ways, key=lambda way: way.flops, default=None)
    if sure is None:
        return sample(math.inf)
    least = EXACT_FLOPS if sample_flops is None else least_samples * sample_flops
    if sure.flops <= least:
        return sure.find()
    found = sample(math.inf if sample_flops is None else sure.flops / sample_flops)
    return found if is_within(found, rtol) else sure.find()


def is_within(found: Estimate, rtol: float) -> bool:
    """Whether half the width of the interval is at most this share of the value, to rounding."""
    return found.upper - found.lower <= (1 + 1e-9) * 2.0 * rtol * abs(found.value)


def price_of(
    view: SpectralView, quantities: Sequence[str], max_memory: float, *arguments: Any
) -> float | None:
    """Return the flops of closed forms, all of one operator that speaks of the view.

    Parameters
    ----------
    view : SpectralView
        Its sources are asked in turn.
    quantities : sequence of str
        As for :func:`ask_exact`.
    max_memory : float
        What each may take.
    *arguments
        Of the closed forms.

    Returns
    -------
    float or None
        None where they are not offered, or not within the memory; 0 where their price is not told.
    """
    sources = view.exact_sources if view.self_adjoint else view.exact_sources[1:]
    for source in sources:
        prices = [
            price_of_operator(source, quantity, max_memory, *arguments) for quantity in quantities
        ]
        known = [price for price in prices if price is not None]
        if len(known) == len(prices):
            return sum(known)
    return None


def price_of_operator(
    source: Any, quantity: str, max_memory: float, *arguments: Any
) -> float | None:
    """Return the flops of a closed form of one operator, as :func:`price_of` does."""
    if not hasattr(source, f"exact_{quantity}"):
        return None
    tell = getattr(source, "exact_cost", None)
    if tell is None:
        return 0.0
    cost: Cost | None = told_cost(tell, quantity, arguments)
    return None if cost is None or cost.memory_bytes > max_memory else cost.flops
