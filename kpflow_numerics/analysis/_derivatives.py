"""Checks of the local derivatives: Taylor slopes and automatic differentiation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .._typing import FloatArray, IntArray
from ..results import Check
from ._subject import Subject, judge, relative_error
from ._taylor import has_kink, run, simulation, taylor_check, trial_subset
from .reference_steps import Step

_DIRECTIONS = 2
_TAYLOR_POINTS = 200


@dataclass(frozen=True, eq=False)
class _Points:
    """Some points ``(x_t, h_{t-1})`` of a trajectory, by their place among its ``B T``."""

    subject: Subject
    places: IntArray

    @property
    def states(self) -> FloatArray:
        """The states that the steps start from, shape ``(M, N)``."""
        return self._rows(self.subject.trajectory.previous)

    def _rows(self, array: FloatArray) -> FloatArray:
        return array.reshape(-1, array.shape[2])[self.places]

    def step_from(self, states: FloatArray) -> FloatArray:
        """Return one step from other states."""
        subject = self.subject
        inputs = self._rows(subject.trajectory.inputs)[:, None]
        return run(subject.cell, subject.parameters, inputs, states)[:, 0]

    def step_with(self, parameters: FloatArray) -> FloatArray:
        """Return one step with other parameters."""
        inputs = self._rows(self.subject.trajectory.inputs)[:, None]
        return run(self.subject.cell, parameters, inputs, self.states)[:, 0]

    def apply_state_jacobians(self, direction: FloatArray) -> FloatArray:
        """Return ``A v`` at each of the points."""
        block = np.zeros(self.subject.linearization.dims)
        block.reshape(-1, block.shape[2])[self.places] = direction
        return self._rows(self.subject.linearization.state_jvp(block[..., None])[..., 0])

    def apply_parameter_jacobian(self, direction: FloatArray) -> FloatArray:
        """Return ``J v`` at each of the points."""
        return self._rows(self.subject.linearization.param_jvp(direction[:, None])[..., 0])


def taylor_checks(subject: Subject, rng: np.random.Generator) -> Iterator[Check]:
    """Yield the Taylor slopes of ``A``, ``J`` and ``S``."""
    n_trials, n_steps, n_state = subject.linearization.dims
    count = min(n_trials * n_steps, _TAYLOR_POINTS)
    points = _Points(subject, np.sort(rng.choice(n_trials * n_steps, count, replace=False)))
    of_states = rng.standard_normal((_DIRECTIONS, count, n_state))
    of_parameters = rng.standard_normal((_DIRECTIONS, subject.cell.n_parameters))
    smooth = ~has_kink(points.step_from, points.states, of_states)
    smooth &= ~has_kink(points.step_with, subject.parameters, of_parameters)
    where = f"One step from {count} points of the trajectory"
    if smooth.any() and not smooth.all():
        points = _Points(subject, points.places[smooth])
        of_states = of_states[:, smooth]
        where += f", without {count - int(smooth.sum())} that have a kink (of relu) exactly there"
    yield taylor_check(
        "Taylor slope of A",
        "f(h + e v) - f(h) - e A v = O(e^2)",
        points.step_from,
        points.apply_state_jacobians,
        points.states,
        of_states,
        f"{where}.",
    )
    yield taylor_check(
        "Taylor slope of J",
        "f(theta + e v) - f(theta) - e J v = O(e^2)",
        points.step_with,
        points.apply_parameter_jacobian,
        subject.parameters,
        of_parameters,
        f"{where}, the states held fixed.",
    )
    trials, linearization = trial_subset(subject), subject.linearization
    yield taylor_check(
        "Taylor slope of S",
        "h(theta + e v) - h(theta) - e S v = O(e^2)",
        simulation(subject, trials),
        lambda v: linearization.sensitivity(v[:, None])[trials, ..., 0],
        subject.parameters,
        of_parameters,
        f"Simulations of {trials.stop} of {n_trials} trials, {n_steps} steps each.",
    )


def autograd_checks(subject: Subject, step: Step, rng: np.random.Generator) -> Iterator[Check]:
    """Yield the step, the state Jacobian and the parameter Jacobian against autograd's."""
    import autograd
    import autograd.numpy as anp

    trajectory, linearization, params = (
        subject.trajectory,
        subject.linearization,
        subject.trajectory.params,
    )
    n_trials, n_steps, n_state = linearization.dims
    n_points = n_trials * n_steps
    inputs = trajectory.inputs.reshape(n_points, -1)
    previous = trajectory.previous.reshape(n_points, n_state)
    yield judge(
        "states",
        "h_t = f(x_t, h_t-1)",
        relative_error(step(params, inputs, previous), trajectory.states.reshape(n_points, -1)),
        subject.tolerance,
        "Relative error of the states against one step of the equations in autograd.numpy, from "
        "every point of the trajectory.",
    )
    count = min(n_points, 8 if n_state <= 128 else 3)
    points = np.sort(rng.choice(n_points, count, replace=False))
    block = subject.random_block(rng, 3)
    flat = block.reshape(n_points, n_state, -1)
    forward = linearization.state_jvp(block).reshape(flat.shape)
    backward = linearization.state_vjp(block).reshape(flat.shape)
    error = 0.0
    for i in points:
        A = autograd.jacobian(lambda h, x=inputs[i : i + 1]: step(params, x, h[None])[0])(
            previous[i]
        )
        error = max(error, relative_error(forward[i], A @ flat[i]))
        error = max(error, relative_error(backward[i], A.T @ flat[i]))
    chosen = f"at {count} random points of {n_points}"
    yield judge(
        "A against autograd",
        "A_t = df/dh",
        error,
        subject.tolerance,
        f"Largest relative error of A v and A* v {chosen}, with A the matrix of autograd.",
    )
    q = np.zeros_like(flat)
    q[points] = flat[points]
    found = linearization.param_vjp(q.reshape(block.shape))
    expected = np.empty_like(found)
    for j in range(q.shape[-1]):
        gradient = autograd.grad(
            lambda p, j=j: anp.sum(flat[points, :, j] * step(p, inputs[points], previous[points]))
        )(params)
        expected[:, j] = subject.cell.layout.pack(gradient)
    yield judge(
        "J against autograd",
        "J = df/dtheta",
        relative_error(found, expected),
        subject.tolerance,
        f"Relative error of J* q, q being random {chosen} and zero elsewhere.",
    )
