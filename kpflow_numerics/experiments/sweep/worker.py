"""A worker of a sweep: a process that runs one cell after another.

It claims cells by itself, so that any number of workers and coordinators may share a directory. It
ends when nothing is left that it could claim, or when its coordinator is gone: the pipe of its
standard input is then closed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, TextIO

from ...store import collect_provenance
from .cell import run_cell
from .directory import SweepDirectory

BEGUN, FINISHED, FAULTY = "begun", "finished", "failed"


def main(path: str) -> None:
    """Work on the sweep in a directory until nothing is left to claim."""
    events = _own_output()
    threading.Thread(target=_end_with_coordinator, daemon=True).start()
    work(SweepDirectory.open(path), lambda event, index: _tell(events, event, index))


def work(directory: SweepDirectory, tell: Callable[[str, int], None]) -> None:
    """Run every cell that is not finished, failed or claimed by another process."""
    provenance = collect_provenance()
    for index in range(directory.plan.n_cells):
        if directory.is_settled(index):
            continue
        with directory.claim(index) as is_mine:
            # Another process may have finished it between the look and the claim.
            if is_mine and not directory.is_settled(index):
                tell(BEGUN, index)
                tell(_run(directory, index, provenance), index)


def _run(directory: SweepDirectory, index: int, provenance: dict[str, Any]) -> str:
    start = time.monotonic()
    try:
        result = run_cell(directory, index)
    except Exception as error:
        failure = failure_of(error, traceback.format_exc())
        directory.write_failure(index, {**failure, "seconds": time.monotonic() - start})
        return FAULTY
    made = {"seconds": time.monotonic() - start, "provenance": provenance}
    directory.write_result(index, {"result": result, **made})
    if not directory.plan.keep_runs:
        directory.remove_run(index)
    return FINISHED


def failure_of(error: Exception, text: str) -> dict[str, str]:
    """Return what is noted of a cell that failed."""
    return {"error": type(error).__name__, "message": str(error), "traceback": text}


def _own_output() -> TextIO:
    """Return the pipe to the coordinator, and let what is printed go to standard error."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


def _tell(events: TextIO, event: str, index: int) -> None:
    try:
        events.write(json.dumps([event, index]) + "\n")
    except BrokenPipeError:
        os._exit(1)


def _end_with_coordinator() -> None:
    # Not through sys.stdin, whose lock would be held while the interpreter ends.
    while os.read(0, 64):
        pass
    # At once: everything committed is durable, and the rest is done again by the next worker.
    os._exit(1)
