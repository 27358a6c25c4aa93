"""Scans of the linearised flow of cells with weight sites, forward and adjoint.

The state Jacobian of step t acts on a block ``v (S, H, k)`` as

    (A_t v)_s = sum_s' carry[s, s'] v_s' + sum_r gains[r, s] (W_r (inner v_0)),

where slot 0 is the one that the recurrent weights read. Blocks run trial by trial, the
``(R H, H) @ (H, k)`` product of a step in tiles that are used while they are in the cache. Narrow
blocks have kernels of their own, in ``columns.py``; only the products of single steps take both.
"""

from __future__ import annotations

import numpy as np

from .._jit import jit
from .._typing import FloatArray
from .pieces import EVERY, jit_in_pieces, on_threads
from .tiles import tile_rows


@jit
def _apply_step(
    carry: FloatArray,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    weight: FloatArray,
    tile: int,
    v: FloatArray,
    read: FloatArray,
    product: FloatArray,
    out: FloatArray,
) -> None:
    # out += A v for one trial and step; v and out are (S, H, k).
    n_slots, n_units, k = v.shape
    n_recurrent = weight.shape[0] // n_units
    multiplied = v[0]
    if has_inner:
        for i in range(n_units):
            for j in range(k):
                read[i, j] = inner[i] * v[0, i, j]
        multiplied = read
    for r in range(n_recurrent):
        for first in range(0, n_units, tile):
            last = min(first + tile, n_units)
            row = r * n_units + first
            np.dot(weight[row : row + last - first], multiplied, product[: last - first])
            for s in range(n_slots):
                for i in range(first, last):
                    g = gains[r, s, i]
                    for j in range(k):
                        out[s, i, j] += g * product[i - first, j]
    for s in range(n_slots):
        for source in range(n_slots):
            for i in range(n_units):
                c = carry[s, source, i]
                if c != 0.0:
                    for j in range(k):
                        out[s, i, j] += c * v[source, i, j]


@jit
def _apply_step_adjoint(
    carry: FloatArray,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    weight_transposed: FloatArray,
    tile: int,
    v: FloatArray,
    gathered: FloatArray,
    product: FloatArray,
    out: FloatArray,
) -> None:
    # out += A* v for one trial and step; v and out are (S, H, k).
    n_slots, n_units, k = v.shape
    n_recurrent = weight_transposed.shape[1] // n_units
    for r in range(n_recurrent):
        for i in range(n_units):
            row = r * n_units + i
            g = gains[r, 0, i]
            for j in range(k):
                gathered[row, j] = g * v[0, i, j]
            for s in range(1, n_slots):
                g = gains[r, s, i]
                for j in range(k):
                    gathered[row, j] += g * v[s, i, j]
    for first in range(0, n_units, tile):
        last = min(first + tile, n_units)
        np.dot(weight_transposed[first:last], gathered, product[: last - first])
        for i in range(first, last):
            factor = inner[i] if has_inner else v.dtype.type(1.0)
            for j in range(k):
                out[0, i, j] += factor * product[i - first, j]
    for source in range(n_slots):
        for s in range(n_slots):
            for i in range(n_units):
                c = carry[s, source, i]
                if c != 0.0:
                    for j in range(k):
                        out[source, i, j] += c * v[s, i, j]


@jit_in_pieces
def propagate(
    trial: int,
    carry: FloatArray,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    weight: FloatArray,
    out: FloatArray,
) -> None:
    """Replace the block ``out (B, T, S, H, k)`` by ``P out``."""
    n_trials, n_steps, _, n_units, k = out.shape
    tile = tile_rows(n_units, n_units, k)
    if trial == EVERY:
        on_threads(n_trials)
        return
    read = np.empty((n_units, k), out.dtype)
    product = np.empty((tile, k), out.dtype)
    for t in range(1, n_steps):
        _apply_step(
            carry[trial, t],
            gains[trial, t],
            inner[trial, t] if has_inner else inner[0, 0],
            has_inner,
            weight,
            tile,
            out[trial, t - 1],
            read,
            product,
            out[trial, t],
        )


@jit_in_pieces
def propagate_adjoint(
    trial: int,
    carry: FloatArray,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    weight_transposed: FloatArray,
    out: FloatArray,
) -> None:
    """Replace the block ``out (B, T, S, H, k)`` by ``P* out``."""
    n_trials, n_steps, _, n_units, k = out.shape
    tile = tile_rows(n_units, weight_transposed.shape[1], k)
    if trial == EVERY:
        on_threads(n_trials)
        return
    gathered = np.empty((weight_transposed.shape[1], k), out.dtype)
    product = np.empty((tile, k), out.dtype)
    for t in range(n_steps - 1, 0, -1):
        _apply_step_adjoint(
            carry[trial, t],
            gains[trial, t],
            inner[trial, t] if has_inner else inner[0, 0],
            has_inner,
            weight_transposed,
            tile,
            out[trial, t],
            gathered,
            product,
            out[trial, t - 1],
        )


@jit_in_pieces
def apply_state_jacobians(
    trial: int,
    carry: FloatArray,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    weight: FloatArray,
    v: FloatArray,
    out: FloatArray,
) -> None:
    """Add ``A_t v[:, t]`` to ``out[:, t]`` for every step at once; blocks ``(B, T, S, H, k)``."""
    n_trials, n_steps, _, n_units, k = v.shape
    tile = tile_rows(n_units, n_units, k)
    if trial == EVERY:
        on_threads(n_trials)
        return
    read = np.empty((n_units, k), v.dtype)
    product = np.empty((tile, k), v.dtype)
    for t in range(n_steps):
        _apply_step(
            carry[trial, t],
            gains[trial, t],
            inner[trial, t] if has_inner else inner[0, 0],
            has_inner,
            weight,
            tile,
            v[trial, t],
            read,
            product,
            out[trial, t],
        )


@jit_in_pieces
def apply_state_jacobians_adjoint(
    trial: int,
    carry: FloatArray,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    weight_transposed: FloatArray,
    v: FloatArray,
    out: FloatArray,
) -> None:
    """Add ``A_t* v[:, t]`` to ``out[:, t]`` for every step at once; blocks ``(B, T, S, H, k)``."""
    n_trials, n_steps, _, n_units, k = v.shape
    tile = tile_rows(n_units, weight_transposed.shape[1], k)
    if trial == EVERY:
        on_threads(n_trials)
        return
    gathered = np.empty((weight_transposed.shape[1], k), v.dtype)
    product = np.empty((tile, k), v.dtype)
    for t in range(n_steps):
        _apply_step_adjoint(
            carry[trial, t],
            gains[trial, t],
            inner[trial, t] if has_inner else inner[0, 0],
            has_inner,
            weight_transposed,
            tile,
            v[trial, t],
            gathered,
            product,
            out[trial, t],
        )
