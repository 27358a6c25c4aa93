"""
Estimating traces, norms, ranks and alignments
==============================================

Estimators, certain bounds and closed forms of the tangent kernel of a fresh GRU, at many budgets:
error against time, on the problem of arXiv 2511.10796. It shows that one-sided samples are the
cheapest way to one per cent of a trace and that beyond it the exact trace costs less than any
estimate; ``benchmarks/time_to_accuracy.py`` measures the same with all precautions.
"""

import sys
import time

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

SIZES = {
    "small": {"n_trials": 3, "n_steps": 10, "n_units": 12, "budgets": (16, 64), "seeds": (3, 4, 5)},
    "full": {
        "n_trials": 15,
        "n_steps": 50,
        "n_units": 64,
        "budgets": (16, 64, 256, 1024),
        "seeds": (3, 4, 5, 6, 7),
    },
}
METHODS = {
    "trace": ("hutchinson", "one-sided-reverse", "hutch++", "xtrace"),
    "norm": ("hutchinson", "hutch++"),
    "rank": ("hutchinson", "hutch++"),
    "alignment": ("hutchinson", "hutch++"),
}


def timed(compute, *arguments, **options):
    """Return an estimate and the seconds it took."""
    start = time.perf_counter()
    return compute(*arguments, **options), time.perf_counter() - start


def main(scale="small", *, n_inputs=10, **sizes):
    """Print and draw the median error and time of each method and budget."""
    sizes = SIZES[scale] | sizes
    cell = kpf.GRU(n_inputs=n_inputs, n_units=sizes["n_units"])
    shape = (sizes["n_trials"], sizes["n_steps"], n_inputs)
    inputs = np.random.default_rng(5).standard_normal(shape)
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), inputs))
    NTK, gram = kpf.TangentKernel(lin), kpf.PropagatorGram(lin)
    block = np.random.default_rng(5).standard_normal((NTK.shape[0], 64))
    NTK.matmat(block)
    direct = timed(NTK.matmat, block)[1] / 64 * NTK.shape[0]
    print(f"{NTK!r}: {direct:.3g} s for n products, extrapolated from 64")
    computed = {
        "trace": lambda **how: kpf.trace(NTK, **how),
        "norm": lambda **how: kpf.frobenius_norm(NTK, **how),
        "rank": lambda **how: kpf.effective_rank(NTK, **how),
        "alignment": lambda **how: kpf.alignment(NTK, gram, **how),
    }
    found = {"seconds of n products": direct}
    _, axes = plt.subplots(1, 4, figsize=(12, 4.4), layout="constrained", sharey=True)
    for ax, (quantity, compute) in zip(axes, computed.items(), strict=True):
        exact, seconds = timed(compute, method="exact" if quantity == "trace" else "dense")
        found[f"{quantity}, truth"] = exact.value
        print(f"{quantity}: {exact!r}, {seconds:.3g} s, {direct / seconds:.3g}x")
        ax.axvline(seconds, color="k", lw=1, label=exact.method)
        for method in METHODS[quantity]:
            medians = []
            for budget in sizes["budgets"]:
                runs = [timed(compute, method=method, n_matvecs=budget, rng=seed)
                        for seed in sizes["seeds"]]  # fmt: skip
                errors = [abs(run.value / exact.value - 1) for run, _ in runs]
                medians.append((np.median([s for _, s in runs]), np.median(errors)))
                found[f"{quantity}, {method}, {budget}"] = medians[-1][1]
                spent, error = medians[-1]
                print(f"   {method}, {budget} products: {error:.1e}, {direct / spent:,.0f}x")
            ax.loglog(*zip(*medians, strict=True), "o-", ms=4, label=method)
        ax.set(xlabel="seconds", title=quantity)
        ax.xaxis.set_minor_formatter("")
        ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.2), frameon=False)
    axes[0].set_ylabel("median relative error")
    return found


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
