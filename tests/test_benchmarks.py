"""The benchmarks run, and what they say of measurements is right."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from kpflow_numerics.results import Estimate

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SMALL = ["--trials=2", "--steps=6", "--units=5", "--inputs=3", "--budgets", "16", "48"]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Import a script of the benchmarks as Python does when it is run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def of(name: str) -> ModuleType:
        return importlib.import_module(name)

    return of


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_time_to_accuracy_measures_every_method(tmp_path: Path) -> None:
    saved, figure = tmp_path / "records.jsonl", tmp_path / "figures" / "accuracy"
    shown = run(
        "time_to_accuracy.py",
        *SMALL,
        *("--seeds=2", "--cache", str(tmp_path / "truth.npz")),
        *("--save", str(saved), "--figure", str(figure)),
    )
    records = [json.loads(line) for line in saved.read_text().splitlines()]
    found = {(r["quantity"], r["method"]) for r in records if r["kind"] != "baseline"}
    assert len(found) == 5 + 3 + 5 + 1 + 2 + 1 + 3
    for _, method in found:
        assert method in shown
    exact = [r["error"] for r in records if r["kind"] == "exact"]
    assert max(exact) < 1e-13
    assert all(r["seconds"] > 0 for r in records)
    sizes = [figure.with_suffix(ending).stat().st_size for ending in (".pdf", ".png")]
    assert min(sizes) > 10_000
    again = run("time_to_accuracy.py", "--load", str(saved))
    assert again.strip() in shown
    with np.load(tmp_path / "truth.npz") as kept:
        assert f"trace {kept['trace']:.10g}" in shown


def test_published_budget_prints_every_method_and_its_share_of_the_direct_cost() -> None:
    shown = run("published_budget.py", "--quick", "--reruns=2")
    table = shown[shown.index("quantity, method") :].splitlines()
    assert [line.split(":")[0] for line in table if "published" in line] == [
        "norm",
        "alignment",
        "participation ratio",
    ]
    assert sum("hutch" in line for line in table) == 7
    assert all(line.endswith(" %") for line in table if line.startswith("  "))


def test_published_budget_takes_medians_of_the_errors_and_times(load) -> None:
    budget, report = load("published_budget"), load("_accuracy_report")
    records = [
        record(load, quantity="norm", method="hutchinson", error=error, seconds=seconds)
        for error, seconds in ((1e-3, 1.0), (3e-2, 9.0), (2e-3, 2.0))
    ]
    for name in {name for names in report.BASELINES.values() for name in names}:
        records.append(record(load, quantity="", method=name, kind="baseline", seconds=8.0))
    table = budget.report(records)
    assert re.search(r"hutchinson +2.0e-03 1.5e-03 to 1.6e-02 +25.0 %", table)


def test_peak_memory_is_that_of_a_process_of_its_own() -> None:
    peak = json.loads(run("time_to_accuracy.py", *SMALL, "--alone=0").splitlines()[-1])
    assert 2e7 < peak < 2e9


def test_exactness_measures_what_is_asked() -> None:
    names = ("K trace", "P P* participation ratio", "NTK exact trace")
    sizes = ("--trials=2", "--steps=6", "--units=5")
    shown = run("exactness.py", *sizes, "--quantities", *names)
    for name in names:
        line = next(line for line in shown.splitlines() if name in line)
        assert "exact, 0 products" in line
        assert "GiB" in line


def test_the_rounding_of_cuts_is_below_what_is_allowed() -> None:
    shown = run("rounding_of_cuts.py", "--units=5", "--steps=6", "--gains=1.0", "--seeds=1")
    largest, allowed = (float(shown.splitlines()[-1].split()[place]) for place in (1, 3))
    assert 0 < largest < 0.5 * allowed


def test_a_norm_that_is_wrong_is_seen_in_its_rounding(load, monkeypatch) -> None:
    script = load("rounding_of_cuts")
    right = script._cut_core.cut_norms
    monkeypatch.setattr(
        script._cut_core,
        "cut_norms",
        lambda *arguments: dataclasses.replace(right(*arguments), product=1.0),
    )
    assert script.largest_error(5, 6, 1.0, 3) > script._cut_core.ROUNDINGS


def record(load, **changes):
    module = load("_accuracy_report")
    known = {"quantity": "trace", "method": "a", "kind": "estimator", "setting": 8, "seed": 7}
    return module.Record(**{**known, "seconds": 1.0, "error": 0.1, **changes})


def test_honest_time_is_where_the_median_stays_below(load) -> None:
    report = load("_accuracy_report")
    errors = {8: (0.001, 0.001, 0.9), 16: (0.5, 0.5, 0.0), 32: (0.009, 0.2, 0.001)}
    records = [
        record(load, setting=m, seed=seed, seconds=float(m) + seed, error=error)
        for m, each in errors.items()
        for seed, error in enumerate(each)
    ]
    # The good median at 8 does not last.
    assert report.honest_time(records, 0.01) == 33.0
    assert math.isinf(report.honest_time(records, 0.001))


def test_honest_time_of_bounds_takes_their_distance(load) -> None:
    report = load("_accuracy_report")
    records = [
        record(load, kind="bounds", setting=width, seconds=1 / width, error=0.0, half_width=width)
        for width in (1e-3, 1e-1, 1e-2)
    ]
    assert report.honest_time(records, 0.02) == pytest.approx(100.0)
    assert math.isinf(report.honest_time(records, 1e-4))


def test_optimistic_time_takes_the_first_crossing_of_any_method(load) -> None:
    report = load("_accuracy_report")
    lucky = [
        record(load, method=method, seed=seed, setting=m, seconds=m * slow, error=error)
        for method, slow in (("a", 1.0), ("b", 3.0))
        for seed in range(3)
        for m, error in ((8, 0.001 if (seed == 0) == (method == "a") else 0.9), (16, 0.5))
    ]
    # Seed 0 crosses by a after 8 s, the others by b after 24 s; the honest metric has no crossing.
    assert report.optimistic_time(lucky, 0.01) == 24.0
    assert all(
        math.isinf(report.honest_time([r for r in lucky if r.method == name], 0.01))
        for name in "ab"
    )
    assert math.isinf(report.optimistic_time(lucky, 1e-6))


def test_the_figure_can_be_drawn_whatever_the_times(load, tmp_path: Path) -> None:
    report, figure = load("_accuracy_report"), load("_accuracy_figure")
    exact = ("exact, blocks of P*P", "exact, seeds of K")
    # These two stopped Matplotlib, whose own limits of the axis had no width in between.
    times = (0.0014802186772155314, 0.0008762324454733263)
    records = [
        record(load, method=name, kind="exact", seconds=seconds, error=1e-15)
        for name, seconds in zip(exact, times, strict=True)
    ]
    for names in report.BASELINES.values():
        records += [
            record(load, quantity="", method=name, kind="baseline", seconds=0.5) for name in names
        ]
    for quantity in report.QUANTITIES:
        records.append(record(load, quantity=quantity, method="hutchinson", seconds=0.01))
    figure.draw(records, tmp_path / "accuracy")
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000


def test_bounds_that_miss_the_truth_stop_the_benchmark(load) -> None:
    module = load("time_to_accuracy")
    bounds = Estimate(1.0, 0.9, 1.1, 0.0, "bounds", 0)
    method = module.Method("trace", "bounds", "bounds", (0.1,), lambda *_: bounds)
    within = module.measured(method, 0.1, 7, {"trace": 1.05})
    assert within.half_width == pytest.approx(0.1)
    with pytest.raises(RuntimeError, match="miss 1.2"):
        module.measured(method, 0.1, 7, {"trace": 1.2})


def test_other_errors_than_small_budgets_are_not_passed_over(load) -> None:
    module = load("time_to_accuracy")
    problem = module.Problem(module.Sizes(trials=2, steps=4, units=3, inputs=2))
    rank = next(
        method
        for method in module.estimators(problem, (2,))
        if method.quantity == "participation ratio"
    )
    assert module.measured(rank, 2, 7, {rank.quantity: 1.0}) is None

    def broken(*_):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        module.measured(dataclasses.replace(rank, run=broken), 2, 7, {rank.quantity: 1.0})


def test_a_script_that_fails_says_why(load, tmp_path: Path) -> None:
    script = tmp_path / "fails.py"
    script.write_text("raise SystemExit('no such thing')")
    with pytest.raises(RuntimeError, match="no such thing"):
        load("_measuring").measured_alone(str(script), [])


def test_ranks_are_certified_and_sampled_to_the_same_accuracy(load) -> None:
    ranks = load("ranks")
    matrix = np.random.default_rng(5).standard_normal((200, 30)) * 0.7 ** np.arange(30)
    kernel = matrix @ matrix.T
    operator = semidefinite(kernel)
    found, seconds = ranks.certified(operator, 1e-2)
    truth = np.trace(kernel) ** 2 / np.sum(kernel**2)
    assert seconds > 0
    assert found.lower <= truth <= found.upper
    records = ranks.sampled(operator, truth)
    assert [record["budget"] for record in records] == list(ranks.BUDGETS[: len(records)])
    assert records[-1]["error"] <= 1e-3 or len(records) == len(ranks.BUDGETS)


def test_products_that_were_not_tried_are_forecast(load) -> None:
    ranks = load("ranks")

    def samples(*errors: float) -> list[dict[str, float]]:
        return [{"budget": 100 * 2**i, "error": error} for i, error in enumerate(errors)]

    assert ranks.products_for(samples(0.1, 0.01, 0.001), 0.02) == 200
    # As the number, and as its root; never faster or slower.
    for errors, expected in (((0.04, 0.02), 400), ((0.02 * 2**0.5, 0.02), 800)):
        assert ranks.products_for(samples(*errors), 0.01) == pytest.approx(expected)
    assert ranks.products_for(samples(0.9, 0.02), 0.01) == pytest.approx(400)
    assert ranks.products_for(samples(0.02, 0.02), 0.01) == pytest.approx(800)


def test_a_rank_that_is_not_certified_stops_the_benchmark(load, monkeypatch) -> None:
    ranks = load("ranks")
    wide = Estimate(2.0, 1.0, 3.0, 0.0, "bounds", 0)
    monkeypatch.setattr(ranks.kpf, "effective_rank", lambda *_, **__: wide)
    with pytest.raises(RuntimeError, match="not certified to 0.01"):
        ranks.certified(semidefinite(np.eye(3)), 1e-2)


def semidefinite(matrix: np.ndarray) -> LinearOperator:
    operator = aslinearoperator(matrix)
    operator.self_adjoint = operator.positive_semidefinite = True
    operator.exact_trace = lambda: float(np.trace(matrix))
    return operator
