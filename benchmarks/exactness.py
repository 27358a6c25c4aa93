"""Exact and certain quantities at full size: seconds and peak memory of each.

A GRU of 256 units, 20 trials of 90 steps, 3 inputs, float64 (n = 460,800): at initialisation on
Memory-Pro, and trained, from a run file::

    python benchmarks/exactness.py --run runs/memory-pro.h5

Each quantity is found in a process of its own, with its kernels warm. The time does not include
simulation and linearisation, which all of them share; the peak memory does.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _measuring import machine, measured_alone, peak_memory, warm_kernels

import kpflow_numerics as kpf


class Operators:
    """K, P P* and the tangent kernel of a network."""

    def __init__(self, lin: kpf.Linearization) -> None:
        self.K = kpf.ParameterOperator(lin)
        self.PP = kpf.PropagatorGram(lin)
        self.NTK = kpf.TangentKernel(lin)


Quantity = Callable[[Operators], Any]

QUANTITIES: dict[str, tuple[float | None, Quantity]] = {
    "K trace": (1.0, lambda of: kpf.trace(of.K, "exact")),
    "K norm": (1.0, lambda of: kpf.frobenius_norm(of.K, "exact")),
    "K participation ratio": (1.0, lambda of: kpf.effective_rank(of.K, method="exact")),
    "K whole spectrum": (30.0, lambda of: kpf.eigenvalues(of.K)),
    "P P* trace": (None, lambda of: kpf.trace(of.PP, "exact")),
    "P P* participation ratio": (30.0, lambda of: kpf.effective_rank(of.PP, method="exact")),
    "P P* top 20": (None, lambda of: kpf.top_eigenpairs(of.PP, 20)),
    "NTK exact trace": (None, lambda of: kpf.trace(of.NTK, "exact")),
    "NTK trace bounds, 1e-3": (None, lambda of: kpf.trace(of.NTK, "bounds", rtol=1e-3)),
    "NTK participation ratio, 5 %": (
        60.0,
        lambda of: kpf.effective_rank(of.NTK, method="bounds", rtol=0.05),
    ),
    "K with P P*, alignment": (None, lambda of: kpf.alignment(of.K, of.PP, "exact")),
}
"""Quantities with the seconds that each was asked to take on two cores."""

TRAINED_ONLY = ("NTK participation ratio, 5 %",)
"""Whose target is for a trained network."""


def linearization(options: argparse.Namespace) -> kpf.Linearization:
    """Return the network of a run file, or a fresh one."""
    if options.run is not None:
        from kpflow_numerics.store import RunFile

        with RunFile.open(options.run) as file:
            checkpoint = file.checkpoint(-1)
            cell, params, inputs = file.cell, checkpoint.params, file.evaluation_batch.inputs
    else:
        third = options.steps // 3
        task = kpf.MemoryPro(third, third, options.steps - 2 * third)
        cell = kpf.GRU(n_inputs=task.n_inputs, n_units=options.units)
        params, inputs = cell.init_params(rng=3), task.evaluation_batch(options.trials).inputs
    return kpf.linearize(kpf.simulate(cell, params, inputs))


def measure_one(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds, peak memory and value of one quantity, measured in this process."""
    warm_kernels()
    lin = linearization(options)
    operators = Operators(lin)
    start = time.perf_counter()
    found = QUANTITIES[name][1](operators)
    seconds = time.perf_counter() - start
    peak = peak_memory()
    return {"seconds": seconds, "bytes": peak, "value": repr(found), "dims": lin.dims}


def table(title: str, names: list[str], arguments: list[str], *, trained: bool) -> None:
    """Print a row a quantity, as soon as it is measured."""
    print(f"{title}\n  {'quantity':30s}{'seconds':>9s}{'target':>8s}{'peak':>10s}  result")
    for name in names:
        found = measured_alone(__file__, ["--alone", name, *arguments])
        target = None if name in TRAINED_ONLY and not trained else QUANTITIES[name][0]
        asked = "" if target is None else f"{target:g}"
        missed = " missed" if target is not None and found["seconds"] > target else ""
        print(
            f"  {name:30s}{found['seconds']:9.2f}{asked:>8s}{found['bytes'] / 2**30:6.2f} GiB"
            f"  {found['value']}{missed}",
            flush=True,
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, help="run file; its last checkpoint is measured too")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--steps", type=int, default=90)
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--quantities", nargs="+", choices=QUANTITIES, default=[*QUANTITIES])
    parser.add_argument("--no-initial", action="store_true", help="measure the run file only")
    parser.add_argument("--alone", choices=QUANTITIES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.alone is not None:
        print(json.dumps(measure_one(options.alone, options)))
        return
    print(machine())
    sizes = [f"--{name}={getattr(options, name)}" for name in ("trials", "steps", "units")]
    if not options.no_initial:
        title = (
            f"at initialisation: {options.units} units, {options.trials} x {options.steps} steps"
        )
        table(title, options.quantities, sizes, trained=False)
    if options.run is not None:
        title = f"trained: the last checkpoint of {options.run.name}"
        table(title, options.quantities, ["--run", str(options.run)], trained=True)


if __name__ == "__main__":
    main()
