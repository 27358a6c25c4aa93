"""The joined features ``u = [h, 1, x]`` that one product with the weights turns into all sites.

The column of ones is there for cells with biases only. Joining costs a few columns of a product
and saves an array of input drives as large as all the pre-activations.
"""

from __future__ import annotations

import numpy as np

from .._jit import jit
from .._typing import FloatArray

# Rows of features that are multiplied and mapped at a time, so that products stay in the cache.
ROWS_AT_A_TIME = 128


@jit
def start_features(initial: FloatArray, first: int, last: int, n_features: int) -> FloatArray:
    """Return features ``(last - first, m)`` that hold ``initial (B, H)`` and ones elsewhere."""
    n_units = initial.shape[1]
    features = np.ones((last - first, n_features), initial.dtype)
    for b in range(first, last):
        for i in range(n_units):
            features[b - first, i] = initial[b, i]
    return features


@jit
def load_inputs(inputs: FloatArray, first: int, last: int, step: int, features: FloatArray) -> None:
    """Copy the inputs of a step to the last columns of the features."""
    n_inputs = inputs.shape[2]
    start = features.shape[1] - n_inputs
    for b in range(first, last):
        for j in range(n_inputs):
            features[b - first, start + j] = inputs[b, step, j]
