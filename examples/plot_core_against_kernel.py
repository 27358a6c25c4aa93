"""
Core against kernel over training
=================================

GRUs and vanilla networks learn Memory-Pro, and at checkpoints the tangent kernel, averaged over
units, is compared with the core ``V V*`` of the activity by their cosine. High cosines alone say
little: beside them stand the cosine of the kernel with a matrix of ones, which knows nothing of the
network, and that of kernel and core with both means over trials and steps taken away.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

SIZES = {
    "small": {
        "options": {"n_stimulus": 4, "n_memory": 4, "n_response": 4}, "n_units": 8, "seeds": (3,),
        "n_iterations": 20, "n_checkpoints": 2, "n_trials": 4,
    },
    "full": {
        "options": {}, "n_units": 32, "seeds": range(3, 9), "n_iterations": 1000,
        "n_checkpoints": 8, "n_trials": 12,
    },
}  # fmt: skip
STYLES = {
    "kernel and core": "C0o-",
    "kernel and core, centred": "C0o--",
    "K and core": "C1s-",
    "K and core, centred": "C1s--",
    "kernel and ones": "k^:",
}


def cosine(first, second):
    """Return the cosine of two matrices."""
    return np.sum(first * second) / (np.linalg.norm(first) * np.linalg.norm(second))


def centred(matrix):
    """Return a matrix without the means of its rows and columns."""
    rows, columns = matrix.mean(axis=1, keepdims=True), matrix.mean(axis=0)
    return matrix - rows - columns + matrix.mean()


def measure(cell, params, batch):
    """Return the cosines at one checkpoint."""
    lin = kpf.linearize(kpf.simulate(cell, params, batch.inputs))
    V = kpf.KroneckerCore(lin).features
    V = V.reshape(-1, V.shape[-1])
    core = V @ V.T
    kernel, K = (
        kpf.partial_trace(operator, over="unit").matrix
        for operator in (kpf.TangentKernel(lin), kpf.ParameterOperator(lin))
    )
    return {
        "kernel and core": cosine(kernel, core),
        "kernel and core, centred": cosine(centred(kernel), centred(core)),
        "K and core": cosine(K, core),
        "K and core, centred": cosine(centred(K), centred(core)),
        "kernel and ones": cosine(kernel, np.ones_like(kernel)),
    }


def main(scale="small", *, kinds=("gru", "vanilla-rnn"), learning_rate=5e-3, **sizes):
    """Train, compare, print medians and ranges over the seeds, and draw."""
    size = SIZES[scale] | sizes
    task = kpf.task_from_config("memory-pro", size["options"])
    batch = task.evaluation_batch(size["n_trials"])
    _, axes = plt.subplots(1, len(kinds), figsize=(5 * len(kinds), 4), sharey=True, squeeze=False,
                           layout="constrained")  # fmt: skip
    found = {}
    for ax, kind in zip(axes[0], kinds, strict=True):
        cell = kpf.cell_from_config(kind, {"n_inputs": task.n_inputs, "n_units": size["n_units"]})
        runs = [
            kpf.train(cell, task, n_iterations=size["n_iterations"], rng=seed,
                      optimizer=kpf.Adam(learning_rate),
                      checkpoint_every=size["n_iterations"] // size["n_checkpoints"]).checkpoints
            for seed in size["seeds"]
        ]  # fmt: skip
        iterations = [each.iteration for each in runs[0]]
        rows = [[measure(cell, each.params, batch) for each in run] for run in runs]
        found[f"{kind}, loss"] = [[each.evaluation_loss for each in run] for run in runs]
        for name, style in STYLES.items():
            values = np.array([[row[name] for row in run] for run in rows])
            found[f"{kind}, {name}"] = values.tolist()
            ax.plot(iterations, np.median(values, axis=0), style, ms=3, label=name)
            ax.fill_between(iterations, values.min(axis=0), values.max(axis=0), alpha=0.15,
                            color=style[:2] if style[0] == "C" else "k", lw=0)  # fmt: skip
        ax.set(xlabel="iteration", title=kind, ylim=(None, 1.02))
    axes[0, 0].set_ylabel("cosine, over trials and steps")
    axes[0, 0].legend(fontsize="small")
    for name, values in found.items():
        middle, low, high = (f(values, axis=0) for f in (np.median, np.min, np.max))
        print(name, *("{:.3g} [{:.3g}, {:.3g}]".format(*each) for each in zip(middle, low, high, strict=True)), sep="; ")  # fmt: skip # noqa: E501
    return found | {"iterations": iterations}


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
