"""A sweep that is killed again and again ends as one that was left in peace."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.experiments.sweep.directory import SweepDirectory
from kpflow_numerics.store import RunFile

N_CELLS = 42
N_KILLS = 5


@pytest.fixture
def start():
    """Start a coordinator in a process group of its own; what is left of it ends with the test."""
    started = []

    def begin(place, workers):
        process = subprocess.Popen(
            [sys.executable, "-m", "kpflow_numerics", "sweep", "run", str(place),
             "--workers", str(workers)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if not process.stdout.closed:
            process.communicate()


def results(place):
    """Return which results there are, each with what changes when it is written again."""
    found = {}
    for path in (place / "results").glob("*.json"):
        stat = path.stat()
        found[path.name] = (stat.st_ino, stat.st_mtime_ns)
    return found


def wait_for(condition, process, seconds=600.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def children_of(process):
    """Return the processes that a process has started."""
    tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(word) for word in tasks.read_text(encoding="ascii").split()]


def assert_same_results(one, other):
    """Fail unless two sweeps have the same results in every bit."""
    first, second = (SweepDirectory.open(place) for place in (one, other))
    for index in range(first.plan.n_cells):
        # Text of numbers is exact: NaN and signs of zero count too.
        assert json.dumps(first.result(index)["result"]) == json.dumps(
            second.result(index)["result"]
        )
        with RunFile.open(first.run_file(index)) as a, RunFile.open(second.run_file(index)) as b:
            assert a.losses.tobytes() == b.losses.tobytes()
            last, twin = a.checkpoint(-1), b.checkpoint(-1)
            for name, values in last.params.items():
                assert values.tobytes() == twin.params[name].tobytes()
    merged, whole = (kpf.merge_sweep(place) for place in (one, other))
    assert merged.variables.keys() == whole.variables.keys()
    for name, variable in merged.variables.items():
        twin = whole.variables[name]
        assert variable.dims == twin.dims
        if variable.values.dtype.kind == "O":
            assert (variable.values == twin.values).all()
        else:
            assert variable.values.tobytes() == twin.values.tobytes()


@pytest.fixture(scope="module")
def in_peace(grid_of_42):
    place = grid_of_42("in-peace")
    status = kpf.run_sweep(place, workers=2)
    assert status.is_complete
    return place


def test_five_kills_lose_nothing_and_repeat_nothing(in_peace, grid_of_42, start) -> None:
    place = grid_of_42("killed")
    rng = np.random.default_rng(53)
    seen = {}
    for kill in range(N_KILLS):
        process = start(place, workers=1 + kill % 2)
        wanted = len(seen) + int(rng.integers(2, 7))
        wait_for(lambda: len(results(place)) >= wanted, process)  # noqa: B023
        time.sleep(rng.uniform(0.0, 0.15))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        found = results(place)
        assert len(found) < N_CELLS
        assert seen.items() <= found.items(), "a finished cell was lost or done twice"
        seen = found
    process = start(place, workers=2)
    wait_for(lambda: len(results(place)) > len(seen), process)
    os.kill(children_of(process)[0], signal.SIGKILL)
    shown, _ = process.communicate(timeout=600)
    assert process.returncode == 0, shown
    assert f"{N_CELLS} done" in shown
    found = results(place)
    assert len(found) == N_CELLS
    assert seen.items() <= found.items()
    assert_same_results(place, in_peace)


def test_a_different_result_would_be_seen(in_peace, grid_of_42) -> None:
    place = grid_of_42("altered")
    for index in range(N_CELLS):
        for name in (f"results/{index:04d}.json", f"runs/{index:04d}.h5"):
            (place / name).write_bytes((in_peace / name).read_bytes())
    assert_same_results(place, in_peace)
    directory = SweepDirectory.open(place)
    record = directory.result(17)
    record["result"]["losses"][3] = np.nextafter(record["result"]["losses"][3], 1.0)
    directory.write_result(17, record)
    with pytest.raises(AssertionError):
        assert_same_results(place, in_peace)


def test_cells_in_another_order_have_the_same_bits(in_peace, grid_of_42) -> None:
    place = grid_of_42("shuffled")
    code = (
        "import sys\n"
        "from kpflow_numerics.experiments.sweep.cell import run_cell\n"
        "from kpflow_numerics.experiments.sweep.directory import SweepDirectory\n"
        "directory = SweepDirectory.open(sys.argv[1])\n"
        "for index in (40, 3, 22, 9): directory.write_result(\n"
        "    index, {'result': run_cell(directory, index), 'seconds': 0.0, 'provenance': {}})\n"
    )
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    subprocess.run(
        [sys.executable, "-c", code, str(place)], check=True, env={**os.environ, **threads}
    )
    one, other = SweepDirectory.open(place), SweepDirectory.open(in_peace)
    for index in (3, 9, 22, 40):
        assert json.dumps(one.result(index)["result"]) == json.dumps(other.result(index)["result"])


def test_two_coordinators_share_the_cells(make, start) -> None:
    place = make({"training.seed": "3:11"}, keep=["loss-curve"])
    code = (
        "import sys\n"
        "from kpflow_numerics.experiments.sweep.directory import SweepDirectory\n"
        "from kpflow_numerics.experiments.sweep.worker import work\n"
        "work(SweepDirectory.open(sys.argv[1]), lambda *event: print(*event, flush=True))\n"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    coordinator = start(place, workers=1)
    lines = [line for worker in workers for line in worker.communicate(timeout=600)[0].splitlines()]
    shown, _ = coordinator.communicate(timeout=600)
    assert coordinator.returncode == 0
    assert "8 done" in shown
    begun = [line for line in lines if line.startswith("begun")]
    assert len(set(begun)) == len(begun)
    assert sorted(line.replace("finished", "begun") for line in lines if line not in begun) == (
        sorted(begun)
    )


def test_control_c_ends_every_worker_and_keeps_what_is_done(make, start) -> None:
    place = make({"training.seed": "3:60"}, keep=["loss-curve"], keep_runs=False)
    process = start(place, workers=2)
    wait_for(lambda: len(results(place)) >= 2, process)
    workers = children_of(process)
    os.killpg(process.pid, signal.SIGINT)
    shown, _ = process.communicate(timeout=300)
    assert process.returncode == 130, shown
    assert "interrupted; everything committed is kept" in shown
    assert "Traceback" not in shown
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    status = kpf.sweep_status(place)
    assert 2 <= status.count("done") < 57
    assert status.count("done") + status.count("pending") == 57
