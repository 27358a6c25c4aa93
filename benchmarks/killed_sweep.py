"""A real sweep killed five times, beside the same one left in peace, from the command line.

    python benchmarks/killed_sweep.py [--plan examples/gain_sweep.toml] [--output DIRECTORY]

Both are made with ``kpflow``, in process groups of their own, with other numbers of workers. The
one is killed by SIGKILL, coordinator and workers at once. What is compared: every result, the
training and every checkpoint in every run file, and every variable of the merged files.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np

from kpflow_numerics.experiments.sweep.directory import SweepDirectory
from kpflow_numerics.experiments.sweep.plan import read_plan

ROOT = Path(__file__).resolve().parents[1]
N_KILLS = 5
UNLIKE = {"seconds"}
"""What is measured in seconds may differ."""


def show(*words: str) -> str:
    """Run a kpflow command, print it as a transcript does, and return what it printed."""
    print(f"$ kpflow {shlex.join(words)}", flush=True)
    done = subprocess.run(kpflow(*words), capture_output=True, text=True, check=False)
    print(done.stdout + done.stderr, end="", flush=True)
    print(f"(exit code {done.returncode})\n", flush=True)
    return done.stdout


def kpflow(*words: str) -> list[str]:
    """Return the command line of a kpflow command."""
    return [sys.executable, "-m", "kpflow_numerics", *words]


def start(place: Path, workers: int) -> subprocess.Popen[bytes]:
    """Start a sweep in a process group of its own."""
    words = ("sweep", "run", str(place), "--workers", str(workers))
    print(f"$ kpflow {shlex.join(words)} &", flush=True)
    return subprocess.Popen(
        kpflow(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def finished(place: Path) -> dict[str, tuple[int, int]]:
    """Return which results there are, each with what changes when it is written again."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in (place / "results").glob("*.json")
    }


def kill_five_times(place: Path, n_cells: int, rng: np.random.Generator) -> None:
    """Run a sweep to its end through five kills; raise where a finished cell is lost or redone."""
    seen: dict[str, tuple[int, int]] = {}
    for kill in range(N_KILLS):
        process = start(place, workers=1 + (kill + 1) % 2)
        wanted = len(seen) + int(rng.integers(2, 8))
        while len(finished(place)) < wanted and process.poll() is None:
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0.0, 3.0)))
        if process.poll() is not None:
            raise RuntimeError("The sweep ended before it could be killed.")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        found = finished(place)
        if not seen.items() <= found.items():
            raise RuntimeError("A finished cell was lost or done twice.")
        print(f"kill -9 of all its processes after {len(found)} of {n_cells} cells\n", flush=True)
        seen = found
    show("sweep", "status", str(place))
    show("sweep", "run", str(place), "--workers", "2")
    found = finished(place)
    if not seen.items() <= found.items() or len(found) != n_cells:
        raise RuntimeError("A finished cell was lost or done twice.")


def contents(path: Path) -> dict[str, bytes]:
    """Return the data of an HDF5 file by name, as bytes."""
    held: dict[str, bytes] = {}

    def take(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset) and name.split("/")[-1] not in UNLIKE:
            values = node[()]
            whole = isinstance(values, np.ndarray) and values.dtype != object
            text = values.tobytes() if whole else repr(np.asarray(values).tolist()).encode()
            held[name] = str(values.shape).encode() + text if whole else text

    with h5py.File(path) as file:
        file.visititems(take)
    return held


def compare(one: Path, other: Path, n_cells: int) -> dict[str, int]:
    """Return how much was compared of two sweeps; raise RuntimeError where a bit differs."""
    counts = {"results": 0, "numbers in run files": 0, "variables of the merged files": 0}
    first, second = (SweepDirectory.open(place) for place in (one, other))
    for index in range(n_cells):
        # Text of numbers is exact, and NaN is the same as NaN.
        texts = [json.dumps(place.result(index)["result"]) for place in (first, second)]
        if texts[0] != texts[1]:
            raise RuntimeError(f"The results of cell {index} differ.")
        counts["results"] += 1
        counts["numbers in run files"] += same(
            *(place / "runs" / f"{index:04d}.h5" for place in (one, other)),
            only=("training", "checkpoints"),
        )
    counts["variables of the merged files"] = same(one / "sweep.h5", other / "sweep.h5")
    return counts


def same(one: Path, other: Path, only: tuple[str, ...] = ()) -> int:
    """Return how many data sets two files share; raise RuntimeError where they differ."""
    held, twin = (
        {name: data for name, data in contents(path).items() if not only or name.startswith(only)}
        for path in (one, other)
    )
    differing = [name for name in held.keys() | twin.keys() if held.get(name) != twin.get(name)]
    if differing or not held:
        raise RuntimeError(f"{one} and {other} differ: {sorted(differing)[:5] or 'nothing held'}.")
    return len(held)


def main() -> None:
    """Make both sweeps and compare them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plan", default=str(ROOT / "examples" / "gain_sweep.toml"))
    parser.add_argument("--output", type=Path, default=Path("runs") / "killed-sweep")
    parser.add_argument("--seed", type=int, default=23, help="of when it is killed")
    given = parser.parse_args()
    killed, peaceful = given.output / "killed", given.output / "in-peace"
    for place in (killed, peaceful):
        show("sweep", "plan", given.plan, "--output", str(place))
    n_cells = read_plan(given.plan).n_cells
    in_peace = start(peaceful, workers=1)
    try:
        kill_five_times(killed, n_cells, np.random.default_rng(given.seed))
        if in_peace.wait():
            raise RuntimeError("The sweep left in peace has failed.")
    finally:
        if in_peace.poll() is None:
            os.killpg(in_peace.pid, signal.SIGKILL)
    for place in (killed, peaceful):
        show("sweep", "merge", str(place))
    counts = compare(killed, peaceful, n_cells)
    print(f"the same in every bit: {', '.join(f'{n:,} {what}' for what, n in counts.items())}")


if __name__ == "__main__":
    main()
