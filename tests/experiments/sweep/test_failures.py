"""Cells that fail, workers that die, and results that are not whole."""

from __future__ import annotations

import json

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.experiments.sweep import run as run_module
from kpflow_numerics.experiments.sweep.directory import SweepDirectory
from kpflow_numerics.experiments.sweep.worker import work
from kpflow_numerics.store import StoreError

WILD = {
    "task": {"n_stimulus": 2, "n_memory": 1, "n_response": 2},
    "cell": {"kind": "vanilla-rnn", "n_units": 4, "activation": "relu"},
    "training": {
        "n_iterations": 6,
        "batch_size": 3,
        "checkpoint_every": 3,
        "optimizer": "sgd",
        "clip_norm": 1e300,
    },
}


def run_here(place):
    """Run what is left in this process."""
    events = []
    work(SweepDirectory.open(place), lambda *event: events.append(event))
    return events


@pytest.fixture
def wild(make):
    axes = {"training.learning_rate": [1e-3, 1e200, 1e-2]}
    return make(axes, base=WILD, keep=["loss-curve"])


def test_a_cell_that_fails_does_not_stop_the_others(wild) -> None:
    events = run_here(wild)
    assert [event for event in events if event[0] != "begun"] == [
        ("finished", 0), ("failed", 1), ("finished", 2)
    ]  # fmt: skip
    status = kpf.sweep_status(wild)
    assert status.states == ("done", "failed", "done")
    (failure,) = status.failures
    assert (failure.index, failure.label, failure.error) == (
        1, "learning_rate=1e+200", "TrainingDiverged"
    )  # fmt: skip
    assert "Traceback" in failure.traceback
    assert "fit(" in failure.traceback
    assert "TrainingDiverged" in status.summary()
    assert "--retry-failed" in status.summary()
    assert run_here(wild) == []

    grid = kpf.merge_sweep(wild)
    np.testing.assert_array_equal(grid.status, [0, 1, 0])
    final = grid.select("final_loss")
    np.testing.assert_array_equal(np.isnan(final), [False, True, False])
    assert grid.failures[0]["traceback"] == failure.traceback
    assert kpf.SweepGrid.open(wild / "sweep.h5").failures == grid.failures


def test_failed_cells_are_tried_again_when_asked(wild) -> None:
    run_here(wild)
    before = (wild / "results" / "0000.json").read_bytes()
    run_module._prepare(SweepDirectory.open(wild), retry_failed=False)
    assert run_here(wild) == []
    run_module._prepare(SweepDirectory.open(wild), retry_failed=True)
    assert not (wild / "runs" / "0001.h5").exists()
    assert run_here(wild) == [("begun", 1), ("failed", 1)]
    assert (wild / "results" / "0000.json").read_bytes() == before


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "of another cell"])
def test_a_result_that_is_not_whole_is_seen_and_made_again(wild, how) -> None:
    run_here(wild)
    path = wild / "results" / "0002.json"
    whole = path.read_bytes()
    harmed = {
        "cut": whole[:-40],
        "flipped": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
        "empty": b"",
        "of another cell": (wild / "results" / "0000.json").read_bytes(),
    }
    path.write_bytes(harmed[how])
    assert kpf.sweep_status(wild).states == ("done", "failed", "damaged")
    grid = kpf.merge_sweep(wild)
    np.testing.assert_array_equal(grid.status, [0, 1, 3])
    assert np.isnan(grid.select("final_loss")[2])
    run_module._prepare(SweepDirectory.open(wild), retry_failed=False)
    assert run_here(wild) == [("begun", 2), ("finished", 2)]
    again = SweepDirectory.open(wild).result(2)["result"]
    assert json.dumps(again, separators=(",", ":")) in whole.decode()


def test_results_of_another_plan_do_not_count(wild, make) -> None:
    run_here(wild)
    axes = {"training.learning_rate": [1e-3, 5e-3, 1e-2]}
    other = make(axes, name="other", base=WILD, keep=["loss-curve"])
    (other / "results" / "0000.json").write_bytes((wild / "results" / "0000.json").read_bytes())
    assert kpf.sweep_status(other).states == ("damaged", "pending", "pending")


def test_a_run_file_whose_writer_was_killed_at_once(wild) -> None:
    (wild / "runs" / "0000.h5").write_bytes(b"")
    (wild / "runs" / "0002.h5.journal").write_bytes(b"half a jour")
    assert [event for event in run_here(wild) if event[0] == "finished"] == [
        ("finished", 0), ("finished", 2)
    ]  # fmt: skip


def test_a_run_file_that_cannot_be_read_is_a_failure_until_retried(wild) -> None:
    (wild / "runs" / "0000.h5").write_bytes(b"not HDF5")
    run_here(wild)
    status = kpf.sweep_status(wild)
    assert status.states == ("failed", "failed", "done")
    assert "is not an HDF5 file" in status.failures[0].message
    run_module._prepare(SweepDirectory.open(wild), retry_failed=True)
    run_here(wild)
    assert kpf.sweep_status(wild).states == ("done", "failed", "done")


def test_run_files_are_kept_or_not(make) -> None:
    axes = {"cell.gain": [0.5, 1.0]}
    kept = make(axes, keep=["loss-curve"])
    bare = make(axes, name="bare", keep=[], keep_runs=False)
    run_here(kept)
    run_here(bare)
    assert sorted(path.name for path in (kept / "runs").iterdir()) == ["0000.h5", "0001.h5"]
    assert list((bare / "runs").iterdir()) == []
    assert kpf.sweep_status(bare).is_complete
    grid = kpf.merge_sweep(bare)
    assert "loss" not in grid.variables
    assert "loss" in kpf.merge_sweep(kept).variables
    np.testing.assert_array_equal(
        grid.select("final_loss"), kpf.merge_sweep(kept).select("final_loss")
    )


def test_a_claim_is_exclusive_and_ends_with_its_process(make) -> None:
    import subprocess
    import sys

    place = make({"cell.gain": [0.5, 1.0]}, keep=[])
    directory = SweepDirectory.open(place)
    code = (
        "import sys, time\n"
        "from kpflow_numerics.experiments.sweep.directory import SweepDirectory\n"
        "with SweepDirectory.open(sys.argv[1]).claim(1) as mine:\n"
        "    print(mine, flush=True)\n"
        "    time.sleep(60)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "True\n"
    assert directory.is_claimed(1)
    assert not directory.is_claimed(0)
    assert kpf.sweep_status(place).states == ("pending", "running")
    owner.kill()
    owner.communicate()
    assert not directory.is_claimed(1)


def test_a_worker_that_dies_on_a_cell_fails_it_in_the_end(make, monkeypatch) -> None:
    place = make({"cell.gain": [0.5]}, keep=[])
    dying = "import os; print('[\"begun\", 0]', flush=True); os.kill(os.getpid(), 9)"
    monkeypatch.setattr(run_module, "_WORKER", dying)
    status = kpf.run_sweep(place, workers=1)
    assert status.states == ("failed",)
    assert "by signal 9 while it ran this cell, 3 times" in status.failures[0].message


def test_workers_that_cannot_start_are_told_of(make, monkeypatch) -> None:
    place = make({"cell.gain": [0.5, 1.0]}, keep=[])
    monkeypatch.setattr(run_module, "_WORKER", "import nowhere_to_be_found")
    with pytest.raises(StoreError, match="end before they begin, with exit code 1"):
        kpf.run_sweep(place, workers=1)
    assert "nowhere_to_be_found" in (place / "workers.log").read_text()


def test_no_workers_are_refused(make) -> None:
    place = make({"cell.gain": [0.5, 1.0]}, keep=[])
    with pytest.raises(ValueError, match="workers must be at least 1"):
        kpf.run_sweep(place, workers=0)
