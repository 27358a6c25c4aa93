r"""
Scale of the initial weights
============================

Networks that start from ``g`` times PyTorch's recurrent weights learn Memory-Pro, for several ``g``
and seeds. It shows what of the operators and of the dynamics g sets, before and after training, and
whether a larger g learns sooner; a point is the median over the seeds and a bar their whole range
(of six seeds: an interval of the median of 97 %, whatever the distribution).
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

SIZES = {
    "small": {
        "gains": (0.3, 3.0), "seeds": (3, 4), "n_units": 16, "n_iterations": 60, "tolerance": 0.5,
        "n_trials": 8,
    },
    "full": {
        "gains": (1e-5, 0.3, 0.6, 1.0, 1.5, 2.0, 3.0, 5.0), "seeds": (3, 4, 5, 6, 7, 8),
        "n_units": 64, "n_iterations": 1500, "tolerance": 0.01, "n_trials": 50,
    },
}  # fmt: skip
DRAWN = {
    "rank of K": "participation ratio of K",
    "rank of P": "participation ratio of $PP^*$",
    "Kaplan-Yorke": "Kaplan-Yorke dimension",
    "alignment": "alignment of NTK and $PP^*$",
    "iterations": "iterations to the tolerance",
    "loss": "final loss on evaluation trials",
}


def measure(cell, params, inputs):
    """Return what a network is along noise-free trials."""
    lin = kpf.linearize(kpf.simulate(cell, params, inputs))
    K, dynamics = kpf.ParameterOperator(lin), kpf.lyapunov_exponents(lin)
    over_steps = kpf.partial_trace(K, over="unit").matrix
    return {
        "rank of K": kpf.effective_rank(K).value,
        "rank of K over trials and steps": np.trace(over_steps) ** 2 / np.sum(over_steps**2),
        "rank of P": kpf.effective_rank(kpf.Propagator(lin)).value,
        "largest exponent": dynamics.exponents[0],
        "Kaplan-Yorke": dynamics.kaplan_yorke.value,
        "alignment": kpf.alignment(kpf.TangentKernel(lin), kpf.PropagatorGram(lin)).value,
    }


def learn(cell, task, gain, seed, n_iterations, tolerance, learning_rate, n_trials):
    """Return what one network is before and after training, and how soon it learned."""
    params = cell.init_params(gain, rng=seed, dtype=np.float32)
    run = kpf.train(
        cell, task, params=params, n_iterations=n_iterations, checkpoint_every=n_iterations,
        optimizer=kpf.Adam(learning_rate), rng=seed,
    )  # fmt: skip
    reached = np.flatnonzero(np.convolve(run.losses, np.ones(20) / 20, "valid") <= tolerance)
    inputs = task.evaluation_batch(n_trials).inputs
    found = {"iterations, final": reached[0] + 20 if reached.size else np.inf}
    found["loss, final"] = run.checkpoints[-1].evaluation_loss
    for when, weights in (("initial", params), ("final", run.params)):
        found |= {f"{key}, {when}": x for key, x in measure(cell, weights, inputs).items()}
    print(f"seed {seed}, g = {gain:g}: loss {found['loss, final']:.2e}")
    return found


def main(scale="small", *, kind="gru", n_steps=10, learning_rate=1e-3, **sizes):
    """Train a network for each g and seed; print, draw and return what is found."""
    sizes = SIZES[scale] | sizes
    task = kpf.MemoryPro(n_stimulus=n_steps, n_memory=n_steps, n_response=n_steps)
    cell = kpf.cell_from_config(kind, {"n_inputs": task.n_inputs, "n_units": sizes["n_units"]})
    arguments = (sizes["n_iterations"], sizes["tolerance"], learning_rate, sizes["n_trials"])
    found = {}
    for seed in sizes["seeds"]:
        for gain in sizes["gains"]:
            for key, value in learn(cell, task, gain, seed, *arguments).items():
                found.setdefault(key, {}).setdefault(gain, []).append(float(value))
    for key, by_gain in found.items():
        print(key)
        for gain, v in by_gain.items():
            print(f"   g = {gain:g}: {np.median(v):.4g} [{min(v):.4g}, {max(v):.4g}]")
    draw(found, kind)
    return found


def draw(found, kind):
    """Draw the median and the range of each quantity against g."""
    _, axes = plt.subplots(2, 3, figsize=(9, 5), layout="constrained")
    for ax, (name, label) in zip(axes.flat, DRAWN.items(), strict=True):
        for when, colour in (("initial", "C0"), ("final", "C3")):
            for gain, values in found.get(f"{name}, {when}", {}).items():
                ax.plot([gain, gain], [min(values), max(values)], "-", color=colour, lw=1)
                ax.plot(gain, np.median(values), "o", color=colour, ms=4)
            ax.plot([], [], "o-", color=colour, label=when)
        scale = "linear" if name in ("Kaplan-Yorke", "alignment") else "log"
        ax.set(xlabel="g", ylabel=label, yscale=scale)
    axes[0, 0].legend(title=kind)


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
