"""Writers that are killed, in a process of their own.

:func:`main` forks writers that go on with one run file, one after another, and kills each with
SIGKILL at a random moment. It is called in a fresh interpreter, which imports the package once and
has no threads yet when it forks.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from kpflow_numerics.store import RunFile
from tests.cases.runs import CELL, TASK, make_checkpoint


def write_until_killed(path: str, told: int) -> None:
    """Commit checkpoints for ever, and tell each one that is committed."""
    if Path(path).exists():
        file = RunFile.open(path, "r+")
    else:
        file = RunFile.create(path, cell=CELL, task=TASK)
    iteration = int(file.iterations[-1]) if file.n_checkpoints else 0
    while True:
        file.record_iteration(iteration, iteration / 4, iteration / 8)
        file.commit(make_checkpoint(iteration + 1))
        iteration += 1
        os.write(told, f"{iteration}\n".encode())


def main(path: str, kills: int, seed: int) -> None:
    """Kill writers, and tell which checkpoint each had committed last, as JSON."""
    rng = random.Random(seed)
    committed = []
    for _ in range(kills):
        hear, told = os.pipe()
        child = os.fork()
        if not child:
            os.close(hear)
            write_until_killed(path, told)
        os.close(told)
        # From the first commit on, so that every writer makes some way.
        heard = os.read(hear, 64)
        time.sleep(rng.uniform(0.0, 0.15))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while more := os.read(hear, 4096):
            heard += more
        os.close(hear)
        committed.append(int(heard.split()[-1]))
    sys.stdout.write(json.dumps(committed))
