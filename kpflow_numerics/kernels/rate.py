"""Step of ``h' = (1 - leak) h + leak phi(W h + W_in x + b)``; the vanilla cell is ``leak = 1``."""

from __future__ import annotations

import numpy as np

from .._typing import FloatArray
from .activations import activate, activation_derivative, activation_derivative_of_value
from .joined import ROWS_AT_A_TIME, load_inputs, start_features
from .pieces import EVERY, jit_in_pieces, on_threads
from .products import multiply


@jit_in_pieces
def simulate_rate(
    piece: int,
    inputs: FloatArray,
    weight: FloatArray,
    leak: float,
    activation: int,
    chunk: int,
    initial: FloatArray,
    states: FloatArray,
) -> None:
    """Write ``states (B, T, H)``, `chunk` trials at a time.

    `inputs` is ``(B, T, I)``; `weight`, ``(m, H)``, multiplies the joined features.
    """
    n_trials, n_steps, n_units = states.shape
    rate = states.dtype.type(leak)
    keep = states.dtype.type(1.0) - rate
    if piece == EVERY:
        on_threads((n_trials + chunk - 1) // chunk)
        return
    first = piece * chunk
    last = min(first + chunk, n_trials)
    u = start_features(initial, first, last, weight.shape[0])
    a = np.empty((last - first, n_units), states.dtype)
    for t in range(n_steps):
        load_inputs(inputs, first, last, t, u)
        multiply(u, False, weight, a)
        for b in range(first, last):
            for i in range(n_units):
                value = keep * u[b - first, i] + rate * activate(a[b - first, i], activation)
                u[b - first, i] = value
                states[b, t, i] = value


@jit_in_pieces
def differentiate_rate(
    piece: int,
    features: FloatArray,
    weight: FloatArray,
    leak: float,
    activation: int,
    chunk: int,
    gains: FloatArray,
) -> None:
    """Write ``gains (M, H)``, ``leak phi'(a)`` for ``a = features weight``, `chunk` rows a piece.

    ``features (M, m)`` and ``weight (m, H)`` are joined ones.
    """
    n_rows, n_units = gains.shape
    rate = gains.dtype.type(leak)
    if piece == EVERY:
        on_threads((n_rows + chunk - 1) // chunk)
        return
    end = min((piece + 1) * chunk, n_rows)
    for first in range(piece * chunk, end, ROWS_AT_A_TIME):
        last = min(first + ROWS_AT_A_TIME, end)
        np.dot(features[first:last], weight, gains[first:last])
        for row in range(first, last):
            for i in range(n_units):
                gains[row, i] = rate * activation_derivative(gains[row, i], activation)


@jit_in_pieces
def differentiate_values(
    piece: int, values: FloatArray, activation: int, chunk: int, gains: FloatArray
) -> None:
    """Write ``gains (M, H)``, ``phi'(a)`` from the values ``phi(a)``, `chunk` rows a piece."""
    n_rows, n_units = gains.shape
    if piece == EVERY:
        on_threads((n_rows + chunk - 1) // chunk)
        return
    for row in range(piece * chunk, min((piece + 1) * chunk, n_rows)):
        for i in range(n_units):
            gains[row, i] = activation_derivative_of_value(values[row, i], activation)
