"""Estimates of ``tr(A B)`` of two self-adjoint operators, and of it with both norms at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..._typing import FloatArray
from ..._validation import InputError
from ...results import Cost
from ...testing import default_tolerance
from .._orthogonal import orthonormalise
from .._view import CountedOperator, SpectralView
from .forms import FactorForm, chunk_widths, column_products, random_signs
from .ratios import jackknife
from .sampled import SampledTrace

_FIRST_PROBES = 16
_LEAST_PROBES = 3


class PairForm:
    """``(A B + B A) / 2`` on the whole space: ``z* A B z = <A z, B z>``."""

    positive = False

    def __init__(self, first: SpectralView, second: SpectralView) -> None:
        self._first, self._second = first, second
        self.size = first.n
        self.dtype: np.dtype[Any] = np.result_type(first.dtype, second.dtype)
        self.cost = products_of(first) + products_of(second)
        self.flops = total_flops(first.product_flops, second.product_flops)

    def quadratic(self, Z: FloatArray) -> FloatArray:
        """Return ``<A z, B z>`` for each column."""
        return column_products(self._first.apply(Z), self._second.apply(Z))

    def sketch(self, columns: int, rng: np.random.Generator) -> FloatArray:
        """Return products of ``A B`` with random columns."""
        return self._first.apply(self._second.apply(self._second.random_block(columns, rng)))


class OneFactorForm:
    """``L* B L`` for ``A = L L*``, on the columns of L: its trace is ``tr(A B)``.

    Its variance under random vectors, ``2 tr(A B A B)``, is never above that of
    :class:`PairForm`.
    """

    cost = 2

    def __init__(self, factor: CountedOperator, other: SpectralView) -> None:
        self._factor, self._other = factor, other
        self.size = factor.shape[1]
        self.dtype = factor.dtype
        self.positive = other.positive_semidefinite
        cost = factor.product_cost()
        self.flops = total_flops(None if cost is None else cost.flops, other.product_flops)

    def quadratic(self, Z: FloatArray) -> FloatArray:
        """Return ``z* L* B L z`` for each column."""
        images = self._factor.matmat(Z)
        return column_products(images, self._other.apply(images))

    def sketch(self, columns: int, rng: np.random.Generator) -> FloatArray:
        """Return products of ``L* B`` with random columns."""
        images = self._other.apply(self._other.random_block(columns, rng))
        return self._factor.rmatmat(images)


class ProductOfFactors:
    """``M* L`` for ``A = L L*`` and ``B = M M*``: ``tr(A B)`` is its squared Frobenius norm."""

    def __init__(self, first: CountedOperator, second: CountedOperator) -> None:
        self._first, self._second = first, second
        self.shape = (second.shape[1], first.shape[1])
        self.dtype: np.dtype[Any] = np.result_type(first.dtype, second.dtype)

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a block product takes, where both factors tell it."""
        first, second = self._first.product_cost(k), self._second.product_cost(k)
        if first is None or second is None:
            return None
        return Cost(first.flops + second.flops, max(first.memory_bytes, second.memory_bytes))

    def matmat(self, X: FloatArray) -> FloatArray:
        """Return ``M* L X``."""
        return self._second.rmatmat(self._first.matmat(X))

    def rmatmat(self, X: FloatArray) -> FloatArray:
        """Return ``L* M X``."""
        return self._first.rmatmat(self._second.matmat(X))


class TwoFactorForm(FactorForm):
    """``L* M M* L`` or ``M* L L* M`` for ``A = L L*`` and ``B = M M*``, on the smaller side."""

    cost = 2
    product_cost = 4

    def __init__(self, first: CountedOperator, second: CountedOperator) -> None:
        both = ProductOfFactors(first, second)
        super().__init__(both)
        cost = both.product_cost()
        self.flops = None if cost is None else cost.flops


TraceOfProduct = PairForm | OneFactorForm | TwoFactorForm


def product_form(first: SpectralView, second: SpectralView) -> TraceOfProduct:
    """Return the form whose trace is ``tr(A B)``, on the smallest side."""
    narrow = [
        (A.factor.shape[1], A.factor, B)
        for A, B in ((first, second), (second, first))
        if A.factor is not None and A.factor.shape[1] < first.n
    ]
    if not narrow:
        return PairForm(first, second)
    _, factor, other = min(narrow, key=lambda side: side[0])
    if other.factor is None:
        return OneFactorForm(factor, other)
    return TwoFactorForm(factor, other.factor)


def total_flops(*parts: float | None) -> float | None:
    """Return the sum, or None where any part is not known."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def products_of(view: SpectralView) -> int:
    """Return how many products a column of the self-adjoint operator takes: two for ``A A*``."""
    return 1 if view.self_adjoint else 2


def sampled_alignment(
    first: SpectralView,
    second: SpectralView,
    known_squares: tuple[float | None, float | None],
    n_matvecs: int,
    rng: np.random.Generator,
    *,
    sketched: bool = True,
    rtol: float | None = None,
) -> SampledTrace:
    """Estimate ``tr(A B) / (|A|_F |B|_F)`` from one set of products.

    With a basis Q of random images of both operators, each of ``tr(A B)``, ``|A|_F^2`` and
    ``|B|_F^2`` is an exact part on Q and the mean of ``<A z, B z>``, ``|A z|^2`` and ``|B z|^2``
    over random signs deflated by Q: the split of Hutch++, at once for all three. Their errors are
    strongly correlated and cancel in the ratio. The jackknife gives its error and removes its
    leading bias.

    A norm that is known exactly enters as the control variate of its own sample: the sampled
    square s is replaced by ``known + w (s - known)``, with the weights w in [0, 1] that least
    squares find on the samples. ``w = 1`` is best where A and B are alike, ``w = 0`` where they are
    unrelated.

    Parameters
    ----------
    first, second : SpectralView
        A and B.
    known_squares : tuple of float or None
        ``|A|_F^2`` and ``|B|_F^2`` where they are known.
    n_matvecs : int
        Budget of products, never exceeded. Half of it goes to the sketch and its exact part.
    rng : Generator
        Source of the sketch and the signs.
    sketched : bool
        Whether to make the split; without it all products go to the samples.
    rtol : float, optional
        Stop as soon as the half width of the interval is at most this share of the value.

    Raises
    ------
    InputError
        If the budget is too small, or an operator is zero.
    """
    pair_cost = products_of(first) + products_of(second)
    pairs = n_matvecs // pair_cost
    if pairs < _LEAST_PROBES:
        raise InputError(
            f"n_matvecs must be at least {_LEAST_PROBES * pair_cost} for a sampled alignment "
            f"({_LEAST_PROBES} probes with both operators); got {n_matvecs}."
        )
    dtype = np.result_type(first.dtype, second.dtype)
    columns = sketch_columns(first, second, n_matvecs, rtol) if sketched else 0
    basis = np.empty((first.n, 0), dtype)
    if columns:
        images = [view.apply(view.random_block(columns, rng)) for view in (first, second)]
        # Of equal scale: a small operator's directions must not drown in a large one's rounding.
        scaled = [image / max(float(np.linalg.norm(image)), 1e-300) for image in images]
        basis = orthonormalise(np.hstack(scaled).astype(dtype, copy=False))
    known = np.zeros(3)
    for start in range(0, basis.shape[1], max(columns, 1)):
        known += _products(first, second, basis[:, start : start + columns]).sum(axis=0)
    probes = pairs - columns - basis.shape[1]
    if basis.shape[1] == first.n:
        probes = 0

    def draw(count: int) -> FloatArray:
        samples = []
        for width in chunk_widths(count):
            signs = random_signs(first.n, width, dtype, rng)
            samples.append(_products(first, second, signs - basis @ (basis.T @ signs)))
        return np.concatenate([np.empty((0, 3)), *samples])

    samples = draw(probes if rtol is None else min(probes, _FIRST_PROBES))
    while True:
        found = _interval(samples, known, known_squares, first.n, dtype)
        half = (found.upper - found.lower) / 2
        left = probes - len(samples)
        if rtol is None or left == 0 or half <= rtol * abs(found.value):
            return found
        # As many more as would reach the aim, were the spread the one seen; at least a half more.
        wanted = len(samples) * (half / max(rtol * abs(found.value), 1e-300)) ** 2
        more = max(min(wanted, 1e9) - len(samples), len(samples) / 2)
        samples = np.concatenate([samples, draw(min(left, math.ceil(more)))])


def sketch_columns(
    first: SpectralView, second: SpectralView, n_matvecs: int, rtol: float | None
) -> int:
    """Return how many random images of each operator the split is made from."""
    pairs = n_matvecs // (products_of(first) + products_of(second))
    planned = pairs if rtol is None else min(pairs, 6 * _FIRST_PROBES)
    return min(planned // 6, first.n)


def _products(first: SpectralView, second: SpectralView, Z: FloatArray) -> FloatArray:
    """Return ``<A z, B z>``, ``|A z|^2`` and ``|B z|^2`` for each column: a row each."""
    Y, W = first.apply(Z), second.apply(Z)
    return np.stack([column_products(Y, W), column_products(Y, Y), column_products(W, W)], axis=1)


def _interval(
    samples: FloatArray,
    known: FloatArray,
    known_squares: tuple[float | None, float | None],
    size: int,
    dtype: np.dtype[Any],
) -> SampledTrace:
    means = known + samples.mean(axis=0) if len(samples) else known
    if means[1] <= 0 or means[2] <= 0:
        raise InputError("The alignment is not defined: one of the operators is zero.")
    weights = _control_weights(samples, means, known_squares)
    exact = np.array([0.0 if each is None else each for each in known_squares])

    def ratio(totals: FloatArray) -> FloatArray:
        squares = exact + weights * (totals[..., 1:] - exact)
        return totals[..., 0] / np.sqrt(squares[..., 0] * squares[..., 1])

    if not len(samples):
        value = float(ratio(means))
        return SampledTrace(value, value, value, 0.0)
    found = jackknife(ratio, known + samples)
    rounding = default_tolerance(dtype, size)
    return SampledTrace(
        found.value,
        found.lower - rounding,
        found.upper + rounding,
        max(found.standard_error, rounding),
    )


def _control_weights(
    samples: FloatArray, means: FloatArray, known_squares: tuple[float | None, float | None]
) -> FloatArray:
    """Return how much of each sampled square to use: 1 where nothing better is known."""
    weights = np.ones(2)
    controlled = [place for place, each in enumerate(known_squares) if each is not None]
    if not controlled or not len(samples):
        return weights
    # The relative errors of the three add up to that of the ratio: r_0 - (w_1 r_1 + w_2 r_2) / 2.
    scale = means.copy()
    scale[0] = scale[0] or 1.0
    errors = (samples - samples.mean(axis=0)) / scale
    target = errors[:, 0].copy()
    for place in {0, 1} - {*controlled}:
        target -= errors[:, 1 + place] / 2
    halves = errors[:, [1 + place for place in controlled]] / 2
    found = np.linalg.lstsq(halves, target, rcond=None)[0]
    weights[controlled] = np.clip(found, 0.0, 1.0)
    return weights
