"""Exact closed forms for ``K = sum_g D^g X^g X^g* D^g`` of a cell with weight sites.

K couples trials and steps but no two different units, and everything below follows from that.
Memory stays a few rows of ``(B T, B T)`` matrices, or one unit's small problem, at a time. In
threads the eigensolvers are NumPy's: SciPy's wrappers of LAPACK hold the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import combinations_with_replacement, product

import numpy as np

from .._threads import map_in_threads
from .._typing import FloatArray, IntArray
from ..cells.sites import SiteGroup, WeightSites

ROWS_AT_A_TIME = 512
NORM_ROWS = 128
WELL_CONDITIONED = 1e-2


def flat_gains(sites: WeightSites) -> FloatArray:
    """Return the gains in float64 as ``(M, G, S, H)`` with ``M = B T``."""
    return sites.gains.reshape(-1, *sites.gains.shape[2:]).astype(np.float64, copy=False)


def flat_features(group: SiteGroup) -> FloatArray:
    """Return the features ``X (M, m)`` in float64, a shared bias column counted fully."""
    flat = group.weighted_features.reshape(-1, group.features.shape[-1])
    return flat.astype(np.float64, copy=False)


def over_power_of_two(array: FloatArray) -> tuple[FloatArray, int]:
    """Return an array over the power of two beyond its largest entry, and the exponent.

    Nothing is rounded but what would vanish beside that entry, and squares stay in range.
    """
    largest = max(float(np.max(array, initial=0.0)), -float(np.min(array, initial=0.0)))
    exponent = int(np.frexp(largest)[1]) if np.isfinite(largest) else 0
    return np.ldexp(array, -exponent), exponent


def trace(sites: WeightSites) -> float:
    """Return ``sum_g sum_bt |u^g_bt|^2 |D^g_bt|^2``."""
    gains = flat_gains(sites)
    total = 0.0
    for group in sites.groups:
        feature_norms = np.square(flat_features(group)).sum(axis=1)
        gain_norms = np.square(gains[:, group.sites]).sum(axis=(1, 2, 3))
        total += float(feature_norms @ gain_norms)
    return total


def squared_frobenius_norm(sites: WeightSites) -> float:
    """Return ``sum_gg' sum(G^g * G^g' * (E E*))``, ``E = D^g * D^g'`` summed over slots.

    Not finite where fourth powers of the activity overflow.
    """
    gains = flat_gains(sites)
    features = [flat_features(group) for group in sites.groups]
    products = {
        (a, b): _gain_products(gains, first.sites, second.sites)
        for (a, first), (b, second) in combinations_with_replacement(enumerate(sites.groups), 2)
    }

    def of_rows(start: int) -> float:
        rows = slice(start, start + NORM_ROWS)
        # The matrices are symmetric: the columns before these rows are counted with their mirrors.
        grams = [X[rows] @ X[start:].T for X in features]
        square = slice(0, len(grams[0]))
        total = 0.0
        for (a, b), E in products.items():
            gain_gram = E[rows] @ E[start:].T
            with np.errstate(over="ignore", invalid="ignore"):
                gain_gram *= grams[a]
                both = 2.0 * np.vdot(gain_gram, grams[b])
                total += float(both - np.vdot(gain_gram[:, square], grams[b][:, square]))
        return total

    return sum(map_in_threads(of_rows, range(0, len(gains), NORM_ROWS)))


def _gain_products(gains: FloatArray, first: range, second: range) -> FloatArray:
    """Return ``D^g * D^g'`` for two groups' sites, ``(M, pairs H)``; mirrored pairs count twice."""
    columns = []
    for a, b in product(first, second):
        if first == second and a > b:
            continue
        both = np.einsum("msh,msh->mh", gains[:, a], gains[:, b])
        columns.append(both if a == b else np.sqrt(2.0) * both)
    return np.concatenate(columns, axis=1)


def unit_factor(sites: WeightSites, unit: int) -> FloatArray:
    """Return ``M_i (S B T, sum_g m_g)`` with ``K_i = M_i M_i*``, the block of K of one unit."""
    gains = flat_gains(sites)[..., unit]
    n_rows, _, n_slots = gains.shape
    blocks = []
    for group in sites.groups:
        X = flat_features(group)
        for site in group.sites:
            block = gains[:, site].T[:, :, None] * X
            blocks.append(block.reshape(n_slots * n_rows, -1))
    return np.concatenate(blocks, axis=1)


def unit_spectra(sites: WeightSites) -> FloatArray:
    """Return the eigenvalues of K on each unit, descending, zeros included: ``(H, S B T)``."""
    size = sites.n_slots * sites.gains.shape[0] * sites.gains.shape[1]
    return np.array(
        map_in_threads(
            lambda unit: _leading_values(unit_factor(sites, unit), size), range(sites.n_units)
        )
    )


def eigenpairs(sites: WeightSites, spectra: FloatArray, k: int) -> tuple[FloatArray, FloatArray]:
    """Return the `k` largest eigenvalues and their eigenvectors ``(n, k)`` in the flat order.

    Every eigenvector lives on one unit. Null directions that `k` asks for are completed there.
    `spectra` is what :func:`unit_spectra` returned.
    """
    n_rows = sites.gains.shape[0] * sites.gains.shape[1]
    n_slots, n_units = sites.n_slots, sites.n_units
    kept = min(k, n_slots * n_rows)
    values = spectra[:, :kept]
    order = np.argsort(values, axis=None, kind="stable")[::-1][:k]
    owners, places = np.divmod(order, kept)
    chosen = np.unique(owners)
    found = map_in_threads(
        lambda unit: left_vectors(unit_factor(sites, int(unit)), places[owners == unit]), chosen
    )
    vectors = np.zeros((n_rows, n_slots, n_units, k))
    for unit, columns in zip(chosen, found, strict=True):
        of_slots = columns.reshape(n_slots, n_rows, -1).transpose(1, 0, 2)
        vectors[:, :, unit, owners == unit] = of_slots
    return values.ravel()[order], vectors.reshape(-1, k)


def left_vectors(factor: FloatArray, places: IntArray) -> FloatArray:
    """Return the left singular vectors of a factor at some places of its descending spectrum."""
    n_rows, n_columns = factor.shape
    if n_rows > n_columns > places.max():
        values, right = np.linalg.eigh(factor.T @ factor)
        chosen = values[::-1][places]
        # Dividing by a singular value amplifies the rounding of the Gram matrix by its inverse.
        if chosen.min() > WELL_CONDITIONED * values[-1]:
            return (factor @ right[:, ::-1][:, places]) / np.sqrt(chosen)
    left, _, _ = np.linalg.svd(factor, full_matrices=bool(places.max() >= n_columns))
    return left[:, places]


def partial_trace(sites: WeightSites, over: Iterable[str]) -> FloatArray:
    """Return the partial trace over some of the axes trial, time and unit.

    With the units, ``tr_H K = sum_g G^g * (D^g D^g*)``; without them, one such matrix a unit, of
    which the others are zero. Traced trials or steps are added up, layer by layer.

    Parameters
    ----------
    sites : WeightSites
        The cell's sites along the trajectory.
    over : iterable of {"trial", "time", "unit"}
        The axes summed over.

    Returns
    -------
    ndarray
        The kept axes' lengths, twice, in their order; a unit axis has the length ``N``.
    """
    traced = frozenset(over)
    if traced >= {"trial", "time", "unit"}:
        return np.array(trace(sites))
    if traced >= {"trial", "time"}:
        return _trial_time_partial_trace(sites)
    n_trials, n_steps, _, n_slots, n_units = sites.gains.shape
    lengths = {"trial": n_trials, "time": n_steps, "unit": n_slots * n_units}
    kept = tuple(length for name, length in lengths.items() if name not in traced)
    reduce = _unit_traced if "unit" in traced else _unit_kept
    return reduce(sites, traced - {"unit"}).reshape(kept + kept)


def _layers(array: FloatArray, traced: frozenset[str]) -> FloatArray:
    """Return ``(B, T, ...)`` in float64 with the traced of its two axes first, kept ones second."""
    if not traced:
        array = array.reshape(1, -1, *array.shape[2:])
    elif "time" in traced:
        array = array.swapaxes(0, 1)
    return array.astype(np.float64, copy=False)


def _batches(n_layers: int, n_rows: int) -> Iterator[tuple[slice, slice]]:
    """Yield layers and rows such that their Gram matrices hold ``ROWS_AT_A_TIME`` full rows."""
    at_once = max(1, ROWS_AT_A_TIME // n_rows)
    for layer in range(0, n_layers, at_once):
        for row in range(0, n_rows, ROWS_AT_A_TIME):
            yield slice(layer, layer + at_once), slice(row, row + ROWS_AT_A_TIME)


def _unit_traced(sites: WeightSites, traced: frozenset[str]) -> FloatArray:
    gains = _layers(sites.gains, traced)
    n_layers, n_rows = gains.shape[:2]
    total = np.zeros((n_rows, n_rows))
    for group in sites.groups:
        X = _layers(group.weighted_features, traced)
        D = gains[:, :, group.sites].reshape(n_layers, n_rows, -1)
        for layers, rows in _batches(n_layers, n_rows):
            part = X[layers, rows] @ X[layers].swapaxes(1, 2)
            part *= D[layers, rows] @ D[layers].swapaxes(1, 2)
            total[rows] += part.sum(axis=0)
    return total


def _unit_kept(sites: WeightSites, traced: frozenset[str]) -> FloatArray:
    gains = _layers(sites.gains, traced)
    n_layers, n_rows, _, n_slots, n_units = gains.shape
    features = [_layers(group.weighted_features, traced) for group in sites.groups]
    total = np.zeros((n_rows, n_slots, n_units, n_rows, n_slots, n_units))
    for layers, rows in _batches(n_layers, n_rows):
        grams = [X[layers, rows] @ X[layers].swapaxes(1, 2) for X in features]
        add = partial(
            _add_unit_blocks, total[rows], sites, grams, gains[layers, rows], gains[layers]
        )
        map_in_threads(add, range(n_units))
    return total


def _add_unit_blocks(
    total: FloatArray,
    sites: WeightSites,
    grams: Sequence[FloatArray],
    left: FloatArray,
    right: FloatArray,
    unit: int,
) -> None:
    """Add a batch of one unit to some rows ``(rows, S, H, columns, S, H)`` of the result."""
    slots = list(product(range(sites.n_slots), repeat=2))
    for group, gram in zip(sites.groups, grams, strict=True):
        for site, (a, b) in product(group.sites, slots):
            total[:, a, unit, :, b, unit] += np.einsum(
                "lrc,lr,lc->rc", gram, left[:, :, site, a, unit], right[:, :, site, b, unit]
            )


def _trial_time_partial_trace(sites: WeightSites) -> FloatArray:
    """Return the sum of K's blocks over trials and steps, shape ``(N, N)``."""
    gains = flat_gains(sites)
    n_slots, n_units = sites.n_slots, sites.n_units
    blocks = np.zeros((n_slots, n_slots, n_units))
    for group in sites.groups:
        feature_norms = np.square(flat_features(group)).sum(axis=1)
        D = gains[:, group.sites]
        blocks += np.einsum("m,mgah,mgbh->abh", feature_norms, D, D, optimize=True)
    matrix = np.zeros((n_slots, n_units, n_slots, n_units))
    diagonal = np.arange(n_units)
    matrix[:, diagonal, :, diagonal] = blocks.transpose(2, 0, 1)
    return matrix.reshape(n_slots * n_units, n_slots * n_units)


def _small_gram(factor: FloatArray) -> FloatArray:
    return factor.T @ factor if factor.shape[0] > factor.shape[1] else factor @ factor.T


def _leading_values(factor: FloatArray, k: int) -> FloatArray:
    values = np.linalg.eigvalsh(_small_gram(factor))[::-1][:k]
    return np.pad(np.maximum(values, 0.0), (0, k - len(values)))
