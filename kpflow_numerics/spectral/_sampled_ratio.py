"""A participation ratio sampled until its interval is as narrow as asked, at the least cost."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from .._typing import FloatArray
from ..testing import default_tolerance
from ._block_sketch import BlockSketch
from ._side import Side
from .estimators.forms import chunk_widths, random_signs
from .estimators.ratios import jackknife
from .estimators.sampled import LEAST_SAMPLES, SampledTrace, interval_reach

LEAST_OF_BLOCKS = 4
"""Probes before a look where every diagonal block of a probe is a sample of its own."""

# Degrees of freedom before an interval of blocks is looked at: those of four equal blocks. The few
# probes of a single block that outweighs the others may all be equal, which looks exact.
_LEAST_FREEDOM = 12.0

FEWEST_BLOCKS = 4
"""Diagonal blocks below which they are not told apart."""

# Share of the width, times the number of samples, that an adaptive interval is widened by: with 16
# samples it was found to be a quarter too narrow.
_WIDENED = 3.0

# A ratio below which a sketch is made in any case: few samples of few modes look too good.
_FEW_MODES = 64.0

# Standard errors in half an interval, for the forecast of the probes that are needed.
_REACH = 2.2


class SampledRatio:
    """``tr(G)^2 / |G|_F^2`` from random signs, both sums from the same ones.

    An operator of several diagonal blocks is sampled on each of them at once, so that few probes
    tell the error. The leading part of each block is taken out by a sketch for as long as further
    columns of it save more probes than they are; the first probes serve again each time.

    Parameters
    ----------
    side : Side
        G, positive semi-definite, and its products.
    n_blocks : int
        Equal diagonal blocks of which G consists.
    dtype : dtype
        Precision of the products.
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
    n_probes : int
        Probes among them.
    sketch : BlockSketch
        What was taken out.
    """

    def __init__(
        self,
        side: Side,
        n_blocks: int,
        dtype: np.dtype[Any],
        largest: float,
        most_columns: int,
        rng: np.random.Generator,
    ) -> None:
        self._side, self._dtype, self._rng = side, dtype, rng
        self._largest, self._most_columns = largest, most_columns
        self._n_blocks = n_blocks if n_blocks >= FEWEST_BLOCKS else 1
        self._first: tuple[FloatArray, ...] = ()
        self.used = self.n_probes = 0
        self.sketch = BlockSketch(side.n, self._n_blocks, dtype, self._apply, self._random_images)

    def run(self, rtol: float, n_matvecs: float) -> SampledTrace:
        """Return an interval of this half width relative to the value, or what there was to be had.

        Parameters
        ----------
        rtol : float
            The relative half width.
        n_matvecs : float
            Products that may be spent; fewer are where the spread says that they will not do.
        """
        samples = self._with_freedom(self._draw_first(fewest_probes(self._n_blocks)), n_matvecs)
        found = self._interval(samples)
        wanted = _wanted(found, len(samples), rtol)
        few = self._n_blocks == 1 and found.value < _FEW_MODES
        growing = few or wanted - len(samples) > 2 * self.sketch.columns
        expected = self._expected(samples, rtol)
        while growing and self._may_grow(n_matvecs):
            before = expected
            self.sketch.grow()
            samples = self._with_freedom(self.sketch.rest(*self._first), n_matvecs)
            expected = self._expected(samples, rtol)
            growing = self._pays(before, expected)
        found = self._interval(samples)
        wanted = _wanted(found, len(samples), rtol)
        while not is_narrow(found, rtol):
            more = max(math.ceil(min(wanted, 1e9)) - len(samples), len(samples) // 2)
            if not self._affords(more, n_matvecs):
                break
            drawn = [self.sketch.rest(*self._draw(width)) for width in chunk_widths(more)]
            samples = np.concatenate([samples, *drawn])
            found = self._interval(samples)
            wanted = _wanted(found, len(samples), rtol)
        return found

    @property
    def _held(self) -> FloatArray:
        return np.array([self.sketch.trace, self.sketch.square])

    def _apply(self, X: FloatArray) -> FloatArray:
        self.used += X.shape[1] * self._side.n_products
        return self._side.apply(X)

    def _draw(self, columns: int) -> tuple[FloatArray, FloatArray]:
        signs = random_signs(self._side.n, columns, self._dtype, self._rng)
        self.n_probes += columns
        return signs, self._apply(signs)

    def _affords(self, columns: int, n_matvecs: float) -> bool:
        return self.used + columns * self._side.n_products <= n_matvecs

    def _may_grow(self, n_matvecs: float) -> bool:
        columns = self.sketch.columns
        room = self.sketch.size + columns <= self._most_columns
        return room and not self.sketch.complete and self._affords(2 * columns, n_matvecs)

    def _random_images(self, columns: int) -> FloatArray:
        return self._apply(self._rng.standard_normal((self._side.n, columns), self._dtype))

    def _draw_first(self, columns: int) -> FloatArray:
        """Return samples of probes that are kept: what they see changes as the sketch grows."""
        drawn = self._draw(columns)
        kept = zip(self._first, drawn, strict=True)
        self._first = tuple(np.hstack(each) for each in kept) if self._first else drawn
        return self.sketch.rest(*drawn)

    def _with_freedom(self, samples: FloatArray, n_matvecs: float) -> FloatArray:
        """Return samples of blocks with as many more as their degrees of freedom ask for."""
        while self._n_blocks > 1 and len(samples) < LEAST_SAMPLES:
            freedom = _freedom_of_signs(samples, self._held)
            if freedom >= _LEAST_FREEDOM or not self._affords(1, n_matvecs):
                break
            asked = math.ceil(len(samples) * (_LEAST_FREEDOM / freedom - 1.0))
            more = min(asked, LEAST_SAMPLES - len(samples))
            drawn = self._draw_first(more if self._affords(more, n_matvecs) else 1)
            samples = np.concatenate([samples, drawn])
        return samples

    def _expected(self, samples: FloatArray, rtol: float) -> float:
        """Return how many probes the rest asks for, by the variance of signs: ``2 |G'|_F^2``.

        It is steadier than the spread of few samples, and mostly an upper bound of it.
        """
        mean = samples.mean(axis=0).sum(axis=0)
        trace = self.sketch.trace + mean[0]
        return float(8.0 * mean[1] * (_REACH / (rtol * trace)) ** 2) if trace > 0 else 0.0

    def _pays(self, before: float, expected: float) -> bool:
        """Whether a sketch that saved so many probes should grow further.

        The next columns save no more than the last did, and mostly less than half of what is left.
        Where nothing is left they take no product, and tell that the sketch is complete.
        """
        nothing = expected < default_tolerance(self._dtype)
        columns = self.sketch.columns
        return before - expected > columns and (expected > 2 * columns or nothing)

    def _interval(self, samples: FloatArray) -> SampledTrace:
        if self._n_blocks > 1:
            return ratio_of_blocks(samples, self._held, self._largest)
        found = jackknife(_ratio, self._held + samples[:, 0], bounds=(0.0, self._largest))
        # That few samples decide when to stop makes them look too good.
        wider = _WIDENED / len(samples)
        return replace(
            found,
            lower=max(found.lower - wider * (found.value - found.lower), 0.0),
            upper=min(found.upper + wider * (found.upper - found.value), self._largest),
        )


def fewest_probes(n_blocks: int) -> int:
    """Return the probes before a first look at an operator of so many diagonal blocks."""
    return LEAST_SAMPLES if n_blocks < FEWEST_BLOCKS else LEAST_OF_BLOCKS


def ratio_of_blocks(samples: FloatArray, held: FloatArray, largest: float) -> SampledTrace:
    """Return ``(sum t)^2 / sum f`` of sums over blocks that were sampled independently.

    Parameters
    ----------
    samples : ndarray, shape (m, B, 2)
        t and f of each probe on each block, at least two probes.
    held : ndarray, shape (2,)
        What is known of both sums and was not sampled.
    largest : float
        What the ratio is surely not above.

    Returns
    -------
    SampledTrace
        Its error is that of the ratio to first order. Every block has a variance of its own, and
        the interval reaches as far as that of a mean with as many degrees of freedom as they have
        together (Welch, Biometrika 34, 1947), to either side by the longer of the two reaches, and
        not below 1, which the ratio of nothing but zeros alone is.
    """
    count = len(samples)
    sums = held + samples.mean(axis=0).sum(axis=0)
    value = float(_ratio(sums))
    if value == 0:
        return SampledTrace(0.0, 0.0, 0.0, 0.0)
    value = max(value, 1.0)
    relative = 2.0 * samples[..., 0] / sums[0] - samples[..., 1] / sums[1]
    variances = np.var(relative, axis=0, ddof=1) / count
    total = float(variances.sum())
    if total == 0:
        return SampledTrace(value, value, value, 0.0)
    freedom = (count - 1) * total**2 / float(np.sum(variances**2))
    error = value * math.sqrt(total)
    reach = max(interval_reach(1 + int(max(freedom, 1.0)))) * error
    value, lower, upper = (
        min(max(end, 1.0), largest) for end in (value, value - reach, value + reach)
    )
    return SampledTrace(value, lower, upper, error)


def _freedom_of_signs(samples: FloatArray, held: FloatArray) -> float:
    """Return the degrees of freedom of a ratio of blocks by the sizes of the blocks alone.

    With the most that signs can vary by: t by ``2 f``, and f by ``2 f^2`` with f ``|G_b|_F^2``.
    """
    sums = samples.mean(axis=0)
    total = held + sums.sum(axis=0)
    if not (total > 0).all():
        return math.inf
    variances = 8.0 * sums[:, 1] / total[0] ** 2 + 2.0 * (sums[:, 1] / total[1]) ** 2
    whole = float(variances.sum())
    if whole == 0:
        return math.inf
    return (len(samples) - 1) * whole**2 / float(np.sum(variances**2))


def is_narrow(found: SampledTrace, rtol: float) -> bool:
    """Whether half the width of an interval is at most this share of the value."""
    return found.upper - found.lower <= 2.0 * rtol * abs(found.value)


def _ratio(sums: FloatArray) -> FloatArray:
    positive = sums[..., 1] > 0
    ratios: FloatArray = sums[..., 0] ** 2 / np.where(positive, sums[..., 1], np.inf)
    return ratios


def _wanted(found: SampledTrace, count: int, rtol: float) -> float:
    """Return how many probes the spread of so many asks for."""
    if found.standard_error == 0:
        return float(count)
    aim = rtol * abs(found.value)
    return count * (_REACH * found.standard_error / aim) ** 2 if aim > 0 else math.inf
