"""The comparison with the peers runs, and neither a wrong peer nor a missed target passes."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.testing import default_tolerance

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PEERS = {"pytorch_autodiff": "torch", "pytorch_by_hand": "torch", "jax_autodiff": "jax"}
PEERS["jax_by_hand"] = "jax"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Import a module of the benchmarks as Python does when a script is run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def of(name: str) -> ModuleType:
        return importlib.import_module(name)

    return of


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_library_and_bare_products_are_compared(tmp_path: Path) -> None:
    done = run(
        BENCHMARKS / "against_peers.py",
        *("--sizes", "--dims", "2", "4", "5", "--cells", "lstm", "--columns", "3", "--peers"),
        *("--rounds", "2", "--turn-seconds", "0.001", "--training", "--batch", "3", "--eigen"),
        *("--output", str(tmp_path / "found")),
    )
    assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "found.json").read_text())["records"]
    timed = [r for r in records if r["product"] not in ("eigenpairs", "training")]
    assert len(timed) == 4 * 2 * 2
    assert all(len(r["seconds"]) == 2 and r["peak_bytes"] > 0 for r in timed)
    ours = [r for r in records if r["peer"] == "ours"]
    assert {r["product"] for r in ours} == {"P", "P*", "K", "NTK", "training", "eigenpairs"}
    assert max(r["largest_residual"] for r in ours if r["product"] == "eigenpairs") < 1e-8
    for ending in (".md", ".rst"):
        text = (tmp_path / "found").with_suffix(ending).read_text()
        assert "not measured" in text
        assert "lstm" in text


@pytest.mark.parametrize("cell", ["vanilla-rnn", "gru", "lstm"])
@pytest.mark.parametrize("name", PEERS)
def test_peers_agree_with_the_library(load, cell: str, name: str) -> None:
    pytest.importorskip(PEERS[name])
    problem = load("peers.contract").Problem(cell, 3, 5, 4, seed=23)
    ours = load("peers.ours").Peer(problem, "float64")
    peer = load(f"peers.{name}").Peer(problem, "float64")
    block = problem.block(2)
    for product in load("peers.contract").PRODUCTS:
        truth = ours.to_numpy(ours.product(product)(ours.to_native(block)))
        found = peer.to_numpy(peer.product(product)(peer.to_native(block)))
        assert np.linalg.norm(found - truth) < default_tolerance("float64", 60) * np.linalg.norm(
            truth
        )


@pytest.mark.parametrize("cell", ["vanilla-rnn", "gru", "lstm"])
def test_the_peers_local_derivatives_are_those_of_the_cells(load, cell: str) -> None:
    problem = load("peers.contract").Problem(cell, 3, 5, 4, seed=23)
    local = load("peers.local_derivatives").local_derivatives(problem, "float64")
    block = problem.block(2)
    parts = np.split(block.transpose(1, 0, 3, 2), local.n_parts, axis=-1)
    found = [np.zeros_like(part) for part in parts]
    for features, gains in zip(local.features, local.gains, strict=True):
        driven = sum(gain[:, :, None] * parts[part] for part, gain in gains.items())
        X = features.reshape(-1, features.shape[-1])
        driven = (X @ (X.T @ driven.reshape(len(X), -1))).reshape(parts[0].shape)
        for part, gain in gains.items():
            found[part] += gain[:, :, None] * driven
    kind = kpf.cells.CELLS[cell](n_inputs=3, n_units=4)
    traj = kpf.simulate(kind, problem.parameters(), problem.input_array())
    K = kpf.ParameterOperator(kpf.linearize(traj))
    truth = K.matmat(block.reshape(-1, 2)).reshape(block.shape)
    gap = np.concatenate(found, axis=-1).transpose(1, 0, 3, 2) - truth
    assert np.linalg.norm(gap) < default_tolerance("float64", 60) * np.linalg.norm(truth)


WRONG_PEER = """
import sys
sys.path.insert(0, {benchmarks!r})
import against_peers
from peers.contract import Problem
from peers.worker import Worker

if __name__ == "__main__":
    with against_peers.Contest([], 1, 0.001) as contest:
        contest.workers["wrong"] = Worker("ours")
        contest._load("wrong", Problem("gru", 2, 4, 5, seed=5), "float64")
        contest._load = lambda name, problem, dtype: (
            None if name == "wrong" else contest.workers[name].ask("load", problem, dtype)
        )
        for record in contest.products(Problem("gru", 2, 4, 5), "float64", "K", 2):
            print(record["peer"], len(record["seconds"]), record.get("failure", "fine"))
"""


def test_a_peer_of_other_numbers_is_reported_and_not_timed(tmp_path: Path) -> None:
    script = tmp_path / "wrong.py"
    script.write_text(WRONG_PEER.format(benchmarks=str(BENCHMARKS)))
    done = run(script)
    assert done.returncode == 0, done.stderr
    ours, gemm, wrong = done.stdout.splitlines()
    assert (ours, gemm) == ("ours 1 fine", "gemm 1 fine")
    assert wrong.startswith("wrong 0 inaccurate (")


def test_what_is_not_a_number_or_of_another_shape_is_inaccurate(load) -> None:
    script = load("against_peers")
    truth = np.ones((2, 3))
    assert script.accurate(script.relative_error(truth + 1e-9, truth), "float64")
    for found in (truth + 1e-7, truth * np.nan, truth[:1]):
        assert not script.accurate(script.relative_error(found, truth), "float64")


def test_a_peer_that_cannot_be_imported_is_an_error(tmp_path: Path) -> None:
    script = tmp_path / "missing.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "from peers.worker import PeerError, Worker\n"
        "if __name__ == '__main__':\n"
        "    try:\n        Worker('no_such_peer')\n"
        "    except PeerError as error:\n        print(error)\n"
    )
    assert run(script).stdout.startswith("no_such_peer cannot be imported: No module named")


def timed(peer: str, seconds: list[float], **changes: object) -> dict[str, object]:
    about = {"cell": "gru", "dtype": "float32", "B": 20, "T": 90, "H": 256, "product": "NTK"}
    return about | {"k": 32, "peer": peer, "seconds": seconds} | changes


def test_targets_are_reached_or_missed_by_medians(load) -> None:
    report = load("_peers_report")
    records = [
        timed("ours", [1.0, 1.1, 9.0]),
        timed("gemm", [0.7, 0.6, 0.1]),
        timed("jax_autodiff", [3.0, 2.2, 2.1]),
        timed("pytorch_autodiff", [1.5, 1.6, 1.7]),
    ]
    rows = {(row[0], row[1]): row for row in report.target_table(report.cases(records))[1:]}
    of_gemm = rows["NTK, block of 32, L", "GEMM"]
    assert of_gemm[3:] == ["gru L float32 0.55 (missed)", "missed in 1 of 1"]
    of_autodiff = rows["NTK, block of 32, L", "best autodiff"]
    assert of_autodiff[3:] == ["gru L float32 1.45 (missed)", "missed in 1 of 1"]
    quicker = [timed("ours", [0.9]), *records[1:]]
    again = {(row[0], row[1]): row for row in report.target_table(report.cases(quicker))[1:]}
    assert again["NTK, block of 32, L", "GEMM"][3:] == ["gru L float32 0.67", "reached"]


def test_a_failure_and_the_figures_points_are_kept_apart(load) -> None:
    report = load("_peers_report")
    records = [
        timed("ours", [1.0]),
        timed("jax_by_hand", [], failure="inaccurate (1.0e-02), not timed"),
        timed("gemm", [5.0], axis="B"),
    ]
    header, row = report.ratio_table(report.cases(records))
    assert row[header.index("JAX by hand")] == "inaccurate"
    assert row[header.index("GEMM")] == ""
