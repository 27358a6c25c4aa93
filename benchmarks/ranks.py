"""Effective ranks of K, P P* and the NTK of a trained network, here and by peers.

A peer has products only, so that it samples participation ratios by Hutch++. How many products that
takes for a median error of 0.1 % or 1 % is found here, over `SEEDS` seeds against the certified
values, with the estimator of this library on its own products: the products are the same. The
peer's time is that number of columns at its own speed in blocks of 32; its estimator's own work,
which is not small, is left out in its favour, and so is what it takes to learn how many products
do. Where the largest number tried does not do, the next is forecast from the errors of the last
two.

Two ways of this library are timed, the median of `ROUNDS`: certified to 0.1 % (a closed form, or
certain bounds with half that width), and what ``method="auto"`` with ``rtol=0.01`` takes, whose
interval of 95 % is three times as sharp as a median error. ::

    .venv-peers/bin/python benchmarks/ranks.py --cells vanilla-rnn gru --units 128
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from against_peers import Contest, conditions, trained_problem

import kpflow_numerics as kpf

ACCURACIES = (1e-2, 1e-3)
BUDGETS = (12, 30, 60, 120, 240, 480)
SEEDS = 5
ROUNDS = 3
AUTO = 1e-2
TO_REACH = {1e-3: 10.0, 1e-2: 1.0}
COLUMNS = 32
PEERS = ("pytorch_by_hand", "jax_autodiff", "jax_by_hand")
PRODUCTS = {"K": ("K",), "P P*": ("P", "P*"), "NTK": ("NTK",)}
OPERATORS = {"K": kpf.ParameterOperator, "P P*": kpf.PropagatorGram, "NTK": kpf.TangentKernel}

Record = dict[str, Any]


def linearization(path: str, cell: str, units: int) -> kpf.Linearization:
    """Return the linearisation of the network that `trained_problem` has saved."""
    with np.load(path) as arrays:
        inputs = arrays["inputs"]
        params = {name: arrays[name] for name in arrays.files if name != "inputs"}
    network = kpf.cells.CELLS[cell](n_inputs=inputs.shape[2], n_units=units)
    return kpf.linearize(kpf.simulate(network, params, inputs))


def certified(operator: Any, accuracy: float) -> tuple[kpf.Estimate, float]:
    """Return the rank within certain bounds that are so narrow, and the median seconds."""
    closed = hasattr(operator, "exact_frobenius_norm")
    bounded = hasattr(operator, "exact_participation_ratio_bounds")
    return within(operator, accuracy, "exact" if closed and not bounded else "bounds")


def within(operator: Any, accuracy: float, method: str) -> tuple[kpf.Estimate, float]:
    """Return the rank in an interval of this half width, and the median of its seconds."""
    seconds = []
    for seed in range(ROUNDS):
        start = time.perf_counter()
        found = kpf.effective_rank(operator, method=method, rtol=accuracy, rng=100 + seed)
        seconds.append(time.perf_counter() - start)
        if (found.upper - found.lower) / 2 > accuracy * found.value:
            raise RuntimeError(f"{found!r} is not certified to {accuracy}")
    return found, statistics.median(seconds)


def sampled(operator: Any, truth: float) -> list[Record]:
    """Return the median error and seconds of Hutch++ for growing budgets, until it is small."""
    records = []
    for budget in BUDGETS:
        errors, seconds = [], []
        for seed in range(SEEDS):
            start = time.perf_counter()
            found = kpf.effective_rank(operator, method="hutch++", n_matvecs=budget, rng=100 + seed)
            seconds.append(time.perf_counter() - start)
            errors.append(abs(found.value / truth - 1))
        error = statistics.median(errors)
        records.append({"budget": budget, "error": error, "seconds": statistics.median(seconds)})
        if error <= min(ACCURACIES):
            break
    return records


def products_for(samples: list[Record], accuracy: float) -> float:
    """Return how many products a median error takes, forecast where none of the budgets did.

    The forecast follows the power law of the last two errors, no slower than the root of the
    products, which is Hutchinson's, and no faster than their number, which is Hutch++'s.
    """
    enough = next((each["budget"] for each in samples if each["error"] <= accuracy), None)
    if enough is not None:
        return float(enough)
    before, last = samples[-2:]
    fall = math.log(max(before["error"] / last["error"], 1.0))
    power = min(max(fall / math.log(last["budget"] / before["budget"]), 0.5), 1.0)
    return float(last["budget"] * (last["error"] / accuracy) ** (1.0 / power))


def measure(cell: str, units: int, names: list[str], folder: Path) -> list[Record]:
    """Return two records, an accuracy each, for each of these operators of a trained network."""
    problem = trained_problem(cell, units, folder)
    assert problem.saved is not None
    lin = linearization(problem.saved, cell, units)
    with Contest(list(PEERS), rounds=3, turn_seconds=0.1) as contest:
        products = {
            product: contest.products(problem, "float64", product, COLUMNS)
            for name in names
            for product in PRODUCTS[name]
        }
    records = []
    for name in names:
        operator = OPERATORS[name](lin)
        operator.matmat(np.ones((operator.shape[1], COLUMNS)))
        column = sum(
            min(
                statistics.median(record["seconds"])
                for record in products[product]
                if record["peer"] in PEERS and record.get("seconds")
            )
            / COLUMNS
            for product in PRODUCTS[name]
        )
        truth, sure = certified(operator, min(ACCURACIES))
        auto, quick = within(operator, AUTO, "auto")
        samples = sampled(operator, truth.value)
        for accuracy, ours, seconds in ((min(ACCURACIES), truth, sure), (AUTO, auto, quick)):
            needed = products_for(samples, accuracy)
            record = {"cell": cell, "units": units, "operator": name, "accuracy": accuracy}
            record |= {"rank": ours.value, "method": ours.method, "products": ours.n_matvecs}
            record |= {"seconds": seconds, "peer_column_seconds": column, "samples": samples}
            record |= {"peer_products": needed, "peer_seconds": needed * column}
            record["ratio"] = record["peer_seconds"] / seconds
            records.append(record)
            show(record)
    return records


def show(record: Record) -> None:
    """Print a record on a line."""
    forecast = "some " if record["peer_products"] > max(BUDGETS) else ""
    reached = record["ratio"] >= TO_REACH[record["accuracy"]]
    print(
        f"{record['cell']} H={record['units']} {record['operator']} to {record['accuracy']:g}: "
        f"{record['rank']:.6g} by {record['method']}, {record['products']} products, "
        f"{record['seconds']:.3g} s; peer {forecast}{record['peer_products']:.0f} products, "
        f"{record['peer_seconds']:.3g} s: {record['ratio']:.2g} of "
        f"{TO_REACH[record['accuracy']]:g}, {'reached' if reached else 'missed'}",
        flush=True,
    )


def main() -> None:
    """Measure, print and write the records."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", nargs="+", default=["vanilla-rnn", "gru"])
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument(
        "--operators", nargs="+", choices=list(OPERATORS), default=list(OPERATORS), metavar="NAME"
    )
    parser.add_argument("--output", type=Path, default=Path("build/ranks.json"))
    parsed = parser.parse_args()
    records: list[Record] = []
    for cell in parsed.cells:
        with tempfile.TemporaryDirectory() as folder:
            records += measure(cell, parsed.units, parsed.operators, Path(folder))
    parsed.output.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(conditions() | {"records": records}, indent=1)
    parsed.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
