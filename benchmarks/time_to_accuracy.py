"""Error against time: exact methods, certain bounds, estimators and the direct trace.

The problem is the one that arXiv 2511.10796 reports on: the tangent kernel of the hidden states of
a GRU at initialisation, 15 trials of 50 steps, 64 units, 10 inputs (n = 48,000, p = 14,592).
``make bench`` runs it small. In full (about half an hour on two cores)::

    python benchmarks/time_to_accuracy.py --memory --figure docs/figures/time_to_accuracy

All methods are timed in turn, a seed after the other. Two metrics are printed:

- *honest*: the median time at the smallest budget from which on the median error over the seeds
  stays below the tolerance. For certain bounds the error is half their distance.
- *optimistic*, as in the publication: in each rerun the first crossing of the tolerance by any of
  the estimators, and the median of that over the reruns. It picks the winner after the fact.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _accuracy_report import (
    BLOCK_COLUMNS,
    BLOCKS_TIMED,
    KERNEL,
    PAIR,
    QUANTITIES,
    SMALL_NORM,
    SMALL_PAIR,
    SMALL_TRACE,
    Record,
    report,
)
from _measuring import machine, measured_alone, peak_memory, warm_kernels

import kpflow_numerics as kpf
from kpflow_numerics._threads import map_in_threads
from kpflow_numerics._validation import InputError
from kpflow_numerics.operators import _kernel_trace
from kpflow_numerics.results import Estimate

BUDGETS = (8, 16, 32, 64, 128, 256, 512, 1024, 2000)
MOST_KEPT = 512
"""Largest budget of XTrace, XNysTrace and the sketched ratios: their work beside the products grows
as the square or the cube of it, and with 2000 a rerun of them alone would take minutes."""


@dataclass(frozen=True)
class Sizes:
    """Trials, steps, units and inputs of the GRU."""

    trials: int
    steps: int
    units: int
    inputs: int


FULL = Sizes(trials=15, steps=50, units=64, inputs=10)
SMALL = Sizes(trials=5, steps=20, units=16, inputs=4)


class Problem:
    """The operators of one network."""

    def __init__(self, sizes: Sizes) -> None:
        cell = kpf.GRU(n_inputs=sizes.inputs, n_units=sizes.units)
        shape = (sizes.trials, sizes.steps, sizes.inputs)
        inputs = np.random.default_rng(5).standard_normal(shape)
        trajectory = kpf.simulate(cell, cell.init_params(rng=3), inputs)
        self.sizes = sizes
        self.lin = kpf.linearize(trajectory)
        self.NTK = kpf.TangentKernel(self.lin)
        self.S = self.NTK.factor
        self.PP = kpf.PropagatorGram(self.lin)


@dataclass(frozen=True)
class Method:
    """A way to a quantity; `run` takes a setting and a seed, in so many rounds at most."""

    quantity: str
    name: str
    kind: str
    settings: tuple[float, ...]
    run: Callable[[float, int], Estimate | float]
    rounds: float = math.inf


# What is measured


def estimators(
    problem: Problem, budgets: tuple[int, ...], most_kept: int = MOST_KEPT
) -> list[Method]:
    NTK, gram = problem.NTK, problem.PP
    fewer = tuple(m for m in budgets if m <= most_kept)

    def method(
        quantity: str, name: str, run: Callable[..., Estimate], own: tuple[int, ...] = budgets
    ) -> Method:
        return Method(quantity, name, "estimator", own, run)

    def trace(name: str) -> Callable[[float, int], Estimate]:
        return lambda m, seed: kpf.trace(NTK, name, n_matvecs=int(m), rng=seed)

    def norm(name: str) -> Callable[[float, int], Estimate]:
        return lambda m, seed: kpf.frobenius_norm(NTK, name, n_matvecs=int(m), rng=seed)

    def rank(name: str) -> Callable[[float, int], Estimate]:
        return lambda m, seed: kpf.effective_rank(NTK, method=name, n_matvecs=int(m), rng=seed)

    def alignment(name: str) -> Callable[[float, int], Estimate]:
        return lambda m, seed: kpf.alignment(NTK, gram, name, n_matvecs=int(m), rng=seed)

    # With p <= n Hutchinson's trace is the one-sided forward estimate, to the last bit.
    hutchinson = "hutchinson" if problem.S.shape[1] <= NTK.shape[0] else "one-sided-forward"
    return [
        *(
            method("trace", name, trace(name))
            for name in (hutchinson, "one-sided-reverse", "hutch++")
        ),
        *(method("trace", name, trace(name), fewer) for name in ("xtrace", "xnystrace")),
        *(
            method("norm", name, norm(name))
            for name in ("hutchinson", "one-sided-forward", "hutch++")
        ),
        *(method("norm", name, norm(name), fewer) for name in ("xtrace", "xnystrace")),
        method("participation ratio", "hutchinson", rank("hutchinson")),
        method("participation ratio", "hutch++", rank("hutch++"), fewer),
        method("alignment", "hutchinson", alignment("hutchinson")),
        method("alignment", "hutch++", alignment("hutch++"), fewer),
        # Its exact numerator takes the same time at any budget: fewer of them tell enough.
        method("alignment", "exact, norm by hutch++", alignment("auto"), budgets[1::2]),
    ]


def deterministic(problem: Problem) -> list[Method]:
    NTK = problem.NTK
    sites = problem.lin.weight_sites

    def of_trial(b: int) -> float:
        A = problem.lin.state_jacobians(slice(b, b + 1))[0]
        return _kernel_trace.trial_trace(sites, b, A)

    def through_blocks(_setting: float, _seed: int) -> float:
        return sum(map_in_threads(of_trial, range(problem.sizes.trials)))

    def through_seeds(_setting: float, _seed: int) -> float:
        return sum(NTK.exact_trace_bounds(0.0)) / 2

    return [
        Method("trace", "exact, blocks of P*P", "exact", (0.0,), through_blocks, 5),
        Method("trace", "exact, seeds of K", "exact", (0.0,), through_seeds, 5),
        Method(
            "trace",
            "bounds",
            "bounds",
            (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-7, 1e-9),
            lambda width, _: kpf.trace(NTK, "bounds", rtol=width),
            5,
        ),
        Method(
            "norm",
            "bounds",
            "bounds",
            (0.5, 0.2),
            lambda width, seed: kpf.frobenius_norm(NTK, "bounds", rtol=width, rng=seed),
            1,
        ),
        Method(
            "participation ratio",
            "bounds",
            "bounds",
            (0.5, 0.2),
            lambda width, seed: kpf.effective_rank(NTK, method="bounds", rtol=width, rng=seed),
            1,
        ),
    ]


def time_baselines(problem: Problem, seed: int) -> list[Record]:
    """Time some blocks of unit columns with each product, and extrapolate to all columns."""
    NTK, S, gram = problem.NTK, problem.S, problem.PP
    rng = np.random.default_rng(seed)
    spent = dict.fromkeys(("NTK", "PP*", "S", "S*", "P*"), 0.0)

    def timed(name: str, product: Callable[..., np.ndarray], block: np.ndarray) -> np.ndarray:
        start = time.perf_counter()
        image = product(block)
        spent[name] += time.perf_counter() - start
        return image

    for _ in range(BLOCKS_TIMED):
        states = unit_columns(rng, NTK.shape[0])
        timed("NTK", NTK.matmat, states)
        timed("PP*", gram.matmat, states)
        image = timed("S", S.matmat, unit_columns(rng, S.shape[1]))
        timed("S*", S.rmatmat, image)
        timed("P*", gram.factor.rmatmat, image)
    columns = BLOCKS_TIMED * BLOCK_COLUMNS
    n, p = S.shape[0] / columns, S.shape[1] / columns
    seconds = {
        KERNEL: n * spent["NTK"],
        PAIR: n * (spent["NTK"] + spent["PP*"]),
        SMALL_TRACE: p * spent["S"],
        SMALL_NORM: p * (spent["S"] + spent["S*"]),
        SMALL_PAIR: p * (spent["S"] + spent["S*"] + spent["P*"]),
    }
    return [Record("", name, "baseline", 0.0, seed, value) for name, value in seconds.items()]


def unit_columns(rng: np.random.Generator, size: int) -> np.ndarray:
    columns = np.zeros((size, BLOCK_COLUMNS))
    columns[rng.integers(0, size, BLOCK_COLUMNS), np.arange(BLOCK_COLUMNS)] = 1.0
    return columns


# The truth


def true_values(problem: Problem, cache: Path | None) -> dict[str, float]:
    """Return every quantity from all p columns of S, S* S and P* S, kept in a file if asked."""
    key = np.array(dataclasses.astuple(problem.sizes))
    if cache is not None and cache.exists():
        with np.load(cache) as kept:
            if np.array_equal(kept["sizes"], key):
                return {name: float(kept[name]) for name in (*QUANTITIES, "seconds")}
    S, P = problem.S, problem.PP.factor
    start = time.perf_counter()
    sums: list[tuple[float, ...]] = []
    for first in range(0, S.shape[1], BLOCK_COLUMNS):
        places = np.arange(first, min(first + BLOCK_COLUMNS, S.shape[1]))
        E = np.zeros((S.shape[1], len(places)))
        E[places, np.arange(len(places))] = 1.0
        Y = S.matmat(E)
        sums += [tuple(np.vdot(Z, Z) for Z in (Y, S.rmatmat(Y), P.rmatmat(Y)))]
    trace, square, product = (math.fsum(column) for column in zip(*sums, strict=True))
    norm = math.sqrt(square)
    found = {
        "trace": trace,
        "norm": norm,
        "participation ratio": trace**2 / square,
        "alignment": product / (norm * kpf.frobenius_norm(problem.PP, "exact").value),
        "seconds": time.perf_counter() - start,
    }
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, sizes=key, **found)
    return found


# Measuring


def measure(
    problem: Problem,
    methods: list[Method],
    truth: dict[str, float],
    seeds: Iterable[int],
    keep: Callable[[Record], None],
) -> None:
    """Time all methods in turn, seed after seed."""
    for round_, seed in enumerate(seeds):
        for record in time_baselines(problem, seed):
            keep(record)
        current = [method for method in methods if round_ < method.rounds]
        for place in range(max(len(method.settings) for method in current)):
            for method in current:
                if place < len(method.settings):
                    record = measured(method, method.settings[place], seed, truth)
                    if record is not None:
                        keep(record)


def measured(method: Method, setting: float, seed: int, truth: dict[str, float]) -> Record | None:
    """Return one measurement; None where the budget is too small for the method."""
    start = time.perf_counter()
    try:
        found = method.run(setting, seed)
    except InputError as error:
        if "n_matvecs must be at least" not in str(error):
            raise
        return None
    seconds = time.perf_counter() - start
    true = truth[method.quantity]
    width = math.nan
    if method.kind == "bounds":
        assert isinstance(found, Estimate)
        if not found.lower * (1 - 1e-9) <= true <= found.upper * (1 + 1e-9):
            raise RuntimeError(f"The certain bounds {found!r} of the {method.quantity} miss {true}")
        width = (found.upper - found.lower) / 2 / found.value
    error = abs(float(found) - true) / true
    return Record(method.quantity, method.name, method.kind, setting, seed, seconds, error, width)


def measure_memory(
    methods: list[Method], options: argparse.Namespace, keep: Callable[[Record], None]
) -> None:
    """Run each method at its largest setting in a process of its own."""
    for place, method in enumerate(methods):
        if not method.settings:
            continue
        arguments = ["--alone", str(place), *size_arguments(options)]
        peak = measured_alone(__file__, arguments)
        setting = method.settings[-1]
        keep(
            Record(method.quantity, method.name, method.kind, setting, 0, math.nan, peak_bytes=peak)
        )


def size_arguments(options: argparse.Namespace) -> list[str]:
    arguments = [f"--{name}={getattr(options, name)}" for name in ("trials", "steps")]
    arguments += [f"--{name}={getattr(options, name)}" for name in ("units", "inputs")]
    return [*arguments, "--budgets", *map(str, options.budgets)]


# The command


def parser() -> argparse.ArgumentParser:
    parsed = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parsed.add_argument("--quick", action="store_true", help="a small network and few budgets")
    for field in dataclasses.fields(Sizes):
        parsed.add_argument(f"--{field.name}", type=int)
    parsed.add_argument("--budgets", nargs="+", type=int, help="products, doubling from 8 to 2000")
    parsed.add_argument("--seeds", type=int, help="reruns of each estimator, by default 15")
    parsed.add_argument("--first-seed", type=int, default=100)
    parsed.add_argument("--quantities", nargs="+", choices=QUANTITIES, default=QUANTITIES)
    parsed.add_argument("--only", nargs="+", help="names of methods, where not all are wanted")
    parsed.add_argument("--cache", type=Path, help=".npz in which the true values are kept")
    parsed.add_argument("--memory", action="store_true", help="also peak memory, in own processes")
    parsed.add_argument("--save", type=Path, help="file to which the measurements are appended")
    parsed.add_argument("--load", type=Path, help="report saved measurements, measure nothing")
    parsed.add_argument("--figure", type=Path, help="path of the figure without its ending")
    parsed.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    return parsed


def options_from(arguments: list[str] | None) -> argparse.Namespace:
    options = parser().parse_args(arguments)
    sizes = SMALL if options.quick else FULL
    for name, value in dataclasses.asdict(sizes).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.budgets is None:
        options.budgets = BUDGETS[:6] if options.quick else BUDGETS
    if options.seeds is None:
        options.seeds = 5 if options.quick else 15
    return options


def main(arguments: list[str] | None = None) -> None:
    options = options_from(arguments)
    if options.load is not None:
        records = [Record(**json.loads(line)) for line in options.load.read_text().splitlines()]
    else:
        sizes = Sizes(options.trials, options.steps, options.units, options.inputs)
        problem = Problem(sizes)
        every = [*deterministic(problem), *estimators(problem, tuple(options.budgets))]
        if options.alone is not None:
            method = every[options.alone]
            method.run(method.settings[-1], 0)
            print(peak_memory())
            return
        records = run(problem, every, options)
    print(report(records))
    if options.figure is not None:
        from _accuracy_figure import draw

        draw(records, options.figure)


def run(problem: Problem, every: list[Method], options: argparse.Namespace) -> list[Record]:
    """Measure what is asked for."""
    n, p = problem.S.shape
    print(f"GRU, {problem.sizes}: n = {n:,}, p = {p:,}, float64; {machine()}", flush=True)
    warm_kernels()
    truth = true_values(problem, options.cache)
    print(", ".join(f"{name} {truth[name]:.10g}" for name in (*QUANTITIES, "seconds")), flush=True)
    methods = [
        method
        for method in every
        if method.settings
        and method.quantity in options.quantities
        and (options.only is None or method.name in options.only)
    ]
    records: list[Record] = []

    def keep(record: Record) -> None:
        records.append(record)
        if options.save is not None:
            with options.save.open("a", encoding="utf-8") as file:
                file.write(json.dumps(dataclasses.asdict(record)) + "\n")

    seeds = range(options.first_seed, options.first_seed + options.seeds)
    measure(problem, methods, truth, seeds, keep)
    if options.memory:
        measure_memory(every, options, keep)
    return records


if __name__ == "__main__":
    main()
