"""
Self-referential bias
=====================

Gradient descent moves the hidden states by ``dh = P K P* err``, and K is made of the activity. This
shows how much of ``dh`` lies in the leading modes of the activity V over trials and steps. Beside
the share stand the controls that tell whose doing it is: the same share of the moves of random
errors, of ``P P* err``, which passes no bottleneck, of the error itself, and of chance.
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
    "P K P* err": "C0o-",
    "P K P* of random output errors": "C2v--",
    "P K P* of random errors": "C7v:",
    "P P* err": "C1s--",
    "err": "C3^--",
    "chance": "k:",
}


def share(modes, block):
    """Return the mean share of the moves ``(n, k)`` that lies in modes over trials and steps."""
    moves = block.reshape(len(modes), -1, block.shape[-1])
    inside = np.tensordot(modes.T, moves, axes=1)
    return float(np.mean(np.sum(inside**2, axis=(0, 1)) / np.sum(moves**2, axis=(0, 1))))


def measure(cell, checkpoint, batch, n_random):
    """Return the shares at one checkpoint."""
    trajectory = kpf.simulate(cell, checkpoint.params, batch.inputs)
    lin = kpf.linearize(trajectory)
    V = kpf.KroneckerCore(lin).features
    modes = np.linalg.svd(V.reshape(-1, V.shape[-1]), full_matrices=False)[0][:, :N_MODES]
    readout = checkpoint.readout
    err = kpf.state_error(trajectory, readout, batch.targets, mask=batch.mask).reshape(-1, 1)
    rng = np.random.default_rng(5)
    random = rng.standard_normal((len(err), n_random))
    outputs = rng.standard_normal((len(modes), batch.n_outputs, n_random))
    readable = np.einsum("bok,oh->bhk", outputs, readout["weight"]).reshape(len(err), -1)
    kernel = kpf.TangentKernel(lin)
    return {
        "P K P* err": share(modes, kernel @ err),
        "P K P* of random output errors": share(modes, kernel @ readable),
        "P K P* of random errors": share(modes, kernel @ random),
        "P P* err": share(modes, kpf.PropagatorGram(lin) @ err),
        "err": share(modes, err),
        "chance": N_MODES / len(modes),
    }


def main(scale="small", *, kinds=("gru", "vanilla-rnn"), learning_rate=5e-3, **sizes):
    """Train, measure, print medians and ranges over the seeds, and draw."""
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
        rows = [[measure(cell, each, batch, size["n_random"]) for each in run] for run in runs]
        iterations = [each.iteration for each in runs[0]]
        print(f"{kind}, loss at the end: {[round(run[-1].evaluation_loss, 5) for run in runs]}")
        for name, style in STYLES.items():
            values = np.array([[row[name] for row in run] for run in rows])
            found[f"{kind}, {name}"] = values.tolist()
            middle, low, high = (f(values, axis=0) for f in (np.median, np.min, np.max))
            ax.plot(iterations, middle, style, ms=3, label=name)
            colour = style[:2] if style[0] == "C" else "k"
            ax.fill_between(iterations, low, high, color=colour, alpha=0.15, lw=0)
            spread = zip(middle, low, high, strict=True)
            shown = ["{:.3g} [{:.3g}, {:.3g}]".format(*each) for each in spread]
            print(f"{kind}, {name}: {'; '.join(shown)}")
        ax.set(xlabel="iteration", title=kind, ylim=(0, 1.02))
    axes[0, 0].set_ylabel(f"share in the {N_MODES} leading modes of V")
    axes[0, 0].legend(fontsize="small")
    return found | {"iterations": iterations}


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
