"""What rounding does to the norms that certain bounds from a cut of the features are made of.

The bounds allow for ``10 eps sqrt(N)`` in each of ``tr N'``, ``|N'|_F^2`` and ``<N', N>``. A bound
that can be proved (``gamma_n`` for every sum, with absolute values in every product) grows with the
steps and with ``| |P| |`` over ``|P|``, and says nothing in float32. So the allowance is measured::

    python benchmarks/rounding_of_cuts.py

prints, for several cells, gains and sizes, the largest of the three relative errors in float32 as a
multiple of ``eps sqrt(N)``, against the same sums in float64 over the same float32 derivatives.
"""

from __future__ import annotations

import argparse
import math

import numpy as np

import kpflow_numerics as kpf
from kpflow_numerics.operators import _cut_core

CELLS = (
    lambda units: kpf.VanillaRNN(3, units),
    lambda units: kpf.LeakyRNN(3, units, form="current"),
    lambda units: kpf.GRU(3, units),
    lambda units: kpf.LSTM(3, units),
)
EPS = float(np.finfo(np.float32).eps)


def wide_sensitivity(lin: kpf.Linearization) -> np.ndarray:
    """Return ``S`` in float64, of the derivatives as they are in float32."""
    n_trials, n_steps, n_state = lin.dims
    columns = np.eye(lin.n_parameters, dtype=lin.dtype)
    S = lin.param_jvp(columns).astype(np.float64)
    A = lin.state_jacobians().astype(np.float64)
    for t in range(1, n_steps):
        S[:, t] += np.matmul(A[:, t], S[:, t - 1])
    return S.reshape(n_trials * n_steps * n_state, -1)


def errors(lin: kpf.Linearization, tolerance: float) -> tuple[float, float, float]:
    """Return the relative errors of the three norms of a cut over ``eps sqrt(N)``."""
    cut = kpf.compress_core(lin, tolerance)
    found = _cut_core.cut_norms(lin, cut)
    whole, small = wide_sensitivity(lin), wide_sensitivity(cut)
    truth = (
        float(np.sum(small**2)),
        float(np.sum((small.T @ small) ** 2)),
        float(np.sum((whole.T @ small) ** 2)),
    )
    pairs = zip((found.trace, found.squared, found.product), truth, strict=True)
    unit = EPS * math.sqrt(lin.dims[2])
    first, second, third = (abs(value / right - 1) / unit for value, right in pairs)
    return first, second, third


def largest_error(units: int, steps: int, gain: float, seed: int) -> float:
    """Return the largest error over the cells and two cuts."""
    found = 0.0
    for make in CELLS:
        cell = make(units)
        params = cell.init_params(gain=gain, rng=seed, dtype=np.float32)
        inputs = np.random.default_rng(seed).standard_normal((2, steps, 3)).astype(np.float32)
        lin = kpf.linearize(kpf.simulate(cell, params, inputs))
        found = max(found, *(max(errors(lin, tolerance)) for tolerance in (1e-2, 1e-6)))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 40])
    parser.add_argument("--gains", type=float, nargs="+", default=[0.5, 1.0, 1.5, 3.0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    worst = 0.0
    for units in options.units:
        for steps in options.steps:
            for gain in options.gains:
                found = max(largest_error(units, steps, gain, 3 + s) for s in range(options.seeds))
                worst = max(worst, found)
                print(f"H={units:3d} T={steps:3d} g={gain:.1f}: {found:.2f} eps sqrt(N)")
    print(f"largest: {worst:.2f} of {_cut_core.ROUNDINGS} allowed")


if __name__ == "__main__":
    main()
