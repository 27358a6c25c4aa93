"""Products with narrow blocks, from one column to a dozen, of cells with weight sites.

Each trial and column is a row, and so is each trial, step and column for the parameters: the
products of a step are ``(trials k, H) @ (H, R H)``, those with the parameters ``(rows, m) @ (m, H)``
for each site and column, in tiles that stay in registers. A thread runs its trials from one end to
the other. ``J* P*`` goes on to the parameters, and ``P J`` from them, after every few steps, while
the rows are in the cache: neither writes what stands between the two. ``J`` and ``J*`` alone are the
same with every step a trial of its own.

Blocks are ``(B, T, S, H, k)``, ``features X (B T, m)`` one array a group of sites, and parameters one
vector that holds ``(sites, k, m, H)`` of one group after another.
"""

from __future__ import annotations

import numba
import numpy as np

from .._jit import jit, jit_parallel
from .._typing import FloatArray, IntArray
from .products import multiply

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
def _read_columns(block: FloatArray, rows: FloatArray) -> None:
    # rows (S, k, H) = block (S, H, k)
    n_slots, n_units, k = block.shape
    if k == 1:
        column = block.reshape(n_slots, 1, n_units)
        for s in range(n_slots):
            for i in range(n_units):
                rows[s, 0, i] = column[s, 0, i]
        return
    for s in range(n_slots):
        for i in range(n_units):
            for j in range(k):
                rows[s, j, i] = block[s, i, j]


@jit
def _write_columns(rows: FloatArray, block: FloatArray) -> None:
    # block (S, H, k) = rows (S, k, H)
    n_slots, n_units, k = block.shape
    if k == 1:
        column = block.reshape(n_slots, 1, n_units)
        for s in range(n_slots):
            for i in range(n_units):
                column[s, 0, i] = rows[s, 0, i]
        return
    for s in range(n_slots):
        for i in range(n_units):
            for j in range(k):
                block[s, i, j] = rows[s, j, i]


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
    carry: FloatArray, is_carried: FloatArray, v: FloatArray, out: FloatArray
) -> None:
    # out_s += sum_s' carry[s, s'] v_s' for one trial and step; v and out are (S, k, H).
    n_slots, k, n_units = v.shape
    for s in range(n_slots):
        for source in range(n_slots):
            if is_carried[s, source]:
                for j in range(k):
                    for i in range(n_units):
                        out[s, j, i] += carry[s, source, i] * v[source, j, i]


@jit
def _pull_to_previous(
    carry: FloatArray,
    is_carried: FloatArray,
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
    multiply(
        gathered.reshape(rows, weight.shape[0]), False, weight, product.reshape(rows, n_units)
    )
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
    for row in range(n_rows):
        step, b = divmod(row, n_trials)
        place = (first_trial + b) * n_steps + first + step
        for c in range(n_features):
            packed[row, c] = X[place, c]


@jit
def _most_features(features: tuple[FloatArray, ...]) -> int:
    most = 0
    for group in range(len(features)):
        most = max(most, features[group].shape[1])
    return most


@jit
def _pull_back_trials(
    carry: FloatArray,
    is_carried: FloatArray,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    weight: FloatArray,
    features: tuple[FloatArray, ...],
    first_site: IntArray,
    n_sites: IntArray,
    first_trial: int,
    q: FloatArray,
    core: FloatArray,
) -> None:
    # core += J* P* q for some trials.
    n_trials, n_steps, n_slots, n_units, k = q.shape
    n_all = gains.shape[2]
    n_recurrent = weight.shape[0] // n_units
    n_at_a_time = steps_at_a_time(n_trials, n_steps)
    most = _most_features(features)
    driven = np.empty((n_all, k, n_at_a_time * n_trials, n_units), q.dtype)
    buffer = np.empty(n_at_a_time * n_trials * most, q.dtype)
    part = np.empty(most * n_units, q.dtype)
    gathered = np.empty((n_trials, k, n_recurrent, n_units), q.dtype)
    product = np.empty((n_trials, k, n_units), q.dtype)
    a = np.empty((n_trials, n_slots, k, n_units), q.dtype)
    pulled = np.zeros((n_trials, n_slots, k, n_units), q.dtype)
    for last in range(n_steps, 0, -n_at_a_time):
        first = max(0, last - n_at_a_time)
        for t in range(last - 1, first - 1, -1):
            for b in range(n_trials):
                _read_columns(q[b, t], a[b])
                for s in range(n_slots):
                    for j in range(k):
                        for i in range(n_units):
                            a[b, s, j, i] += pulled[b, s, j, i]
                row = (t - first) * n_trials + b
                for g in range(n_all):
                    for j in range(k):
                        for i in range(n_units):
                            driven[g, j, row, i] = gains[b, t, g, 0, i] * a[b, 0, j, i]
                        for s in range(1, n_slots):
                            for i in range(n_units):
                                driven[g, j, row, i] += gains[b, t, g, s, i] * a[b, s, j, i]
                if t > 0:
                    for r in range(n_recurrent):
                        for j in range(k):
                            for i in range(n_units):
                                gathered[b, j, r, i] = driven[r, j, row, i]
            if t > 0:
                _pull_to_previous(
                    carry, is_carried, inner, has_inner, weight, t, a, gathered, product, pulled
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


@jit_parallel
def pull_back(
    carry: FloatArray,
    is_carried: FloatArray,
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
    n_trials = len(q)
    for piece in numba.prange(len(out)):
        start, end = piece * chunk, min((piece + 1) * chunk, n_trials)
        out[piece] = 0.0
        for first in range(start, end, ROWS_AT_A_TIME):
            last = min(first + ROWS_AT_A_TIME, end)
            _pull_back_trials(
                carry[first:last],
                is_carried,
                gains[first:last],
                inner[first:last] if has_inner else inner,
                has_inner,
                weight,
                features,
                first_site,
                n_sites,
                first,
                q[first:last],
                out[piece],
            )


@jit
def _push_forward_trials(
    carry: FloatArray,
    is_carried: FloatArray,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    weight_transposed: FloatArray,
    features: tuple[FloatArray, ...],
    first_site: IntArray,
    n_sites: IntArray,
    first_trial: int,
    core: FloatArray,
    out: FloatArray,
) -> None:
    # out = P J core for some trials.
    n_trials, n_steps, n_slots, n_units, k = out.shape
    n_all = gains.shape[2]
    n_recurrent = weight_transposed.shape[1] // n_units
    n_at_a_time = steps_at_a_time(n_trials, n_steps)
    driven = np.empty((n_all, k, n_at_a_time * n_trials, n_units), out.dtype)
    buffer = np.empty(n_at_a_time * n_trials * _most_features(features), out.dtype)
    read = np.empty((n_trials, k, n_units), out.dtype)
    product = np.empty((n_trials, k, n_recurrent, n_units), out.dtype)
    before = np.empty((n_trials, n_slots, k, n_units), out.dtype)
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
            before, v = v, before
            if t > 0:
                _multiply_state(inner, has_inner, weight_transposed, t, before, read, product)
            for b in range(n_trials):
                row = (t - first) * n_trials + b
                if t > 0:
                    for r in range(n_recurrent):
                        for j in range(k):
                            for i in range(n_units):
                                driven[r, j, row, i] += product[b, j, r, i]
                for s in range(n_slots):
                    for j in range(k):
                        for i in range(n_units):
                            v[b, s, j, i] = gains[b, t, 0, s, i] * driven[0, j, row, i]
                        for g in range(1, n_all):
                            for i in range(n_units):
                                v[b, s, j, i] += gains[b, t, g, s, i] * driven[g, j, row, i]
                if t > 0:
                    _add_carried(carry[b, t], is_carried, before[b], v[b])
                _write_columns(v[b], out[b, t])


@jit_parallel
def push_forward(
    carry: FloatArray,
    is_carried: FloatArray,
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
    n_trials = len(out)
    for piece in numba.prange((n_trials + chunk - 1) // chunk):
        start, end = piece * chunk, min((piece + 1) * chunk, n_trials)
        for first in range(start, end, ROWS_AT_A_TIME):
            last = min(first + ROWS_AT_A_TIME, end)
            _push_forward_trials(
                carry[first:last],
                is_carried,
                gains[first:last],
                inner[first:last] if has_inner else inner,
                has_inner,
                weight_transposed,
                features,
                first_site,
                n_sites,
                first,
                core,
                out[first:last],
            )


@jit
def _propagate_trials(
    carry: FloatArray,
    is_carried: FloatArray,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    weight_transposed: FloatArray,
    out: FloatArray,
) -> None:
    # Replace out by P out for some trials.
    n_trials, n_steps, n_slots, n_units, k = out.shape
    n_recurrent = weight_transposed.shape[1] // n_units
    read = np.empty((n_trials, k, n_units), out.dtype)
    product = np.empty((n_trials, k, n_recurrent, n_units), out.dtype)
    before = np.empty((n_trials, n_slots, k, n_units), out.dtype)
    v = np.empty((n_trials, n_slots, k, n_units), out.dtype)
    for b in range(n_trials):
        _read_columns(out[b, 0], v[b])
    for t in range(1, n_steps):
        before, v = v, before
        _multiply_state(inner, has_inner, weight_transposed, t, before, read, product)
        for b in range(n_trials):
            _read_columns(out[b, t], v[b])
            _add_carried(carry[b, t], is_carried, before[b], v[b])
            for s in range(n_slots):
                for r in range(n_recurrent):
                    for j in range(k):
                        for i in range(n_units):
                            v[b, s, j, i] += gains[b, t, r, s, i] * product[b, j, r, i]
            _write_columns(v[b], out[b, t])


@jit_parallel
def propagate(
    carry: FloatArray,
    is_carried: FloatArray,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    weight_transposed: FloatArray,
    chunk: int,
    out: FloatArray,
) -> None:
    """Replace the narrow block `out` by ``P out``, `chunk` trials a piece."""
    n_trials = len(out)
    for piece in numba.prange((n_trials + chunk - 1) // chunk):
        first, last = piece * chunk, min((piece + 1) * chunk, n_trials)
        _propagate_trials(
            carry[first:last],
            is_carried,
            gains[first:last],
            inner[first:last] if has_inner else inner,
            has_inner,
            weight_transposed,
            out[first:last],
        )


@jit
def _propagate_trials_adjoint(
    carry: FloatArray,
    is_carried: FloatArray,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    weight: FloatArray,
    out: FloatArray,
) -> None:
    # Replace out by P* out for some trials.
    n_trials, n_steps, n_slots, n_units, k = out.shape
    n_recurrent = weight.shape[0] // n_units
    gathered = np.empty((n_trials, k, n_recurrent, n_units), out.dtype)
    product = np.empty((n_trials, k, n_units), out.dtype)
    a = np.empty((n_trials, n_slots, k, n_units), out.dtype)
    pulled = np.zeros((n_trials, n_slots, k, n_units), out.dtype)
    for t in range(n_steps - 1, -1, -1):
        for b in range(n_trials):
            _read_columns(out[b, t], a[b])
            for s in range(n_slots):
                for j in range(k):
                    for i in range(n_units):
                        a[b, s, j, i] += pulled[b, s, j, i]
            _write_columns(a[b], out[b, t])
            for r in range(n_recurrent):
                for j in range(k):
                    for i in range(n_units):
                        gathered[b, j, r, i] = gains[b, t, r, 0, i] * a[b, 0, j, i]
                    for s in range(1, n_slots):
                        for i in range(n_units):
                            gathered[b, j, r, i] += gains[b, t, r, s, i] * a[b, s, j, i]
        if t > 0:
            _pull_to_previous(
                carry, is_carried, inner, has_inner, weight, t, a, gathered, product, pulled
            )


@jit_parallel
def propagate_adjoint(
    carry: FloatArray,
    is_carried: FloatArray,
    gains: FloatArray,
    inner: FloatArray,
    has_inner: bool,
    weight: FloatArray,
    chunk: int,
    out: FloatArray,
) -> None:
    """Replace the narrow block `out` by ``P* out``, `chunk` trials a piece."""
    n_trials = len(out)
    for piece in numba.prange((n_trials + chunk - 1) // chunk):
        first, last = piece * chunk, min((piece + 1) * chunk, n_trials)
        _propagate_trials_adjoint(
            carry[first:last],
            is_carried,
            gains[first:last],
            inner[first:last] if has_inner else inner,
            has_inner,
            weight,
            out[first:last],
        )
