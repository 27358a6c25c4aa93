"""Certain bounds of a quantity of the spectrum, narrowed until they are as close as asked.

What is known is the trace, exactly or between certain bounds, and the leading eigenpairs; a
function of the two gives the bounds of the quantity.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from .._typing import FloatArray
from .._validation import InputError
from ..results import Cost, EigenResult, Estimate
from ._leading import Options
from ._view import SpectralView
from .certificate import CERTIFICATE_PRODUCTS
from .top_eigenpairs import EIGEN_METHODS, eigen_result
from .trace import trace_in_range

Bracket = Callable[[float, EigenResult], tuple[float, float]]
"""Bounds of a quantity from the trace and the leading eigenpairs."""

DEFAULT_PAIRS = 20
"""Eigenpairs that bounds are made from unless told otherwise."""

TRACE_WIDTH = 1e-4
"""Relative width of certain bounds of the trace where no width of the result is asked for."""

_MOST_GROWTH = 1.5
_MARGIN = 0.9
# Residuals widen the bounds far less than the eigenvalues that are not known.
_LOOSE, _TIGHT = 3e-4, 1e-7


@dataclass(frozen=True, eq=False)
class Bounds:
    """Bounds of a quantity, and what they were made from.

    Attributes
    ----------
    lower, upper : float
        The quantity lies between them, surely where the trace is certified.
    trace : Estimate
        The trace that they were made from.
    pairs : EigenResult
        The leading eigenpairs that they were made from.
    slope : float
        Change of their middle with the trace, where that is an estimate; else 0.
    n_matvecs : int
        Products of single columns for all that.
    cost : Cost or None
        Flops and memory, where they are known.
    """

    lower: float
    upper: float
    trace: Estimate
    pairs: EigenResult
    slope: float
    n_matvecs: int
    cost: Cost | None


def certain_bounds(
    view: SpectralView,
    bracket: Bracket,
    *,
    n_pairs: int,
    known_pairs: EigenResult | None,
    rtol: float | None,
    n_matvecs: int,
    rng: np.random.Generator,
    max_memory: float,
) -> Bounds:
    """Return bounds of a quantity, and refine them until half their distance is `rtol` of it.

    Parameters
    ----------
    view : SpectralView
        A positive semi-definite operator.
    bracket : callable
        Bounds of the quantity for a value of the trace, and eigenpairs.
    n_pairs : int
        Eigenpairs to begin with.
    known_pairs : EigenResult, optional
        Eigenpairs to begin with that are known already; their products are not counted.
    rtol : float, optional
        Half the distance of the bounds relative to their middle. Without it they are what the
        first pairs give. It may not be met where `max_memory` allows no more pairs, or where the
        spectrum decays too slowly for that many to do.
    n_matvecs : int
        Budget of the estimator of the trace, where there are no certain bounds.
    rng : Generator
        Source of random columns.
    max_memory : float
        Bytes of working memory.
    """
    rank_bound = view.smaller_side
    n_pairs = min(n_pairs, rank_bound)
    largest = max(n_pairs, min(rank_bound, _fitting_pairs(view, max_memory)))
    total = _trace(view, TRACE_WIDTH if rtol is None else rtol / 20, n_matvecs, rng, max_memory)
    products, flops = total.n_matvecs, 0.0 if total.cost is None else total.cost.flops
    memory = 0.0 if total.cost is None else total.cost.memory_bytes
    pairs = known_pairs
    while True:
        if pairs is None or len(pairs.values) < n_pairs:
            enough = None
            if rtol is not None:
                enough = partial(_wanted, bracket, total.value, largest, rtol)
            pairs = _leading(view, n_pairs, pairs, enough, rng, max_memory)
            products += pairs.n_matvecs
            if pairs.cost is not None:
                flops += pairs.cost.flops
                memory = max(memory, pairs.cost.memory_bytes)
        # A trace cannot be below the sum of the eigenvalues found.
        least = float(np.sum(np.maximum(pairs.values, 0), dtype=np.float64))
        ends = [max(each, least) for each in (total.lower, total.value, total.upper)]
        brackets = [bracket(end, pairs) for end in ends]
        lower, upper = min(each[0] for each in brackets), max(each[1] for each in brackets)
        if rtol is None or upper - lower <= rtol * (upper + lower):
            break
        n_pairs = _wanted(bracket, ends[1], largest, rtol, pairs.values)
        if n_pairs <= len(pairs.values):
            break
    slope = 0.0
    if not total.is_certified and ends[2] > ends[0]:
        middles = [(each[0] + each[1]) / 2 for each in (brackets[0], brackets[2])]
        slope = abs(middles[1] - middles[0]) / (ends[2] - ends[0])
    cost = Cost(flops, memory) if flops or memory else None
    return Bounds(lower, upper, total, pairs, slope, products, cost)


def _trace(
    view: SpectralView,
    width: float,
    n_matvecs: int,
    rng: np.random.Generator,
    max_memory: float,
) -> Estimate:
    """Return the trace: between certain bounds, exactly, or as an estimate."""
    found = view.ask_exact("trace_bounds", width, max_memory=max_memory)
    if found is not None:
        (lower, upper), cost = found
        middle = (lower + upper) / 2
        return Estimate(middle, lower, upper, 0.0, "bounds", 0, "trace", cost=cost)
    found = view.ask_exact("trace", max_memory=max_memory)
    if found is not None:
        value = float(found[0])
        return Estimate(value, value, value, 0.0, "exact", 0, "trace", cost=found[1])
    return trace_in_range(
        view.operator,
        n_matvecs=n_matvecs,
        rng=rng,
        max_memory=max_memory,
        self_adjoint=view.self_adjoint,
    )


def _fitting_pairs(view: SpectralView, max_memory: float) -> int:
    """Return how many eigenpairs fit within the memory, with their images and two copies."""
    return int(max_memory / (5.0 * view.n * view.dtype.itemsize))


def _leading(
    view: SpectralView,
    n_pairs: int,
    known: EigenResult | None,
    enough: Callable[[FloatArray], int] | None,
    rng: np.random.Generator,
    max_memory: float,
) -> EigenResult:
    """Return eigenpairs, as many as `enough` finds that are wanted once there are `n_pairs`."""
    view = SpectralView(
        view.operator,
        self_adjoint=view.self_adjoint,
        positive_semidefinite=view.positive_semidefinite,
    )
    tolerance = _TIGHT if enough is None else _LOOSE
    options = Options.checked(
        view,
        n_pairs,
        "auto",
        EIGEN_METHODS,
        largest_k=view.n,
        tolerance=max(tolerance, float(np.finfo(view.dtype).eps) ** (2 / 3)),
        max_products=None,
        max_memory=max_memory,
        initial_vectors=None if known is None else known.vectors,
        certificate_products=CERTIFICATE_PRODUCTS,
        rng=rng,
    )
    return eigen_result(view, dataclasses.replace(options, enough=enough))


def _wanted(bracket: Bracket, total: float, largest: int, rtol: float, values: FloatArray) -> int:
    """Return how many pairs seem to be needed; as many as there are, where none would do.

    The eigenvalues are continued by the power law of their second half.
    """
    known = np.maximum(np.asarray(values, np.float64), 0.0)
    count = len(known)
    total = max(total, float(known.sum()))
    for n_pairs in (count, *_candidates(count, largest)):
        guess = EigenResult(
            values=_continued(known, n_pairs, total),
            vectors=np.empty((0, n_pairs)),
            residual_norms=np.zeros(n_pairs),
            converged=True,
            complete=True,
            n_matvecs=0,
            method="",
        )
        lower, upper = bracket(total, guess)
        if upper - lower <= _MARGIN * rtol * (upper + lower):
            return min(n_pairs, math.ceil(_MOST_GROWTH * count))
    return count


def _candidates(count: int, largest: int) -> list[int]:
    steps = math.ceil(math.log(max(largest / count, 1.0)) / math.log(1.2))
    sizes = {min(largest, math.ceil(count * 1.2**step)) for step in range(1, steps + 1)}
    return sorted(size for size in sizes if size > count)


def _continued(values: FloatArray, n_pairs: int, total: float) -> FloatArray:
    count = len(values)
    half = values[(count - 1) // 2]
    last = values[-1]
    if last <= 0 or count < 2:
        further = np.full(n_pairs - count, last)
    else:
        exponent = math.log(half / last) / math.log(count / ((count - 1) // 2 + 1))
        further = last * (np.arange(count + 1, n_pairs + 1) / count) ** -exponent
    room = max(total - float(values.sum()), 0.0)
    # No more than the trace leaves.
    further = further * min(1.0, room / max(float(further.sum()), 1e-300))
    return np.concatenate([values, further])


def check_positive(view: SpectralView, what: str) -> None:
    """Raise InputError unless the view is known to be positive semi-definite."""
    if not view.positive_semidefinite:
        raise InputError(
            f'method="bounds" needs a positive semi-definite operator, and this {view.name} does '
            "not say that it is one: pass positive_semidefinite=True if it is, or "
            f"self_adjoint=False for {what} of its squared singular values. "
            'method="dense" takes its matrix apart.'
        )
