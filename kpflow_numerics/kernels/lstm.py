"""Step of PyTorch's long short-term memory, and its local derivatives.

``i, f, o`` are the logistic function and ``g`` is tanh of ``W_i x + b_i + W_h h + b_h``;
``c' = f c + i g``, ``h' = o tanh(c')``. The state is ``[h, c]``.

The loops over units are short and several, so that each needs few checks that its arrays do not
overlap: LLVM vectorises a loop only up to eight of them.
"""

from __future__ import annotations

import numba
import numpy as np

from .._jit import jit, jit_parallel
from .._typing import FloatArray
from .activations import sigmoid, tanh
from .joined import load_inputs, start_features


@jit
def _activate_gates(a: FloatArray, n_units: int) -> None:
    # Replace the pre-activations (4H,) of i, f, g, o by their values.
    for j in range(2 * n_units):
        a[j] = sigmoid(a[j])
    for j in range(2 * n_units, 3 * n_units):
        a[j] = tanh(a[j])
    for j in range(3 * n_units, 4 * n_units):
        a[j] = sigmoid(a[j])


@jit_parallel
def simulate_lstm(
    inputs: FloatArray,
    weight: FloatArray,
    chunk: int,
    initial: FloatArray,
    states: FloatArray,
) -> None:
    """Write ``states (B, T, 2H)``, `chunk` trials at a time.

    `inputs` is ``(B, T, I)``; `weight`, ``(m, 4H)``, multiplies the joined features;
    `initial` is ``(B, 2H)``.
    """
    n_trials, n_steps, n_state = states.shape
    n_units = n_state // 2
    for piece in numba.prange((n_trials + chunk - 1) // chunk):
        first = piece * chunk
        last = min(first + chunk, n_trials)
        u = start_features(initial[:, :n_units], first, last, weight.shape[0])
        cell = initial[first:last, n_units:].copy()
        a = np.empty((last - first, 4 * n_units), states.dtype)
        for t in range(n_steps):
            load_inputs(inputs, first, last, t, u)
            np.dot(u, weight, a)
            for b in range(first, last):
                row = b - first
                _activate_gates(a[row], n_units)
                for i in range(n_units):
                    cell[row, i] = (
                        a[row, n_units + i] * cell[row, i] + a[row, i] * a[row, 2 * n_units + i]
                    )
                for i in range(n_units):
                    u[row, i] = a[row, 3 * n_units + i] * tanh(cell[row, i])
                for i in range(n_units):
                    states[b, t, i] = u[row, i]
                for i in range(n_units):
                    states[b, t, n_units + i] = cell[row, i]


@jit_parallel
def differentiate_lstm(
    pre_activations: FloatArray, previous: FloatArray, gains: FloatArray, carry: FloatArray
) -> None:
    """Write the gains of ``i, f, g, o`` and the carry.

    ``pre_activations (M, 4H)``, which are overwritten; ``previous (M, 2H)``,
    ``gains (M, 4, 2, H)``, ``carry (M, 2, 2, H)``, the slots being ``h, c``.
    """
    n_rows, n_state = previous.shape
    n_units = n_state // 2
    one, zero = previous.dtype.type(1.0), previous.dtype.type(0.0)
    for row in numba.prange(n_rows):
        a = pre_activations[row]
        _activate_gates(a, n_units)
        saturation = carry[row, 0, 0]
        for i in range(n_units):
            saturation[i] = tanh(
                a[n_units + i] * previous[row, n_units + i] + a[i] * a[2 * n_units + i]
            )
        for i in range(n_units):
            o = a[3 * n_units + i]
            gains[row, 3, 0, i] = saturation[i] * o * (one - o)
            gains[row, 3, 1, i] = zero
        # From here on this is the derivative of h' by c'.
        for i in range(n_units):
            saturation[i] = a[3 * n_units + i] * (one - saturation[i] * saturation[i])
        for i in range(n_units):
            derivative = a[2 * n_units + i] * a[i] * (one - a[i])
            gains[row, 0, 1, i] = derivative
            gains[row, 0, 0, i] = saturation[i] * derivative
        for i in range(n_units):
            f = a[n_units + i]
            derivative = previous[row, n_units + i] * f * (one - f)
            gains[row, 1, 1, i] = derivative
            gains[row, 1, 0, i] = saturation[i] * derivative
        for i in range(n_units):
            g = a[2 * n_units + i]
            derivative = a[i] * (one - g * g)
            gains[row, 2, 1, i] = derivative
            gains[row, 2, 0, i] = saturation[i] * derivative
        for i in range(n_units):
            carry[row, 1, 1, i] = a[n_units + i]
            carry[row, 0, 1, i] = saturation[i] * a[n_units + i]
        for i in range(n_units):
            carry[row, 1, 0, i] = zero
            saturation[i] = zero
