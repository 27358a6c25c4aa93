"""Certain bounds of the tangent kernel's norm from the few features that carry most of it.

Let ``N'`` be the tangent kernel with every site's features cut to their leading directions, and
``E = N - N'`` what is left out. E is positive semi-definite, hence ``0 <= |E|_F <= tr E``, and

    |N|_F^2 = 2 <N', N> - |N'|_F^2 + |E|_F^2.

The first two terms are exact: with ``N' = S' S'*`` they are ``|S* S'|_F^2`` and ``|S'* S'|_F^2``,
from one pass over the columns of ``S'``. What is not known enters by the square of a small trace,
so that a hundredth of the trace may be left out where a ten-thousandth is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._threads import single_threaded_blas
from .._typing import BoolArray, DTypeLike, FloatArray, IntArray
from ..core_compression import CompressedLinearization, compress_core
from ..linearization import Linearization
from ..testing import default_tolerance

COLUMNS = 32
FIRST_TRACE_ERROR = 0.02
"""Share of the trace of K that the first cut may leave out; it tells what the next must hold."""

MOST_CUTS = 4
"""Passes after which the bounds stay as wide as they are."""

_TOLERANCES = 10.0 ** -np.arange(0.5, 15, 0.5)
ROUNDINGS = 10
"""Units of ``eps sqrt(N)`` that are allowed for rounding in squared norms of products.

Measured, not proved: ``python benchmarks/rounding_of_cuts.py`` finds at most 0.6 of the 10. What
``gamma_n`` proves of a recurrence grows with its steps and with ``| |P| |`` over ``|P|``, and says
nothing in float32.
"""

_NORMAL = float(np.finfo(np.float64).tiny / np.finfo(np.float64).eps)


@dataclass(frozen=True)
class CutNorms:
    """``tr N'``, ``|N'|_F^2`` and ``<N', N>``, and the relative rounding error of any of them."""

    trace: float
    squared: float
    product: float
    rounding: float

    def squared_norm_bounds(self, trace: float) -> tuple[float, float]:
        """Return bounds of ``|N|_F^2``, where `trace` is an upper bound of ``tr N``."""
        middle = max(2.0 * self.product - self.squared, self.squared)
        left_out = max(trace - self.trace, 0.0) + self.rounding * trace
        return (1.0 - self.rounding) * middle, (1.0 + self.rounding) * middle + left_out**2


def cut_norms(
    linearization: Linearization,
    cut: CompressedLinearization,
    unit: float = 1.0,
    coarser: tuple[CompressedLinearization, CutNorms] | None = None,
) -> CutNorms:
    """Return the norms of a cut, from a pass over the columns of its sensitivity.

    They are those of the kernels over `unit`; near ``tr N`` it keeps their squares from vanishing.
    With a coarser cut of the same features, whose norms are known, only the columns that it lacks
    are gone through: the others keep their norms, and meet these twice in ``|S'* S'|_F^2``.
    """
    totals, scale = np.zeros(3), cut.dtype.type(unit**-0.5)
    lacking = np.ones(cut.n_parameters, dtype=bool)
    if coarser is not None:
        before, norms = coarser
        totals[:] = norms.trace, norms.squared, norms.product
        lacking = _beyond(before, cut)
    times = np.where(lacking, 1.0, 2.0)[:, None]
    for columns in _unit_columns(np.flatnonzero(lacking), cut.n_parameters, cut.dtype):
        moved = cut.sensitivity(scale * columns)
        totals[0] += _square(moved)
        back = linearization.propagate_adjoint(moved, overwrite=True)
        inside = np.square(scale * cut.param_vjp(back), dtype=np.float64)
        totals[1] += float(np.sum(times * inside))
        totals[2] += _square(scale * linearization.param_vjp(back))
    traced, squared, product = totals.tolist()
    return CutNorms(
        traced, squared, product, rounding_error(linearization.dtype, linearization.dims[2])
    )


def _beyond(before: CompressedLinearization, cut: CompressedLinearization) -> BoolArray:
    """Return which parameters of a cut a coarser one lacks: those of its later directions."""
    lacking = {}
    for name, shape in cut.layout.shapes.items():
        lacking[name] = np.zeros(shape, dtype=bool)
        lacking[name][:, before.layout.shapes[name][1] :] = True
    return np.concatenate([lacking[name].ravel() for name in cut.layout.shapes])


def rounding_error(dtype: DTypeLike, n_state: int) -> float:
    """Return the relative rounding error that is allowed for in squared norms of products."""
    return default_tolerance(dtype, n_state, factor=ROUNDINGS)


@dataclass(frozen=True, eq=False)
class CoreShares:
    """What the directions of every group's features hold of the trace of K.

    Attributes
    ----------
    values : tuple of ndarray, shape (m,)
        ``s_j^2`` of the features of each group, descending.
    shares : tuple of ndarray, shape (m,)
        Their shares of the trace.
    n_weights : tuple of int
        Parameters that a direction of each group has: its sites times H.
    """

    values: tuple[FloatArray, ...]
    shares: tuple[FloatArray, ...]
    n_weights: tuple[int, ...]

    def trace_error(self, tolerance: float) -> float:
        """Return the share of the trace that a cut at this tolerance leaves out."""
        return sum(
            float(shares[values <= tolerance * values[0]].sum())
            for values, shares in zip(self.values, self.shares, strict=True)
        )

    def n_parameters(self, tolerance: float) -> int:
        """Return the parameters of a cut at this tolerance."""
        return sum(
            n * max(int(np.sum(values > tolerance * values[0])), 1)
            for values, n in zip(self.values, self.n_weights, strict=True)
        )

    def tolerances(self, trace_error: float) -> FloatArray:
        """Return those of the tolerances that leave out no more than this, the largest first."""
        within = [self.trace_error(float(each)) <= trace_error for each in _TOLERANCES]
        return _TOLERANCES[within] if any(within) else _TOLERANCES[-1:]


def core_shares(linearization: Linearization) -> CoreShares:
    """Return what the directions of the features hold, from their Gram matrices."""
    sites = linearization.weight_sites
    assert sites is not None
    values, shares, n_weights = [], [], []
    for group in sites.groups:
        X = group.weighted_features.reshape(-1, group.features.shape[-1]).astype(np.float64)
        gains = sites.gains[:, :, group.sites]
        weights = np.square(gains, dtype=np.float64).sum(axis=(2, 3, 4)).ravel()
        with single_threaded_blas():
            squares, directions = np.linalg.eigh(X.T @ X)
            held = weights @ np.square(X @ directions)
        values.append(np.maximum(squares[::-1], 0.0))
        shares.append(held[::-1])
        n_weights.append(len(group.row_blocks) * sites.n_units)
    total = sum(float(each.sum()) for each in shares) or 1.0
    return CoreShares(tuple(values), tuple(each / total for each in shares), tuple(n_weights))


def cut_to(linearization: Linearization, trace_error: float) -> CompressedLinearization:
    """Return the smallest of some cuts that leave out no more than this share of the trace of K."""
    for tolerance in core_shares(linearization).tolerances(trace_error):
        with single_threaded_blas():
            cut = compress_core(linearization, float(tolerance))
        if cut.trace_error <= trace_error:
            break
    return cut


def participation_ratio_bounds(
    linearization: Linearization, trace: tuple[float, float], width: float
) -> tuple[float, float]:
    """Return bounds of ``(tr N)^2 / |N|_F^2``, from bounds of the trace and an adequate cut."""
    lower, upper = trace
    if upper == 0:
        return 0.0, 0.0
    # What is certain of any kernel, and all that is where numbers leave the range of the floats.
    least_rank, most_rank = (
        1.0,
        float(min(math.prod(linearization.dims), linearization.n_parameters)),
    )
    if not (_NORMAL < upper < np.inf):
        return least_rank, most_rank
    with np.errstate(over="ignore", invalid="ignore"):
        least, most = _squared_norm_bounds(linearization, lower / upper, upper, width)
    rounding = rounding_error(np.float64, linearization.dims[2])
    if np.isfinite(most):
        least_rank = max(least_rank, (1.0 - rounding) * (lower / upper) ** 2 / most)
    if least > 0:
        most_rank = min(most_rank, (1.0 + rounding) / least)
    return least_rank, most_rank


def _squared_norm_bounds(
    linearization: Linearization, lower: float, unit: float, width: float
) -> tuple[float, float]:
    """Return bounds of ``|N / unit|_F^2``, where the trace of this is at least `lower`, at most 1.

    Bounds that are not numbers say that N overflows.
    """
    # The trace and rounding take their part of the width, the norm the rest.
    known = 2.0 * (1.0 - lower) + 2.0 * rounding_error(linearization.dtype, linearization.dims[2])
    squared_width = max(width - known, 0.2 * width)
    error, coarser = FIRST_TRACE_ERROR, None
    for _ in range(MOST_CUTS):
        cut = cut_to(linearization, error)
        norms = cut_norms(linearization, cut, unit, coarser)
        coarser = cut, norms
        least, most = norms.squared_norm_bounds(1.0)
        left_out = 1.0 - norms.trace
        # A finer cut does not help where what is not known of the trace is all that is left out.
        enough = most - least <= (squared_width + 2.0 * norms.rounding) * least
        if enough or not left_out > 1.5 * (1.0 - lower) + norms.rounding:
            break
        # What may be left out, by the share of it that this cut's traces of K and N had.
        allowed = 0.9 * np.sqrt(squared_width * least)
        error = min(0.5 * cut.trace_error, cut.trace_error * float(allowed) / left_out)
    return least, most


def _unit_columns(places: IntArray, n: int, dtype: np.dtype[Any]) -> Iterator[FloatArray]:
    for first in range(0, len(places), COLUMNS):
        chunk = places[first : first + COLUMNS]
        columns = np.zeros((n, len(chunk)), dtype)
        columns[chunk, np.arange(len(chunk))] = 1
        yield columns


def _square(array: FloatArray) -> float:
    return float(np.sum(np.square(array, dtype=np.float64)))
