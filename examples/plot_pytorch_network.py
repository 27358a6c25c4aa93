"""
A network trained in PyTorch
============================

A GRU that learned Memory-Pro in PyTorch is read from its ``state_dict``, checked and analysed. It
shows that the network remembers the angle on a ring of states, and that each of the identities
behind K, P and the tangent kernel holds on it to rounding.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

SIZES = {"small": {"n_trials": 8, "n_validated": 1}, "full": {"n_trials": 40, "n_validated": 8}}


def find(name):
    """Return the path of a file of data/, from the scripts' folder or above it."""
    here = Path.cwd() if "__file__" not in globals() else Path(__file__).resolve().parent
    return next(p / "data" / name for p in (here, *here.parents) if (p / "data" / name).exists())


def main(scale="small", *, path=None, **sizes):
    """Read, check and analyse a network; print its ranks and draw its states and its modes."""
    sizes = SIZES[scale] | sizes
    network = kpf.load_network(path or find("gru_memory_pro_64.npz"))
    print(*network.notes, sep="\n")
    task = kpf.MemoryPro()
    batch = task.evaluation_batch(sizes["n_trials"])
    analysis = kpf.analyze_network(
        network.cell, network.params, batch, task=task, readout=network.readout,
        recipes={"K": ["participation-ratio"], "P": ["participation-ratio"]},
        quantities=(), spectra=("K", "NTK"), n_eigenpairs=10,
    )  # fmt: skip
    print(f"loss {analysis.evaluation_loss:.2e}, accuracy {analysis.accuracy:.2f}")
    for rank in analysis.ranks:
        print(f"effective rank of {rank.operator}: {rank.estimate!r}")
    few = task.evaluation_batch(sizes["n_validated"]).inputs
    report = kpf.validate(kpf.simulate(network.cell, network.params, few))
    print(f"{len(report.checks)} identities checked, passed: {report.passed}")

    figure = plt.figure(figsize=(9, 3.2), layout="constrained")
    ring, course, spectrum = figure.subplots(1, 3)
    components = analysis.principal_components
    colours = plt.get_cmap("twilight")(np.linspace(0, 1, batch.n_trials, endpoint=False))
    for trial, colour in zip(components, colours, strict=True):
        ring.plot(trial[:, 1], trial[:, 2], color=colour, lw=0.9)
        ring.plot(*trial[59, 1:], "o", color=colour, ms=4)
    ring.set(xlabel="PC 2", ylabel="PC 3", title="states; dots: end of the memory")
    for mode, colour in zip(analysis.modes["K"][0], colours, strict=True):
        course.plot(mode, color=colour, lw=0.9)
    course.set(xlabel="step", title="leading mode of K")
    for name, values in analysis.spectra.items():
        spectrum.semilogy(np.arange(len(values)) + 1, values / values[0], "o-", ms=3, label=name)
    spectrum.set(xlabel="index", title="leading eigenvalues, relative")
    spectrum.legend()
    ranks = {f"rank of {rank.operator}": rank.estimate.value for rank in analysis.ranks}
    return ranks | {"loss": analysis.evaluation_loss, "passed": report.passed}


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
