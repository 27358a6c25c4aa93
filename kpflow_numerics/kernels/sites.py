"""Products with the parameter Jacobian of one group of weight sites that share their features.

``features X (M, m)`` with ``M = B T``; ``gains (M, G, S, H)``, of which the sites
``first .. first + n_sites - 1`` belong to the group; state blocks ``(M, S, H, k)``; parameter
blocks ``(n_sites, H, m, k)``. Different units never meet, so the work is divided over units and
the temporary memory stays that of a few units.
"""

from __future__ import annotations

import numba
import numpy as np

from .._jit import jit, jit_parallel
from .._typing import FloatArray


@jit
def _gather(
    gains: FloatArray, site: int, first_unit: int, q: FloatArray, gathered: FloatArray
) -> None:
    # gathered[(b, t), (unit, column)] = sum_s gains[s] q_s for some units of one site.
    n_rows, n_slots, _, k = q.shape
    n_chunk = gathered.shape[1] // k
    for row in range(n_rows):
        for u in range(n_chunk):
            i = first_unit + u
            g = gains[row, site, 0, i]
            for j in range(k):
                gathered[row, u * k + j] = g * q[row, 0, i, j]
            for s in range(1, n_slots):
                g = gains[row, site, s, i]
                for j in range(k):
                    gathered[row, u * k + j] += g * q[row, s, i, j]


@jit
def _scatter(
    gains: FloatArray, site: int, first_unit: int, gathered: FloatArray, out: FloatArray
) -> None:
    # The adjoint of _gather, added to out.
    n_rows, n_slots, _, k = out.shape
    n_chunk = gathered.shape[1] // k
    for row in range(n_rows):
        for u in range(n_chunk):
            i = first_unit + u
            for s in range(n_slots):
                g = gains[row, site, s, i]
                for j in range(k):
                    out[row, s, i, j] += g * gathered[row, u * k + j]


@jit_parallel
def add_site_gram(
    features: FloatArray,
    multiplicity: FloatArray,
    gains: FloatArray,
    first: int,
    n_sites: int,
    chunk: int,
    q: FloatArray,
    out: FloatArray,
) -> None:
    """Add ``sum_g D^g (X diag(multiplicity) X* (D^g* q))`` to `out`, `chunk` units at a time."""
    n_units, k = q.shape[2], q.shape[3]
    for piece in numba.prange((n_units + chunk - 1) // chunk):
        first_unit = piece * chunk
        n_chunk = min(chunk, n_units - first_unit)
        gathered = np.empty((q.shape[0], n_chunk * k), q.dtype)
        core = np.empty((features.shape[1], n_chunk * k), q.dtype)
        for site in range(first, first + n_sites):
            _gather(gains, site, first_unit, q, gathered)
            np.dot(features.T, gathered, core)
            for c in range(features.shape[1]):
                if multiplicity[c] != 1.0:
                    for j in range(n_chunk * k):
                        core[c, j] *= multiplicity[c]
            np.dot(features, core, gathered)
            _scatter(gains, site, first_unit, gathered, out)


@jit_parallel
def site_vjp(
    features: FloatArray,
    gains: FloatArray,
    first: int,
    chunk: int,
    q: FloatArray,
    out: FloatArray,
) -> None:
    """Write ``X* (D^g* q)`` of each site to ``out (n_sites, H, m, k)``."""
    n_units, k = q.shape[2], q.shape[3]
    for piece in numba.prange((n_units + chunk - 1) // chunk):
        first_unit = piece * chunk
        n_chunk = min(chunk, n_units - first_unit)
        gathered = np.empty((q.shape[0], n_chunk * k), q.dtype)
        core = np.empty((features.shape[1], n_chunk * k), q.dtype)
        for g in range(out.shape[0]):
            _gather(gains, first + g, first_unit, q, gathered)
            np.dot(features.T, gathered, core)
            for u in range(n_chunk):
                for c in range(features.shape[1]):
                    for j in range(k):
                        out[g, first_unit + u, c, j] = core[c, u * k + j]


@jit_parallel
def add_site_jvp(
    features: FloatArray,
    gains: FloatArray,
    first: int,
    chunk: int,
    v: FloatArray,
    out: FloatArray,
) -> None:
    """Add ``sum_g D^g (X v_g)`` for ``v (n_sites, H, m, k)`` to ``out (M, S, H, k)``."""
    n_units, k = out.shape[2], out.shape[3]
    for piece in numba.prange((n_units + chunk - 1) // chunk):
        first_unit = piece * chunk
        n_chunk = min(chunk, n_units - first_unit)
        gathered = np.empty((out.shape[0], n_chunk * k), out.dtype)
        core = np.empty((features.shape[1], n_chunk * k), out.dtype)
        for g in range(v.shape[0]):
            for u in range(n_chunk):
                for c in range(features.shape[1]):
                    for j in range(k):
                        core[c, u * k + j] = v[g, first_unit + u, c, j]
            np.dot(features, core, gathered)
            _scatter(gains, first + g, first_unit, gathered, out)


@jit_parallel
def gather_column(gains: FloatArray, q: FloatArray, gathered: FloatArray) -> None:
    """Write ``D^g* q`` of every site for one column ``q (M, S, H)`` to ``(M, G, H)``."""
    n_rows, n_sites, n_slots, n_units = gains.shape
    for row in numba.prange(n_rows):
        for g in range(n_sites):
            for i in range(n_units):
                gathered[row, g, i] = gains[row, g, 0, i] * q[row, 0, i]
            for s in range(1, n_slots):
                for i in range(n_units):
                    gathered[row, g, i] += gains[row, g, s, i] * q[row, s, i]
