"""Checks of the gradient, and of the equation that it moves the states by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._typing import FloatArray
from ..linearization import linearize
from ..operators import Sensitivity
from ..results import Check
from ..trajectory import simulate
from ._subject import Subject, judge, relative_error
from ._taylor import simulation, taylor_check, trial_subset
from .reference_steps import Step

# Arrays of the state's size that autograd keeps of one step.
_GRAPH_ARRAYS = 40
_ROUNDING_FACTOR = 100
# No amplification excuses more than 1e-6 in float64, nor more than a tenth in float32.
_MOST_ROUNDINGS = 1e-6 / float(np.finfo(np.float64).eps)
_LARGEST_THRESHOLD = 0.1


def backpropagation_check(subject: Subject, threshold: float) -> Check:
    """Return the check of the gradient against backpropagation, one step after another."""
    return judge(
        "backpropagation",
        "BPTT gradient = J* P* err",
        relative_error(backpropagate(subject), subject.gradient),
        threshold,
        "Relative error of the operators against a plain backward loop over the steps. "
        + _THRESHOLD,
    )


def backpropagate(subject: Subject) -> FloatArray:
    """Return the gradient of the loss by a loop over the steps, from the last to the first."""
    trajectory, cell, error = subject.trajectory, subject.cell, subject.error
    params, inputs, previous = trajectory.params, trajectory.inputs, trajectory.previous
    gradient = np.zeros((cell.n_parameters, 1), trajectory.dtype)
    adjoint = np.zeros_like(error[:, 0, :, None])
    for t in reversed(range(trajectory.n_steps)):
        adjoint = adjoint + error[:, t, :, None]
        gradient += cell.param_vjp(params, inputs[:, t], previous[:, t], adjoint)
        adjoint = cell.state_vjp(params, inputs[:, t], previous[:, t], adjoint)
    return gradient[:, 0]


def autograd_gradient_check(
    subject: Subject, step: Step, threshold: float, max_memory: int
) -> Check:
    """Return the check of the gradient against autograd through the whole unrolled network."""
    n_trials, n_steps, n_state = subject.linearization.dims
    affordable = max_memory // (_GRAPH_ARRAYS * n_state * 8)
    trials = slice(0, max(1, min(n_trials, affordable // n_steps)))
    steps = slice(0, max(1, min(n_steps, affordable)))
    restricted = np.zeros_like(subject.error)
    restricted[trials, steps] = subject.error[trials, steps]
    found = Sensitivity(subject.linearization).apply_adjoint(restricted)
    return judge(
        "gradient against autograd",
        "autograd's gradient = J* P* err",
        relative_error(found, _autograd_gradient(subject, step, trials, steps)),
        threshold,
        f"Relative error for the loss on {trials.stop} of {n_trials} trials and the first "
        f"{steps.stop} of {n_steps} steps, through the whole unrolled network. " + _THRESHOLD,
    )


def _autograd_gradient(subject: Subject, step: Step, trials: slice, steps: slice) -> FloatArray:
    import autograd

    trajectory = subject.trajectory
    inputs, h0 = trajectory.inputs[trials], trajectory.h0[trials]

    def loss(params: Mapping[str, Any]) -> Any:
        h, total = h0, 0.0
        for t in range(steps.stop):
            h = step(params, inputs[:, t], h)
            total = total + subject.loss.traced_term(h, trials, t)
        return total

    return subject.cell.layout.pack(autograd.grad(loss)(trajectory.params))


_THRESHOLD = (
    "The threshold is raised where chaotic dynamics amplify a rounding of the parameters to more."
)


def gradient_threshold(subject: Subject, rng: np.random.Generator) -> float:
    """Return the relative error of the gradient that roundings of the parameters explain."""
    trajectory, cell = subject.trajectory, subject.cell
    dtype = trajectory.dtype
    signs = rng.choice([-1.0, 1.0], cell.n_parameters)
    rounded = subject.parameters * (1.0 + np.finfo(dtype).eps * signs).astype(dtype)
    nearby = simulate(cell, cell.layout.unpack(rounded), trajectory.inputs, trajectory.h0)
    moved = Subject(nearby, linearize(nearby), subject.loss).gradient
    explained = _ROUNDING_FACTOR * relative_error(moved, subject.gradient)
    most = min(_LARGEST_THRESHOLD, _MOST_ROUNDINGS * float(np.finfo(dtype).eps))
    return max(subject.tolerance, min(explained, most))


def gradient_step_check(subject: Subject) -> Check:
    """Return the check of the paper's central equation, on steps of gradient descent."""
    gradient = subject.gradient
    length = float(np.linalg.norm(gradient))
    trials = trial_subset(subject)
    explanation = (
        f"States of {trials.stop} of {len(subject.error)} trials after a step of gradient descent "
        "on all trials, simulated again, against the prediction."
    )
    name, formula = "gradient descent step", "dh + eta P K P* err = O(eta^2)"
    if length == 0:
        moved = float(np.linalg.norm(subject.kernel_error))
        return judge(name, formula, moved, 0.0, "The gradient vanishes, so nothing must move.")

    def predict(change: FloatArray) -> FloatArray:
        # The change is -eta times the gradient.
        eta = float(np.linalg.norm(change)) / length
        return -eta * subject.kernel_error[trials]

    return taylor_check(
        name,
        formula,
        simulation(subject, trials),
        predict,
        subject.parameters,
        -gradient[None],
        explanation,
    )
