"""
Gain, learning rate and optimiser
=================================

GRUs that start from ``g`` times PyTorch's recurrent weights learn Memory-Pro by SGD, momentum and
Adam, each with several learning rates. It shows what becomes of the ranks of K and P, and of the
loss, over this grid: a cell gives the median over the seeds and below it their whole range.
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
    "K": "participation ratio of K at the end",
    "P": "participation ratio of $PP^*$ at the end",
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
    """Return the median and the whole range in words."""
    return f"{np.median(values):.3g} [{values.min():.3g}, {values.max():.3g}]"


def show(name, by_name, gains, rates):
    """Print a line for each place of the grid."""
    for row, gain in enumerate(gains):
        for column, rate in enumerate(rates):
            words = [f"{key} {spread(values[row, column])}" for key, values in by_name.items()]
            print(f"{name} {rate:g}, g = {gain:g}: " + ", ".join(words))


def draw(ax, values, gains, rates):
    """Draw medians as shades, and write them with their ranges."""
    ax.imshow(np.log10(np.median(values, axis=2)), cmap="Blues", alpha=0.6, aspect="auto")
    for row, column in np.ndindex(*values.shape[:2]):
        text = spread(values[row, column]).replace(" [", "\n[")
        ax.text(column, row, text, ha="center", va="center", fontsize="small")
    ax.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    ax.set_yticks(range(len(gains)), [f"{gain:g}" for gain in gains])


def main(scale="small", *, kind="gru", **sizes):
    """Train a network for each place of the grid and each seed; print, draw and return all."""
    sizes = SIZES[scale] | sizes
    steps = sizes["n_steps"]
    task = kpf.MemoryPro(n_stimulus=steps, n_memory=steps, n_response=steps)
    cell = kpf.cell_from_config(kind, {"n_inputs": task.n_inputs, "n_units": sizes["n_units"]})
    found = {}
    _, axes = plt.subplots(len(DRAWN), len(OPTIMIZERS), figsize=(11, 9), layout="constrained")
    for column, (name, (optimizer, rates)) in zip(axes.T, OPTIMIZERS.items(), strict=True):
        rates = rates[-sizes["n_rates"] :]
        values = np.array([
            [[learn(cell, task, optimizer(rate), gain, seed, sizes) for seed in sizes["seeds"]]
             for rate in rates] for gain in sizes["gains"]
        ])  # fmt: skip
        by_name = dict(zip(MEASURED, np.moveaxis(values, -1, 0), strict=True))
        show(name, by_name, sizes["gains"], rates)
        for key, ax in zip(DRAWN, column, strict=True):
            draw(ax, by_name[key], sizes["gains"], rates)
            ax.set(title=f"{name}: {DRAWN[key]}", xlabel="learning rate", ylabel="g")
        found[name] = {key: np.median(each, axis=2) for key, each in by_name.items()}
    return found


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
