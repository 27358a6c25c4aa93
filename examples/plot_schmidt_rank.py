"""
Schmidt rank of K
=================

K is a sum of products of an operator over trials and steps with one over units; the number of terms
that it takes is its Schmidt rank. It is exactly 1 for the leaky network in current form, whose gain
does not depend on the state, and close to 1 for fresh vanilla networks and GRUs by the
participation ratio of the squared weights.

The number depends on the recipe: squared weights let the first term outweigh all others, and the
count of weights above rounding, or above 1 % of the first, tells of many small terms.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

SIZES = {
    "small": {"units": (4, 8), "steps": 3, "n_trials": 4, "seeds": (3,)},
    "full": {"units": (25, 50, 100, 200), "steps": 30, "n_trials": 10, "seeds": (3, 4, 5)},
}
CELLS = {
    "leaky, current": lambda units: kpf.LeakyRNN(3, units, form="current", leak=0.2),
    "vanilla": lambda units: kpf.VanillaRNN(3, units),
    "GRU": lambda units: kpf.GRU(3, units),
}
RECIPES = {
    "squared weights": lambda values: np.sum(values**2) ** 2 / np.sum(values**4),
    "weights": lambda values: np.sum(values) ** 2 / np.sum(values**2),
    "above 1 % of the first": lambda values: np.sum(values > 0.01 * values[0]),
}


def main(scale="small", *, gain=1.0, **sizes):
    """Decompose K of fresh networks; print and draw the ranks, a row a size, a column a seed."""
    size = SIZES[scale] | sizes
    steps = size["steps"]
    inputs = kpf.MemoryPro(steps, steps, steps).evaluation_batch(size["n_trials"]).inputs
    found = {}
    _, panels = plt.subplots(1, len(RECIPES), figsize=(11, 3.4), layout="constrained")
    for name, make in CELLS.items():
        spectra = []
        for units in size["units"]:
            cell = make(units)
            spectra.append([])
            for seed in size["seeds"]:
                params = cell.init_params(gain, rng=seed)
                K = kpf.ParameterOperator(kpf.linearize(kpf.simulate(cell, params, inputs)))
                spectra[-1].append(kpf.schmidt_decomposition(K).values)
        for panel, (recipe, rank) in zip(panels, RECIPES.items(), strict=True):
            ranks = np.array([[rank(values) for values in row] for row in spectra], dtype=float)
            found[f"{name}, {recipe}"] = ranks
            panel.semilogx(size["units"], ranks.mean(axis=1), "o-", ms=4, label=name)
            panel.set(title=recipe, xlabel="units H")
            panel.set_xticks(size["units"], size["units"])
            panel.minorticks_off()
    panels[0].set_ylabel("Schmidt rank of K")
    panels[0].legend(frameon=False)
    for name, ranks in found.items():
        for units, row in zip(size["units"], ranks, strict=True):
            print(f"{name}, H = {units}: {row.mean():.4g} [{row.min():.4g}, {row.max():.4g}]")
    return found


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
