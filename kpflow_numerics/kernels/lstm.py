"""Step of PyTorch's long short-term memory, and its local derivatives.

``i, f, o`` are the logistic function and ``g`` is tanh of ``W_i x + b_i + W_h h + b_h``;
``c' = f c + i g``, ``h' = o tanh(c')``. The state is ``[h, c]``.

The loops over units are short and several, so that each needs few checks that its arrays do not
overlap (LLVM vectorises a loop only up to eight of them), and their indices start at 0, so that
none of them can be negative.
"""

from __future__ import annotations

import numpy as np

from .._jit import jit
from .._typing import FloatArray
from .activations import sigmoid, tanh
from .joined import ROWS_AT_A_TIME, load_inputs, start_features
from .pieces import EVERY, jit_in_pieces, on_threads
from .products import multiply

# The gates, in PyTorch's order.
I, F, G, O = 0, 1, 2, 3  # noqa: E741


@jit
def _activate_gates(gates: FloatArray) -> None:
    # Replace the pre-activations (4, H) by the values of the gates.
    n_units = gates.shape[1]
    for gate in (I, F, O):
        for j in range(n_units):
            gates[gate, j] = sigmoid(gates[gate, j])
    for j in range(n_units):
        gates[G, j] = tanh(gates[G, j])


@jit_in_pieces
def simulate_lstm(
    piece: int,
    inputs: FloatArray,
    weight: FloatArray,
    chunk: int,
    initial: FloatArray,
    states: FloatArray,
    is_kept: bool,
    kept: FloatArray,
) -> None:
    """Write ``states (B, T, 2, H)``, `chunk` trials at a time; the slots are ``h, c``.

    `inputs` is ``(B, T, I)``; `weight`, ``(m, 4H)``, multiplies the joined features;
    `initial` is ``(B, 2, H)``. If asked, the values of the gates go to ``kept (B, T, 4, H)``.
    """
    n_trials, n_steps, _, n_units = states.shape
    if piece == EVERY:
        on_threads((n_trials + chunk - 1) // chunk)
        return
    first = piece * chunk
    last = min(first + chunk, n_trials)
    u = start_features(initial[:, 0], first, last, weight.shape[0])
    cell = initial[first:last, 1].copy()
    gates = np.empty((last - first, 4, n_units), states.dtype)
    for t in range(n_steps):
        load_inputs(inputs, first, last, t, u)
        multiply(u, False, weight, gates.reshape(last - first, 4 * n_units))
        for b in range(first, last):
            row = b - first
            _activate_gates(gates[row])
            for j in range(n_units):
                cell[row, j] = gates[row, F, j] * cell[row, j] + gates[row, I, j] * gates[row, G, j]
            for j in range(n_units):
                u[row, j] = gates[row, O, j] * tanh(cell[row, j])
            for j in range(n_units):
                states[b, t, 0, j] = u[row, j]
            for j in range(n_units):
                states[b, t, 1, j] = cell[row, j]
            if is_kept:
                for gate in range(4):
                    for j in range(n_units):
                        kept[b, t, gate, j] = gates[row, gate, j]


@jit
def _differentiate_row(
    gates: FloatArray, cell: FloatArray, q: FloatArray, gains: FloatArray, carry: FloatArray
) -> None:
    # gates (4, H) hold the values and cell (H,) the previous c; gains are (4, 2, H) and carry is
    # (2, 2, H). q (H,) is scratch: tanh(c'), and then the derivative of h' by c'.
    n_units = cell.size
    one, zero = cell.dtype.type(1.0), cell.dtype.type(0.0)
    for j in range(n_units):
        q[j] = tanh(gates[F, j] * cell[j] + gates[I, j] * gates[G, j])
    for j in range(n_units):
        gains[O, 0, j] = q[j] * gates[O, j] * (one - gates[O, j])
        gains[O, 1, j] = zero
    for j in range(n_units):
        q[j] = gates[O, j] * (one - q[j] * q[j])
    for j in range(n_units):
        gains[I, 1, j] = gates[G, j] * gates[I, j] * (one - gates[I, j])
    for j in range(n_units):
        gains[F, 1, j] = cell[j] * gates[F, j] * (one - gates[F, j])
    for j in range(n_units):
        gains[G, 1, j] = gates[I, j] * (one - gates[G, j] * gates[G, j])
    for gate in (I, F, G):
        for j in range(n_units):
            gains[gate, 0, j] = q[j] * gains[gate, 1, j]
    for j in range(n_units):
        carry[0, 1, j] = q[j] * gates[F, j]
        carry[1, 1, j] = gates[F, j]
    for j in range(n_units):
        carry[0, 0, j] = zero
        carry[1, 0, j] = zero


@jit_in_pieces
def differentiate_lstm(
    piece: int,
    features: FloatArray,
    weight: FloatArray,
    previous: FloatArray,
    chunk: int,
    gains: FloatArray,
    carry: FloatArray,
) -> None:
    """Write the gains of ``i, f, g, o`` and the carry, `chunk` rows a piece.

    ``features (M, m)`` and ``weight (m, 4H)`` are joined ones, ``previous (M, 2, H)``,
    ``gains (M, 4, 2, H)``, ``carry (M, 2, 2, H)``, the slots being ``h, c``.
    """
    n_rows, _, n_units = previous.shape
    if piece == EVERY:
        on_threads((n_rows + chunk - 1) // chunk)
        return
    end = min((piece + 1) * chunk, n_rows)
    gates = np.empty((ROWS_AT_A_TIME, 4, n_units), features.dtype)
    q = np.empty(n_units, features.dtype)
    for first in range(piece * chunk, end, ROWS_AT_A_TIME):
        last = min(first + ROWS_AT_A_TIME, end)
        n_block = last - first
        np.dot(features[first:last], weight, gates[:n_block].reshape(n_block, 4 * n_units))
        for row in range(first, last):
            _activate_gates(gates[row - first])
            _differentiate_row(gates[row - first], previous[row, 1], q, gains[row], carry[row])


@jit_in_pieces
def differentiate_kept_lstm(
    piece: int,
    kept: FloatArray,
    previous: FloatArray,
    chunk: int,
    gains: FloatArray,
    carry: FloatArray,
) -> None:
    """Write what :func:`differentiate_lstm` does from the gates that the simulation kept.

    ``kept (M, 4, H)``, ``previous (M, 2, H)``, ``gains (M, 4, 2, H)``, ``carry (M, 2, 2, H)``.
    """
    n_rows, _, n_units = previous.shape
    if piece == EVERY:
        on_threads((n_rows + chunk - 1) // chunk)
        return
    q = np.empty(n_units, kept.dtype)
    for row in range(piece * chunk, min((piece + 1) * chunk, n_rows)):
        _differentiate_row(kept[row], previous[row, 1], q, gains[row], carry[row])
