"""
Networks before training
========================

Ranks of fresh networks by the published recipe and by the honest one, and how the rank of K and the
alignment of the tangent kernel with ``P P*`` depend on the scale g of the recurrent weights. It
shows that the published numbers are those of one averaged direction, and that what a given g means
depends on the distribution of the weights: that of PyTorch has a spectral radius of 0.58 g.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

SIZES = {
    "small": {"n_units": 16, "n_steps": 6, "n_trials": 5, "seeds": (10, 11), "gains": (0.5, 2.0)},
    "full": {
        "n_units": 256, "n_steps": 30, "n_trials": 50, "seeds": (10, 11, 12, 13, 14, 15),
        "gains": (1e-5, 0.5, 0.9, 1.0, 1.2, 1.5, 1.7, 2.0, 3.0, 5.0),
    },
}  # fmt: skip


def weights(cell, gain, seed, normal):
    """Return PyTorch's initial weights, or recurrent ones that are normal of variance g^2 / H."""
    params = cell.init_params(gain, rng=seed, dtype=np.float32)
    if normal:
        drawn = np.random.default_rng(seed).standard_normal(params["weight_hh"].shape)
        params["weight_hh"] = (gain * drawn / np.sqrt(cell.n_units)).astype(np.float32)
    return params


def published(cell, inputs, seeds, n_steps):
    """Yield the ranks of a fresh network by the published recipe, with its cut and without."""
    for seed in seeds:
        lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=seed), inputs))
        for operator in (kpf.ParameterOperator, kpf.Propagator, kpf.TangentKernel):
            for kept in (2 * n_steps, 3 * n_steps):
                rank = kpf.published_rank(operator(lin), n_leading=kept).value
                yield f"{cell.kind}, {operator.__name__}, {kept} kept", rank


def main(scale="small", *, alignments=True, **sizes):
    """Print medians and ranges over the seeds; draw ranks and alignments against g."""
    sizes = SIZES[scale] | sizes
    seeds, units, steps = sizes["seeds"], sizes["n_units"], sizes["n_steps"]
    task = kpf.MemoryPro(n_stimulus=steps, n_memory=steps, n_response=steps)
    inputs, found = task.evaluation_batch(sizes["n_trials"]).inputs, {}
    for cell in (kpf.VanillaRNN(3, units), kpf.GRU(3, units)):
        few = task.evaluation_batch(4).inputs
        for key, rank in published(cell, few, seeds, steps):
            found.setdefault(key, []).append(rank)
    current = kpf.LeakyRNN(3, units, form="current", leak=0.1)
    drawn = {"current, uniform": (current, False), "current, normal": (current, True),
             "vanilla, uniform": (kpf.VanillaRNN(3, units), False),
             "vanilla, normal": (kpf.VanillaRNN(3, units), True),
             "gru, uniform": (kpf.GRU(3, units), False)}  # fmt: skip
    shown = ("rank of K", "alignment")[: 1 + alignments]
    _, axes = plt.subplots(
        1, len(shown), figsize=(4.5 * len(shown), 3.6), layout="constrained", squeeze=False
    )
    for name, (cell, normal) in drawn.items():
        for gain in sizes["gains"]:
            for seed in seeds:
                params = weights(cell, gain, seed, normal)
                lin = kpf.linearize(kpf.simulate(cell, params, inputs))
                over_steps = kpf.partial_trace(kpf.ParameterOperator(lin), over="unit").matrix
                rank = np.trace(over_steps) ** 2 / np.sum(over_steps**2)
                found.setdefault(f"rank of K, {name}, g = {gain:g}", []).append(rank)
                if alignments:
                    NTK, gram = kpf.TangentKernel(lin), kpf.PropagatorGram(lin)
                    value = kpf.alignment(NTK, gram, "hutch++", n_matvecs=90, rng=seed).value
                    found.setdefault(f"alignment, {name}, g = {gain:g}", []).append(value)
        for ax, what in zip(axes[0], shown, strict=True):
            rows = [found[f"{what}, {name}, g = {g:g}"] for g in sizes["gains"]]
            ax.plot(sizes["gains"], np.median(rows, axis=1), "o-", ms=3, label=name)
            ax.fill_between(sizes["gains"], np.min(rows, axis=1), np.max(rows, axis=1), alpha=0.2)
    if alignments:
        axes[0, 1].set(xlabel="g", ylabel="alignment of NTK and $PP^*$")
    axes[0, 0].set(xlabel="g", ylabel="rank of K over trials and steps", yscale="log")
    axes[0, 0].legend()
    for key, values in found.items():
        print(f"{key}: {np.median(values):.4g} [{min(values):.4g}, {max(values):.4g}]")
    return found


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
