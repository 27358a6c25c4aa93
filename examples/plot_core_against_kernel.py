"""
Core against kernel over training
=================================

GRUs and vanilla networks learn Memory-Pro, and at checkpoints the tangent kernel, averaged over
units, is compared with the core ``V V*`` of the activity by their cosine. High cosines alone say
little: beside them stand the cosine of the kernel with a matrix of ones, which knows nothing of the
network, and that of kernel and core with both means over trials and steps taken away. Lines
are medians over seeds, bands their range.
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
    "kernel and core": ("kernel_core", "C0o-"),
    "kernel and core, centred": ("kernel_core_centred", "C2v--"),
    "K and core": ("parameter_core", "C1s-"),
    "K and core, centred": ("parameter_core_centred", "C3x--"),
    "kernel and ones": ("kernel_ones", "k^:"),
}


def main(scale="small", *, kinds=("gru", "vanilla-rnn"), learning_rate=5e-3, **sizes):
    """Train, compare, print medians and ranges over the seeds, and draw."""
    size = SIZES[scale] | sizes
    task = kpf.task_from_config("memory-pro", size["options"])
    batch = task.evaluation_batch(size["n_trials"])
    figure, axes = plt.subplots(1, len(kinds), figsize=(5 * len(kinds), 4.4), sharey=True,
                                squeeze=False, layout="constrained")  # fmt: skip
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
        rows = [
            [kpf.core_against_kernel(kpf.linearize(kpf.simulate(cell, each.params, batch.inputs)))
             for each in run]
            for run in runs
        ]  # fmt: skip
        found[f"{kind}, loss"] = [[each.evaluation_loss for each in run] for run in runs]
        for name, (quantity, _) in STYLES.items():
            found[f"{kind}, {name}"] = [[getattr(row, quantity) for row in run] for run in rows]
        draw(ax, iterations, {name: found[f"{kind}, {name}"] for name in STYLES}, kind)
    axes[0, 0].set_ylabel("cosine, over trials and steps")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  frameon=False)  # fmt: skip
    for name, values in found.items():
        middle, low, high = (f(values, axis=0) for f in (np.median, np.min, np.max))
        print(name, *("{:.3g} [{:.3g}, {:.3g}]".format(*each) for each in zip(middle, low, high, strict=True)), sep="; ")  # fmt: skip # noqa: E501
    return found | {"iterations": iterations}


def draw(ax, iterations, courses, title):
    """Draw the median over the seeds of each cosine, and their range as a band."""
    for name, values in courses.items():
        style = STYLES[name][1]
        ax.plot(iterations, np.median(values, axis=0), style, ms=4, label=name)
        ax.fill_between(iterations, np.min(values, axis=0), np.max(values, axis=0), alpha=0.12,
                        color=style[:2] if style[0] == "C" else "k", lw=0)  # fmt: skip
    ax.set(xlabel="iteration", title=title, ylim=(None, 1.02), xticks=iterations[::2])


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
