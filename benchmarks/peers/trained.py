"""Train a network on Memory-Pro for the comparison on collapsed activity; run as a module."""

from __future__ import annotations

import sys

import numpy as np

import kpflow_numerics as kpf
from kpflow_numerics.tasks import MemoryPro
from kpflow_numerics.training import fit

from .ours_compressed import TOLERANCE

N_ITERATIONS = 400
N_TRIALS = 20


def main() -> None:
    """Train the cell named on the command line, with so many units, and save it with trials."""
    kind, units, path = sys.argv[1:]
    task = MemoryPro()
    cell = kpf.cells.CELLS[kind](n_inputs=3, n_units=int(units))
    trained = fit(cell, task, n_iterations=N_ITERATIONS, batch_size=32, rng=5).checkpoints[-1]
    inputs = task.evaluation_batch(N_TRIALS).inputs
    lin = kpf.linearize(kpf.simulate(cell, trained.params, inputs))
    ranks = kpf.compress_core(lin, TOLERANCE).ranks
    widths = tuple(group.features.shape[-1] for group in lin.weight_sites.groups)
    np.savez(path, **trained.params, inputs=inputs)
    kept = f"{ranks} of {widths} features at {TOLERANCE}"
    print(f"loss {trained.loss:.2g}, {kept}, inputs {inputs.shape}")


if __name__ == "__main__":
    main()
