"""A participation ratio sampled by the gradients of blocks until its interval is narrow."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .._typing import FloatArray
from ..testing import default_tolerance
from ._block_sketch import BlockSketch
from ._gradients_by_block import KnownSums, outside, products_of_gradients, ratio_of_products
from ._sampled_ratio import is_narrow
from ._side import Side
from ._view import CountedOperator
from .estimators.forms import random_signs
from .estimators.sampled import SampledTrace

FIRST_COLUMNS = 8
"""Columns before a look: so many samples of each block."""

# What the samples of the first columns see of the trace that was left out may be this much less
# than it is: so few chi-square variables are below a tenth of their mean once in a thousand times.
_SURELY = 10.0

# Share of the width asked for that what is left out may take.
_LEFT_OUT = 0.25

# Standard errors in half an interval, for the forecast of the columns that are needed.
_REACH = 2.3

_MOST_PROBES = 1e9


class GradientRatio:
    """``tr(G)^2 / |G|_F^2`` of ``G = L* L`` from the gradients of the blocks of rows of L.

    The leading part is taken out by a sketch for as long as a further block of it saves more
    products than it takes; the first probes serve again each time.

    Parameters
    ----------
    side : Side
        G and its products; its factor is L.
    decoupled : CountedOperator, shape (n, B p)
        The block diagonal of the blocks of rows of L.
    whole : CountedOperator or None
        Where L lacks some columns of another operator up to a rotation, as a coarse one does: that
        operator, whose ratio is meant.
    largest : float
        What the ratio is surely not above.
    most_columns : int
        Columns that a sketch may have.
    rng : Generator
        Source of signs and sketch.

    Attributes
    ----------
    used : int
        Products spent.
    sketch : BlockSketch
        What was taken out.
    """

    def __init__(
        self,
        side: Side,
        decoupled: CountedOperator,
        whole: CountedOperator | None,
        largest: float,
        most_columns: int,
        rng: np.random.Generator,
    ) -> None:
        self._side, self._decoupled, self._whole = side, decoupled, whole
        self._n_blocks = decoupled.shape[1] // side.n
        self._largest, self._most_columns, self._rng = largest, most_columns, rng
        self._gradients: FloatArray = np.empty((side.n, self._n_blocks, 0), decoupled.dtype)
        self._products: FloatArray = np.empty((self._n_blocks, 0, self._n_blocks, 0))
        self._left_out = 0.0
        cost = decoupled.product_cost()
        self._product_flops = math.inf if cost is None else cost.flops
        self.used = 0
        self.sketch = BlockSketch(
            side.n, 1, decoupled.dtype, self._apply, start=self._random_gradients
        )

    @property
    def least_products(self) -> int:
        """Products before the first look, and the fewest of all."""
        return FIRST_COLUMNS * (1 if self._whole is None else 2)

    @property
    def n_probes(self) -> int:
        """Columns of signs drawn."""
        return int(self._gradients.shape[2])

    def run(self, rtol: float, n_matvecs: float, effort: float = math.inf) -> SampledTrace | None:
        """Return an interval of this half width relative to the value, or what there was to be had.

        Parameters
        ----------
        rtol : float
            The relative half width.
        n_matvecs : float
            Products that may be spent; fewer are where the spread says that they will not do.
        effort : float
            What may be spent together with the products of gradients with one another, in flops of
            a product. Those grow with the square of the columns.

        Returns
        -------
        SampledTrace or None
            None where L lacks too much of the operator that is meant.
        """
        signs = self._signs(FIRST_COLUMNS)
        self._draw(signs)
        if self._whole is not None:
            self._left_out = self._trace_left_out(signs, self._whole)
            found = self._interval()
            if self._width_left_out(found) > _LEFT_OUT * 2.0 * rtol * found.value:
                return None
        found, growing = self._interval(), True
        while not is_narrow(found, rtol):
            lacking = self._columns_wanted(rtol) - self.n_probes
            if (
                growing
                and lacking > (price := self._price_of_growth())
                and self._may_grow(n_matvecs, effort)
            ):
                self._grow()
                growing = lacking - (self._columns_wanted(rtol) - self.n_probes) > price
            elif self._affords(lacking, lacking, n_matvecs, effort):
                # What few columns say of the number that is needed is rough.
                more = max(min(lacking, 2 * self.n_probes), self.n_probes // 4)
                self._draw(self._signs(more))
                growing = True
            else:
                break
            found = self._interval()
        return found

    @property
    def _basis(self) -> FloatArray:
        return self.sketch.of_blocks[0].basis

    def _apply(self, X: FloatArray) -> FloatArray:
        self.used += X.shape[1] * self._side.n_products
        return self._side.apply(X)

    def _signs(self, columns: int) -> FloatArray:
        n, dtype = self._decoupled.shape[0], self._decoupled.dtype
        return random_signs(n, columns, dtype, self._rng)

    def _random_gradients(self, columns: int) -> FloatArray:
        self.used += columns
        return self._side.lower(self._signs(columns))

    def _draw(self, signs: FloatArray) -> None:
        self.used += signs.shape[1]
        images = self._decoupled.rmatmat(signs)
        drawn = images.reshape(self._n_blocks, -1, signs.shape[1]).transpose(1, 0, 2)
        drawn = outside(np.ascontiguousarray(drawn), self._basis)
        across = products_of_gradients(self._gradients, drawn)
        within = products_of_gradients(drawn, drawn)
        self._products = np.concatenate(
            [
                np.concatenate([self._products, across], axis=3),
                np.concatenate([across.transpose(2, 3, 0, 1), within], axis=3),
            ],
            axis=1,
        )
        self._gradients = np.concatenate([self._gradients, drawn], axis=2)

    def _trace_left_out(self, signs: FloatArray, whole: CountedOperator) -> float:
        """Return what the trace of the operator that is meant surely does not exceed that of G by.

        The first gradients are not projected yet; their sums over the blocks are ``L* y``.
        """
        self.used += signs.shape[1]
        of_whole = np.square(whole.rmatmat(signs), dtype=np.float64).sum()
        seen = np.square(self._gradients.sum(axis=1), dtype=np.float64).sum()
        lacking = _SURELY * max(float(of_whole - seen), 0.0) / signs.shape[1]
        return lacking + default_tolerance(signs.dtype) * float(of_whole) / signs.shape[1]

    def _affords(self, products: int, columns: int, n_matvecs: float, effort: float) -> bool:
        """Whether so many products more, and as many columns of signs, are within both limits."""
        used = self.used + products
        n_gradients = self._n_blocks * (self.n_probes + columns)
        own = 2.0 * self._side.n * float(n_gradients) ** 2 / self._product_flops
        return used <= n_matvecs and used + own <= effort

    def _may_grow(self, n_matvecs: float, effort: float) -> bool:
        room = self.sketch.size + self.sketch.columns <= self._most_columns
        affordable = self._affords(2 * self._price_of_growth(), 0, n_matvecs, effort)
        return room and affordable and not self.sketch.complete

    def _price_of_growth(self) -> int:
        return self.sketch.columns * (self._side.n_products + (self.sketch.size == 0))

    def _grow(self) -> None:
        size = self.sketch.size
        self.sketch.grow()
        self._gradients = outside(self._gradients, self._basis[:, size:])
        self._products = products_of_gradients(self._gradients, self._gradients)

    def _sampled(self, columns: int | None = None) -> SampledTrace:
        known = KnownSums(self.sketch.trace, self.sketch.square)
        products = self._products[:, :columns, :, :columns]
        return ratio_of_products(products, known, self._largest)

    def _interval(self) -> SampledTrace:
        """Return the interval of the ratio that is meant.

        Its trace is up to ``e = _left_out`` more than that of G, and the root of its squared norm
        as well.
        """
        found = self._sampled()
        if self._left_out == 0 or found.value == 0:
            return found
        total = self._trace()
        share = self._left_out / total
        lower = found.lower / (1.0 + share * math.sqrt(found.upper)) ** 2
        upper = min(found.upper * (1.0 + share) ** 2, self._largest)
        return replace(found, lower=lower, upper=upper)

    def _trace(self) -> float:
        squares = float(np.einsum("bibi->", self._products))
        return self.sketch.trace + squares / self.n_probes

    def _width_left_out(self, found: SampledTrace) -> float:
        """Return how much of the interval what is left out takes."""
        plain = self._sampled()
        return (found.upper - found.lower) - (plain.upper - plain.lower)

    def _columns_wanted(self, rtol: float) -> int:
        """Return how many columns the spread of those drawn asks for.

        The variance is taken to be ``a / m + b / m^2`` for m columns, as that of a mean over pairs
        is; half of the columns have another.
        """
        m, found = self.n_probes, self._sampled()
        aim = (rtol * abs(found.value) / _REACH) ** 2
        variance = found.standard_error**2
        if variance == 0 or aim == 0:
            return m
        of_half = self._sampled(m // 2).standard_error ** 2 * (m // 2) / (m / 2)
        second = min(max((of_half - 2.0 * variance) * m**2 / 2.0, 0.0), variance * m**2)
        first = variance * m - second / m
        wanted = (first + math.sqrt(first**2 + 4.0 * aim * second)) / (2.0 * aim)
        return math.ceil(min(wanted, _MOST_PROBES))
