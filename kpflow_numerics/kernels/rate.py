"""Step of ``h' = (1 - leak) h + leak phi(W h + drive)``; the vanilla cell is ``leak = 1``."""

from __future__ import annotations

import numba
import numpy as np

from .._jit import jit_parallel
from .._typing import FloatArray
from .activations import activate, activation_derivative


@jit_parallel
def simulate_rate(
    drive: FloatArray,
    weight_transposed: FloatArray,
    leak: float,
    activation: int,
    chunk: int,
    initial: FloatArray,
    states: FloatArray,
) -> None:
    """Write ``states (B, T, H)`` from ``drive (B, T, H)``, `chunk` trials at a time."""
    n_trials, n_steps, n_units = states.shape
    rate = states.dtype.type(leak)
    keep = states.dtype.type(1.0) - rate
    for piece in numba.prange((n_trials + chunk - 1) // chunk):
        first = piece * chunk
        last = min(first + chunk, n_trials)
        h = initial[first:last].copy()
        recurrent = np.empty_like(h)
        for t in range(n_steps):
            np.dot(h, weight_transposed, recurrent)
            for b in range(first, last):
                for i in range(n_units):
                    phi = activate(drive[b, t, i] + recurrent[b - first, i], activation)
                    h[b - first, i] = keep * h[b - first, i] + rate * phi
                    states[b, t, i] = h[b - first, i]


@jit_parallel
def differentiate_rate(
    pre_activations: FloatArray, leak: float, activation: int, gains: FloatArray
) -> None:
    """Write the gain ``leak phi'(a)`` for flat ``pre_activations`` to flat `gains`."""
    rate = gains.dtype.type(leak)
    for i in numba.prange(gains.size):
        gains[i] = rate * activation_derivative(pre_activations[i], activation)
