"""The library against plain peers in PyTorch and JAX, and against bare matrix products.

``make bench`` makes an environment with the peers' libraries and runs it. A short look::

    .venv-peers/bin/python benchmarks/against_peers.py --sizes S --cells vanilla-rnn --rounds 2

Every contender has a process of its own and is asked in turn, the order reversed each round; the
others wait meanwhile. Before each turn the machine settles for `PAUSE`, since threads of the one
before spin on: OpenBLAS's hold a core for 0.1 s after each product, and take it from whoever comes
next. What is timed is the product alone: each contender gets the block in its own layout, has
compiled and has been called before. A product that differs from the library's in float64 by more
than `LARGEST_ERROR` is reported and not timed; no peer uses the library, so this tests the library
too.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from _peers_report import write_reports
from _peers_scaling import draw_scaling, scaling_problems
from peers.contract import GATES as CELLS
from peers.contract import PRODUCTS, Problem
from peers.worker import PeerError, Worker

SIZES = {"S": (10, 30, 64), "M": (20, 90, 128), "L": (20, 90, 256)}
PEERS = ("pytorch_autodiff", "pytorch_by_hand", "jax_autodiff", "jax_by_hand")
LARGEST_ERROR = {"float64": 1e-8, "float32": 1e-3}
TRAINING_BATCH = 500
PAUSE = 0.2  # seconds for the threads of the last one asked to fall asleep
EIGENPAIRS = 20
EIGEN_ROUNDS = 3

Record = dict[str, Any]


class Contest:
    """The contenders, and the turns they take.

    Parameters
    ----------
    names : sequence of str
        Modules of `peers`, apart from the library and the bare products.
    rounds : int
        Turns of each.
    turn_seconds : float
        How long one turn of a quick product lasts.
    """

    def __init__(self, names: list[str], rounds: int, turn_seconds: float) -> None:
        self.rounds, self.turn_seconds = rounds, turn_seconds
        self.workers: dict[str, Worker] = {}
        for name in ("ours", "gemm", *names):
            self.enter(name)
        self._folder = tempfile.TemporaryDirectory()
        self._loaded: dict[str, tuple[Problem, str]] = {}

    def __enter__(self) -> Contest:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.close()
        self._folder.cleanup()

    def enter(self, name: str) -> None:
        """Start the process of a contender, unless it has one; say so if it cannot be had."""
        try:
            self.workers[name] = self.workers.get(name) or Worker(name)
        except PeerError as error:
            print(f"left out: {error}", file=sys.stderr)

    def products(self, problem: Problem, dtype: str, name: str, k: int) -> list[Record]:
        """Return a record of each contender for one product."""
        about = {"product": name, "k": k}
        if problem.saved:
            about["product"] = f"{name}, trained"
        return self._compete(problem, dtype, about, "prepare", (name, k), list(self.workers))

    def training(self, problem: Problem, dtype: str) -> list[Record]:
        """Return a record of each contender that trains, for one gradient."""
        names = [name for name in self.workers if name == "ours" or name.endswith("autodiff")]
        return self._compete(
            problem, dtype, {"product": "training", "k": 0}, "prepare_training", (), names
        )

    def eigenpairs(self, problem: Problem, names: list[str]) -> list[Record]:
        """Return a record of each for the leading eigenpairs of the NTK, in float64."""
        about = _about(problem, "float64") | {"product": "eigenpairs", "k": EIGENPAIRS}
        records = {name: about | {"peer": name, "seconds": []} for name in names}
        for order in _orders(names, EIGEN_ROUNDS):
            for name in order:
                record = records[name]
                if "failure" in record:
                    continue
                try:
                    self._load(name, problem, "float64")
                    time.sleep(PAUSE)
                    found = self.workers[name].ask("eigenpairs", EIGENPAIRS, 1e-8)
                except PeerError as error:
                    record["failure"] = str(error)
                else:
                    record |= found | {"seconds": record["seconds"] + found["seconds"]}
        return list(records.values())

    def _compete(
        self,
        problem: Problem,
        dtype: str,
        about: Record,
        request: str,
        arguments: tuple[Any, ...],
        names: list[str],
    ) -> list[Record]:
        truth = self._answer("ours", problem, "float64", request, arguments)[1]
        records = {}
        for name in names:
            record = _about(problem, dtype) | about | {"peer": name, "seconds": []}
            records[name] = record
            try:
                record["first_call_seconds"], found = self._answer(
                    name, problem, dtype, request, arguments
                )
            except PeerError as error:
                record["failure"] = str(error)
                continue
            if found is None:
                continue
            record["error"] = relative_error(found, truth)
            if not accurate(record["error"], dtype):
                record["failure"] = f"inaccurate ({record['error']:.1e}), not timed"
        timed = [name for name in names if "failure" not in records[name]]
        for order in _orders(timed, self.rounds):
            for name in order:
                time.sleep(PAUSE)
                try:
                    times = self.workers[name].ask("time", self.turn_seconds)
                except PeerError as error:
                    records[name]["failure"] = str(error)
                    continue
                records[name]["seconds"].append(statistics.median(times))
        for name in timed:
            peak, before = self.workers[name].ask("peak_memory")
            records[name] |= {"peak_bytes": peak, "rise_bytes": peak - before}
        return list(records.values())

    def _answer(
        self,
        name: str,
        problem: Problem,
        dtype: str,
        request: str,
        arguments: tuple[Any, ...],
    ) -> tuple[float, np.ndarray | None]:
        """Return the seconds of a contender's first call, and what it found."""
        path = Path(self._folder.name) / "found.npy"
        path.unlink(missing_ok=True)
        self._load(name, problem, dtype)
        seconds = self.workers[name].ask(request, *arguments, str(path))
        return seconds, np.load(path) if path.exists() else None

    def _load(self, name: str, problem: Problem, dtype: str) -> None:
        if self._loaded.get(name) != (problem, dtype):
            self._loaded.pop(name, None)
            self.workers[name].ask("load", problem, dtype)
            self._loaded[name] = (problem, dtype)


def relative_error(found: np.ndarray, truth: np.ndarray) -> float:
    """Return ``|found - truth| / |truth|``, infinite if the shapes differ."""
    if found.shape != truth.shape:
        return math.inf
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def accurate(error: float, dtype: str) -> bool:
    """Tell whether a contender of that error may be timed; one that is not a number may not."""
    return error <= LARGEST_ERROR[dtype]


def _orders(names: list[str], rounds: int) -> Iterator[list[str]]:
    for turn in range(rounds):
        yield names if turn % 2 == 0 else names[::-1]


def _about(problem: Problem, dtype: str) -> Record:
    dims = {"B": problem.trials, "T": problem.steps, "H": problem.units}
    return {"cell": problem.cell, "dtype": dtype} | dims


def quick_single_peers(records: list[Record], problem: Problem) -> list[str]:
    """Return the peers whose single product of the NTK in float64 is within twice the quickest."""
    wanted = _about(problem, "float64") | {"product": "NTK", "k": 1}
    found = {
        record["peer"]: statistics.median(record["seconds"])
        for record in records
        if record.get("seconds")
        and record["peer"] not in ("ours", "gemm")
        and all(record[key] == value for key, value in wanted.items())
    }
    return [name for name, seconds in found.items() if seconds <= 2 * min(found.values())]


def measure(parsed: argparse.Namespace, contest: Contest) -> Iterator[list[Record]]:
    """Yield the records of one comparison after another."""
    so_far: list[Record] = []
    sizes = [SIZES[size] for size in parsed.sizes]
    sizes += [tuple(parsed.dims)] if parsed.dims else []
    for cell in parsed.cells:
        for dims in sizes:
            problem = Problem(cell, *dims)
            for dtype in parsed.dtypes:
                for k in parsed.columns:
                    for name in parsed.products:
                        records = contest.products(problem, dtype, name, k)
                        so_far += records
                        yield records
            if parsed.eigen:
                yield contest.eigenpairs(problem, ["ours", *quick_single_peers(so_far, problem)])
    for cell in parsed.cells if parsed.training else []:
        for dtype in parsed.dtypes:
            n_steps, n_units = sizes[-1][1:]
            yield contest.training(Problem(cell, parsed.batch, n_steps, n_units), dtype)
    for cell in parsed.cells if parsed.trained else []:
        with tempfile.TemporaryDirectory() as folder:
            problem = trained_problem(cell, sizes[-1][2], Path(folder))
            contest.enter("ours_compressed")
            for dtype in parsed.dtypes:
                yield contest.products(problem, dtype, "NTK", max(parsed.columns))
    for axis, problem, k in scaling_problems() if parsed.scaling else []:
        yield [record | {"axis": axis} for record in contest.products(problem, "float32", "NTK", k)]


def trained_problem(cell: str, units: int, folder: Path) -> Problem:
    """Train a network in a process of its own, and return it with trials of its task."""
    path = folder / "trained.npz"
    command = [sys.executable, "-m", "peers.trained", cell, str(units), str(path)]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    print(f"trained {cell}: {done.stdout.strip()}")
    with np.load(path) as arrays:
        n_trials, n_steps, n_inputs = arrays["inputs"].shape
    return Problem(cell, n_trials, n_steps, units, n_inputs, saved=str(path))


def conditions() -> dict[str, Any]:
    """Return what the numbers were measured on and with."""
    versions = {}
    for name in ("kpflow-numerics", "numpy", "scipy", "numba", "torch", "jax"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "command": " ".join(["python benchmarks/against_peers.py", *sys.argv[1:]]),
        "processor": f"{len(names)} cores of {names[0]}" if names else "unknown processor",
        "versions": versions,
    }


def show(records: list[Record]) -> None:
    """Print one comparison on a line."""
    first = records[0]
    times = {
        record["peer"]: f"{1e3 * statistics.median(record['seconds']):.4g}"
        for record in records
        if record.get("seconds")
    }
    times |= {record["peer"]: record["failure"] for record in records if "failure" in record}
    print(
        f"{first['cell']} ({first['B']}, {first['T']}, {first['H']}) {first['dtype']} "
        f"{first['product']} k={first['k']} [ms]:",
        ", ".join(f"{name} {value}" for name, value in times.items()),
        flush=True,
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=["S", "M", "L"])
    parser.add_argument("--dims", nargs=3, type=int, metavar=("B", "T", "H"), help="one more size")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--dtypes", nargs="+", choices=LARGEST_ERROR, default=list(LARGEST_ERROR))
    parser.add_argument("--columns", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--products", nargs="*", choices=PRODUCTS, default=list(PRODUCTS))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turn-seconds", type=float, default=0.1)
    parser.add_argument("--training", action="store_true", help="the gradient, at the last size")
    parser.add_argument("--batch", type=int, default=TRAINING_BATCH, help="trials of --training")
    parser.add_argument("--eigen", action="store_true", help="leading eigenpairs of the NTK too")
    parser.add_argument("--trained", action="store_true", help="the NTK of trained networks too")
    parser.add_argument("--scaling", type=Path, help="figure of the cost against B, T, H and k")
    parser.add_argument("--output", type=Path, default=Path("build/against_peers"))
    parser.add_argument("--join", nargs="*", type=Path, default=[], help="earlier JSON to add to")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure, and write the timings and tables."""
    parsed = parse()
    found = conditions() | {"records": []}
    for path in parsed.join:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        found["records"] += earlier["records"]
        found["command"] = f"{earlier['command']}\n{found['command']}"
    parsed.output.parent.mkdir(parents=True, exist_ok=True)
    with Contest(parsed.peers, parsed.rounds, parsed.turn_seconds) as contest:
        for records in measure(parsed, contest):
            show(records)
            found["records"] += records
            text = json.dumps(found, indent=1)
            parsed.output.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    write_reports(found, parsed.output)
    if parsed.scaling:
        draw_scaling(found["records"], parsed.scaling)


if __name__ == "__main__":
    main()
