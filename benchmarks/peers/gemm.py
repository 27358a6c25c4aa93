"""Bare matrix products of the flops and shapes of each product: not a peer, but the bound."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from .contract import GATES, Problem


class Peer:
    def __init__(self, problem: Problem, dtype: str) -> None:
        self.problem, self.dtype = problem, dtype
        self._operands = cache(self._draw)

    def product(self, name: str) -> Callable[[int], None]:
        problem, gates = self.problem, GATES[self.problem.cell]
        rows, features = problem.trials * problem.steps, problem.units + problem.inputs + 1

        def run(k: int) -> None:
            scan = (problem.trials * k, problem.units, gates * problem.units, problem.steps)
            into = (features, rows, problem.units * k, gates)
            out_of = (rows, features, problem.units * k, gates)
            shapes = {"P": [scan], "P*": [scan], "K": [into, out_of]}
            for shape in shapes.get(name, [scan, into, out_of, scan]):
                self._multiply(*shape)

        return run

    def _multiply(self, rows: int, inner: int, columns: int, repeats: int) -> None:
        left, right, out = self._operands(rows, inner, columns)
        for _ in range(repeats):
            np.matmul(left, right, out=out)

    def _draw(self, rows: int, inner: int, columns: int) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(self.problem.seed)
        left, right = rng.standard_normal((rows, inner)), rng.standard_normal((inner, columns))
        out = np.empty((rows, columns), self.dtype)
        return left.astype(self.dtype), right.astype(self.dtype), out

    def to_native(self, block: np.ndarray) -> int:
        return block.shape[-1]
