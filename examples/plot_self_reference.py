"""
Self-referential bias
=====================

Gradient descent moves the hidden states by ``dh = P K P* err``, and K is made of the activity. This
shows how much of ``dh`` lies in the leading modes of the activity V over trials and steps. Beside
the share stand the controls that tell whose doing it is: the same share of the moves of random
errors, of ``P P* err``, which passes no bottleneck, of the error itself, and of chance. Lines are
medians over seeds, bands their range.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

SIZES = {
    "small": {
        "options": {"n_stimulus": 4, "n_memory": 4, "n_response": 4}, "n_units": 8, "seeds": (3,),
        "n_iterations": 20, "n_checkpoints": 2, "n_trials": 4, "n_random": 4,
    },
    "full": {
        "options": {}, "n_units": 32, "seeds": range(3, 9), "n_iterations": 1000,
        "n_checkpoints": 8, "n_trials": 20, "n_random": 64,
    },
}  # fmt: skip
N_MODES = 5
STYLES = {
    "P K P* err": ("share", "C0o-"),
    "P K P* of random output errors": ("random_output_errors", "C2v--"),
    "P K P* of random errors": ("random_errors", "C7D:"),
    "P P* err": ("without_bottleneck", "C1s-"),
    "err": ("error", "C3x-."),
    "chance": ("chance", "k:"),
}


def measure(cell, checkpoint, batch, n_random):
    """Return the shares at one checkpoint."""
    trajectory = kpf.simulate(cell, checkpoint.params, batch.inputs)
    err = kpf.state_error(trajectory, checkpoint.readout, batch)
    return kpf.self_referential_bias(kpf.linearize(trajectory), err, n_modes=N_MODES,
                                     n_random=n_random, rng=5, readout=checkpoint.readout)  # fmt: skip # noqa: E501


def main(scale="small", *, kinds=("gru", "vanilla-rnn"), learning_rate=5e-3, **sizes):
    """Train, measure, print medians and ranges over the seeds, and draw."""
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
        rows = [[measure(cell, each, batch, size["n_random"]) for each in run] for run in runs]
        iterations = [each.iteration for each in runs[0]]
        print(f"{kind}, loss at the end: {[round(run[-1].evaluation_loss, 5) for run in runs]}")
        for name, (quantity, _) in STYLES.items():
            values = [[float(getattr(row, quantity)) for row in run] for run in rows]
            found[f"{kind}, {name}"] = values
            spread = zip(*(f(values, axis=0) for f in (np.median, np.min, np.max)), strict=True)
            shown = ["{:.3g} [{:.3g}, {:.3g}]".format(*each) for each in spread]
            print(f"{kind}, {name}: {'; '.join(shown)}")
        draw(ax, iterations, {name: found[f"{kind}, {name}"] for name in STYLES}, kind)
    axes[0, 0].set_ylabel(f"share in the {N_MODES} leading modes of V")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  frameon=False)  # fmt: skip
    return found | {"iterations": iterations}


def draw(ax, iterations, courses, title):
    """Draw the median over the seeds of each share, and their range as a band."""
    for name, values in courses.items():
        style = STYLES[name][1]
        ax.plot(iterations, np.median(values, axis=0), style, ms=4, label=name)
        ax.fill_between(iterations, np.min(values, axis=0), np.max(values, axis=0), alpha=0.12,
                        color=style[:2] if style[0] == "C" else "k", lw=0)  # fmt: skip
    ax.set(xlabel="iteration", title=title, ylim=(-0.03, 1.03), xticks=iterations[::2])


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
