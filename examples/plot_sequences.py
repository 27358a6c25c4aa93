"""
Ranks over training on sequences
================================

GRUs, LSTMs and vanilla networks learn to forecast a hidden linear system and to predict the next
character of sentences. It shows how the ranks of K, P and the tangent kernel go while they learn:
a line is the median over the seeds, its band their whole range.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

KINDS = ("gru", "lstm", "vanilla-rnn")
MEASURED = {
    "loss": "loss on evaluation trials",
    "accuracy": "accuracy",
    "K": "participation ratio of K",
    "P": "participation ratio of $PP^*$",
    "NTK": "participation ratio of $PKP^*$",
}
SIZES = {
    "small": {
        "n_units": 8, "n_iterations": 20, "n_checkpoints": 2, "seeds": (3, 4), "n_trials": 4,
        "n_steps": 12, "batch_size": 16,
    },
    "full": {
        "n_units": 32, "n_iterations": 800, "n_checkpoints": 8, "seeds": (3, 4, 5, 6, 7),
        "n_trials": 8, "n_steps": 30, "batch_size": 32,
    },
}  # fmt: skip


def tasks_of(n_steps, text_file=None):
    """Return the tasks, whose outputs are judged by explained variance and by right characters."""
    return {
        "forecast": kpf.LowRankForecast(
            n_embedded_inputs=20, n_embedded_outputs=20, n_steps=n_steps
        ),
        "characters": kpf.Characters(text_file=text_file, n_steps=n_steps),
    }


def ranks(cell, params, inputs):
    """Return the participation ratios of K, P P* and P K P* along noise-free trials."""
    lin = kpf.linearize(kpf.simulate(cell, params, inputs))
    kernel = kpf.effective_rank(kpf.TangentKernel(lin), n_pairs=12, n_samples=24, rng=11)
    exact = [kpf.effective_rank(o(lin)).value for o in (kpf.ParameterOperator, kpf.Propagator)]
    return [*exact, kernel.value]


def follow(kind, task, seed, learning_rate, sizes):
    """Return the iterations of the checkpoints, and what is measured there."""
    cell = kpf.cell_from_config(kind, {"n_inputs": task.n_inputs, "n_units": sizes["n_units"]})
    run = kpf.train(
        cell, task, n_iterations=sizes["n_iterations"], batch_size=sizes["batch_size"],
        optimizer=kpf.Adam(learning_rate), evaluation_trials=100, rng=seed, dtype="float32",
        checkpoint_every=sizes["n_iterations"] // sizes["n_checkpoints"],
    )  # fmt: skip
    inputs = task.evaluation_batch(sizes["n_trials"]).inputs
    rows = [
        (each.evaluation_loss, each.accuracy, *ranks(cell, each.params, inputs))
        for each in run.checkpoints
    ]
    return [each.iteration for each in run.checkpoints], np.array(rows).T


def main(scale="small", *, kinds=KINDS, learning_rate=5e-3, text_file=None, **sizes):
    """Train all, print medians and whole ranges over the seeds, and draw them over training."""
    sizes = SIZES[scale] | sizes
    tasks = tasks_of(sizes["n_steps"], text_file)
    found = {}
    _, axes = plt.subplots(len(tasks), len(MEASURED), figsize=(16, 5.6), layout="constrained")
    for (name, task), row in zip(tasks.items(), axes, strict=True):
        for colour, kind in enumerate(kinds):
            runs = [follow(kind, task, seed, learning_rate, sizes) for seed in sizes["seeds"]]
            iterations, values = runs[0][0], np.array([each for _, each in runs])
            quantiles = np.quantile(values, (0.5, 0, 1), axis=0)
            middle, low, high = quantiles
            print(f"{name}, {kind}")
            for place, (key, ax) in enumerate(zip(MEASURED, row, strict=True)):
                ax.plot(iterations, middle[place], "o-", ms=3, color=f"C{colour}", label=kind)
                ax.fill_between(iterations, low[place], high[place], color=f"C{colour}", alpha=0.2)
                for at, (m, a, b) in zip(iterations, quantiles[:, place].T, strict=True):
                    print(f"   {key} at {at}: {m:.3g} [{a:.3g}, {b:.3g}]")
            found[f"{name}, {kind}"] = dict(zip(MEASURED, middle, strict=True))
        for (key, label), ax in zip(MEASURED.items(), row, strict=True):
            ax.set(title=name, xlabel="iteration", ylabel=label)
            ax.set(**{"ylim": (0, 1)} if key == "accuracy" else {"yscale": "log"})
    axes[0, 0].legend(fontsize="small")
    return found


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
