"""
Other cells, optimisers, sequences and learning rates
=====================================================

The ranks of K and P over training for cells, optimisers and a forecasting task that the papers did
not train, and over a grid of g and learning rate. It shows that K is of low rank in all of them and
that P loses its rank where, and only as far as, the network learns to remember.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

MEMORY = ("memory-pro", {"n_stimulus": 10, "n_memory": 10, "n_response": 10})
FORECAST = ("low-rank-forecast", {"n_steps": 30})
VARIANTS = {
    "gru, Adam": ("gru", {}, MEMORY, kpf.Adam(5e-3)),
    "lstm, Adam": ("lstm", {}, MEMORY, kpf.Adam(5e-3)),
    "leaky rate, Adam": ("leaky-rnn", {"leak": 0.3}, MEMORY, kpf.Adam(5e-3)),
    "leaky current, Adam": ("leaky-rnn", {"leak": 0.3, "form": "current"}, MEMORY, kpf.Adam(5e-3)),
    "gru, momentum": ("gru", {}, MEMORY, kpf.Momentum(0.1)),
    "gru, SGD": ("gru", {}, MEMORY, kpf.SGD(0.5)),
    "gru, Adam, forecast": ("gru", {}, FORECAST, kpf.Adam(5e-3)),
    "vanilla, Adam, forecast": ("vanilla-rnn", {}, FORECAST, kpf.Adam(5e-3)),
}
SIZES = {
    "small": {
        "n_units": 10, "n_iterations": 20, "n_checkpoints": 2, "seeds": (3,), "n_trials": 6,
        "gains": (0.5, 2.0), "rates": (1e-3, 1e-2), "batch_size": 16,
    },
    "full": {
        "n_units": 64, "n_iterations": 1000, "n_checkpoints": 8, "seeds": (3, 4, 5), "n_trials": 20,
        "gains": (0.3, 1.0, 2.0, 3.0), "rates": (3e-4, 1e-3, 3e-3, 1e-2), "batch_size": 64,
    },
}  # fmt: skip


def follow(kind, options, task, optimizer, gain, seed, sizes):
    """Return iterations, losses and ranks of K and P at the checkpoints of a training."""
    task = kpf.task_from_config(*task)
    shape = {"n_inputs": task.n_inputs, "n_units": sizes["n_units"]}
    cell = kpf.cell_from_config(kind, shape | options)
    run = kpf.train(
        cell, task, params=cell.init_params(gain, rng=seed, dtype="float32"), rng=seed,
        n_iterations=sizes["n_iterations"], batch_size=sizes["batch_size"], optimizer=optimizer,
        checkpoint_every=sizes["n_iterations"] // sizes["n_checkpoints"],
    )  # fmt: skip
    inputs, rows = task.evaluation_batch(sizes["n_trials"]).inputs, []
    for checkpoint in run.checkpoints:
        lin = kpf.linearize(kpf.simulate(cell, checkpoint.params, inputs))
        ranks = [kpf.effective_rank(o(lin)).value for o in (kpf.ParameterOperator, kpf.Propagator)]
        rows.append((checkpoint.iteration, checkpoint.evaluation_loss, *ranks))
    return np.array(rows).T


def main(scale="small", *, variants=tuple(VARIANTS), **sizes):
    """Train all, print medians over the seeds, draw ranks over training and over the grid."""
    sizes = SIZES[scale] | sizes
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    found = {}
    for name in variants:
        runs = [follow(*VARIANTS[name], 1.0, seed, sizes) for seed in sizes["seeds"]]
        iterations, losses, K, P = np.median(runs, axis=0)
        for ax, ranks, label in ((axes[0], K, "K"), (axes[1], P, "$PP^*$")):
            ax.semilogy(iterations, ranks, "o-", ms=3, label=name)
            ax.set(xlabel="iteration", ylabel=f"participation ratio of {label}")
        found[name] = {"loss": losses, "K": K, "P": P}
        ends = {key: f"{x[0]:.3g} -> {x[-1]:.3g}" for key, x in found[name].items()}
        spread = [f"{low:.3g} to {high:.3g}" for low, high in zip(
            np.min(runs, axis=0)[2:, -1], np.max(runs, axis=0)[2:, -1], strict=True)]  # fmt: skip
        print(f"{name}: {ends}; K and P at the end, range over the seeds {spread}")
    axes[0].legend(fontsize="x-small")
    grid = np.zeros((3, len(sizes["gains"]), len(sizes["rates"])))
    for row, gain in enumerate(sizes["gains"]):
        for column, rate in enumerate(sizes["rates"]):
            arguments = ("gru", {}, MEMORY, kpf.Adam(rate), gain)
            runs = [follow(*arguments, seed, sizes)[1:, -1] for seed in sizes["seeds"]]
            grid[:, row, column] = np.median(runs, axis=0)
            loss, K, P = grid[:, row, column]
            print(
                f"g = {gain}, learning rate {rate}: loss {loss:.2e}, rank of K {K:.3g}, P {P:.3g}"
            )
            axes[2].text(column, row, f"{loss:.1e}\nK {K:.2g}\nP {P:.2g}", ha="center", va="center",
                         fontsize="small")  # fmt: skip
    image = axes[2].imshow(np.log10(grid[0]), cmap="Blues_r", aspect="auto", alpha=0.6)
    figure.colorbar(image, ax=axes[2], label="log10 of the final loss")
    axes[2].set_xticks(range(len(sizes["rates"])), sizes["rates"])
    axes[2].set_yticks(range(len(sizes["gains"])), sizes["gains"])
    axes[2].set(xlabel="learning rate", ylabel="g", title="GRU, Adam")
    return found | {"grid": grid}


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
