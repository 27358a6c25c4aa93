"""A killed run loses nothing that was committed, and a full device harms nothing."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.results import Checkpoint
from kpflow_numerics.store import RunFile, StoreError
from kpflow_numerics.store._journal import JournalledFile, journal_path
from tests.cases.disk import Disk, PowerCut
from tests.cases.runs import (
    CELL,
    TASK,
    assert_equal_results,
    make_analysis,
    make_checkpoint,
    make_report,
)

ROOT = Path(__file__).resolve().parents[2]
# Rows of a page each, so that HDF5's index of chunks splits at the 65th checkpoint: the moment at
# which a plain flush that is cut short loses all that was flushed before.
WIDE_CELL = kpf.VanillaRNN(n_inputs=1, n_units=23)
N_BEFORE_SPLIT = 64


def wide_checkpoint(iteration):
    params = WIDE_CELL.init_params(rng=iteration + 1000)
    return Checkpoint(iteration, params, {}, 0.5, 0.25, 1.0, 2.0, {}, f"state {iteration}")


@pytest.fixture
def quick_sync(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base") / "base.h5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        with RunFile.create(path, cell=WIDE_CELL, task=TASK) as file:
            for iteration in range(N_BEFORE_SPLIT):
                file.record_iteration(iteration, 0.5, 0.5)
                file.commit(wide_checkpoint(iteration))
    return path


def commit_with_cuts(base, folder, disk):
    """Yield the path and whether the commit ended, for a cut at each operation of a commit."""
    for cut in range(1000):
        path = folder / f"{cut}.h5"
        disk.arm(None)
        shutil.copy(base, path)
        file = RunFile.open(path, "r+")
        disk.arm(cut)
        try:
            file.record_iteration(N_BEFORE_SPLIT, 0.5, 0.5)
            file.commit(wide_checkpoint(N_BEFORE_SPLIT))
        except PowerCut:
            finished = False
        else:
            finished = True
            file.close()
        disk.arm(None)
        yield path, finished
        path.unlink()
        journal_path(path).unlink(missing_ok=True)
        if finished:
            return


def assert_intact(path, mode):
    """Fail unless the file holds the base's checkpoints, or one more, and return how many."""
    with RunFile.open(path, mode) as file:
        count = file.n_checkpoints
        assert count in (N_BEFORE_SPLIT, N_BEFORE_SPLIT + 1)
        assert len(file.losses) == count
        for index in (0, 31, N_BEFORE_SPLIT - 1, count - 1):
            assert_equal_results(file.checkpoint(index), wide_checkpoint(index))
        if mode == "r+":
            file.commit(wide_checkpoint(count))
            assert_equal_results(file.checkpoint(-1), wide_checkpoint(count))
    return count


@pytest.mark.usefixtures("quick_sync")
def test_a_run_survives_a_cut_at_every_operation(base, tmp_path, monkeypatch):
    disk = Disk(monkeypatch, PowerCut)
    counts = []
    for path, _ in commit_with_cuts(base, tmp_path, disk):
        counts.append(assert_intact(path, "r"))
        assert assert_intact(path, "r+") == counts[-1]
    assert counts == sorted(counts)
    assert set(counts) == {N_BEFORE_SPLIT, N_BEFORE_SPLIT + 1}


@pytest.mark.usefixtures("quick_sync")
def test_without_a_journal_the_cut_would_be_seen(base, tmp_path, monkeypatch):
    monkeypatch.setattr(JournalledFile, "_write_journal", lambda *_: None)
    disk = Disk(monkeypatch, PowerCut)
    n_harmed = 0
    for path, _ in commit_with_cuts(base, tmp_path, disk):
        try:
            assert_intact(path, "r")
        except (AssertionError, IndexError, KeyError, OSError, RuntimeError, ValueError):
            n_harmed += 1
    assert n_harmed > 2


def test_processes_killed_at_random_lose_nothing(tmp_path):
    path = tmp_path / "run.h5"
    code = f"from tests.cases.killed_writer import main; main({str(path)!r}, kills=10, seed=53)"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    committed = json.loads(answer.stdout)
    assert len(committed) == 10
    assert committed == sorted(set(committed))
    with RunFile.open(path, "r+") as file:
        # A commit may have ended just before the kill, and not have been told.
        n_stored = file.n_checkpoints
        assert n_stored in (committed[-1], committed[-1] + 1)
        assert file.iterations.tolist() == list(range(1, n_stored + 1))
        for index in range(n_stored):
            assert_equal_results(file.checkpoint(index), make_checkpoint(index + 1))
        np.testing.assert_array_equal(file.losses, np.arange(n_stored) / 4)
        file.commit(make_checkpoint(n_stored + 1))
        assert_equal_results(file.checkpoint(-1), make_checkpoint(n_stored + 1))
    assert [item.name for item in tmp_path.iterdir()] == ["run.h5"]


def test_a_process_killed_while_it_creates(tmp_path):
    path = tmp_path / "run.h5"
    code = (
        "import os, signal\n"
        "from kpflow_numerics.store import RunFile, _disk\n"
        "from tests.cases.runs import CELL, TASK\n"
        "_disk.sync = lambda file: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"RunFile.create({str(path)!r}, cell=CELL, task=TASK)"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert answer.returncode == -signal.SIGKILL
    # The journal was whole: the run exists, and has no checkpoint yet.
    with RunFile.open(path, "r+") as file:
        assert file.n_checkpoints == 0
        assert file.cell == CELL


def test_an_interrupt_in_the_middle_of_a_commit(tmp_path, monkeypatch):
    path = tmp_path / "run.h5"
    file = RunFile.create(path, cell=CELL, task=TASK)
    file.commit(make_checkpoint(0))

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("kpflow_numerics.store.run_file.write_checkpoint", interrupt)
    with pytest.raises(KeyboardInterrupt):
        file.commit(make_checkpoint(1))
    monkeypatch.undo()
    with RunFile.open(path, "r+") as again:
        assert again.iterations.tolist() == [0]
        again.commit(make_checkpoint(1))


def fill_until_it_fails(path, make_room):
    """Write until the system refuses, check what is left, and go on when there is room."""
    with RunFile.create(path, cell=CELL, task=TASK) as file:
        n_committed, message = 0, ""
        while not message:
            file.record_iteration(n_committed, 0.5, 0.5)
            try:
                file.commit(make_checkpoint(n_committed))
                n_committed += 1
            except StoreError as error:
                message = str(error)
    make_room()
    assert n_committed > 2
    assert [item.name for item in path.parent.iterdir() if item.name != "ballast"] == [path.name]
    with RunFile.open(path, "r+") as file:
        assert file.n_checkpoints == n_committed
        for index in range(n_committed):
            assert_equal_results(file.checkpoint(index), make_checkpoint(index))
        file.commit(make_checkpoint(n_committed))
    with RunFile.open(path) as file:
        assert_equal_results(file.checkpoint(-1), make_checkpoint(n_committed))
    return message


@pytest.mark.usefixtures("quick_sync")
def test_a_limit_on_the_size_of_files(tmp_path):
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, old[1]))
    try:
        message = fill_until_it_fails(
            tmp_path / "run.h5", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, old)
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "the limit on the size of files is reached. Everything committed before is" in message


@pytest.mark.usefixtures("quick_sync")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_device(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=640k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let root mount a file system")
    try:
        ballast = small / "ballast"
        ballast.write_bytes(bytes(120_000))
        message = fill_until_it_fails(small / "run.h5", ballast.unlink)
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert "no space is left on the device. Everything committed before is intact" in message


@pytest.mark.usefixtures("quick_sync")
@pytest.mark.parametrize(
    "write",
    [
        lambda file: file.commit(make_checkpoint(9)),
        lambda file: file.write_analyses([make_analysis(2)]),
        lambda file: file.write_validation(make_report(passed=False)),
        lambda file: file.write_evaluation_batch(TASK.evaluation_batch(8)),
        lambda file: file.write_config({"new": True}),
    ],
    ids=["checkpoint", "analyses", "validation", "batch", "config"],
)
def test_no_room_for_any_kind_of_data(tmp_path, monkeypatch, write):
    path = tmp_path / "run.h5"
    with RunFile.create(path, cell=CELL, task=TASK, config={"new": False}) as file:
        file.write_evaluation_batch(TASK.evaluation_batch(6))
        file.commit(make_checkpoint(0))
        file.write_analyses([make_analysis(0)])
        file.write_validation(make_report())
    disk = Disk(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    file = RunFile.open(path, "r+")
    disk.arm(3)
    with pytest.raises(StoreError, match=r"no space is left on the device.*is intact"):
        write(file)
    disk.arm(None)
    # The object holds what did not reach the disk, so it is closed.
    with pytest.raises(kpf._errors.InputError, match="is closed"):
        _ = file.iterations
    with RunFile.open(path, "r+") as file:
        assert file.config == {"new": False}
        assert file.evaluation_batch.n_trials == 6
        assert_equal_results(file.checkpoint(-1), make_checkpoint(0))
        assert_equal_results(tuple(file.analyses), (make_analysis(0),))
        assert_equal_results(file.validation, make_report())
        write(file)


@pytest.mark.usefixtures("quick_sync")
def test_no_room_to_create(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    disk.arm(0)
    path = tmp_path / "run.h5"
    with pytest.raises(StoreError, match="no space is left on the device"):
        RunFile.create(path, cell=CELL, task=TASK)
    disk.arm(None)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("quick_sync")
def test_a_crash_while_an_old_run_is_replaced(tmp_path, monkeypatch):
    path = tmp_path / "run.h5"
    with RunFile.create(path, cell=CELL, task=TASK) as file:
        file.commit(make_checkpoint(5))
    before = path.read_bytes()
    monkeypatch.setattr("kpflow_numerics.store._opening.collect_provenance", dict)
    disk = Disk(monkeypatch, PowerCut)
    outcomes = []
    for cut in range(1000):
        for item in tmp_path.iterdir():
            item.unlink()
        path.write_bytes(before)
        disk.arm(cut)
        try:
            with RunFile.create(path, cell=CELL, task=TASK, overwrite=True) as file:
                file.commit(make_checkpoint(7))
        except PowerCut:
            finished = False
        else:
            finished = True
        disk.arm(None)
        with RunFile.open(path, "r+") as file:
            outcomes.append(int(file.iterations[-1]))
            assert_equal_results(file.checkpoint(-1), make_checkpoint(outcomes[-1]))
        if finished:
            break
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {5, 7}
