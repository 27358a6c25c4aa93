"""Jacobians of the reference twin of a cell's step, by autograd and by complex step.

The twins are those of ``kpflow_numerics.analysis.reference_steps``: plain array code that takes
NumPy, complex and autograd arrays alike and shares nothing with the kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import autograd
import numpy as np

from kpflow_numerics.analysis.reference_steps import reference_step
from kpflow_numerics.cells.base import Cell
from kpflow_numerics.trajectory import Trajectory

COMPLEX_STEP = 1e-40


@dataclass(frozen=True)
class Points:
    """The points ``(x_t, h_{t-1})`` of a trajectory, one a row."""

    cell: Cell
    params: dict[str, np.ndarray]
    inputs: np.ndarray
    previous: np.ndarray

    @classmethod
    def along(cls, trajectory: Trajectory) -> Points:
        inputs, previous = trajectory.inputs, trajectory.previous
        return cls(
            trajectory.cell,
            trajectory.params,
            inputs.reshape(-1, inputs.shape[-1]),
            previous.reshape(-1, previous.shape[-1]),
        )

    def first(self, count: int) -> Points:
        return Points(self.cell, self.params, self.inputs[:count], self.previous[:count])

    @property
    def step(self) -> Callable:
        step = reference_step(self.cell)
        assert step is not None
        return step


def autograd_jacobians(points: Points) -> tuple[np.ndarray, np.ndarray]:
    """Return ``A (M, N, N)`` and ``J (M N, p)``."""
    layout, step = points.cell.layout, points.step

    def of_state(h):
        return step(points.params, points.inputs, h)

    def of_parameters(theta):
        return step(layout.unpack(theta), points.inputs, points.previous)

    n_points, n_state = points.previous.shape
    pull_back, _ = autograd.make_vjp(of_state)(points.previous)
    A = np.empty((n_points, n_state, n_state))
    for i in range(n_state):
        # Rows do not see one another, so that one product serves all points.
        A[:, i] = pull_back(np.eye(n_state)[np.full(n_points, i)])
    J = autograd.jacobian(of_parameters)(layout.pack(points.params))
    return A, J.reshape(n_points * n_state, -1)


def complex_step_jacobians(points: Points) -> tuple[np.ndarray, np.ndarray]:
    """Return ``A (M, N, N)`` and ``J (M N, p)``."""
    layout, step = points.cell.layout, points.step
    n_points, n_state = points.previous.shape
    A = np.empty((n_points, n_state, n_state))
    for j, direction in enumerate(np.eye(n_state)):
        h = points.previous + 1j * COMPLEX_STEP * direction
        A[:, :, j] = step(points.params, points.inputs, h).imag / COMPLEX_STEP
    theta = layout.pack(points.params)
    J = np.empty((n_points * n_state, len(theta)))
    for j, direction in enumerate(np.eye(len(theta))):
        params = layout.unpack(theta + 1j * COMPLEX_STEP * direction)
        J[:, j] = step(params, points.inputs, points.previous).imag.ravel() / COMPLEX_STEP
    return A, J
