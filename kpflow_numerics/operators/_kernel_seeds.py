"""Few seeds that hold a trial's K, and the tangent kernel's trace through their sensitivities.

Within a trial K is block diagonal over units, ``K_i = sum_k l_ik v_ik v_ik*``, and

    tr(P K P*) = sum_ik l_ik |P e_i v_ik|^2,

a sum over scans seeded with the eigenvectors. What is left out is positive semi-definite and at
most ``l_(i, r_i + 1)`` on unit i, so that it adds at most ``sum_i l_(i, r_i + 1) o_i`` to the
trace, with ``o_i = |P e_i|_F^2 = sum_t (O_t)_ii`` from the observability Gramians ``O_t``. The
activity of one trial is smooth in time: a few seeds a unit hold nearly all of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .._typing import FloatArray, IntArray
from ..cells.sites import WeightSites
from ._site_terms import SiteTerms

ROUNDING = float(np.finfo(np.float64).eps)
"""Share of the whole below which nothing is computed."""

COLUMNS_AT_A_TIME = 256


@dataclass(frozen=True, eq=False)
class UnitSeeds:
    """Eigenpairs of a trial's blocks of K, unit by unit: with their roots, a factor of the trial.

    Attributes
    ----------
    values : ndarray, shape (H, S T)
        Eigenvalues of each unit's block, descending and not negative.
    vectors : ndarray, shape (H, S, T, S T)
        Their eigenvectors over slots and steps, last axis like the second of `values`.
    """

    values: FloatArray
    vectors: FloatArray

    @cached_property
    def above_rounding(self) -> tuple[IntArray, IntArray]:
        """Units and places of the eigenvalues that are more than rounding on their unit."""
        smallest = self.values.shape[1] * ROUNDING * self.values[:, :1]
        units, places = np.nonzero(self.values > smallest)
        return units, places

    @property
    def n_above_rounding(self) -> int:
        """How many those are."""
        return len(self.above_rounding[0])

    def scaled(self, units: IntArray, places: IntArray) -> FloatArray:
        """Return ``sqrt(l) v`` of some seeds as ``(columns, S, T)``."""
        roots = np.sqrt(self.values[units, places])
        found: FloatArray = self.vectors[units, :, :, places] * roots[:, None, None]
        return found

    def block(self, units: IntArray, places: IntArray) -> FloatArray:
        """Return ``sqrt(l) e_i v`` of some seeds as ``(T, S H, columns)``."""
        n_units, n_slots, n_steps, _ = self.vectors.shape
        columns = len(units)
        block = np.zeros((n_steps, n_slots, n_units, columns))
        block[:, :, units, np.arange(columns)] = self.scaled(units, places).transpose(2, 1, 0)
        return block.reshape(n_steps, n_slots * n_units, columns)

    def blocks(self) -> Iterator[FloatArray]:
        """Yield all seeds above rounding, a block at a time, which the caller may overwrite."""
        units, places = self.above_rounding
        for first in range(0, len(units), COLUMNS_AT_A_TIME):
            chunk = slice(first, first + COLUMNS_AT_A_TIME)
            yield self.block(units[chunk], places[chunk])


def unit_seeds(terms: SiteTerms) -> UnitSeeds:
    """Return the eigenpairs of each unit's block of K on one trial, ``9 H (S T)^3`` flops."""
    values, vectors = np.linalg.eigh(terms.unit_blocks())
    shape = (terms.n_units, terms.n_slots, terms.dims[1], values.shape[1])
    return UnitSeeds(np.maximum(values[:, ::-1], 0.0), vectors[:, :, ::-1].reshape(shape))


def seed_bytes(n_units: int, size: int) -> float:
    """Return the bytes that the seeds of one trial take while they are made."""
    return 8.0 * 4.0 * n_units * float(size) ** 2


def may_be_few(terms: SiteTerms) -> bool:
    """Whether the features of a trial have so low a rank that its seeds can be few.

    The rank of a unit's block of K is mostly no lower than that of the features.
    """
    return all(2 * np.linalg.matrix_rank(X) < terms.dims[1] for X in terms.features)


def expected_flops(sites: WeightSites, width: float) -> float:
    """Guess the flops of :func:`trace_bounds`: some two seeds a unit, and two a decimal."""
    n_trials, n_steps, _, n_slots, n_units = sites.gains.shape
    n_state, size = n_slots * n_units, n_slots * n_steps
    decimals = -math.log10(max(width, 1e-16))
    n_seeds = n_units * min(size, 2.0 + 4.0 * decimals)
    scans = 2.0 * n_steps * n_state**2 * n_seeds
    gramian = 4.0 * n_steps * float(n_state) ** 3
    return n_trials * (scans + gramian + 9.0 * n_units * float(size) ** 3)


def memory_bytes(sites: WeightSites) -> float:
    """Return the bytes that the bounds of one trial's trace take.

    The seeds are made; beside them the Jacobians are, in float64 from another precision; and then
    some seeds are moved along, of which two steps are held.
    """
    _, n_steps, _, n_slots, n_units = sites.gains.shape
    n_state, size = n_slots * n_units, n_slots * n_steps
    kept, jacobians = float(n_units) * size**2, float(n_steps) * n_state**2
    block = COLUMNS_AT_A_TIME * 2.0 * (n_state + size)
    return 8.0 * max(3.0 * kept, kept + 2.0 * jacobians, kept + jacobians + block)


def trace_bounds(seeds: UnitSeeds, A: FloatArray, width: float) -> tuple[float, float]:
    """Return bounds of ``tr NTK`` on one trial.

    Parameters
    ----------
    seeds : UnitSeeds
        The trial's.
    A : ndarray, shape (T, N, N)
        Its state Jacobians, in the precision that the scans run in.
    width : float
        The upper bound exceeds the lower by at most this share of it. At 0 all seeds above
        rounding are taken.
    """
    n_units, size = seeds.values.shape
    weights = seeds.values * _observed(A).reshape(-1, n_units).sum(axis=0)[:, None]
    order = np.argsort(weights, axis=None, kind="stable")[::-1]
    units, places = np.divmod(order, size)
    n_taken = np.zeros(n_units, dtype=np.int64)
    total, used = 0.0, 0
    while True:
        left = n_taken < size
        left_out = float(weights[left, n_taken[left]].sum())
        if left_out <= max(width, ROUNDING) * total or used == len(order):
            return total, total + left_out
        columns = slice(used, used + COLUMNS_AT_A_TIME)
        total += _sum_of_squares(seeds, units[columns], places[columns], A)
        np.add.at(n_taken, units[columns], 1)
        used = min(columns.stop, len(order))


def _observed(A: FloatArray) -> FloatArray:
    """Return ``o_i = sum_t (O_t)_ii`` for each entry of the state."""
    n_state = A.shape[1]
    gramian = np.eye(n_state, dtype=A.dtype)
    total = np.ones(n_state)
    for t in range(len(A) - 1, 0, -1):
        gramian = A[t].T @ gramian @ A[t]
        gramian.flat[:: n_state + 1] += 1.0
        total += gramian.diagonal()
    return total


def _sum_of_squares(seeds: UnitSeeds, units: IntArray, places: IntArray, A: FloatArray) -> float:
    """Return ``|P X|_F^2`` for the block X of some seeds of one trial.

    A column of X is zero but for its unit, so that the block itself is never made.
    """
    n_units, n_slots = seeds.values.shape[0], seeds.vectors.shape[1]
    columns = np.arange(len(units))
    steps = seeds.scaled(units, places).transpose(2, 1, 0).astype(A.dtype, copy=False)
    Z, following = np.zeros((2, n_slots, n_units, len(units)), A.dtype)
    total = 0.0
    for t, step in enumerate(steps):
        if t > 0:
            np.matmul(A[t], Z.reshape(len(A[t]), -1), out=following.reshape(len(A[t]), -1))
            Z, following = following, Z
        Z[:, units, columns] += step
        # Sums over units in the precision of the products, and over all else in float64.
        squares = np.einsum("shk,shk->sk", Z, Z)
        total += float(np.sum(squares, dtype=np.float64))
    return total
