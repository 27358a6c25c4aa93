"""Certain bounds of the tangent kernel's norm from the few features that carry most of it.

Let ``N'`` be the tangent kernel with every site's features cut to their leading directions, and
``E = N - N'`` what is left out. E is positive semi-definite, hence ``0 <= |E|_F <= tr E``, and

    |N|_F^2 = 2 <N', N> - |N'|_F^2 + |E|_F^2.

The first two terms are exact: with ``N' = S' S'*`` they are ``|S* S'|_F^2`` and ``|S'* S'|_F^2``,
from one pass over the columns of ``S'``. What is not known enters by the square of a small trace,
so that a hundredth of the trace may be left out where a ten-thousandth is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._typing import FloatArray
from ..core_compression import CompressedLinearization, compress_core
from ..linearization import Linearization

COLUMNS = 32
FIRST_TRACE_ERROR = 0.02
"""Share of the trace of K that the first cut may leave out; it tells what the next must hold."""

MOST_CUTS = 4
"""Passes after which the bounds stay as wide as they are."""

_TOLERANCES = 10.0 ** -np.arange(0.5, 15, 0.5)
_ROUNDING = 100.0 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class CutNorms:
    """``tr N'``, ``|N'|_F^2`` and ``<N', N>``."""

    trace: float
    squared: float
    product: float

    def squared_norm_bounds(self, trace: float) -> tuple[float, float]:
        """Return bounds of ``|N|_F^2``, where `trace` is an upper bound of ``tr N``."""
        least = max(2.0 * self.product - self.squared, self.squared)
        return least, least + max(trace - self.trace, _ROUNDING * trace) ** 2


def cut_norms(linearization: Linearization, cut: CompressedLinearization) -> CutNorms:
    """Return the norms of a cut, from a pass over the columns of its sensitivity."""
    totals = np.zeros(3)
    for columns in _unit_columns(cut.n_parameters, cut.dtype):
        moved = cut.propagate(cut.param_jvp(columns), overwrite=True)
        totals[0] += _square(moved)
        back = linearization.propagate_adjoint(moved, overwrite=True)
        totals[1] += _square(cut.param_vjp(back))
        totals[2] += _square(linearization.param_vjp(back))
    return CutNorms(*totals.tolist())


def cut_to(linearization: Linearization, trace_error: float) -> CompressedLinearization:
    """Return the smallest of some cuts that leave out no more than this share of the trace of K."""
    for tolerance in _TOLERANCES:
        cut = compress_core(linearization, float(tolerance))
        if cut.trace_error <= trace_error:
            break
    return cut


def participation_ratio_bounds(
    linearization: Linearization, trace: tuple[float, float], width: float
) -> tuple[float, float]:
    """Return bounds of ``(tr N)^2 / |N|_F^2``, from bounds of the trace and an adequate cut."""
    lower, upper = trace
    if upper <= 0:
        return 0.0, 0.0
    # The trace takes its part of the width, the norm the rest.
    squared_width = max(width - 2.0 * (upper - lower) / upper, 0.2 * width)
    error = FIRST_TRACE_ERROR
    for _ in range(MOST_CUTS):
        cut = cut_to(linearization, error)
        norms = cut_norms(linearization, cut)
        least, most = norms.squared_norm_bounds(upper)
        left_out = upper - norms.trace
        # A finer cut does not help where what is not known of the trace is all that is left out.
        if most - least <= squared_width * least or left_out <= 1.5 * (upper - lower):
            break
        # What may be left out, by the share of it that this cut's traces of K and N had.
        allowed = 0.9 * np.sqrt(squared_width * least)
        error = min(0.5 * cut.trace_error, cut.trace_error * float(allowed) / left_out)
    return lower**2 / most, upper**2 / least


def _unit_columns(n: int, dtype: np.dtype[Any]) -> Iterator[FloatArray]:
    for first in range(0, n, COLUMNS):
        width = min(COLUMNS, n - first)
        columns = np.zeros((n, width), dtype)
        columns[np.arange(first, first + width), np.arange(width)] = 1
        yield columns


def _square(array: FloatArray) -> float:
    return float(np.sum(np.square(array, dtype=np.float64)))
