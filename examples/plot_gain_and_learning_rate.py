"""
Gain, learning rate and optimiser
=================================

GRUs that start from ``g`` times PyTorch's recurrent weights learn Memory-Pro by SGD, momentum and
Adam, each with several learning rates. It shows what becomes of the ranks of K and P, and of the
loss, over this grid: a field gives the median over the seeds and below it their whole range. Ranks
are participation ratios.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

OPTIMIZERS = {
    "SGD": (kpf.SGD, (0.1, 0.3, 1.0)),
    "momentum": (kpf.Momentum, (0.03, 0.1, 0.3)),
    "Adam": (kpf.Adam, (1e-3, 3e-3, 1e-2)),
}
SIZES = {
    "small": {
        "n_units": 8, "n_iterations": 20, "seeds": (3, 4), "n_trials": 6, "gains": (0.5, 2.0),
        "n_rates": 2, "n_steps": 3, "batch_size": 16,
    },
    "full": {
        "n_units": 32, "n_iterations": 800, "seeds": (3, 4, 5, 6, 7), "n_trials": 16,
        "gains": (0.3, 1.0, 2.0, 4.0), "n_rates": 3, "n_steps": 10, "batch_size": 32,
    },
}  # fmt: skip
MEASURED = ("loss", "accuracy", "K", "P", "K at the start", "P at the start")
DRAWN = {
    "loss": "final loss",
    "K": "rank of K at the end",
    "P": "rank of $PP^*$ at the end",
}


def ranks(cell, params, inputs):
    """Return the participation ratios of K and P P*, both exact."""
    lin = kpf.linearize(kpf.simulate(cell, params, inputs))
    return [kpf.effective_rank(o(lin)).value for o in (kpf.ParameterOperator, kpf.Propagator)]


def learn(cell, task, optimizer, gain, seed, sizes):
    """Return what `MEASURED` names, for one network."""
    run = kpf.train(
        cell, task, params=cell.init_params(gain, rng=seed, dtype=np.float32), rng=seed,
        optimizer=optimizer, n_iterations=sizes["n_iterations"], batch_size=sizes["batch_size"],
        checkpoint_every=sizes["n_iterations"], evaluation_trials=50,
    )  # fmt: skip
    inputs = task.evaluation_batch(sizes["n_trials"]).inputs
    first, last = run.checkpoints[0], run.checkpoints[-1]
    end = (last.evaluation_loss, last.accuracy, *ranks(cell, last.params, inputs))
    return [*end, *ranks(cell, first.params, inputs)]


def spread(values):
    """Return the median and the whole range in words, to two digits."""
    middle, low, high = (f"{float(f'{x:.2g}'):g}" for x in np.quantile(values, (0.5, 0, 1)))
    return f"{middle} [{low}, {high}]"


def show(name, by_name, gains, rates):
    """Print a line for each place of the grid."""
    for row, gain in enumerate(gains):
        for column, rate in enumerate(rates):
            words = [f"{key} {spread(values[row, column])}" for key, values in by_name.items()]
            print(f"{name} {rate:g}, g = {gain:g}: " + ", ".join(words))


def draw(axes, found, gains, rates):
    """Draw medians as shades, on one scale a row, and write them with their ranges."""
    for key, row in zip(DRAWN, axes, strict=True):
        logarithms = {name: np.log10(np.median(each[key], axis=2)) for name, each in found.items()}
        low, high = (f(list(logarithms.values())) for f in (np.min, np.max))
        for (name, shades), ax in zip(logarithms.items(), row, strict=True):
            ax.imshow(shades, "Blues", vmin=low, vmax=high, alpha=0.6, aspect="auto")
            for place in np.ndindex(*shades.shape):
                text = spread(found[name][key][place]).replace(" [", "\n[")
                ax.text(*place[::-1], text, ha="center", va="center", fontsize="x-small")
            ax.set_xticks(range(len(rates[name])), [f"{rate:g}" for rate in rates[name]])
            ax.set_yticks(range(len(gains)), [f"{gain:g}" for gain in gains])
            ax.set(title=name, xlabel="learning rate", ylabel=f"g ({DRAWN[key]})")


def main(scale="small", *, kind="gru", **sizes):
    """Train a network for each place of the grid and each seed; print, draw and return all."""
    sizes = SIZES[scale] | sizes
    steps = sizes["n_steps"]
    task = kpf.MemoryPro(n_stimulus=steps, n_memory=steps, n_response=steps)
    cell = kpf.cell_from_config(kind, {"n_inputs": task.n_inputs, "n_units": sizes["n_units"]})
    rates = {name: rates[-sizes["n_rates"] :] for name, (_, rates) in OPTIMIZERS.items()}
    found = {}
    for name, (optimizer, _) in OPTIMIZERS.items():
        values = np.array([
            [[learn(cell, task, optimizer(rate), gain, seed, sizes) for seed in sizes["seeds"]]
             for rate in rates[name]] for gain in sizes["gains"]
        ])  # fmt: skip
        found[name] = dict(zip(MEASURED, np.moveaxis(values, -1, 0), strict=True))
        show(name, found[name], sizes["gains"], rates[name])
    _, axes = plt.subplots(len(DRAWN), len(found), figsize=(13, 8), layout="constrained")
    draw(axes, found, sizes["gains"], rates)
    return found


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
