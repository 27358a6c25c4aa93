"""K across (trial, time) | unit: the Gram matrix of its unit blocks, tile by tile.

K is the sum of ``K[(a, i), (b, j)]`` over pairs of units; as a matrix with a row for each pair
``(a, b)`` of trials and steps and a column for each pair ``(i, j)`` of states its singular values
are the Schmidt values of K (Van Loan and Pitsianis 1993). No two different units are coupled, so
the columns that are not zero are the ``S^2 H`` blocks

``w[(a, b), (s, s', h)] = sum_g G^g[a, b] D^g[a, s, h] D^g[b, s', h]``,

a Khatri-Rao structure. The block of ``(s', s)`` is the transpose of that of ``(s, s')``: their
sum and difference are symmetric and antisymmetric, hence orthogonal to each other, and half of the
pairs ``(a, b)`` is enough.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import scipy.linalg

from .._threads import map_in_threads, n_threads
from .._typing import FloatArray
from .._validation import InputError
from ..cells.sites import WeightSites
from ..results import Cost
from ._site_gram import flat_features, flat_gains, over_power_of_two

TILE = 40


class _Tiles:
    """Rows of the realigned K, in tiles of pairs of trials and steps.

    Each tile is a pair of arrays: the symmetric columns ``(pairs, S (S + 1) / 2, H)`` and the
    antisymmetric ones ``(pairs, S (S - 1) / 2, H)``, of unit norm as matrices on the units.
    They are over ``2^exponent``, so that their squares stay in range.
    """

    def __init__(self, sites: WeightSites) -> None:
        self.gains, of_gains = over_power_of_two(flat_gains(sites))
        self.n_rows, _, self.n_slots, self.n_units = self.gains.shape
        features = [flat_features(group) for group in sites.groups]
        scaled, of_features = over_power_of_two(np.concatenate(features, axis=1))
        self.features = np.split(scaled, np.cumsum([X.shape[1] for X in features])[:-1], axis=1)
        self.exponent = 2 * (of_gains + of_features)
        self.members = [group.sites for group in sites.groups]
        self.mixed = list(combinations(range(self.n_slots), 2))

    @property
    def shares(self) -> list[list[tuple[int, int]]]:
        """The tiles on and above the diagonal, shared equally between the threads."""
        starts = range(0, self.n_rows, TILE)
        tiles = [(a, b) for a in starts for b in starts if b >= a]
        return [tiles[first :: n_threads()] for first in range(n_threads())]

    def columns(self, a: int, b: int) -> tuple[FloatArray, FloatArray]:
        """Return one tile's symmetric and antisymmetric columns, as matrices."""
        left, right = self.gains[a : a + TILE], self.gains[b : b + TILE]
        blocks = np.zeros((len(left), len(right), self.n_slots, self.n_slots, self.n_units))
        part = np.empty((len(left), len(right), self.n_units))
        for X, members in zip(self.features, self.members, strict=True):
            gram = X[a : a + TILE] @ X[b : b + TILE].T
            for site in members:
                for s in range(self.n_slots):
                    weighted = gram[:, :, None] * left[:, None, site, s]
                    for r in range(self.n_slots):
                        np.multiply(weighted, right[None, :, site, r], out=part)
                        blocks[:, :, s, r] += part
        return self._by_symmetry(blocks)

    def _by_symmetry(self, blocks: FloatArray) -> tuple[FloatArray, FloatArray]:
        n_pairs = blocks.shape[0] * blocks.shape[1]
        if self.n_slots == 1:
            return blocks.reshape(n_pairs, -1), np.zeros((n_pairs, 0))
        root = np.sqrt(0.5)
        symmetric = [blocks[:, :, s, s] for s in range(self.n_slots)]
        symmetric += [root * (blocks[:, :, s, r] + blocks[:, :, r, s]) for s, r in self.mixed]
        odd = [root * (blocks[:, :, s, r] - blocks[:, :, r, s]) for s, r in self.mixed]
        return (
            np.stack(symmetric, axis=2).reshape(n_pairs, -1),
            np.stack(odd, axis=2).reshape(n_pairs, -1),
        )

    def unit_matrix(self, vector: FloatArray, symmetric: bool) -> FloatArray:
        """Return the matrix ``(N, N)`` on the units of a combination of the columns."""
        S, H = self.n_slots, self.n_units
        matrix = np.zeros((S, H, S, H))
        units = np.arange(H)
        parts = vector.reshape(-1, H)
        for s in range(S if symmetric else 0):
            matrix[s, units, s, units] = parts[s]
        root = np.sqrt(0.5)
        for place, (s, r) in enumerate(self.mixed):
            part = root * parts[place + (S if symmetric else 0)]
            matrix[s, units, r, units] = part
            matrix[r, units, s, units] = part if symmetric else -part
        return matrix.reshape(S * H, S * H)


def decompose(sites: WeightSites) -> tuple[FloatArray, FloatArray, float]:
    """Return all Schmidt values, the leading factor on the units, and the distance from it.

    The distance comes from a second pass: the small eigenvalues of the Gram matrix know it only
    to the root of the rounding.

    Raises
    ------
    InputError
        If the values leave the range of floats.
    """
    tiles = _Tiles(sites)
    shares = map_in_threads(lambda share: _gram_of_share(tiles, share), tiles.shares)
    even, odd = (scipy.linalg.eigh(np.sum(grams, axis=0)) for grams in zip(*shares, strict=True))
    squares = np.sort(np.concatenate([even[0], odd[0]]))[::-1]
    # Every block (s, s) is positive semi-definite: the leading matrix on the units is symmetric.
    leading = even[1][:, -1]
    factor = tiles.unit_matrix(leading, symmetric=True)
    rests = map_in_threads(lambda share: _rest_of_share(tiles, share, leading), tiles.shares)
    if np.trace(factor) < 0:
        factor = -factor
    values = np.sqrt(np.maximum(squares, 0.0))
    _check_range(float(values[0]), tiles.exponent)
    rest = np.sqrt(sum(rests))
    return np.ldexp(values, tiles.exponent), factor, float(np.ldexp(rest, tiles.exponent))


def _check_range(largest: float, exponent: int) -> None:
    info = np.finfo(np.float64)
    if largest > 0 and not info.minexp < math.frexp(largest)[1] + exponent < info.maxexp:
        size = math.log10(largest) + exponent * math.log10(2)
        raise InputError(
            f"The Schmidt values of this K are about 1e{size:+.0f}, out of the range of float64: "
            "scale inputs or parameters."
        )


def _weight(a: int, b: int) -> float:
    """Return how often a tile stands for itself: those beside the diagonal have a mirror image."""
    return 1.0 if a == b else 2.0


def _gram_of_share(tiles: _Tiles, share: list[tuple[int, int]]) -> tuple[FloatArray, FloatArray]:
    n_even = tiles.n_slots * (tiles.n_slots + 1) // 2 * tiles.n_units
    n_odd = len(tiles.mixed) * tiles.n_units
    even_gram, odd_gram = np.zeros((n_even, n_even)), np.zeros((n_odd, n_odd))
    for a, b in share:
        for gram, columns in zip((even_gram, odd_gram), tiles.columns(a, b), strict=True):
            gram += _weight(a, b) * (columns.T @ columns)
    return even_gram, odd_gram


def _rest_of_share(tiles: _Tiles, share: list[tuple[int, int]], leading: FloatArray) -> float:
    total = 0.0
    for a, b in share:
        even, odd = tiles.columns(a, b)
        even -= np.multiply.outer(even @ leading, leading)
        total += _weight(a, b) * float(np.vdot(even, even) + np.vdot(odd, odd))
    return total


def cost(sites: WeightSites) -> Cost:
    """Return what :func:`decompose` takes."""
    n_trials, n_steps, n_sites, S, H = sites.gains.shape
    n_rows = float(n_trials * n_steps)
    m = sum(group.features.shape[-1] for group in sites.groups)
    even, odd = S * (S + 1) // 2 * H, S * (S - 1) // 2 * H
    pairs = n_rows * (n_rows + TILE) / 2.0
    flops = pairs * (float(even) ** 2 + odd**2 + 4.0 * (m + 2.0 * n_sites * S**2 * H))
    tile = TILE**2 * (4.0 * S**2 + 2.0) * H
    memory = n_threads() * (tile + 2.0 * (even**2 + odd**2)) + n_rows * m + 2.0 * (S * H) ** 2
    return Cost(flops + 10.0 * (float(even) ** 3 + odd**3), 8.0 * memory)
