"""Effective ranks of K, P P* and the NTK of a trained network: certified here, sampled by peers.

A peer has products only, so that it samples participation ratios by Hutch++. How many products that
takes for a median error of 0.1 % or 1 % is found here, over `SEEDS` seeds against the certified
values, with the estimator of this library on its own products: the products are the same. The
peer's time is that number of columns at its own speed in blocks of 32; its estimator's own work,
which is not small, is left out in its favour. ::

    .venv-peers/bin/python benchmarks/ranks.py --cells vanilla-rnn gru --units 128
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from against_peers import Contest, conditions, trained_problem

import kpflow_numerics as kpf

ACCURACIES = (1e-2, 1e-3)
BUDGETS = (15, 30, 60, 120, 240, 480)
SEEDS = 7
COLUMNS = 32
PEERS = ("pytorch_by_hand", "jax_autodiff", "jax_by_hand")
PRODUCTS = {"K": ("K",), "P P*": ("P", "P*"), "NTK": ("NTK",)}

Record = dict[str, Any]


def linearization(path: str, cell: str, units: int) -> kpf.Linearization:
    """Return the linearisation of the network that `trained_problem` has saved."""
    with np.load(path) as arrays:
        inputs = arrays["inputs"]
        params = {name: arrays[name] for name in arrays.files if name != "inputs"}
    network = kpf.cells.CELLS[cell](n_inputs=inputs.shape[2], n_units=units)
    return kpf.linearize(kpf.simulate(network, params, inputs))


def certified(operator: Any, accuracy: float) -> tuple[kpf.Estimate, float]:
    """Return the rank within certain bounds that are so narrow, and the seconds that took."""
    exact = hasattr(operator, "exact_frobenius_norm")
    start = time.perf_counter()
    found = kpf.effective_rank(operator, method="exact" if exact else "bounds", rtol=accuracy)
    seconds = time.perf_counter() - start
    if (found.upper - found.lower) / 2 > accuracy * found.value:
        raise RuntimeError(f"{found!r} is not certified to {accuracy}")
    return found, seconds


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


def measure(cell: str, units: int, folder: Path) -> list[Record]:
    """Return a record for each operator of a trained network."""
    problem = trained_problem(cell, units, folder)
    assert problem.saved is not None
    lin = linearization(problem.saved, cell, units)
    operators = {
        "K": kpf.ParameterOperator(lin),
        "P P*": kpf.PropagatorGram(lin),
        "NTK": kpf.TangentKernel(lin),
    }
    with Contest(list(PEERS), rounds=3, turn_seconds=0.1) as contest:
        products = {
            name: contest.products(problem, "float64", name, COLUMNS)
            for names in PRODUCTS.values()
            for name in names
        }
    records = []
    for name, operator in operators.items():
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
        narrow = {accuracy: certified(operator, accuracy) for accuracy in ACCURACIES}
        truth = narrow[min(ACCURACIES)][0].value
        samples = sampled(operator, truth)
        for accuracy in ACCURACIES:
            enough = next((each for each in samples if each["error"] <= accuracy), None)
            ours = narrow[accuracy][1]
            record = {"cell": cell, "units": units, "operator": name, "accuracy": accuracy}
            record |= {"rank": truth, "certified_seconds": ours, "peer_column_seconds": column}
            record |= {"samples": samples, "budget": enough["budget"] if enough else None}
            record["peer_seconds"] = (enough or samples[-1])["budget"] * column
            record["sampled_seconds"] = enough["seconds"] if enough else None
            records.append(record)
            show(record)
    return records


def show(record: Record) -> None:
    """Print a record on a line."""
    budget = record["budget"]
    reach = f"{budget} products" if budget else f"more than {BUDGETS[-1]} products"
    sampled_here = record["sampled_seconds"]
    here = "" if sampled_here is None else f", Hutch++ here {sampled_here:.3g} s"
    print(
        f"{record['cell']} H={record['units']} {record['operator']} to {record['accuracy']:g}: "
        f"certified {record['certified_seconds']:.3g} s{here}; peer {reach}, "
        f"{record['peer_seconds']:.3g} s",
        flush=True,
    )


def main() -> None:
    """Measure, print and write the records."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", nargs="+", default=["vanilla-rnn", "gru"])
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--output", type=Path, default=Path("build/ranks.json"))
    parsed = parser.parse_args()
    records: list[Record] = []
    for cell in parsed.cells:
        with tempfile.TemporaryDirectory() as folder:
            records += measure(cell, parsed.units, Path(folder))
    parsed.output.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(conditions() | {"records": records}, indent=1)
    parsed.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
