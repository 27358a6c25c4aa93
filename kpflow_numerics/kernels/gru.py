"""Step of PyTorch's gated recurrent unit, and its local derivatives.

``r = s(W_ir x + b_ir + W_hr h + b_hr)``, ``z`` likewise, ``m = W_hn h + b_hn``,
``n = tanh(W_in x + b_in + r m)``, ``h' = (1 - z) n + z h``.

The loops over units are short and several, so that each needs few checks that its arrays do not
overlap (LLVM vectorises a loop only up to eight of them), and their indices start at 0, so that
none of them can be negative.
Rows are copied in loops, too: for an array that is assigned to a slice Numba compiles, for seconds,
the message of the error that their shapes might give.
"""

from __future__ import annotations

import numpy as np

from .._jit import jit
from .._typing import FloatArray
from .activations import sigmoid, tanh
from .joined import ROWS_AT_A_TIME, load_inputs, start_features
from .pieces import EVERY, jit_in_pieces, on_threads
from .products import multiply


@jit
def _activate_gates(gates: FloatArray, candidate: FloatArray) -> None:
    # gates (3, H) hold r, z, m and candidate (H,) the input's part of n: replaced by r, z, m, n.
    n_units = candidate.size
    for g in range(2):
        for i in range(n_units):
            gates[g, i] = sigmoid(gates[g, i])
    for i in range(n_units):
        candidate[i] = tanh(candidate[i] + gates[0, i] * gates[2, i])


@jit_in_pieces
def simulate_gru(
    piece: int,
    inputs: FloatArray,
    weight: FloatArray,
    candidate_weight: FloatArray,
    chunk: int,
    initial: FloatArray,
    states: FloatArray,
    is_kept: bool,
    kept: FloatArray,
) -> None:
    """Write ``states (B, T, H)``, `chunk` trials at a time, and ``kept (B, T, 4, H)`` if asked.

    `inputs` is ``(B, T, I)``; `weight`, ``(m, 3H)``, makes ``r, z, m`` of the joined features, and
    `candidate_weight`, ``(m - H, H)``, the input's part of ``n`` of those without ``h``. Kept are
    the values of ``r, z, m, n``.
    """
    n_trials, n_steps, n_units = states.shape
    if piece == EVERY:
        on_threads((n_trials + chunk - 1) // chunk)
        return
    first = piece * chunk
    last = min(first + chunk, n_trials)
    u = start_features(initial, first, last, weight.shape[0])
    x = np.ones((last - first, candidate_weight.shape[0]), states.dtype)
    gates = np.empty((last - first, 3, n_units), states.dtype)
    candidates = np.empty((last - first, n_units), states.dtype)
    for t in range(n_steps):
        load_inputs(inputs, first, last, t, u)
        load_inputs(inputs, first, last, t, x)
        multiply(u, False, weight, gates.reshape(last - first, 3 * n_units))
        multiply(x, False, candidate_weight, candidates)
        for b in range(first, last):
            row = b - first
            _activate_gates(gates[row], candidates[row])
            for i in range(n_units):
                n = candidates[row, i]
                u[row, i] = n + gates[row, 1, i] * (u[row, i] - n)
            for i in range(n_units):
                states[b, t, i] = u[row, i]
            if is_kept:
                for g in range(3):
                    for i in range(n_units):
                        kept[b, t, g, i] = gates[row, g, i]
                for i in range(n_units):
                    kept[b, t, 3, i] = candidates[row, i]


@jit
def _differentiate_row(
    gates: FloatArray, n: FloatArray, previous: FloatArray, gains: FloatArray, carry: FloatArray
) -> None:
    # gates (3, H) hold the values of r, z, m; gains are (4, H), the others (H,) or longer.
    n_units = n.size
    one = n.dtype.type(1.0)
    for i in range(n_units):
        through_n = (one - gates[1, i]) * (one - n[i] * n[i])
        gains[3, i] = through_n
        gains[2, i] = through_n * gates[0, i]
    for i in range(n_units):
        gains[0, i] = gains[2, i] * gates[2, i] * (one - gates[0, i])
    for i in range(n_units):
        gains[1, i] = (previous[i] - n[i]) * gates[1, i] * (one - gates[1, i])
    for i in range(n_units):
        carry[i] = gates[1, i]


@jit_in_pieces
def differentiate_gru(
    piece: int,
    features: FloatArray,
    weight: FloatArray,
    candidate_weight: FloatArray,
    chunk: int,
    gains: FloatArray,
    carry: FloatArray,
) -> None:
    """Write the gains of ``r, z, nh, n`` and the carry ``z``, `chunk` rows a piece.

    ``features (M, m)`` are joined ones, the weights those of :func:`simulate_gru`,
    ``gains (M, 4, H)``, ``carry (M, H)``.
    """
    n_rows, n_units = carry.shape
    n_others = candidate_weight.shape[0]
    if piece == EVERY:
        on_threads((n_rows + chunk - 1) // chunk)
        return
    end = min((piece + 1) * chunk, n_rows)
    gates = np.empty((ROWS_AT_A_TIME, 3, n_units), features.dtype)
    candidates = np.empty((ROWS_AT_A_TIME, n_units), features.dtype)
    x = np.empty((ROWS_AT_A_TIME, n_others), features.dtype)
    for first in range(piece * chunk, end, ROWS_AT_A_TIME):
        last = min(first + ROWS_AT_A_TIME, end)
        n_block = last - first
        for row in range(n_block):
            for j in range(n_others):
                x[row, j] = features[first + row, n_units + j]
        np.dot(features[first:last], weight, gates[:n_block].reshape(n_block, 3 * n_units))
        np.dot(x[:n_block], candidate_weight, candidates[:n_block])
        for row in range(n_block):
            _activate_gates(gates[row], candidates[row])
            _differentiate_row(
                gates[row],
                candidates[row],
                features[first + row],
                gains[first + row],
                carry[first + row],
            )


@jit_in_pieces
def differentiate_kept_gru(
    piece: int,
    kept: FloatArray,
    previous: FloatArray,
    chunk: int,
    gains: FloatArray,
    carry: FloatArray,
) -> None:
    """Write what :func:`differentiate_gru` does from the values that the simulation kept.

    ``kept (M, 4, H)``, ``previous (M, H)`` or wider, ``gains (M, 4, H)``, ``carry (M, H)``.
    """
    n_rows = len(kept)
    if piece == EVERY:
        on_threads((n_rows + chunk - 1) // chunk)
        return
    for row in range(piece * chunk, min((piece + 1) * chunk, n_rows)):
        _differentiate_row(kept[row, :3], kept[row, 3], previous[row], gains[row], carry[row])
