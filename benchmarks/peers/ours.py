"""The library itself, measured in the same way as its peers; a block stays ``(n, k)``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

import kpflow_numerics as kpf
from kpflow_numerics.tasks import TrialBatch
from kpflow_numerics.training import loss_and_gradient

from .contract import Problem


class Peer:
    def __init__(self, problem: Problem, dtype: str) -> None:
        self.problem, self.dtype = problem, dtype
        self.cell = kpf.cells.CELLS[problem.cell](n_inputs=problem.inputs, n_units=problem.units)
        self.params, self.inputs = problem.parameters(dtype), problem.input_array(dtype)

    def _linearization(self) -> kpf.Linearization:
        return kpf.linearize(kpf.simulate(self.cell, self.params, self.inputs))

    @cached_property
    def _kernel(self) -> kpf.TangentKernel:
        return kpf.TangentKernel(self._linearization())

    def product(self, name: str) -> Callable[[np.ndarray], np.ndarray]:
        lin = self._linearization()
        P = kpf.Propagator(lin)
        return {
            "P": P.matmat,
            "P*": P.rmatmat,
            "K": kpf.ParameterOperator(lin).matmat,
            "NTK": kpf.TangentKernel(lin).matmat,
        }[name]

    def to_native(self, block: np.ndarray) -> np.ndarray:
        return block.astype(self.dtype).reshape(-1, block.shape[-1])

    def to_numpy(self, native: np.ndarray) -> np.ndarray:
        problem = self.problem
        return native.reshape(problem.trials, problem.steps, problem.n_state, -1)

    def training_step(self) -> Callable[[], dict[str, np.ndarray]]:
        readout = self.problem.readout(self.dtype)
        batch = TrialBatch(self.inputs, self.problem.targets(self.dtype))

        def step() -> dict[str, np.ndarray]:
            found = loss_and_gradient(self.cell, self.params, readout, batch)
            by_readout = {f"readout {name}": array for name, array in found.readout.items()}
            return dict(found.params) | by_readout

        return step

    def eigenpairs(self, count: int, tolerance: float) -> tuple[np.ndarray, np.ndarray, bool]:
        """Return leading eigenpairs of the NTK, and whether they are certified complete."""
        found = kpf.top_eigenpairs(self._kernel, count, tolerance=tolerance)
        return found.values, found.vectors, bool(found.converged and found.complete)
