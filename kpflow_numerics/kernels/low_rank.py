"""Products of cells whose recurrent weights are ``W = M N*`` of rank r, without ever making W.

The state Jacobian of a step acts on a block ``v (H, k)`` as

    A_t v = carry v + gains (M (N* (inner v))),

two products of ``2 H r k`` flops each. Trials run in parallel, the BLAS on one thread inside.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._jit import jit
from .._typing import FloatArray
from .activations import activate
from .joined import load_inputs
from .pieces import EVERY, jit_in_pieces, on_threads
from .tiles import tile_rows


@jit_in_pieces
def simulate_low_rank(
    piece: int,
    inputs: FloatArray,
    weight: FloatArray,
    right: FloatArray,
    is_rate: bool,
    leak: float,
    activation: int,
    chunk: int,
    initial: FloatArray,
    states: FloatArray,
) -> None:
    """Write ``states (B, T, H)``, `chunk` trials at a time.

    `inputs` is ``(B, T, I)``; `weight`, ``(m, H)``, multiplies the joined features
    ``[N* g(h), 1, x]`` with `right` ``N (H, r)``; g is the identity of the rate form or the
    activation of the current form.
    """
    n_trials, n_steps, n_units = states.shape
    rank = right.shape[1]
    rate = states.dtype.type(leak)
    keep = states.dtype.type(1.0) - rate
    if piece == EVERY:
        on_threads((n_trials + chunk - 1) // chunk)
        return
    first = piece * chunk
    last = min(first + chunk, n_trials)
    h = initial[first:last].copy()
    read = h.copy()
    latent = np.empty((last - first, rank), states.dtype)
    u = np.ones((last - first, weight.shape[0]), states.dtype)
    a = np.empty_like(h)
    for t in range(n_steps):
        if not is_rate:
            for b in range(last - first):
                for i in range(n_units):
                    read[b, i] = activate(h[b, i], activation)
            np.dot(read, right, latent)
        else:
            np.dot(h, right, latent)
        for b in range(last - first):
            for j in range(rank):
                u[b, j] = latent[b, j]
        load_inputs(inputs, first, last, t, u)
        np.dot(u, weight, a)
        for b in range(last - first):
            for i in range(n_units):
                target = activate(a[b, i], activation) if is_rate else a[b, i]
                value = keep * h[b, i] + rate * target
                h[b, i] = value
                states[first + b, t, i] = value


@jit
def _apply_step(
    carry: Any,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    left: FloatArray,
    right_transposed: FloatArray,
    tile: int,
    v: FloatArray,
    read: FloatArray,
    latent: FloatArray,
    product: FloatArray,
    out: FloatArray,
) -> None:
    # out += carry v + gains (left (right_transposed (inner v))) for one trial and step, (H, k).
    n_units, k = v.shape
    multiplied = v
    if has_inner:
        for i in range(n_units):
            for j in range(k):
                read[i, j] = inner[i] * v[i, j]
        multiplied = read
    np.dot(right_transposed, multiplied, latent)
    for first in range(0, n_units, tile):
        last = min(first + tile, n_units)
        np.dot(left[first:last], latent, product[: last - first])
        for i in range(first, last):
            g = gains[i]
            for j in range(k):
                out[i, j] += carry * v[i, j] + g * product[i - first, j]


@jit_in_pieces
def propagate(
    trial: int,
    carry: float,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    left: FloatArray,
    right_transposed: FloatArray,
    out: FloatArray,
) -> None:
    """Replace the block ``out (B, T, H, k)`` by ``P out``."""
    n_trials, n_steps, n_units, k = out.shape
    keep = out.dtype.type(carry)
    tile = tile_rows(n_units, left.shape[1], k)
    if trial == EVERY:
        on_threads(n_trials)
        return
    read = np.empty((n_units, k), out.dtype)
    latent = np.empty((left.shape[1], k), out.dtype)
    product = np.empty((tile, k), out.dtype)
    for t in range(1, n_steps):
        _apply_step(
            keep,
            gains[trial, t],
            inner[trial, t] if has_inner else inner[0, 0],
            has_inner,
            left,
            right_transposed,
            tile,
            out[trial, t - 1],
            read,
            latent,
            product,
            out[trial, t],
        )


@jit_in_pieces
def propagate_adjoint(
    trial: int,
    carry: float,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    right: FloatArray,
    left_transposed: FloatArray,
    out: FloatArray,
) -> None:
    """Replace the block ``out (B, T, H, k)`` by ``P* out``.

    A step of the adjoint is a step with `gains` and `inner` swapped, and the factors.
    """
    n_trials, n_steps, n_units, k = out.shape
    keep = out.dtype.type(carry)
    tile = tile_rows(n_units, right.shape[1], k)
    ones = np.ones(n_units, out.dtype)
    if trial == EVERY:
        on_threads(n_trials)
        return
    read = np.empty((n_units, k), out.dtype)
    latent = np.empty((right.shape[1], k), out.dtype)
    product = np.empty((tile, k), out.dtype)
    for t in range(n_steps - 1, 0, -1):
        _apply_step(
            keep,
            inner[trial, t] if has_inner else ones,
            gains[trial, t],
            True,
            right,
            left_transposed,
            tile,
            out[trial, t],
            read,
            latent,
            product,
            out[trial, t - 1],
        )


@jit_in_pieces
def apply_state_jacobians(
    trial: int,
    carry: float,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    left: FloatArray,
    right_transposed: FloatArray,
    v: FloatArray,
    out: FloatArray,
) -> None:
    """Add ``A_t v[:, t]`` to ``out[:, t]`` for every step at once; blocks ``(B, T, H, k)``."""
    n_trials, n_steps, n_units, k = v.shape
    keep = out.dtype.type(carry)
    tile = tile_rows(n_units, left.shape[1], k)
    if trial == EVERY:
        on_threads(n_trials)
        return
    read = np.empty((n_units, k), v.dtype)
    latent = np.empty((left.shape[1], k), v.dtype)
    product = np.empty((tile, k), v.dtype)
    for t in range(n_steps):
        _apply_step(
            keep,
            gains[trial, t],
            inner[trial, t] if has_inner else inner[0, 0],
            has_inner,
            left,
            right_transposed,
            tile,
            v[trial, t],
            read,
            latent,
            product,
            out[trial, t],
        )


@jit_in_pieces
def gather_latent(
    piece: int,
    gains: FloatArray,
    left_transposed: FloatArray,
    chunk: int,
    q: FloatArray,
    latent: FloatArray,
) -> None:
    """Write ``M* (gains q)``: ``(M, H), (r, H), (M, H, k) -> (M, r, k)``, `chunk` rows a piece."""
    n_rows, n_units, k = q.shape
    if piece == EVERY:
        on_threads((n_rows + chunk - 1) // chunk)
        return
    read = np.empty((n_units, k), q.dtype)
    for row in range(piece * chunk, min((piece + 1) * chunk, n_rows)):
        for i in range(n_units):
            g = gains[row, i]
            for j in range(k):
                read[i, j] = g * q[row, i, j]
        np.dot(left_transposed, read, latent[row])


@jit_in_pieces
def add_latent(
    piece: int, gains: FloatArray, left: FloatArray, chunk: int, latent: FloatArray, out: FloatArray
) -> None:
    """Add ``gains (M latent)`` to `out`: ``(M, H), (H, r), (M, r, k) -> (M, H, k)``."""
    n_rows, n_units, k = out.shape
    tile = tile_rows(n_units, left.shape[1], k)
    if piece == EVERY:
        on_threads((n_rows + chunk - 1) // chunk)
        return
    product = np.empty((tile, k), out.dtype)
    for row in range(piece * chunk, min((piece + 1) * chunk, n_rows)):
        for first in range(0, n_units, tile):
            last = min(first + tile, n_units)
            np.dot(left[first:last], latent[row], product[: last - first])
            for i in range(first, last):
                g = gains[row, i]
                for j in range(k):
                    out[row, i, j] += g * product[i - first, j]


@jit_in_pieces
def multiply_rows(
    piece: int, left: FloatArray, right: FloatArray, chunk: int, out: FloatArray
) -> None:
    """Write the matrix product ``left @ right``, `chunk` rows a piece."""
    n_rows = left.shape[0]
    if piece == EVERY:
        on_threads((n_rows + chunk - 1) // chunk)
        return
    first = piece * chunk
    last = min(first + chunk, n_rows)
    np.dot(left[first:last], right, out[first:last])
