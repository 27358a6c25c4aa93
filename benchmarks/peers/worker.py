"""A process for each peer, asked through a pipe, so that thread pools leave one another alone."""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse.linalg

from .contract import Problem

WARMED_BELOW = 1.0  # seconds: a first call also pays for waking threads and for cold caches


class PeerError(Exception):
    """A peer could not do what it was asked."""


class Worker:
    """The near end: a peer in a process of its own.

    Parameters
    ----------
    name : str
        Module of this package that holds the peer.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._connection, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(far_end, name), daemon=True)
        self._process.start()
        far_end.close()
        self._receive()

    def ask(self, request: str, *arguments: Any) -> Any:
        """Return what the method `request` of the far end gives, or raise what it raised."""
        self._connection.send((request, arguments))
        return self._receive()

    def close(self) -> None:
        self._connection.close()
        self._process.join(timeout=10)

    def _receive(self) -> Any:
        try:
            good, value = self._connection.recv()
        except EOFError as error:
            raise PeerError(f"the process of {self.name} ended") from error
        if not good:
            raise PeerError(value)
        return value


class FarEnd:
    """What runs beside the peer; its public methods are the requests."""

    def __init__(self, name: str) -> None:
        self._module = importlib.import_module(f"{__package__}.{name}")
        self._peer: Any = None
        self._run: Any = None
        self._resident = 0.0

    def load(self, problem: Problem, dtype: str) -> None:
        """Make the peer for a problem."""
        self._run = self._peer = None
        gc.collect()
        self._problem = problem
        self._peer = self._module.Peer(problem, dtype)

    def prepare(self, product: str, k: int, path: str) -> float:
        """Make a product, call it once, save what it gives; return the seconds that took."""
        self._run = None
        gc.collect()
        block = self._peer.to_native(self._problem.block(k))
        self._resident = _reset_peak_memory()
        start = time.perf_counter()
        function = self._peer.product(product)
        found = function(block)
        seconds = time.perf_counter() - start
        if found is not None:
            np.save(path, self._peer.to_numpy(found))
        self._run = lambda: function(block)
        return seconds

    def prepare_training(self, path: str) -> float:
        """Make the training step, call it once, save the gradient; return the seconds."""
        self._run = None
        gc.collect()
        self._resident = _reset_peak_memory()
        start = time.perf_counter()
        self._run = self._peer.training_step()
        found = self._run()
        seconds = time.perf_counter() - start
        np.save(path, np.concatenate([found[name].ravel() for name in sorted(found)]))
        return seconds

    def time(self, turn_seconds: float) -> list[float]:
        """Return the seconds of calls that fill a turn, at least of one."""
        start = time.perf_counter()
        self._run()
        first = time.perf_counter() - start
        if first > WARMED_BELOW:
            return [first]
        times = []
        for _ in range(max(1, min(100, round(turn_seconds / first)))):
            start = time.perf_counter()
            self._run()
            times.append(time.perf_counter() - start)
        return times

    def peak_memory(self) -> tuple[float, float]:
        """Return the peak resident bytes since `prepare`, and what was resident before it."""
        return _status_bytes("VmHWM"), self._resident

    def eigenpairs(self, count: int, tolerance: float) -> dict[str, Any]:
        """Return seconds, values, residuals and completeness of leading eigenpairs of the NTK."""
        peer, problem = self._peer, self._problem
        product = peer.product("NTK")
        shape = (problem.trials, problem.steps, problem.n_state, 1)
        size = int(np.prod(shape))

        def multiply(vector: np.ndarray) -> np.ndarray:
            native = peer.to_native(np.asarray(vector).reshape(shape))
            return np.asarray(peer.to_numpy(product(native))).ravel()

        multiply(np.ones(size))
        if hasattr(peer, "eigenpairs"):
            # It has products of its own, which like the peers' have been called before.
            peer.eigenpairs(2, 1e-2)
        start = time.perf_counter()
        if hasattr(peer, "eigenpairs"):
            values, vectors, complete = peer.eigenpairs(count, tolerance)
        else:
            operator = scipy.sparse.linalg.LinearOperator((size, size), multiply, dtype=np.float64)
            begin = np.random.default_rng(problem.seed).standard_normal(size)
            values, vectors = scipy.sparse.linalg.eigsh(operator, count, tol=tolerance, v0=begin)
            values, vectors, complete = values[::-1], vectors[:, ::-1], False
        seconds = time.perf_counter() - start
        residuals = [
            float(np.linalg.norm(multiply(v) - value * v) / values[0])
            for value, v in zip(values, vectors.T, strict=True)
        ]
        return {
            "seconds": [seconds],
            "values": [float(value) for value in values],
            "largest_residual": max(residuals),
            "certified": complete,
        }


def _serve(connection: Connection, name: str) -> None:
    try:
        far_end = FarEnd(name)
    except ImportError as error:
        connection.send((False, f"{name} cannot be imported: {error}"))
        return
    connection.send((True, None))
    while True:
        try:
            request, arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = (True, getattr(far_end, request)(*arguments))
        except Exception as error:  # whatever a peer raises is reported in its row of the table
            answer = (False, f"{type(error).__name__}: {error}")
        connection.send(answer)


def _status_bytes(entry: str) -> float:
    """Return an entry of Linux's table of this process, or nan elsewhere."""
    path = Path("/proc/self/status")
    if not path.exists():
        return float("nan")
    lines = path.read_text(encoding="ascii").splitlines()
    return 1024.0 * int(next(line for line in lines if line.startswith(entry)).split()[1])


def _reset_peak_memory() -> float:
    """Start the high-water mark anew; return the bytes resident now."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5", encoding="ascii")
    return _status_bytes("VmRSS")
