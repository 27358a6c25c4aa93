"""What a validation works on, and how it turns an error into a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from .._typing import ArrayLike, FloatArray, Params
from ..cells.base import Cell
from ..linearization import Linearization
from ..operators import Sensitivity, TangentKernel
from ..results import Check
from ..testing import default_tolerance
from ..training import CrossEntropy, Loss, MeanSquaredError, state_error
from ..trajectory import Trajectory

# 1e-12 in float64: what an identity may be off by, however long the sums behind it are.
_LARGEST_FACTOR = 4500


@dataclass(frozen=True, eq=False)
class LinearLoss:
    """The loss ``sum(err * h)`` of a given `error`, shape ``(B, T, N)``."""

    error: FloatArray

    def first_steps(self, n_steps: int) -> LinearLoss:
        """Return the loss of the first steps alone."""
        return LinearLoss(self.error[:, :n_steps])

    def state_error(self, trajectory: Trajectory) -> FloatArray:
        """Return ``err = dloss/dh``."""
        return self.error.astype(trajectory.dtype, copy=False)

    def traced_term(self, h: Any, trials: slice, t: int) -> Any:
        """Return what the states of some trials add to the loss at a step, under autograd."""
        import autograd.numpy as anp

        return anp.sum(self.error[trials, t] * h)


def _traced_squares(outputs: Any, targets: FloatArray) -> Any:
    import autograd.numpy as anp

    return anp.mean((outputs - targets) ** 2, axis=1)


def _traced_cross_entropy(outputs: Any, targets: FloatArray) -> Any:
    import autograd.numpy as anp

    largest = anp.max(outputs, axis=1, keepdims=True)
    normalisation = largest + anp.log(anp.sum(anp.exp(outputs - largest), axis=1, keepdims=True))
    return anp.sum(targets * (normalisation - outputs), axis=1)


TRACED_LOSSES: Mapping[type[Loss], Callable[[Any, FloatArray], Any]] = MappingProxyType(
    {MeanSquaredError: _traced_squares, CrossEntropy: _traced_cross_entropy}
)
"""Each loss of one step of every trial, shape ``(B,)``, under autograd."""


@dataclass(frozen=True, eq=False)
class OutputLoss:
    """A masked mean loss of a readout's outputs."""

    readout: Params
    targets: FloatArray
    mask: FloatArray
    loss: Loss

    def first_steps(self, n_steps: int) -> OutputLoss:
        """Return the loss of the first steps alone."""
        return OutputLoss(
            self.readout, self.targets[:, :n_steps], self.mask[:, :n_steps], self.loss
        )

    def state_error(self, trajectory: Trajectory) -> FloatArray:
        """Return ``err = dloss/dh``."""
        return state_error(trajectory, self.readout, self.targets, mask=self.mask, loss=self.loss)

    def traced_term(self, h: Any, trials: slice, t: int) -> Any:
        """Return what the states of some trials add to the loss at a step, under autograd."""
        import autograd.numpy as anp

        weight = self.readout["weight"]
        outputs = anp.dot(h[:, : weight.shape[1]], weight.T) + self.readout.get("bias", 0.0)
        losses = TRACED_LOSSES[type(self.loss)](outputs, self.targets[trials, t])
        return anp.sum(self.mask[trials, t] * losses) / self.mask.sum()


@dataclass(frozen=True, eq=False)
class Subject:
    """A network on its inputs, in one precision, with a loss."""

    trajectory: Trajectory
    linearization: Linearization
    loss: LinearLoss | OutputLoss

    @property
    def cell(self) -> Cell:
        """The cell."""
        return self.trajectory.cell

    @cached_property
    def parameters(self) -> FloatArray:
        """The flat parameter vector, shape ``(p,)``."""
        return self.cell.layout.pack(self.trajectory.params)

    @cached_property
    def error(self) -> FloatArray:
        """The state error ``err = dloss/dh``, shape ``(B, T, N)``."""
        return self.loss.state_error(self.trajectory)

    @cached_property
    def gradient(self) -> FloatArray:
        """The gradient ``J* P* err``, shape ``(p,)``."""
        return Sensitivity(self.linearization).apply_adjoint(self.error)

    @cached_property
    def kernel_error(self) -> FloatArray:
        """What gradient flow moves the states by, up to the sign: ``P K P* err``."""
        return TangentKernel(self.linearization).apply(self.error)

    @property
    def tolerance(self) -> float:
        """Relative rounding error of a product: sums over the steps of sums over the units."""
        _, n_steps, n_state = self.linearization.dims
        dtype = self.trajectory.dtype
        expected = default_tolerance(dtype, n_steps * (n_state + self.cell.n_inputs))
        return min(expected, _LARGEST_FACTOR * float(np.finfo(dtype).eps))

    def random_block(self, rng: np.random.Generator, k: int) -> FloatArray:
        """Return a random block of states, shape ``(B, T, N, k)``."""
        dims = self.linearization.dims
        return rng.standard_normal((*dims, k)).astype(self.trajectory.dtype, copy=False)


def relative_error(found: ArrayLike, expected: ArrayLike) -> float:
    """Return ``|found - expected| / |expected|``: 0 where both vanish."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    difference = float(np.linalg.norm(found - expected))
    return difference / float(np.linalg.norm(expected)) if difference else 0.0


def judge(name: str, formula: str, error: float, threshold: float, explanation: str) -> Check:
    """Return a check that passes where its error does not exceed its threshold."""
    return Check(name, formula, error, threshold, bool(error <= threshold), explanation)
