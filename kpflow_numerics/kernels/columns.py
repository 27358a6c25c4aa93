"""Products with narrow blocks, from one column to a dozen, of cells with weight sites.

Each trial and column is a row, and so is each trial, step and column for the parameters: the
products of a step are ``(trials k, H) @ (H, R H)``, those with the parameters
``(rows, m) @ (m, H)`` for each site and column, in tiles that stay in registers. A thread runs its
trials from one end to the other. ``J* P*`` goes on to the parameters, and ``P J`` from them, after
every few steps, while the rows are in the cache: neither writes what stands between the two. ``J``
and ``J*`` alone are the same with every step a trial of its own.

Blocks are ``(B, T, S, H, k)``, ``features X (B T, m)`` one array a group of sites, and parameters
one vector that holds ``(sites, k, m, H)`` of one group after another.
"""

from __future__ import annotations

import numpy as np

from .._jit import jit
from .._typing import BoolArray, FloatArray, IntArray
from .pieces import EVERY, jit_in_pieces, on_threads
from .products import fetch, multiply

# The widest block that is a narrow one.
MOST_COLUMNS = 12
# Rows of trials and steps that are multiplied by features at a time.
ROWS_AT_A_TIME = 128


@jit
def steps_at_a_time(n_trials: int, n_steps: int) -> int:
    """Return how many steps of some trials give about `ROWS_AT_A_TIME` rows, in equal parts."""
    n_parts = max(1, (n_trials * n_steps + ROWS_AT_A_TIME // 2) // ROWS_AT_A_TIME)
    return -(-n_steps // min(n_parts, n_steps))


@jit
def _read_step(block: FloatArray, t: int, rows: FloatArray) -> None:
    # rows (trials, S, k, H) = one step of block (trials, T, S, H, k)
    n_trials, n_slots, k, n_units = rows.shape
    for b in range(n_trials):
        for s in range(n_slots):
            for j in range(k):
                for i in range(n_units):
                    rows[b, s, j, i] = block[b, t, s, i, j]


@jit
def _write_step(rows: FloatArray, t: int, block: FloatArray) -> None:
    # One step of block (trials, T, S, H, k) = rows (trials, S, k, H)
    n_trials, n_slots, k, n_units = rows.shape
    for b in range(n_trials):
        for s in range(n_slots):
            for j in range(k):
                for i in range(n_units):
                    block[b, t, s, i, j] = rows[b, s, j, i]


@jit
def _fetch_step(array: FloatArray, t: int) -> None:
    # Ask for one step of array (trials, T, ...), each trial's far from the others'.
    n_trials, n_steps = array.shape[:2]
    if 0 <= t < n_steps:
        size = array.size // (n_trials * n_steps)
        for b in range(n_trials):
            start = (b * n_steps + t) * size
            for place in range(start, start + size, 64 // array.itemsize):
                fetch(array, place)


@jit
def _add(a: FloatArray, out: FloatArray) -> None:
    n_trials, n_slots, k, n_units = a.shape
    for b in range(n_trials):
        for s in range(n_slots):
            for j in range(k):
                for i in range(n_units):
                    out[b, s, j, i] += a[b, s, j, i]


@jit
def _multiply_state(
    inner: FloatArray,
    has_inner: bool,
    weight_transposed: FloatArray,
    t: int,
    v: FloatArray,
    read: FloatArray,
    product: FloatArray,
) -> None:
    # product (trials, k, R, H) = W (inner v_0) for one step; v is (trials, S, k, H).
    n_trials, _, k, n_units = v.shape
    for b in range(n_trials):
        for j in range(k):
            if has_inner:
                for i in range(n_units):
                    read[b, j, i] = inner[b, t, i] * v[b, 0, j, i]
            else:
                for i in range(n_units):
                    read[b, j, i] = v[b, 0, j, i]
    rows = n_trials * k
    multiply(
        read.reshape(rows, n_units),
        False,
        weight_transposed,
        product.reshape(rows, weight_transposed.shape[1]),
    )


@jit
def _add_carried(
    carry: FloatArray, is_carried: BoolArray, t: int, v: FloatArray, out: FloatArray
) -> None:
    # out_s += sum_s' carry[s, s'] v_s' for one step; v and out are (trials, S, k, H).
    n_trials, n_slots, k, n_units = v.shape
    for s in range(n_slots):
        for source in range(n_slots):
            if is_carried[s, source]:
                for b in range(n_trials):
                    for j in range(k):
                        for i in range(n_units):
                            out[b, s, j, i] += carry[b, t, s, source, i] * v[b, source, j, i]


@jit
def _drive(gains: FloatArray, t: int, a: FloatArray, first_row: int, driven: FloatArray) -> None:
    # driven (G, k, rows, H) from a row on = D^g* a for one step; a is (trials, S, k, H).
    n_trials, n_slots, k, n_units = a.shape
    for b in range(n_trials):
        for g in range(len(driven)):
            for j in range(k):
                for i in range(n_units):
                    driven[g, j, first_row + b, i] = gains[b, t, g, 0, i] * a[b, 0, j, i]
                for s in range(1, n_slots):
                    for i in range(n_units):
                        driven[g, j, first_row + b, i] += gains[b, t, g, s, i] * a[b, s, j, i]


@jit
def _gather(driven: FloatArray, first_row: int, gathered: FloatArray) -> None:
    # gathered (trials, k, R, H) = the rows of one step of driven (G, k, rows, H)
    n_trials, k, n_recurrent, n_units = gathered.shape
    for b in range(n_trials):
        for j in range(k):
            for r in range(n_recurrent):
                for i in range(n_units):
                    gathered[b, j, r, i] = driven[r, j, first_row + b, i]


@jit
def _add_product(product: FloatArray, first_row: int, driven: FloatArray) -> None:
    # The rows of one step of driven (G, k, rows, H) += product (trials, k, R, H)
    n_trials, k, n_recurrent, n_units = product.shape
    for b in range(n_trials):
        for j in range(k):
            for r in range(n_recurrent):
                for i in range(n_units):
                    driven[r, j, first_row + b, i] += product[b, j, r, i]


@jit
def _follow(gains: FloatArray, t: int, driven: FloatArray, first_row: int, v: FloatArray) -> None:
    # v (trials, S, k, H) = sum_g D^g driven_g for one step; driven is (G, k, rows, H).
    n_trials, n_slots, k, n_units = v.shape
    for b in range(n_trials):
        for s in range(n_slots):
            for j in range(k):
                for i in range(n_units):
                    v[b, s, j, i] = gains[b, t, 0, s, i] * driven[0, j, first_row + b, i]
                for g in range(1, len(driven)):
                    for i in range(n_units):
                        v[b, s, j, i] += gains[b, t, g, s, i] * driven[g, j, first_row + b, i]


@jit
def _pull_to_previous(
    carry: FloatArray,
    is_carried: BoolArray,
    inner: FloatArray,
    has_inner: bool,
    weight: FloatArray,
    t: int,
    a: FloatArray,
    gathered: FloatArray,
    product: FloatArray,
    pulled: FloatArray,
) -> None:
    # pulled = A_t* a for some trials; gathered (trials, k, R, H) holds the gains times a.
    n_trials, n_slots, k, n_units = a.shape
    rows = n_trials * k
    multiply(gathered.reshape(rows, weight.shape[0]), False, weight, product.reshape(rows, n_units))
    for b in range(n_trials):
        for j in range(k):
            if has_inner:
                for i in range(n_units):
                    pulled[b, 0, j, i] = inner[b, t, i] * product[b, j, i]
            else:
                for i in range(n_units):
                    pulled[b, 0, j, i] = product[b, j, i]
            for source in range(1, n_slots):
                for i in range(n_units):
                    pulled[b, source, j, i] = 0.0
        for source in range(n_slots):
            for s in range(n_slots):
                if is_carried[s, source]:
                    for j in range(k):
                        for i in range(n_units):
                            pulled[b, source, j, i] += carry[b, t, s, source, i] * a[b, s, j, i]


@jit
def _pack(
    X: FloatArray, first_trial: int, n_trials: int, n_steps: int, first: int, packed: FloatArray
) -> None:
    # Rows of the features step by step, all trials of a step beside one another.
    n_rows, n_features = packed.shape
    for b in range(n_trials):
        for step in range(n_rows // n_trials):
            place = (first_trial + b) * n_steps + first + step
            for c in range(n_features):
                packed[step * n_trials + b, c] = X[place, c]


@jit
def _most_features(features: tuple[FloatArray, ...]) -> int:
    most = 0
    for group in range(len(features)):
        most = max(most, features[group].shape[1])
    return most


@jit_in_pieces
def pull_back(
    piece: int,
    carry: FloatArray,
    is_carried: BoolArray,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    weight: FloatArray,
    features: tuple[FloatArray, ...],
    first_site: IntArray,
    n_sites: IntArray,
    chunk: int,
    q: FloatArray,
    out: FloatArray,
) -> None:
    """Write ``J* P* q`` to `out`, one share for each piece of `chunk` trials.

    ``out (pieces, parameters)`` must be summed over the pieces. ``is_carried (S, S)`` tells which
    slots of `carry` are not zero.
    """
    if piece == EVERY:
        on_threads(len(out))
        return
    n_steps, n_slots, n_units, k = q.shape[1:]
    n_recurrent = weight.shape[0] // n_units
    most = _most_features(features)
    part = np.empty(most * n_units, q.dtype)
    core = out[piece]
    for i in range(core.size):
        core[i] = 0.0
    end = min((piece + 1) * chunk, len(q))
    for first_trial in range(piece * chunk, end, ROWS_AT_A_TIME):
        n_trials = min(ROWS_AT_A_TIME, end - first_trial)
        trials = slice(first_trial, first_trial + n_trials)
        some_carry, some_gains, some_q = carry[trials], gains[trials], q[trials]
        some_inner = inner[trials] if has_inner else inner
        n_at_a_time = steps_at_a_time(n_trials, n_steps)
        driven = np.empty((gains.shape[2], k, n_at_a_time * n_trials, n_units), q.dtype)
        buffer = np.empty(n_at_a_time * n_trials * most, q.dtype)
        n_moved = n_trials if n_steps > 1 else 0
        gathered = np.empty((n_moved, k, n_recurrent, n_units), q.dtype)
        product = np.empty((n_moved, k, n_units), q.dtype)
        a = np.empty((n_trials, n_slots, k, n_units), q.dtype)
        pulled = np.zeros((n_moved, n_slots, k, n_units), q.dtype)
        for last in range(n_steps, 0, -n_at_a_time):
            first = max(0, last - n_at_a_time)
            for t in range(last - 1, first - 1, -1):
                row = (t - first) * n_trials
                _fetch_step(some_q, t - 1)
                _fetch_step(some_gains, t - 1)
                _read_step(some_q, t, a)
                _add(pulled, a)
                _drive(some_gains, t, a, row, driven)
                if t > 0:
                    _gather(driven, row, gathered)
                    _pull_to_previous(
                        some_carry,
                        is_carried,
                        some_inner,
                        has_inner,
                        weight,
                        t,
                        a,
                        gathered,
                        product,
                        pulled,
                    )
            n_rows = (last - first) * n_trials
            start = 0
            for group in range(len(features)):
                n_features = features[group].shape[1]
                size = n_features * n_units
                packed = buffer[: n_rows * n_features].reshape(n_rows, n_features)
                _pack(features[group], first_trial, n_trials, n_steps, first, packed)
                of_part = part[:size].reshape(n_features, n_units)
                for g in range(n_sites[group]):
                    for j in range(k):
                        multiply(packed, True, driven[first_site[group] + g, j, :n_rows], of_part)
                        total = core[start : start + size]
                        for i in range(size):
                            total[i] += part[i]
                        start += size


@jit_in_pieces
def push_forward(
    piece: int,
    carry: FloatArray,
    is_carried: BoolArray,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    weight_transposed: FloatArray,
    features: tuple[FloatArray, ...],
    first_site: IntArray,
    n_sites: IntArray,
    chunk: int,
    core: FloatArray,
    out: FloatArray,
) -> None:
    """Write ``P J core`` to `out`, `chunk` trials a piece."""
    if piece == EVERY:
        on_threads((len(out) + chunk - 1) // chunk)
        return
    n_steps, n_slots, n_units, k = out.shape[1:]
    n_recurrent = weight_transposed.shape[1] // n_units
    end = min((piece + 1) * chunk, len(out))
    for first_trial in range(piece * chunk, end, ROWS_AT_A_TIME):
        n_trials = min(ROWS_AT_A_TIME, end - first_trial)
        trials = slice(first_trial, first_trial + n_trials)
        some_carry, some_gains, some_out = carry[trials], gains[trials], out[trials]
        some_inner = inner[trials] if has_inner else inner
        n_at_a_time = steps_at_a_time(n_trials, n_steps)
        driven = np.empty((gains.shape[2], k, n_at_a_time * n_trials, n_units), out.dtype)
        buffer = np.empty(n_at_a_time * n_trials * _most_features(features), out.dtype)
        n_moved = n_trials if n_steps > 1 else 0
        read = np.empty((n_moved, k, n_units), out.dtype)
        product = np.empty((n_moved, k, n_recurrent, n_units), out.dtype)
        before = np.empty((n_moved, n_slots, k, n_units), out.dtype)
        v = np.empty((n_trials, n_slots, k, n_units), out.dtype)
        for first in range(0, n_steps, n_at_a_time):
            last = min(first + n_at_a_time, n_steps)
            n_rows = (last - first) * n_trials
            start = 0
            for group in range(len(features)):
                n_features = features[group].shape[1]
                size = n_features * n_units
                packed = buffer[: n_rows * n_features].reshape(n_rows, n_features)
                _pack(features[group], first_trial, n_trials, n_steps, first, packed)
                for g in range(n_sites[group]):
                    for j in range(k):
                        columns = core[start : start + size].reshape(n_features, n_units)
                        multiply(packed, False, columns, driven[first_site[group] + g, j, :n_rows])
                        start += size
            for t in range(first, last):
                _fetch_step(some_gains, t + 1)
                row = (t - first) * n_trials
                if t > 0:
                    before, v = v, before
                    _multiply_state(
                        some_inner, has_inner, weight_transposed, t, before, read, product
                    )
                    _add_product(product, row, driven)
                _follow(some_gains, t, driven, row, v)
                if t > 0:
                    _add_carried(some_carry, is_carried, t, before, v)
                _write_step(v, t, some_out)


@jit_in_pieces
def propagate(
    piece: int,
    carry: FloatArray,
    is_carried: BoolArray,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    weight_transposed: FloatArray,
    chunk: int,
    out: FloatArray,
) -> None:
    """Replace the narrow block `out` by ``P out``, `chunk` trials a piece."""
    if piece == EVERY:
        on_threads((len(out) + chunk - 1) // chunk)
        return
    trials = slice(piece * chunk, min((piece + 1) * chunk, len(out)))
    carry, gains, out = carry[trials], gains[trials], out[trials]
    if has_inner:
        inner = inner[trials]
    n_trials, n_steps, n_slots, n_units, k = out.shape
    n_recurrent = weight_transposed.shape[1] // n_units
    read = np.empty((n_trials, k, n_units), out.dtype)
    product = np.empty((n_trials, k, n_recurrent, n_units), out.dtype)
    before = np.empty((n_trials, n_slots, k, n_units), out.dtype)
    v = np.empty((n_trials, n_slots, k, n_units), out.dtype)
    for t in range(n_steps):
        before, v = v, before
        _fetch_step(out, t + 1)
        _fetch_step(gains, t + 1)
        _read_step(out, t, v)
        if t > 0:
            _multiply_state(inner, has_inner, weight_transposed, t, before, read, product)
            _add_carried(carry, is_carried, t, before, v)
            for b in range(n_trials):
                for s in range(n_slots):
                    for r in range(n_recurrent):
                        for j in range(k):
                            for i in range(n_units):
                                v[b, s, j, i] += gains[b, t, r, s, i] * product[b, j, r, i]
            _write_step(v, t, out)


@jit_in_pieces
def propagate_adjoint(
    piece: int,
    carry: FloatArray,
    is_carried: BoolArray,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    weight: FloatArray,
    chunk: int,
    out: FloatArray,
) -> None:
    """Replace the narrow block `out` by ``P* out``, `chunk` trials a piece."""
    if piece == EVERY:
        on_threads((len(out) + chunk - 1) // chunk)
        return
    trials = slice(piece * chunk, min((piece + 1) * chunk, len(out)))
    carry, gains, out = carry[trials], gains[trials], out[trials]
    if has_inner:
        inner = inner[trials]
    n_trials, n_steps, n_slots, n_units, k = out.shape
    n_recurrent = weight.shape[0] // n_units
    gathered = np.empty((n_trials, k, n_recurrent, n_units), out.dtype)
    product = np.empty((n_trials, k, n_units), out.dtype)
    a = np.empty((n_trials, n_slots, k, n_units), out.dtype)
    pulled = np.zeros((n_trials, n_slots, k, n_units), out.dtype)
    for t in range(n_steps - 1, -1, -1):
        _fetch_step(out, t - 1)
        _fetch_step(gains, t - 1)
        _read_step(out, t, a)
        _add(pulled, a)
        _write_step(a, t, out)
        if t > 0:
            for b in range(n_trials):
                for j in range(k):
                    for r in range(n_recurrent):
                        for i in range(n_units):
                            gathered[b, j, r, i] = gains[b, t, r, 0, i] * a[b, 0, j, i]
                        for s in range(1, n_slots):
                            for i in range(n_units):
                                gathered[b, j, r, i] += gains[b, t, r, s, i] * a[b, s, j, i]
            _pull_to_previous(
                carry, is_carried, inner, has_inner, weight, t, a, gathered, product, pulled
            )
