"""Leading eigenpairs by Lanczos on a cheaper operator in ``float32``, refined with the operator.

Residuals are of the operator itself, and not of what the iteration ran on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._threads import single_threaded_blas
from .._validation import InputError, MemoryLimitError
from ..results import Cost
from ._finish import Pairs
from ._krylov_inverse import KrylovInverse
from ._orthogonal import column_norms
from ._refinements import (
    FactorRefinement,
    GivenRefinement,
    Refinement,
    SinglePrecision,
    domain_factors,
)
from ._ritz_span import RitzSpan, orthonormalised
from ._side import smaller_side
from ._view import SpectralView
from .lanczos import lanczos, lanczos_capacity

_MOST_BASES = 4
_MOST_CORRECTIONS = 4
_LEAST_GAIN = 0.5
# Eigenvalues that float32 still tells from zero.
_LEAST_SHARE = 1e-5
_BLOCKS = 3


@dataclass(frozen=True, eq=False)
class Refined:
    """Outcome of :func:`refined_lanczos`.

    Attributes
    ----------
    pairs : Pairs
        With residuals of the operator, confirmed where ``float32`` took part; whether or not they
        meet the tolerance.
    single : SinglePrecision or None
        What a certificate in ``float32`` can run on.
    cost : Cost
        What was used beside the products.
    """

    pairs: Pairs
    single: SinglePrecision | None
    cost: Cost


def refined_lanczos(
    view: SpectralView,
    coarse: SpectralView,
    k: int,
    *,
    tolerance: float,
    rng: np.random.Generator,
    max_products: int,
    max_memory: float,
) -> Refined | None:
    """Find leading eigenpairs, one of each repeated eigenvalue, with few products of the operator.

    Parameters
    ----------
    view : SpectralView
        The operator.
    coarse : SpectralView
        One near it whose products are cheaper.
    k, tolerance, rng, max_products
        As for :func:`~kpflow_numerics.spectral.lanczos.lanczos`.
    max_memory : float
        Bytes that the bases may take.

    Returns
    -------
    Refined or None
        None where the coarse operator's numbers leave the range of the floats, its iteration does
        not converge or ends with eigenvalues near zero, or memory does not suffice.
    """
    side = smaller_side(coarse)
    k = min(k, side.n)
    factors = domain_factors(view, side)
    length = 2 * view.n if factors is None else view.n + 2 * factors.whole.shape[1]
    blocks = float(_BLOCKS + 2) * k * length * view.dtype.itemsize
    try:
        capacity = lanczos_capacity(side.n, k, coarse.dtype, max_memory - blocks)
        found, basis = lanczos(
            side.apply,
            side.n,
            k,
            coarse.dtype,
            tolerance=0.5 * tolerance,
            rng=rng,
            max_products=min(max_products // side.n_products, _MOST_BASES * capacity),
            capacity=capacity,
            lifted=side.factor is not None,
        )
        if not found.converged:
            return None
        if not _well_in_range(float(found.values[0]), coarse.dtype):
            return None
        # Threads of the BLAS would go on turning, in the way of those of the products.
        with single_threaded_blas():
            inverse = KrylovInverse(basis, k)
            refinement: Refinement
            if factors is None:
                refinement = GivenRefinement(view, side, inverse, found.vectors)
                near_zero = np.min(column_norms(refinement.start)) < 0.5
            else:
                refinement = FactorRefinement(view, factors, inverse)
                near_zero = found.values[-1] < _LEAST_SHARE * found.values[0]
            if near_zero:
                return None
            pairs, single = _refined(view, refinement, tolerance, rng)
    except (InputError, MemoryLimitError):
        return None
    own = 4.0 * side.n * capacity * (found.used + 2.0 * k) + 6.0 * length * (_BLOCKS * k) ** 2
    columns = (capacity + k + 4.0) * side.n * coarse.dtype.itemsize
    return Refined(pairs, single, Cost(own, blocks + columns))


def _well_in_range(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether an eigenvalue, its inverse and a thousandth of them are numbers of full precision."""
    info = np.finfo(dtype)
    return bool(float(info.tiny) ** (2 / 3) < value < float(info.max) ** (2 / 3))


def _refined(
    view: SpectralView, refinement: Refinement, tolerance: float, rng: np.random.Generator
) -> tuple[Pairs, SinglePrecision | None]:
    """Return Ritz pairs in the span of some columns and of corrections to them."""
    fresh = refinement.start
    k = fresh.shape[1]
    span = RitzSpan()
    worst = np.inf
    for n_corrections in range(_MOST_CORRECTIONS + 1):
        span.append(fresh, refinement.images(fresh))
        values, coefficients = span.leading(k)
        residuals = span.residuals(values, coefficients)
        norm = max(view.norm_estimate, float(np.max(np.abs(values))))
        norms = refinement.residual_norms(residuals, values, tolerance * norm)
        before, worst = worst, float(np.max(norms))
        idle = worst > _LEAST_GAIN * before or n_corrections == _MOST_CORRECTIONS
        if idle or worst <= tolerance * norm:
            break
        # Those that barely meet it would no longer do so when others near them turn.
        left = norms > 0.5 * tolerance * norm
        chosen = residuals if left.all() else residuals[:, left]
        fresh = refinement.directions(chosen, values[left])
        if span.n_columns + fresh.shape[1] > _BLOCKS * k:
            span = span.restarted(coefficients)
            refinement.restart(coefficients)
        span.take_out_of(fresh)
    vectors = orthonormalised(refinement.vectors(span, values, coefficients))
    norms = refinement.confirmed(vectors, values, norms, rng)
    pairs = Pairs(values.astype(view.dtype), vectors, norms, norm)
    return pairs, refinement.single_precision(span, coefficients)
