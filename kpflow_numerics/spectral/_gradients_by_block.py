"""A participation ratio from the gradients of blocks: half a product a probe, many samples of it.

Let ``L`` have B blocks of rows and ``G = L* L = sum_b L_b* L_b``. A column y of random signs gives
the gradients ``g_b = L_b* y_b`` of all blocks for one adjoint product, and

    tr G = sum_b E |g_b|^2,    |G|_F^2 = sum_bc E (g_b* g'_c)^2

for gradients of independent signs: those of two blocks are, also where they come from one column.
So m columns are B m samples and ``(B m)^2 / 2`` pairs. What the blocks have in common adds to the
sums and not to their errors, as it does where the blocks are probed together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .._threads import map_in_threads, share_rows
from .._typing import FloatArray
from .estimators.sampled import SampledTrace, interval_reach


@dataclass(frozen=True, eq=False)
class KnownSums:
    """The parts of ``tr G`` and ``|G|_F^2`` that need no sampling: those that a sketch holds."""

    trace: float = 0.0
    square: float = 0.0


def products_of_gradients(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return ``g_b* g'_c`` of gradients ``(p, B, m)`` and ``(p, B, m')``, in double precision.

    Of shape ``(B, m, B, m')``: ``2 p B^2 m m'`` flops.
    """
    left, right = first.reshape(len(first), -1), second.reshape(len(second), -1)
    gram = np.empty((left.shape[1], right.shape[1]))

    def product(share: slice) -> None:
        gram[share] = left[:, share].T @ right

    map_in_threads(product, _shares_of(len(gram)))
    return gram.reshape(*first.shape[1:], *second.shape[1:])


def outside(gradients: FloatArray, basis: FloatArray) -> FloatArray:
    """Return what gradients ``(p, B, m)`` have outside of an orthonormal basis ``(p, q)``."""
    if basis.shape[1] == 0:
        return gradients
    flat = gradients.reshape(len(gradients), -1)
    left = np.empty_like(flat)

    def project(share: slice) -> None:
        some = flat[:, share]
        np.subtract(some, basis @ (basis.T @ some), out=left[:, share])

    map_in_threads(project, _shares_of(flat.shape[1]))
    return left.reshape(gradients.shape)


def _shares_of(n: int) -> list[slice]:
    """Return ``range(n)`` in slices, one for each thread."""
    share = share_rows(n)
    return [slice(first, first + share) for first in range(0, n, max(share, 1))]


def ratio_of_products(products: FloatArray, known: KnownSums, largest: float) -> SampledTrace:
    """Return ``(tr G)^2 / |G|_F^2`` from the products of gradients outside of a sketch.

    Parameters
    ----------
    products : ndarray, shape (B, m, B, m)
        Of the gradients of each block and column, at least two columns.
    known : KnownSums
        What the sketch holds.
    largest : float
        What the ratio is surely not above.

    Returns
    -------
    SampledTrace
        The error is that of the ratio to first order: the square is a U-statistic, whose projection
        on a gradient is twice the mean over the pairs that it is in (Hoeffding, Ann. Math. Statist.
        19, 1948). Every block has a variance of its own, and the interval reaches as far as that of
        a mean with as many degrees of freedom as they have together (Welch, Biometrika 34, 1947).
    """
    n_blocks, count = products.shape[:2]
    norms = np.einsum("bibi->bi", products).copy()
    squares = products**2
    # Pairs of different blocks are all independent, those of one block where the columns differ.
    pairs = squares.mean(axis=3)
    own = np.einsum("bibj->bij", squares).sum(axis=2) - norms**2
    pairs[np.arange(n_blocks), :, np.arange(n_blocks)] = own / (count - 1)
    shares = pairs.sum(axis=2)
    total = known.trace + float(norms.mean(axis=1).sum())
    square = known.square + float(shares.mean(axis=1).sum())
    if total <= 0 or square <= 0:
        return SampledTrace(0.0, 0.0, 0.0, 0.0)
    value = min(total**2 / square, largest)
    relative = 2.0 * (norms / total - shares / square)
    variances = np.var(relative, axis=1, ddof=1) / count
    variance = float(variances.sum())
    if variance == 0:
        return SampledTrace(value, value, value, 0.0)
    freedom = (count - 1) * variance**2 / float(np.sum(variances**2))
    error = value * math.sqrt(variance)
    reach = max(interval_reach(1 + int(max(freedom, 1.0)))) * error
    lower, upper = max(value - reach, 0.0), min(value + reach, largest)
    return SampledTrace(value, lower, upper, error)
