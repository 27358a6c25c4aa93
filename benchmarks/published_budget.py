"""Errors of the estimators at the budget that arXiv 2511.10796 allows: 20 % of the direct cost.

The problem is that of ``time_to_accuracy.py``. The direct cost is that of the kernel's products
with all n unit vectors (for the alignment also those of P P*); a fifth of it is n/5 products, here
9,600. Printed are the median error over the reruns with its quartiles, and the median time as a
share of the direct cost, so that an estimator's own work, which at this budget is not small, is
seen. The exact value, from p products with each of S and S*, stands beside it. In full (about an
hour on two cores, 8 GiB)::

    python benchmarks/published_budget.py
"""

from __future__ import annotations

import argparse
import dataclasses
import math

import numpy as np
from _accuracy_report import BASELINES, Record, baseline_seconds
from _measuring import machine, warm_kernels
from time_to_accuracy import (
    FULL,
    SMALL,
    Problem,
    estimators,
    measured,
    time_baselines,
    true_values,
)

QUANTITIES = {"norm": 1e-5, "alignment": 1e-5, "participation ratio": 5e-4}
"""The published errors."""

METHODS = ("hutchinson", "hutch++", "exact, norm by hutch++")


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a line for each method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small network")
    parser.add_argument("--share", type=float, default=0.2, help="of the direct cost")
    parser.add_argument("--reruns", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=100)
    options = parser.parse_args(arguments)
    sizes = SMALL if options.quick else FULL
    problem = Problem(sizes)
    n, p = problem.S.shape
    budget = int(options.share * n)
    print(f"GRU, {sizes}: n = {n:,}, p = {p:,}, {budget:,} products; {machine()}", flush=True)
    warm_kernels()
    truth = true_values(problem, None)
    # The first of two budgets is for the methods that take every second of them.
    methods = [
        dataclasses.replace(method, settings=(float(budget),))
        for method in estimators(problem, (2, budget), budget)
        if method.quantity in QUANTITIES and method.name in METHODS
    ]
    seeds = range(options.first_seed, options.first_seed + options.reruns)
    records: list[Record] = []
    for seed in seeds:
        records += time_baselines(problem, seed)
        for method in methods:
            record = measured(method, budget, seed, truth)
            assert record is not None
            records.append(record)
            print(f"{record.quantity}, {record.method}: {record.error:.1e}", flush=True)
    print(report(records))


def report(records: list[Record]) -> str:
    """Return the table."""
    lines = [f"{'quantity, method':45s} {'median error':>12s} {'quartiles':>17s} {'time':>8s}"]
    for quantity, published in QUANTITIES.items():
        direct, exact = (baseline_seconds(records, name) for name in BASELINES[quantity])
        lines.append(f"{quantity}: published error {published:.0e}; direct {direct:.1f} s")
        lines.append(line("exact, p unit vectors", [0.0], exact / direct))
        own = [record for record in records if record.quantity == quantity]
        for name in dict.fromkeys(record.method for record in own):
            errors = [record.error for record in own if record.method == name]
            seconds = np.median([record.seconds for record in own if record.method == name])
            lines.append(line(name, errors, float(seconds) / direct))
    return "\n".join(lines)


def line(name: str, errors: list[float], share: float) -> str:
    """Return a line of the table."""
    low, middle, high = np.percentile(errors, [25, 50, 75])
    shown = "" if math.isclose(high, 0.0) else f"{low:.1e} to {high:.1e}"
    return f"  {name:43s} {middle:12.1e} {shown:>17s} {100 * share:6.1f} %"


if __name__ == "__main__":
    main()
