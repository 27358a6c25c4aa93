"""Local derivatives of the cells in plain NumPy, for the peers written by hand.

A cell is a list of sites: pre-activations ``a_g = W_g u_g`` with gains ``D_{g,s}`` on the parts `s`
of the state (``h``, and ``c`` of an LSTM), and carries from part to part that pass no weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .contract import Problem


@dataclass(frozen=True)
class LocalDerivatives:
    """All time-major; only gains and carries that are not zero are there.

    Attributes
    ----------
    features : list of ndarray, shape (T, B, m_g)
        Of each site.
    gains : list of dict of int to ndarray, shape (T, B, H)
        Of each site, by part of the state.
    carries : dict of (to, from) to ndarray, shape (T, B, H)
    weight : ndarray, shape (G H, H)
        Recurrent weights of the first G sites.
    n_recurrent, n_parts : int
        The number G, and the number of parts of the state.
    """

    features: list[np.ndarray]
    gains: list[dict[int, np.ndarray]]
    carries: dict[tuple[int, int], np.ndarray]
    weight: np.ndarray
    n_recurrent: int
    n_parts: int


def logistic(a: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * a))


def local_derivatives(problem: Problem, dtype: str) -> LocalDerivatives:
    """Return the derivatives along the trajectory from zero, found in float64."""
    params = problem.parameters(dtype)
    params = {name: array.astype(np.float64) for name, array in params.items()}
    inputs = problem.input_array(dtype).astype(np.float64).transpose(1, 0, 2)
    makers = {"vanilla-rnn": _vanilla, "gru": _gru, "lstm": _lstm}
    found = makers[problem.cell](params, inputs, problem.units)

    def cast(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array, dtype)

    return LocalDerivatives(
        [cast(features) for features in found.features],
        [{part: cast(gain) for part, gain in gains.items()} for gains in found.gains],
        {parts: cast(carry) for parts, carry in found.carries.items()},
        cast(found.weight),
        found.n_recurrent,
        found.n_parts,
    )


def _features(parts: list[np.ndarray], n_biases: int) -> np.ndarray:
    """Join features with that of the biases: two of them count as one of sqrt(2)."""
    ones = np.full((*parts[0].shape[:2], 1), np.sqrt(n_biases))
    return np.concatenate([*parts, ones], axis=-1)


def _vanilla(params: dict[str, np.ndarray], inputs: np.ndarray, units: int) -> LocalDerivatives:
    driven = inputs @ params["weight_ih"].T + params["bias_ih"] + params["bias_hh"]
    states = np.zeros((len(inputs) + 1, inputs.shape[1], units))
    for t, drive in enumerate(driven):
        states[t + 1] = np.tanh(drive + states[t] @ params["weight_hh"].T)
    return LocalDerivatives(
        [_features([inputs, states[:-1]], 2)],
        [{0: 1.0 - states[1:] ** 2}],
        {},
        params["weight_hh"],
        1,
        1,
    )


def _gru(params: dict[str, np.ndarray], inputs: np.ndarray, units: int) -> LocalDerivatives:
    driven = inputs @ params["weight_ih"].T + params["bias_ih"]
    h = np.zeros((inputs.shape[1], units))
    steps = []
    for drive in driven:
        recurrent = h @ params["weight_hh"].T + params["bias_hh"]
        r = logistic(drive[:, :units] + recurrent[:, :units])
        z = logistic(drive[:, units : 2 * units] + recurrent[:, units : 2 * units])
        m = recurrent[:, 2 * units :]
        n = np.tanh(drive[:, 2 * units :] + r * m)
        steps.append((h, r, z, m, n))
        h = (1.0 - z) * n + z * h
    previous, r, z, m, n = (np.stack(parts) for parts in zip(*steps, strict=True))
    gain_n = (1.0 - z) * (1.0 - n**2)
    gates = _features([inputs, previous], 2)
    return LocalDerivatives(
        [gates, gates, _features([previous], 1), _features([inputs], 1)],
        [
            {0: gain_n * m * r * (1.0 - r)},
            {0: (previous - n) * z * (1.0 - z)},
            {0: gain_n * r},
            {0: gain_n},
        ],
        {(0, 0): z},
        params["weight_hh"],
        3,
        1,
    )


def _lstm(params: dict[str, np.ndarray], inputs: np.ndarray, units: int) -> LocalDerivatives:
    driven = inputs @ params["weight_ih"].T + params["bias_ih"] + params["bias_hh"]
    h, c = np.zeros((2, inputs.shape[1], units))
    steps = []
    for drive in driven:
        a_i, a_f, a_g, a_o = np.split(drive + h @ params["weight_hh"].T, 4, axis=-1)
        i, f, g, o = logistic(a_i), logistic(a_f), np.tanh(a_g), logistic(a_o)
        c_new = f * c + i * g
        steps.append((h, c, i, f, g, o, np.tanh(c_new)))
        h, c = o * steps[-1][-1], c_new
    previous, c_old, i, f, g, o, squashed = (np.stack(parts) for parts in zip(*steps, strict=True))
    q = o * (1.0 - squashed**2)
    on_c = [g * i * (1.0 - i), c_old * f * (1.0 - f), i * (1.0 - g**2)]
    return LocalDerivatives(
        [_features([inputs, previous], 2)] * 4,
        [*({0: q * gain, 1: gain} for gain in on_c), {0: squashed * o * (1.0 - o)}],
        {(0, 1): q * f, (1, 1): f},
        params["weight_hh"],
        4,
        2,
    )
