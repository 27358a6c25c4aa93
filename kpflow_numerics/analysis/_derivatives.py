"""Checks of the local derivatives: Taylor slopes and automatic differentiation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from .._typing import FloatArray
from ..results import Check
from ..testing import TaylorResult, taylor_test
from ._subject import Subject, judge, relative_error
from .reference_steps import Step

SLOPE_TOLERANCE = 0.1
_DIRECTIONS = 2
_TAYLOR_POINTS = 200
# Multiplications of one simulation, of which a Taylor test makes seventy, and twice that at kinks.
_SIMULATION_WORK = 3e7
_LOCAL_STEP = 1e-8

Function = Callable[[FloatArray], FloatArray]


def taylor_checks(subject: Subject, rng: np.random.Generator) -> Iterator[Check]:
    """Yield the Taylor slopes of ``A``, ``J`` and ``S``."""
    trajectory, linearization, cell = subject.trajectory, subject.linearization, subject.cell
    n_trials, n_steps, n_state = linearization.dims
    n_points = n_trials * n_steps
    points = np.sort(rng.choice(n_points, min(n_points, _TAYLOR_POINTS), replace=False))
    inputs = trajectory.inputs.reshape(n_points, 1, -1)[points]
    previous = trajectory.previous.reshape(n_points, n_state)[points]

    def apply_state_jacobians(direction: FloatArray) -> FloatArray:
        block = np.zeros((n_points, n_state, 1))
        block[points, :, 0] = direction
        product = linearization.state_jvp(block.reshape(n_trials, n_steps, n_state, 1))
        return product.reshape(n_points, n_state)[points]

    yield taylor_check(
        "Taylor slope of A",
        "f(h + e v) - f(h) - e A v = O(e^2)",
        lambda h: cell.simulate_states(trajectory.params, inputs, h)[:, 0],
        apply_state_jacobians,
        previous,
        rng.standard_normal((_DIRECTIONS, *previous.shape)),
        f"One step from {len(points)} points of the trajectory.",
    )
    directions = rng.standard_normal((_DIRECTIONS, cell.n_parameters))
    yield taylor_check(
        "Taylor slope of J",
        "f(theta + e v) - f(theta) - e J v = O(e^2)",
        lambda theta: cell.simulate_states(cell.layout.unpack(theta), inputs, previous)[:, 0],
        lambda v: linearization.param_jvp(v[:, None]).reshape(n_points, n_state)[points],
        subject.parameters,
        directions,
        f"One step from {len(points)} points of the trajectory, the states held fixed.",
    )
    trials = trial_subset(subject)
    yield taylor_check(
        "Taylor slope of S",
        "h(theta + e v) - h(theta) - e S v = O(e^2)",
        simulation(subject, trials),
        lambda v: linearization.propagate(linearization.param_jvp(v[:, None]))[trials, ..., 0],
        subject.parameters,
        directions,
        f"Simulations of {trials.stop} of {n_trials} trials, {n_steps} steps each.",
    )


def trial_subset(subject: Subject) -> slice:
    """Return as many first trials as may be simulated again and again."""
    n_trials, n_steps, _ = subject.linearization.dims
    affordable = _SIMULATION_WORK / (n_steps * subject.cell.n_parameters)
    return slice(0, int(min(n_trials, max(1.0, affordable))))


def simulation(subject: Subject, trials: slice) -> Function:
    """Return the map from the parameter vector to the states of some trials."""
    trajectory, cell = subject.trajectory, subject.cell
    inputs, h0 = trajectory.inputs[trials], trajectory.h0[trials]
    return lambda theta: cell.simulate_states(cell.layout.unpack(theta), inputs, h0)


def taylor_check(
    name: str,
    formula: str,
    function: Function,
    jvp: Function,
    point: FloatArray,
    directions: FloatArray,
    explanation: str,
) -> Check:
    """Return the check that the Taylor remainder of a function is of order 2.

    Kinks (of relu) and a vanishing curvature give other slopes to right derivatives. There the
    remainder so close to the point that nothing but the derivative can show must be rounding.
    """
    with np.errstate(all="ignore"):
        unit = directions[0] * (_length(point) / np.linalg.norm(directions[0]))
        size = max(float(np.linalg.norm(function(point))), np.finfo(np.float64).tiny)
        growth = max(1.0, float(np.linalg.norm(jvp(unit))) / size)
        result = taylor_test(function, jvp, point, directions, largest_step=1.0 / growth)
        error, found = _slope_error(result), _found(result)
        if error > SLOPE_TOLERANCE:
            nearest = _LOCAL_STEP / math.sqrt(growth)
            local = taylor_test(function, jvp, point, directions, largest_step=nearest)
            found += f" For e below {nearest:.0e} the remainder is "
            if local.exact.all():
                error = 0.0
                found += "rounding alone: there are kinks (of relu) nearby, or no curvature."
            else:
                found += "larger than rounding: the derivative is wrong, or does not exist here."
    return judge(name, formula, error, SLOPE_TOLERANCE, f"{explanation} {found}")


def _length(point: FloatArray) -> float:
    return float(np.linalg.norm(point)) or math.sqrt(point.size)


def _slope_error(result: TaylorResult) -> float:
    return 0.0 if result.exact.all() else abs(result.slope - 2)


def _found(result: TaylorResult) -> str:
    if result.exact.all():
        return "The remainder is rounding alone: the function is linear along the direction."
    if math.isnan(result.slope):
        return "Too few steps e stand clear of rounding to fit a slope."
    return f"Slope {result.slope:.3f} over two decades of e; the error is its distance from 2."


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
