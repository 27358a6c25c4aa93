"""Products with the parameter Jacobian of one group of weight sites that share their features.

``features X (M, m)`` with ``M = B T``; ``gains (M, G, S, H)``, of which the sites
``first_site .. first_site + n_sites - 1`` belong to the group; state blocks ``(M, S, H, k)``;
parameter blocks ``(n_sites, H, m, k)``. Different units never meet, so the work is divided over
units and the temporary memory stays that of a few units.

LLVM vectorises the inner loops because their indices start at 0: arrays that products take as
matrices have three axes or more for the loops.
"""

from __future__ import annotations

import numpy as np

from .._jit import jit
from .._typing import FloatArray, IntArray
from .pieces import EVERY, jit_in_pieces, on_threads
from .tiles import tile_rows

# Rows that are gathered and multiplied at a time, so that they stay in the cache.
ROWS_AT_A_TIME = 128


@jit
def _pull_back(
    features: FloatArray,
    gains: FloatArray,
    first_site: int,
    first_unit: int,
    n_chunk: int,
    q: FloatArray,
    core: FloatArray,
    place: int,
) -> None:
    # core[:, place:] (n_sites, units, m, k) = X* (D^g* q) for some units, starting at first_unit.
    n_rows, n_slots, _, k = q.shape
    n_sites, _, n_features, _ = core.shape
    n_at_a_time = min(ROWS_AT_A_TIME, tile_rows(n_rows, n_features, k))
    gathered = np.empty((n_chunk, n_at_a_time, k), q.dtype)
    product = np.empty((n_features, k), q.dtype)
    for g in range(n_sites):
        core[g, place : place + n_chunk] = 0.0
    for first in range(0, n_rows, n_at_a_time):
        n_block = min(n_at_a_time, n_rows - first)
        for g in range(n_sites):
            site = first_site + g
            for row in range(n_block):
                for u in range(n_chunk):
                    i = first_unit + u
                    gain = gains[first + row, site, 0, i]
                    for j in range(k):
                        gathered[u, row, j] = gain * q[first + row, 0, i, j]
                    for s in range(1, n_slots):
                        gain = gains[first + row, site, s, i]
                        for j in range(k):
                            gathered[u, row, j] += gain * q[first + row, s, i, j]
            for u in range(n_chunk):
                np.dot(features[first : first + n_block].T, gathered[u, :n_block], product)
                for c in range(n_features):
                    for j in range(k):
                        core[g, place + u, c, j] += product[c, j]


@jit
def _push_forward(
    features: FloatArray,
    gains: FloatArray,
    first_site: int,
    first_unit: int,
    n_chunk: int,
    core: FloatArray,
    place: int,
    out: FloatArray,
) -> None:
    # out += sum_g D^g (X core_g) for some units, starting at first_unit; core as in _pull_back.
    n_rows, n_slots, _, k = out.shape
    n_sites, _, n_features, _ = core.shape
    n_at_a_time = min(ROWS_AT_A_TIME, tile_rows(n_rows, n_features, k))
    product = np.empty((n_chunk, n_at_a_time, k), out.dtype)
    for first in range(0, n_rows, n_at_a_time):
        n_block = min(n_at_a_time, n_rows - first)
        for g in range(n_sites):
            site = first_site + g
            for u in range(n_chunk):
                np.dot(features[first : first + n_block], core[g, place + u], product[u, :n_block])
            for row in range(n_block):
                for u in range(n_chunk):
                    i = first_unit + u
                    for s in range(n_slots):
                        gain = gains[first + row, site, s, i]
                        for j in range(k):
                            out[first + row, s, i, j] += gain * product[u, row, j]


@jit_in_pieces
def site_gram(
    piece: int,
    features: tuple[FloatArray, ...],
    multiplicity: tuple[FloatArray, ...],
    gains: FloatArray,
    first_site: IntArray,
    n_sites: IntArray,
    chunk: int,
    q: FloatArray,
    out: FloatArray,
) -> None:
    """Write ``sum_g D^g (X diag(multiplicity) X* (D^g* q))`` to `out`, `chunk` units at a time.

    The sum is over the sites of all groups, each with its features and multiplicity. `out` may be
    `q`: a unit's result depends on that unit alone.
    """
    n_rows, n_slots, n_units, k = q.shape
    n_groups = len(features)
    n_core = 0
    for group in range(n_groups):
        n_core += n_sites[group] * features[group].shape[1]
    if piece == EVERY:
        on_threads((n_units + chunk - 1) // chunk)
        return
    first_unit = piece * chunk
    n_chunk = min(chunk, n_units - first_unit)
    cores = np.empty(n_core * n_chunk * k, q.dtype)
    end = 0
    for group in range(n_groups):
        X = features[group]
        shape = (n_sites[group], n_chunk, X.shape[1], k)
        start, end = end, end + n_sites[group] * n_chunk * X.shape[1] * k
        core = cores[start:end].reshape(shape)
        _pull_back(X, gains, first_site[group], first_unit, n_chunk, q, core, 0)
        for c in range(X.shape[1]):
            count = multiplicity[group][c]
            if count != 1.0:
                for g in range(n_sites[group]):
                    for u in range(n_chunk):
                        for j in range(k):
                            core[g, u, c, j] *= count
    for row in range(n_rows):
        for s in range(n_slots):
            for u in range(n_chunk):
                for j in range(k):
                    out[row, s, first_unit + u, j] = 0.0
    end = 0
    for group in range(n_groups):
        X = features[group]
        shape = (n_sites[group], n_chunk, X.shape[1], k)
        start, end = end, end + n_sites[group] * n_chunk * X.shape[1] * k
        core = cores[start:end].reshape(shape)
        _push_forward(X, gains, first_site[group], first_unit, n_chunk, core, 0, out)


@jit_in_pieces
def site_vjp(
    piece: int,
    features: FloatArray,
    gains: FloatArray,
    first_site: int,
    chunk: int,
    q: FloatArray,
    out: FloatArray,
) -> None:
    """Write ``X* (D^g* q)`` of each site to ``out (n_sites, H, m, k)``, `chunk` units at a time."""
    n_units = out.shape[1]
    if piece == EVERY:
        on_threads((n_units + chunk - 1) // chunk)
        return
    first_unit = piece * chunk
    n_chunk = min(chunk, n_units - first_unit)
    _pull_back(features, gains, first_site, first_unit, n_chunk, q, out, first_unit)


@jit_in_pieces
def add_site_jvp(
    piece: int,
    features: FloatArray,
    gains: FloatArray,
    first_site: int,
    chunk: int,
    v: FloatArray,
    out: FloatArray,
) -> None:
    """Add ``sum_g D^g (X v_g)`` for ``v (n_sites, H, m, k)`` to `out`, `chunk` units at a time."""
    n_units = v.shape[1]
    if piece == EVERY:
        on_threads((n_units + chunk - 1) // chunk)
        return
    first_unit = piece * chunk
    n_chunk = min(chunk, n_units - first_unit)
    _push_forward(features, gains, first_site, first_unit, n_chunk, v, first_unit, out)
