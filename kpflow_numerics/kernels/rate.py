"""Step of ``h' = (1 - leak) h + leak phi(W h + W_in x + b)``; the vanilla cell is ``leak = 1``."""

from __future__ import annotations

import numba
import numpy as np

from .._jit import jit_parallel
from .._typing import FloatArray
from .activations import activate, activation_derivative
from .joined import load_inputs, start_features


@jit_parallel
def simulate_rate(
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
    for piece in numba.prange((n_trials + chunk - 1) // chunk):
        first = piece * chunk
        last = min(first + chunk, n_trials)
        u = start_features(initial, first, last, weight.shape[0])
        a = np.empty((last - first, n_units), states.dtype)
        for t in range(n_steps):
            load_inputs(inputs, first, last, t, u)
            np.dot(u, weight, a)
            for b in range(first, last):
                for i in range(n_units):
                    value = keep * u[b - first, i] + rate * activate(a[b - first, i], activation)
                    u[b - first, i] = value
                    states[b, t, i] = value


@jit_parallel
def differentiate_rate(
    pre_activations: FloatArray, leak: float, activation: int, gains: FloatArray
) -> None:
    """Write the gain ``leak phi'(a)`` for flat `pre_activations` to flat `gains`.

    Both may be the same array.
    """
    rate = gains.dtype.type(leak)
    for i in numba.prange(gains.size):
        gains[i] = rate * activation_derivative(pre_activations[i], activation)
