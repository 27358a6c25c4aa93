"""
Other cells
===========

GRUs, LSTMs, and leaky networks in their rate and current forms learn Memory-Pro. It shows the ranks
of K and P over training for cells that the papers did not train: a line is the median over the
seeds, its band their whole range.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

VARIANTS = {
    "gru": ("gru", {}),
    "lstm": ("lstm", {}),
    "leaky rate": ("leaky-rnn", {"leak": 0.3}),
    "leaky current": ("leaky-rnn", {"leak": 0.3, "form": "current"}),
}
MEASURED = {
    "loss": "loss on evaluation trials",
    "K": "participation ratio of K",
    "P": "participation ratio of $PP^*$",
}
SIZES = {
    "small": {
        "n_units": 10, "n_iterations": 20, "n_checkpoints": 2, "seeds": (3, 4), "n_trials": 6,
        "n_steps": 4, "batch_size": 16,
    },
    "full": {
        "n_units": 32, "n_iterations": 1000, "n_checkpoints": 8, "seeds": (3, 4, 5, 6, 7),
        "n_trials": 16, "n_steps": 10, "batch_size": 32,
    },
}  # fmt: skip


def follow(kind, options, task, seed, learning_rate, sizes):
    """Return the iterations of the checkpoints, and losses and ranks of K and P there."""
    shape = {"n_inputs": task.n_inputs, "n_units": sizes["n_units"]}
    cell = kpf.cell_from_config(kind, shape | options)
    run = kpf.train(
        cell, task, n_iterations=sizes["n_iterations"], batch_size=sizes["batch_size"],
        optimizer=kpf.Adam(learning_rate), evaluation_trials=50, rng=seed, dtype="float32",
        checkpoint_every=sizes["n_iterations"] // sizes["n_checkpoints"],
    )  # fmt: skip
    inputs, rows = task.evaluation_batch(sizes["n_trials"]).inputs, []
    for checkpoint in run.checkpoints:
        lin = kpf.linearize(kpf.simulate(cell, checkpoint.params, inputs))
        ranks = [kpf.effective_rank(o(lin)).value for o in (kpf.ParameterOperator, kpf.Propagator)]
        rows.append((checkpoint.evaluation_loss, *ranks))
    return [checkpoint.iteration for checkpoint in run.checkpoints], np.array(rows).T


def main(scale="small", *, variants=tuple(VARIANTS), learning_rate=5e-3, **sizes):
    """Train all, print medians and whole ranges over the seeds, and draw them over training."""
    sizes = SIZES[scale] | sizes
    steps = sizes["n_steps"]
    task = kpf.MemoryPro(n_stimulus=steps, n_memory=steps, n_response=steps)
    _, axes = plt.subplots(1, len(MEASURED), figsize=(11, 3.6), layout="constrained")
    found = {}
    for colour, name in enumerate(variants):
        runs = [follow(*VARIANTS[name], task, s, learning_rate, sizes) for s in sizes["seeds"]]
        iterations = runs[0][0]
        quantiles = np.quantile([values for _, values in runs], (0.5, 0, 1), axis=0)
        found[name] = dict(zip(MEASURED, quantiles[0], strict=True))
        for (key, label), ax, lines in zip(
            MEASURED.items(), axes, np.moveaxis(quantiles, 1, 0), strict=True
        ):
            ax.plot(iterations, lines[0], "o-", ms=3, color=f"C{colour}", label=name)
            ax.fill_between(iterations, *lines[1:], color=f"C{colour}", alpha=0.2)
            ax.set(xlabel="iteration", ylabel=label, yscale="log")
            for at, (middle, low, high) in zip(iterations, lines.T, strict=True):
                print(f"{name}, {key} at {at}: {middle:.3g} [{low:.3g}, {high:.3g}]")
    axes[0].legend(fontsize="small")
    return found


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
