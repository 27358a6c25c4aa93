"""Step of PyTorch's gated recurrent unit, and its local derivatives.

``r = s(W_ir x + b_ir + W_hr h + b_hr)``, ``z`` likewise, ``m = W_hn h + b_hn``,
``n = tanh(W_in x + b_in + r m)``, ``h' = (1 - z) n + z h``.

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
def _activate_gates(a: FloatArray, candidate: FloatArray, n_units: int) -> None:
    # a (3H,) holds r, z, m and candidate (H,) the input's part of n: replaced by r, z, m and n.
    for j in range(2 * n_units):
        a[j] = sigmoid(a[j])
    for i in range(n_units):
        candidate[i] = tanh(candidate[i] + a[i] * a[2 * n_units + i])


@jit_parallel
def simulate_gru(
    inputs: FloatArray,
    weight: FloatArray,
    candidate_weight: FloatArray,
    chunk: int,
    initial: FloatArray,
    states: FloatArray,
) -> None:
    """Write ``states (B, T, H)``, `chunk` trials at a time.

    `inputs` is ``(B, T, I)``; `weight`, ``(m, 3H)``, makes ``r, z, m`` of the joined features, and
    `candidate_weight`, ``(m - H, H)``, the input's part of ``n`` of those without ``h``.
    """
    n_trials, n_steps, n_units = states.shape
    for piece in numba.prange((n_trials + chunk - 1) // chunk):
        first = piece * chunk
        last = min(first + chunk, n_trials)
        u = start_features(initial, first, last, weight.shape[0])
        x = np.ones((last - first, candidate_weight.shape[0]), states.dtype)
        a = np.empty((last - first, 3 * n_units), states.dtype)
        candidate = np.empty((last - first, n_units), states.dtype)
        for t in range(n_steps):
            load_inputs(inputs, first, last, t, u)
            load_inputs(inputs, first, last, t, x)
            np.dot(u, weight, a)
            np.dot(x, candidate_weight, candidate)
            for b in range(first, last):
                _activate_gates(a[b - first], candidate[b - first], n_units)
                for i in range(n_units):
                    n = candidate[b - first, i]
                    states[b, t, i] = n + a[b - first, n_units + i] * (u[b - first, i] - n)
                for i in range(n_units):
                    u[b - first, i] = states[b, t, i]


@jit_parallel
def differentiate_gru(
    pre_activations: FloatArray,
    candidates: FloatArray,
    features: FloatArray,
    gains: FloatArray,
    carry: FloatArray,
) -> None:
    """Write the gains of ``r, z, nh, n`` and the carry ``z``.

    ``pre_activations (M, 3H)`` and ``candidates (M, H)``, which are overwritten, are those of
    :func:`simulate_gru`; ``features (M, m)`` begin with ``h_prev``; ``gains (M, 4, H)``,
    ``carry (M, H)``.
    """
    n_rows, n_units = carry.shape
    for row in numba.prange(n_rows):
        a = pre_activations[row]
        _activate_gates(a, candidates[row], n_units)
        one = a.dtype.type(1.0)
        for i in range(n_units):
            n = candidates[row, i]
            through_n = (one - a[n_units + i]) * (one - n * n)
            gains[row, 3, i] = through_n
            gains[row, 2, i] = through_n * a[i]
        for i in range(n_units):
            gains[row, 0, i] = gains[row, 2, i] * a[2 * n_units + i] * (one - a[i])
        for i in range(n_units):
            z = a[n_units + i]
            gains[row, 1, i] = (features[row, i] - candidates[row, i]) * z * (one - z)
        for i in range(n_units):
            carry[row, i] = a[n_units + i]
