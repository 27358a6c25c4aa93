"""The coordinator of a sweep: it starts workers, and sees to it that every cell ends."""

from __future__ import annotations

import itertools
import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ..._validation import check_integer
from ...store import StoreError
from ..progress import Progress, Silent, Stage
from .directory import SweepDirectory
from .status import SweepStatus, read_status
from .worker import BEGUN

DEATHS = 3
"""So often may a worker die on a cell, as of a signal, until the cell counts as failed."""

_ENDED = "ended"
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 5.0
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)
# An interrupt of the terminal reaches the workers too, but it is the coordinator who ends them.
_WORKER = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "from kpflow_numerics.experiments.sweep.worker import main; main(sys.argv[1])"
)


def run_sweep(
    directory: str | Path,
    *,
    workers: int | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> SweepStatus:
    """Run every cell of a planned sweep that is not finished, in parallel processes.

    Parameters
    ----------
    directory : str or Path
        The directory that :func:`plan_sweep` made.
    workers : int, optional
        Processes; by default as many as there are cores for, at the plan's threads each. The
        results do not depend on it.
    retry_failed : bool
        Run cells that have failed before once more, from the beginning.
    progress : Progress, optional
        Shows how far the sweep is; silent by default.

    Returns
    -------
    SweepStatus
        Of all cells. A cell that fails does not stop the others.

    Raises
    ------
    InputError
        If the directory holds no sweep, or `workers` is out of range.
    StoreError
        If the workers cannot start, or the system refuses.

    Notes
    -----
    Nothing committed is lost, and nothing done twice, when the process, a worker or the machine is
    stopped at any moment: the next call goes on from the last checkpoint of every cell, and the
    results have the same bits. Several processes may run the same sweep at once.

    Examples
    --------
    >>> import tempfile
    >>> import kpflow_numerics as kpf
    >>> base = {"task": {"n_stimulus": 2, "n_memory": 1, "n_response": 2},
    ...         "cell": {"n_units": 4}, "training": {"n_iterations": 5}}
    >>> place = tempfile.mkdtemp()
    >>> kpf.plan_sweep(base, {"cell.gain": [0.5, 2.0]}, place, keep=["loss-curve"])
    SweepPlan(gain (2): 2 cells)
    >>> kpf.run_sweep(place, workers=1)
    SweepStatus(2 cells: 2 done)
    """
    found = SweepDirectory.open(directory)
    count = default_workers(found.plan.threads)
    if workers is not None:
        count = check_integer(workers, "workers")
    _prepare(found, retry_failed=retry_failed)
    _Coordinator(found, count, Silent() if progress is None else progress).run()
    return read_status(found)


def default_workers(threads: int) -> int:
    """Return how many workers of so many threads the cores of this process can take."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, cores // threads)


def _prepare(directory: SweepDirectory, *, retry_failed: bool) -> None:
    """Forget damaged results, and failures that are to be tried again."""
    for index in range(directory.plan.n_cells):
        again = retry_failed and directory.has_failure(index)
        if again or directory.is_damaged(index):
            with directory.claim(index) as is_mine:
                if is_mine:
                    directory.forget(index, run=again)


class _Coordinator:
    """Keeps workers at work until no cell is left."""

    def __init__(self, directory: SweepDirectory, n_workers: int, progress: Progress) -> None:
        self._directory = directory
        self._n_workers = n_workers
        self._progress = progress
        self._names = itertools.count()
        self._events: queue.SimpleQueue[tuple[int, str, int]] = queue.SimpleQueue()
        self._workers: dict[int, subprocess.Popen[str]] = {}
        self._starting: set[int] = set()
        self._cell_of: dict[int, int] = {}
        self._deaths: Counter[int] = Counter()

    def run(self) -> None:
        """Return when every cell has a result or a failure."""
        total = self._directory.plan.n_cells
        left = {index for index in range(total) if not self._directory.is_settled(index)}
        if not left:
            return
        with self._progress.stage("sweep", total, total - len(left)) as stage:
            try:
                while left:
                    self._start(left)
                    try:
                        name, event, index = self._events.get(timeout=_POLL_SECONDS)
                    except queue.Empty:
                        # What other coordinators' workers have finished is not told to this one.
                        self._count(left, sorted(left), stage)
                    else:
                        at = self._handle(name, event, index)
                        self._count(left, [at], stage)
            finally:
                self._end()

    def _start(self, left: set[int]) -> None:
        """Start workers for cells that nobody works on."""
        room = min(self._n_workers, len(left)) - len(self._workers)
        if room <= 0:
            return
        busy = set(self._cell_of.values())
        free = (index for index in sorted(left - busy) if not self._directory.is_claimed(index))
        n_free = len(list(itertools.islice(free, room + len(self._starting))))
        for _ in range(min(room, n_free - len(self._starting))):
            self._start_worker()

    def _start_worker(self) -> None:
        threads = dict.fromkeys(_THREAD_VARIABLES, str(self._directory.plan.threads))
        with (self._directory.path / "workers.log").open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _WORKER, str(self._directory.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **threads},
            )
        name = next(self._names)
        self._workers[name] = process
        self._starting.add(name)
        threading.Thread(target=self._listen, args=(name, process), daemon=True).start()

    def _listen(self, name: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                # A worker that is killed while it writes leaves half a line.
                if line.endswith("\n"):
                    event, index = json.loads(line)
                    self._events.put((name, event, index))
        self._events.put((name, _ENDED, -1))

    def _handle(self, name: int, event: str, index: int) -> int:
        """Take note of what a worker tells, and return the cell that it is about."""
        if event == BEGUN:
            self._starting.discard(name)
            self._deaths.pop(-1, None)
            self._cell_of[name] = index
        elif event == _ENDED:
            return self._bury(name)
        else:
            self._cell_of.pop(name, None)
        return index

    def _bury(self, name: int) -> int:
        """Note on which cell a worker died, if it did."""
        process = self._workers.pop(name)
        self._starting.discard(name)
        code = process.wait()
        _close(process)
        index = self._cell_of.pop(name, -1)
        if code == 0:
            return index
        self._deaths[index] += 1
        if self._deaths[index] < DEATHS:
            return index
        if index < 0:
            raise StoreError(
                f"Workers of the sweep end before they begin, with exit code {code}. What they "
                f"say is in {self._directory.path / 'workers.log'}."
            )
        with self._directory.claim(index) as is_mine:
            if is_mine and not self._directory.is_settled(index):
                how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
                text = (
                    f"A worker ended {how} while it ran this cell, {DEATHS} times. It may need "
                    "more memory than there is: see workers.log."
                )
                failure = {"error": "WorkerDied", "message": text, "traceback": text}
                self._directory.write_failure(index, {**failure, "seconds": float("nan")})
        return index

    def _count(self, left: set[int], among: Iterable[int], stage: Stage) -> None:
        """Take what is finished, here or elsewhere, from what is left."""
        for index in among:
            if index in left and self._directory.is_settled(index):
                left.remove(index)
                stage.advance(note=self._directory.plan.label(index))

    def _end(self) -> None:
        """End every worker; all that they have committed is kept."""
        for process in self._workers.values():
            _close(process)
        for process in self._workers.values():
            try:
                process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _close(process: subprocess.Popen[str]) -> None:
    """Close the pipe by which a worker knows that its coordinator is there."""
    assert process.stdin is not None
    process.stdin.close()
