"""How many threads kernels run on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numba
import pytest

from kpflow_numerics import _threads
from kpflow_numerics._threads import (
    _WORTH_SHARING,
    kernel_threads,
    map_in_threads,
    n_threads,
    share_rows,
)

needs_two = pytest.mark.skipif(n_threads() < 2, reason="needs two threads")


@needs_two
def test_small_work_runs_on_one_thread_and_large_work_on_all() -> None:
    allowed = n_threads()
    with kernel_threads(_WORTH_SHARING - 1):
        assert n_threads() == 1
        assert share_rows(7) == 7
    assert n_threads() == allowed
    with kernel_threads(_WORTH_SHARING):
        assert n_threads() == allowed


@needs_two
def test_the_limit_of_a_user_is_kept() -> None:
    allowed = n_threads()
    numba.set_num_threads(1)
    try:
        with kernel_threads(_WORTH_SHARING):
            assert n_threads() == 1
        assert n_threads() == 1
    finally:
        numba.set_num_threads(allowed)


def test_the_limit_is_restored_after_an_error() -> None:
    allowed = n_threads()
    with pytest.raises(KeyError, match="inside"), kernel_threads(1.0):
        raise KeyError("inside")
    assert n_threads() == allowed


@pytest.mark.parametrize("n_rows", [1, 2, 7, 64])
def test_shares_cover_all_rows(n_rows: int) -> None:
    share = share_rows(n_rows)
    assert share * n_threads() >= n_rows > (share - 1) * n_threads()


def test_results_of_threads_keep_their_order() -> None:
    assert map_in_threads(lambda item: item * item, range(9)) == [i * i for i in range(9)]


# An operator and blocks for it, of both widths of work; what each block gives alone.
_ALONE = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
import numpy as np
import kpflow_numerics as kpf
from kpflow_numerics import _threads

cell = kpf.GRU(3, 16)
inputs = np.random.default_rng(5).standard_normal((4, 30, 3))
op = kpf.TangentKernel(kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), inputs)))
rng = np.random.default_rng(6)
blocks = [rng.standard_normal((op.shape[1], k)) for k in (1, 20, 2, 21)] * 5
alone = [op.matmat(block) for block in blocks]

def same(pool):
    with pool:
        found = list(pool.map(op.matmat, blocks))
    return all(map(np.array_equal, found, alone))

def processes(method):
    context = multiprocessing.get_context(method)
    return ProcessPoolExecutor(2, mp_context=context)
"""


def run_apart(code: str, layer: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"NUMBA_THREADING_LAYER": layer}
    command = [sys.executable, "-c", _ALONE + code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_an_operator_gives_the_same_in_several_threads_as_alone(layer: str) -> None:
    done = run_apart("print(same(ThreadPoolExecutor(4)))", layer)
    assert done.stdout.split() == ["True"], done.stderr


@needs_two
def test_threads_that_do_not_wait_for_their_turn_are_caught() -> None:
    fault = "_threads._turn = nullcontext; print(same(ThreadPoolExecutor(4)))"
    done = run_apart(fault, "workqueue")
    assert done.returncode != 0
    assert "Concurrent access has been detected" in done.stderr


@pytest.mark.parametrize(
    ("method", "layer"), [("spawn", "default"), ("forkserver", "default"), ("fork", "workqueue")]
)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems start workers in other ways")
def test_an_operator_gives_the_same_in_other_processes(method: str, layer: str) -> None:
    done = run_apart(f"print(same(processes({method!r})))", layer)
    assert done.stdout.split() == ["True"], done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP is that of Linux")
def test_a_fork_that_cannot_use_the_threads_says_so() -> None:
    code = """
if numba.threading_layer() != "omp":
    print("no OpenMP")
else:
    try:
        same(processes("fork"))
    except RuntimeError as error:
        print(error)
"""
    done = run_apart("import numba" + code, "default")
    if "no OpenMP" in done.stdout:
        pytest.skip("needs OpenMP")
    assert "this process was forked from one that had used kernels" in done.stdout, done.stderr
    assert "NUMBA_THREADING_LAYER=workqueue" in done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_does_not_wait_for_the_turn_of_a_thread_that_it_lacks() -> None:
    code = """
import os, threading
held, child = threading.Event(), threading.Event()

def hold():
    with _threads.kernel_threads(1.0):
        held.set()
        child.wait()

threading.Thread(target=hold).start()
held.wait()
identifier = os.fork()
if identifier == 0:
    threading.Thread(target=lambda: (child.wait(30), os._exit(1)), daemon=True).start()
    with _threads.kernel_threads(1.0):
        os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(identifier, 0)[1]))
child.set()
"""
    done = run_apart(code, "workqueue")
    assert done.stdout.split() == ["0"], done.stderr


def test_threads_that_come_first_at_once_take_turns_by_one_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meeting = threading.Barrier(2)

    def launched() -> tuple[int, str]:
        meeting.wait(30)
        return os.getpid(), "workqueue"

    monkeypatch.setattr(_threads, "_launched", launched)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: _threads._turn(), range(2))
    assert first is second
