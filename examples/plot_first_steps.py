"""
First steps
===========

The operators of a small GRU: what they are, and how well their traces and ranks are known. It shows
that what has a closed form is exact, and that an estimate of the same number comes with an interval
that holds it and shrinks as more products are spent.
"""

import sys

import matplotlib.pyplot as plt

import kpflow_numerics as kpf

SIZES = {
    "small": {"n_units": 16, "n_trials": 6, "budgets": (16, 32, 64, 128)},
    "full": {"n_units": 128, "n_trials": 20, "budgets": (16, 32, 64, 128, 256, 512, 1024)},
}


def main(scale="small", *, seed=7, **sizes):
    """Print the numbers of a fresh network, draw estimates against the exact trace of its NTK."""
    sizes = SIZES[scale] | sizes
    task = kpf.MemoryPro(n_stimulus=10, n_memory=10, n_response=10)
    cell = kpf.GRU(n_inputs=task.n_inputs, n_units=sizes["n_units"])
    batch = task.evaluation_batch(sizes["n_trials"])
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=seed), batch.inputs))
    K, P, NTK = kpf.ParameterOperator(lin), kpf.Propagator(lin), kpf.TangentKernel(lin)
    exact = kpf.trace(NTK, "exact")
    numbers = {
        "trace of K": kpf.trace(K),
        "trace of NTK": exact,
        "rank of K": kpf.effective_rank(K),
        "rank of P P*": kpf.effective_rank(P),
        "rank of NTK": kpf.effective_rank(NTK, rtol=0.05),
        "alignment of NTK and P P*": kpf.alignment(NTK, kpf.PropagatorGram(lin)),
    }
    print(f"{cell!r}: K, P and NTK act on arrays {lin.dims}")
    for name, estimate in numbers.items():
        print(f"{name}: {estimate!r}")

    _, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for shift, method in zip((0.94, 1.0, 1.06), ("hutchinson", "hutch++", "xtrace"), strict=True):
        found = [kpf.trace(NTK, method, n_matvecs=n, rng=seed) for n in sizes["budgets"]]
        spent = [shift * estimate.n_matvecs for estimate in found]
        values = [estimate.value for estimate in found]
        reach = [estimate.upper - estimate.value for estimate in found]
        ax.errorbar(spent, values, reach, fmt="o", ms=4, capsize=3, label=method)
        numbers[f"trace of NTK, {method}"] = found[-1]
    ax.axhline(exact.value, color="k", lw=1, label="exact")
    ax.set(xscale="log", xlabel="products with the factors of the NTK", ylabel="trace of the NTK")
    ax.set_xticks(sizes["budgets"], sizes["budgets"])
    ax.minorticks_off()
    ax.legend(title="with 95 % intervals")
    return {name: float(estimate) for name, estimate in numbers.items()}


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
