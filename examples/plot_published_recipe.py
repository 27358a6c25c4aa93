"""
The published recipe beside the honest ranks
============================================

Checkpoints of a training, the example's own or those of a run file, with the ranks of the published
Figure 4 (with its cut, and with all eigenvalues kept) beside participation ratios of the operators
themselves. It shows that the published curve of P falls to about two as soon as Memory-Pro is
learned, and that the rank of K over trials and steps grows while the published rank of K hardly
moves.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

SIZES = {
    "small": {
        "options": {"n_stimulus": 4, "n_memory": 4, "n_response": 4}, "n_units": 12, "seeds": (3,),
        "n_iterations": 40, "n_checkpoints": 2, "n_trials": 6,
    },
    "full": {
        "options": {}, "n_units": 64, "seeds": (3, 4, 5), "n_iterations": 1500,
        "n_checkpoints": 10, "n_trials": 20,
    },
}  # fmt: skip


def measure(cell, params, task, n_trials):
    """Return the ranks of one checkpoint; the published ones are of four trials."""
    few, lin = (
        kpf.linearize(kpf.simulate(cell, params, task.evaluation_batch(n).inputs))
        for n in (4, n_trials)
    )
    over_steps = kpf.partial_trace(kpf.ParameterOperator(lin), over="unit").matrix
    return {
        "P, published": kpf.published_rank(kpf.Propagator(few)).value,
        "P, published, all kept": kpf.published_rank(
            kpf.Propagator(few), n_leading=task.n_steps
        ).value,
        "K, published": kpf.published_rank(kpf.ParameterOperator(few)).value,
        "P, participation ratio": kpf.effective_rank(kpf.Propagator(lin)).value,
        "K, participation ratio": kpf.effective_rank(kpf.ParameterOperator(lin)).value,
        "K over trials and steps": np.trace(over_steps) ** 2 / np.sum(over_steps**2),
    }


def trained(task, kind, seed, sizes, learning_rate, gain):
    """Yield a cell, its task and the checkpoints of its training."""
    task = kpf.task_from_config(task, sizes["options"])
    cell = kpf.cell_from_config(kind, {"n_inputs": task.n_inputs, "n_units": sizes["n_units"]})
    run = kpf.train(
        cell, task, params=cell.init_params(gain, rng=seed, dtype=np.float32), rng=seed,
        n_iterations=sizes["n_iterations"], optimizer=kpf.Adam(learning_rate),
        checkpoint_every=sizes["n_iterations"] // sizes["n_checkpoints"],
    )  # fmt: skip
    return cell, task, run.checkpoints


def main(
    scale="small", *, run=None, task="memory-pro", kind="gru", learning_rate=2e-3, gain=1.0, **sizes
):
    """Print medians and ranges over the seeds; draw ranks and loss over training."""
    sizes = SIZES[scale] | sizes
    if run is None:
        runs = [trained(task, kind, seed, sizes, learning_rate, gain) for seed in sizes["seeds"]]
    else:
        with kpf.RunFile.open(run) as file:
            checkpoints = [file.checkpoint(index) for index in range(file.n_checkpoints)]
            runs = [(file.cell, file.task, checkpoints)]
    found = {}
    for cell, made, checkpoints in runs:
        rows = [measure(cell, each.params, made, sizes["n_trials"]) for each in checkpoints]
        for key in rows[0]:
            found.setdefault(key, []).append([row[key] for row in rows])
        found.setdefault("loss", []).append([each.evaluation_loss for each in checkpoints])
    iterations = [each.iteration for each in checkpoints]
    _, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for key, values in found.items():
        middle, low, high = (f(values, axis=0) for f in (np.median, np.min, np.max))
        ax = axes[2] if key == "loss" else axes[int("published" not in key)]
        ax.plot(iterations, middle, "o-", ms=3, label=key)
        ax.fill_between(iterations, low, high, alpha=0.2)
        print(key)
        for row in zip(iterations, middle, low, high, strict=True):
            print("   {:.0f}: {:.4g} [{:.4g}, {:.4g}]".format(*row))
    for ax, title in zip(axes, ("published recipe", "participation ratios", "loss"), strict=True):
        ax.set(xlabel="iteration", yscale="log", title=title)
    axes[0].legend(fontsize="small")
    axes[1].legend(fontsize="small")
    return found | {"iterations": iterations}


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
