"""Step of ``h' = (1 - leak) h + leak (W phi(h) + W_in x + b)``."""

from __future__ import annotations

import numpy as np

from .._typing import FloatArray
from .activations import activate, activation_derivative
from .joined import load_inputs, start_features
from .pieces import EVERY, jit_in_pieces, on_threads
from .products import multiply


@jit_in_pieces
def simulate_current(
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

    `inputs` is ``(B, T, I)``; `weight`, ``(m, H)``, multiplies the joined features
    ``[phi(h), 1, x]``.
    """
    n_trials, n_steps, n_units = states.shape
    rate = states.dtype.type(leak)
    keep = states.dtype.type(1.0) - rate
    if piece == EVERY:
        on_threads((n_trials + chunk - 1) // chunk)
        return
    first = piece * chunk
    last = min(first + chunk, n_trials)
    h = initial[first:last].copy()
    u = start_features(initial, first, last, weight.shape[0])
    a = np.empty_like(h)
    for t in range(n_steps):
        load_inputs(inputs, first, last, t, u)
        for b in range(last - first):
            for i in range(n_units):
                u[b, i] = activate(h[b, i], activation)
        multiply(u, False, weight, a)
        for b in range(first, last):
            for i in range(n_units):
                value = keep * h[b - first, i] + rate * a[b - first, i]
                h[b - first, i] = value
                states[b, t, i] = value


@jit_in_pieces
def differentiate_current(
    piece: int, activation: int, chunk: int, features: FloatArray, inner: FloatArray
) -> None:
    """Replace ``h_prev`` in the first columns of `features` by ``phi(h_prev)``.

    Writes ``phi'(h_prev)`` to ``inner (M, H)``, `chunk` rows a piece; `features` are ``(M, m)``.
    """
    n_rows, n_units = inner.shape
    if piece == EVERY:
        on_threads((n_rows + chunk - 1) // chunk)
        return
    for row in range(piece * chunk, min((piece + 1) * chunk, n_rows)):
        for i in range(n_units):
            inner[row, i] = activation_derivative(features[row, i], activation)
        for i in range(n_units):
            features[row, i] = activate(features[row, i], activation)
