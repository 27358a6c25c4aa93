"""
Identities, Theorem 1 and the fundamental solution
==================================================

Every cell is checked on every identity, on Theorem 1 and, for longer and longer trials, on
``P = Phi V Phi^-1``. It shows that the identities hold to rounding, that the bound of Theorem 1
read in participation ratios mostly fails where a proven bound never does, and that the fundamental
solution loses all its digits within tens of steps.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

SIZES = {
    "small": {"n_units": 8, "seeds": (3,), "lengths": (3, 6, 12, 24)},
    "full": {"n_units": 32, "seeds": (3, 4, 5, 6, 7), "lengths": (3, 6, 12, 24, 48, 96)},
}
CELLS = {
    "vanilla": lambda units: kpf.VanillaRNN(3, units),
    "leaky, rate": lambda units: kpf.LeakyRNN(3, units, form="rate", leak=0.2),
    "leaky, current": lambda units: kpf.LeakyRNN(3, units, form="current", leak=0.2),
    "GRU": lambda units: kpf.GRU(3, units),
    "LSTM": lambda units: kpf.LSTM(3, units),
}


def trajectory(cell, n_trials, n_steps, seed):
    """Return a fresh network on normal inputs."""
    inputs = np.random.default_rng(seed).standard_normal((n_trials, n_steps, 3))
    return kpf.simulate(cell, cell.init_params(1.5, rng=seed), inputs)


def main(scale="small", **sizes):
    """Print what holds for each cell; draw Theorem 1 and the error of the fundamental solution."""
    sizes = SIZES[scale] | sizes
    _, (ranks, errors) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    found = {"checks": 0, "failed": 0, "sites": 0, "literal": 0, "proven": 0}
    for name, make in CELLS.items():
        cell, bounds, reconstruction = make(sizes["n_units"]), [], []
        for seed in sizes["seeds"]:
            report = kpf.validate(trajectory(cell, 2, 6, seed))
            found["checks"] += len(report.checks)
            found["failed"] += sum(not check.passed for check in report.checks)
            bounds += kpf.rank_bounds(kpf.linearize(trajectory(cell, 8, 20, seed)))
        found["sites"] += len(bounds)
        found["literal"] += sum(bound.literal_holds for bound in bounds)
        found["proven"] += sum(bound.bound_holds for bound in bounds)
        ranks.loglog(
            [bound.effective_dimension for bound in bounds],
            [bound.effective_rank for bound in bounds], "o", ms=4, label=name,
        )  # fmt: skip
        for length in sizes["lengths"]:
            lin = kpf.linearize(trajectory(cell, 1, length, sizes["seeds"][0]))
            try:
                reconstruction.append(kpf.FundamentalSolution(lin).reconstruction_error())
            except ValueError:
                reconstruction.append(np.inf)
            found[f"error of Phi V Phi^-1, {name}, T = {length}"] = reconstruction[-1]
        errors.loglog(sizes["lengths"], reconstruction, "o-", ms=3, label=name)
    ranks.axline((1, 1), (2, 2), color="k", lw=0.8)
    ranks.set(xlabel="effective dimension of the features", ylabel="effective rank of $K_g$")
    errors.set(xlabel="steps T", ylabel=r"relative error of $\Phi V \Phi^{-1}$", ylim=(1e-17, 1e3))
    errors.set_xticks(sizes["lengths"], sizes["lengths"])
    errors.minorticks_off()
    ranks.legend(loc="lower right")
    lin = kpf.linearize(trajectory(CELLS["leaky, current"](sizes["n_units"]), 8, 20, 3))
    K, core = kpf.ParameterOperator(lin), kpf.KroneckerCore(lin)
    block = np.random.default_rng(3).standard_normal((K.shape[1], 4))
    difference = np.linalg.norm(K @ block - 0.2**2 * (core @ block)) / np.linalg.norm(K @ block)
    found["distance of K from a^2 V V* kron I, current form"] = difference
    over_steps = kpf.partial_trace(K, over="unit").matrix
    squares = np.linalg.svd(core.features.reshape(len(over_steps), -1), compute_uv=False) ** 2
    found["rank of K over trials and steps"] = np.trace(over_steps) ** 2 / np.sum(over_steps**2)
    found["effective dimension of V"] = squares.sum() ** 2 / np.sum(squares**2)
    found["its bound H + I + 1"] = sizes["n_units"] + 3 + 1
    for key, value in found.items():
        print(f"{key}: {value:.4g}")
    return found


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
