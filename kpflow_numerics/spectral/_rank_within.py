"""A participation ratio within an accuracy, by the way that is cheapest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from .._validation import InputError
from ..results import Cost, Estimate
from ..testing import default_tolerance
from ._budget import DENSE_SIZE, LARGEST_DENSE_SIZE, dense_memory
from ._cheapest_way import PRODUCTS_OF_BOUNDS, SureWay, cheapest_within, price_of
from ._gradient_ratio import FIRST_COLUMNS, GradientRatio
from ._sampled_ratio import FEWEST_BLOCKS, SampledRatio, fewest_probes, is_narrow
from ._side import Side, factor_side, given_side, smaller_side
from ._view import PRODUCT_COLUMNS, CountedOperator, SpectralView
from .estimators.sampled import SampledTrace
from .rank_recipes import QUANTITY
from .sampled_rank import CONFIDENCE

SINGLE_PRECISION = 1e-3
"""From this accuracy up an estimate is made with products in ``float32`` where that can be had."""

MOST_GROUPS = 32
"""Groups of rows that gradients are told apart by."""

# Columns of signs whose gradients must fit.
_GRADIENT_COLUMNS = 64

# An interval of samples in float32 whose half width is less than this share of the value may be off
# by more than it is wide.
_SINGLE_ROUNDING = 1e-5

# Numbers in float64 that one in float32 costs as much as.
_SINGLE_PRICE = 0.5


def participation_ratio_within(
    view: SpectralView,
    rtol: float,
    limit: float,
    ways: list[SureWay],
    rng: np.random.Generator,
    max_memory: float,
) -> Estimate:
    """Return a participation ratio within an accuracy, by the way that is cheapest.

    Parameters
    ----------
    view : SpectralView
        A positive semi-definite operator.
    rtol : float
        Half the width of the interval relative to the value.
    limit : float
        Products that may be made.
    ways : list of SureWay
        Those that need no samples.
    rng : Generator
        Source of random columns.
    max_memory : float
        Bytes of working memory.
    """
    estimates = _Estimates(view, rtol, limit, rng, max_memory)
    least = estimates.least_products
    if ways and (estimates.left < least or estimates.most_columns < 0):
        return min(ways, key=lambda way: way.flops).find()
    if estimates.left < least:
        raise InputError(
            f"n_matvecs must be at least {view.n_matvecs + least} here, for an interval that "
            f"holds; got {limit:.0f}."
        )
    return cheapest_within(
        rtol, ways, estimates.best, estimates.sample_flops, estimates.least_samples
    )


class _Estimates:
    """The estimates of a participation ratio that an operator can have, the cheapest first."""

    def __init__(
        self,
        view: SpectralView,
        rtol: float,
        limit: float,
        rng: np.random.Generator,
        max_memory: float,
    ) -> None:
        self._view, self._rtol, self._limit, self._rng = view, rtol, limit, rng
        self._memory = max_memory
        self._block = 6.0 * PRODUCT_COLUMNS * view.n * view.dtype.itemsize
        self._side = _side_of_signs(view)
        self.most_columns = self._columns_for(self._side.n, view.dtype)
        self._gradients = self._groups(view) >= FEWEST_BLOCKS
        self._gradients &= self.left >= 2 * FIRST_COLUMNS

    @property
    def left(self) -> float:
        """Products that may still be made."""
        return self._limit - self._view.n_matvecs

    @property
    def sample_flops(self) -> float | None:
        """Flops of a sample: a product with the operator, or with its factor."""
        if not self._gradients:
            return self._view.product_flops
        assert self._view.factor is not None
        cost = self._view.factor.product_cost()
        if cost is None:
            return None
        single = self._rtol >= SINGLE_PRECISION and self._view.dtype == np.float64
        return cost.flops * (_SINGLE_PRICE if single else 1.0)

    @property
    def least_samples(self) -> int:
        """Samples that an estimate takes at the least."""
        if self._gradients:
            return 2 * FIRST_COLUMNS
        return fewest_probes(self._view.operator_blocks)

    @property
    def least_products(self) -> int:
        """Products that an estimate takes at the least."""
        return self.least_samples * (1 if self._gradients else self._side.n_products)

    def best(self, most: float) -> Estimate:
        """Return an estimate from so many samples at the most."""
        if self._gradients:
            for twin, whole in self._twins():
                found = self._by_gradients(twin, whole, most)
                if found is not None:
                    return found
            most = math.inf
        single = self._single()
        if single is not None and single.dtype != self._view.dtype:
            found = self._by_signs(single, most / _SINGLE_PRICE)
            if found is not None:
                return found
        found = self._by_signs(self._view, most)
        assert found is not None
        return found

    def _single(self) -> SpectralView | None:
        """Return the operator in ``float32``, where that is enough and can be had."""
        if self._rtol < SINGLE_PRECISION:
            return None
        return self._view.twin("astype", np.float32)

    def _twins(self) -> Iterator[tuple[SpectralView, CountedOperator | None]]:
        """Yield operators near this, the cheapest first, and the factor that they lack parts of."""
        single = self._single()
        if single is not None:
            coarse = self._view.twin("coarse")
            if coarse is not None:
                assert coarse.factor is not None
                assert single.factor is not None
                if coarse.factor.shape[1] < single.factor.shape[1]:
                    yield coarse, single.factor
            yield single, None
        yield self._view, None

    def _by_signs(self, twin: SpectralView, most: float) -> Estimate | None:
        """Return an estimate from random signs; None where another operator does not serve."""
        side = _side_of_signs(twin)
        ratio = SampledRatio(
            side,
            twin.operator_blocks,
            twin.dtype,
            float(self._view.smaller_side),
            self._columns_for(side.n, twin.dtype),
            self._rng,
        )
        budget = min(self.left, most * side.n_products)
        found = self._unless_out_of_range(twin, partial(ratio.run, self._rtol, budget))
        return None if found is None else self._result(found, ratio, side.n, twin.dtype)

    def _by_gradients(
        self, twin: SpectralView, whole: CountedOperator | None, most: float
    ) -> Estimate | None:
        """Return an estimate through another operator; None where that does not serve."""
        groups, factor = self._groups(twin), twin.factor
        if groups < FEWEST_BLOCKS or factor is None:
            return None
        ratio = GradientRatio(
            factor_side(factor),
            twin.counted(factor.operator.decoupled(groups)),
            whole,
            float(self._view.smaller_side),
            self._columns_for(factor.shape[1], twin.dtype),
            self._rng,
        )
        run = partial(ratio.run, self._rtol, self.left, most)
        found = self._unless_out_of_range(twin, run)
        if found is None:
            return None
        return self._result(found, ratio, factor.shape[1] * groups, twin.dtype)

    def _unless_out_of_range(
        self, twin: SpectralView, run: Callable[[], SampledTrace | None]
    ) -> SampledTrace | None:
        """Return what a run finds; None if another operator's rounding may be more than its width.

        In ``float32`` it may also overflow, or vanish.
        """
        try:
            found = run()
        except InputError:
            if twin is self._view:
                raise
            return None
        if found is None or (twin is not self._view and is_narrow(found, _SINGLE_ROUNDING)):
            return None
        return found

    def _groups(self, view: SpectralView) -> int:
        """Return how many groups of rows gradients can be told apart by."""
        operator = None if view.factor is None else view.factor.operator
        if operator is None or not hasattr(operator, "decoupled"):
            return 0
        own = operator.decoupled().shape[1] // operator.shape[1]
        column = 3.0 * operator.shape[1] * view.dtype.itemsize
        fitting = (self._memory - self._block) / 2 / (_GRADIENT_COLUMNS * column)
        return min(own, MOST_GROUPS, max(int(fitting), 0))

    def _columns_for(self, n: int, dtype: np.dtype[Any]) -> int:
        """Return how many columns a sketch may have."""
        room = min(self._memory - self._block, self._memory / 2)
        return int(room / (4.0 * n * dtype.itemsize))

    def _result(
        self, found: SampledTrace, ratio: SampledRatio | GradientRatio, n: int, dtype: np.dtype[Any]
    ) -> Estimate:
        size, column = ratio.sketch.size, float(n * dtype.itemsize)
        kept = 2.0 * size * self._side.n * self._view.dtype.itemsize
        if isinstance(ratio, GradientRatio):
            kept += 3.0 * ratio.n_probes * column
        own = Cost(8.0 * n * size * (size + ratio.n_probes), self._block + kept)
        # Of an eigenvalue with more copies than a block has columns a complete sketch lacks some.
        narrow = is_narrow(found, default_tolerance(self._view.dtype, self._view.n))
        return Estimate(
            value=found.value,
            lower=found.lower,
            upper=found.upper,
            standard_error=found.standard_error,
            method="sampled",
            n_matvecs=self._view.n_matvecs,
            quantity=QUANTITY,
            recipe="participation-ratio",
            confidence=1.0 if ratio.sketch.complete and narrow else CONFIDENCE,
            cost=self._view.whole_cost(own),
        )


def _side_of_signs(view: SpectralView) -> Side:
    """Return the side that random signs are drawn for: the one with diagonal blocks, if any."""
    return given_side(view) if view.operator_blocks > 1 else smaller_side(view)


def sure_ways(
    view: SpectralView,
    rtol: float,
    max_size: int | None,
    max_memory: float,
    exact: Callable[[], Estimate],
    spectrum: Callable[[str, int], Estimate],
    bounds: Callable[[], Estimate],
) -> list[SureWay]:
    """Return the ways to a participation ratio that need no samples, with their prices."""
    ways = []
    column, size = view.product_flops, view.smaller_side
    of_form = price_of(view, ("trace", "frobenius_norm"), max_memory)
    if of_form is not None:
        ways.append(SureWay(of_form, exact))
    method = matrix_or_bounds(view, "eigenvalue", max_memory, max_size)
    if method != "bounds":
        flops = 0.0 if column is None else size * column + 9.0 * float(size) ** 3
        most = LARGEST_DENSE_SIZE if max_size is None else max_size
        ways.append(SureWay(flops, partial(spectrum, method, most)))
    price = price_of(view, ("participation_ratio_bounds",), max_memory, 2.0 * rtol)
    if price is None and column is not None:
        of_trace = (
            price_of(view, ("trace",), max_memory),
            price_of(view, ("trace_bounds",), max_memory, rtol / 20),
        )
        known = [each for each in of_trace if each is not None]
        price = min(known) + PRODUCTS_OF_BOUNDS * column if known else None
    if price is not None:
        ways.append(SureWay(price, bounds))
    return ways


def matrix_or_bounds(
    view: SpectralView, weighting: str, max_memory: float, max_size: int | None
) -> str:
    """Return how the whole spectrum is had where that is affordable, otherwise ``"bounds"``."""
    size = view.smaller_side
    limit = DENSE_SIZE if max_size is None else max_size
    # There are no bounds for other weights, nor for what may have negative eigenvalues.
    bounded = weighting == "eigenvalue" and view.positive_semidefinite
    if not bounded and max_size is None:
        limit = LARGEST_DENSE_SIZE
    if size <= limit and dense_memory(size, view.dtype) <= max_memory:
        return "dense" if view.self_adjoint and size == view.n else "gram"
    return "bounds"
