"""Every identity of the mathematics, checked on a network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from .._threads import single_threaded_blas
from .._typing import ArrayLike, ParamsLike, RNGLike
from .._validation import InputError, InputTypeError, check_integer, check_rng
from ..cells.autograd_cell import independence_allowed
from ..linearization import linearize
from ..operators import Sensitivity
from ..results import Check, ValidationReport
from ..tasks import TrialBatch
from ..training import Loss, check_readout
from ..training.losses import check_same_trials, check_wanted
from ..trajectory import Trajectory, simulate
from ._identities import adjoint_checks, identity_checks
from ._subject import TRACED_LOSSES, LinearLoss, OutputLoss, Subject


def validate(
    trajectory: Trajectory,
    *,
    targets: ArrayLike | TrialBatch | None = None,
    readout: ParamsLike | None = None,
    mask: ArrayLike | None = None,
    loss: Loss | None = None,
    rng: RNGLike = 0,
    max_memory: int = 2**28,
) -> ValidationReport:
    """Check every identity of the mathematics on a network.

    The checks are the dot tests of J, K, P, P^-1, S and NTK; the identities that join them; the
    Taylor slopes of A, J and S; the states, A, J and the gradient against automatic
    differentiation; backpropagation through time against ``J* P* err``; and the paper's central
    equation [1]_ on steps of gradient descent, ``dh = -eta P K P* err``, whose remainder must be
    of order 2 in ``eta``.

    Everything is computed in float64. A float32 trajectory is simulated again in float64, and its
    own products are then checked once more in float32.

    Parameters
    ----------
    trajectory : Trajectory
        The network on its inputs, from :func:`kpflow_numerics.simulate`.
    targets : TrialBatch, or array_like of shape (B, T, O), optional
        The trials, with their wanted outputs, mask and loss; or the wanted outputs alone. Without
        targets and readout, the loss is a random linear function of the states.
    readout : mapping of str to array_like, optional
        ``weight (O, H)`` and ``bias (O,)``.
    mask : array_like, shape (B, T), optional
        Non-negative weight of each step in the loss, beside an array; one by default.
    loss : Loss, optional
        :class:`MeanSquaredError` or :class:`CrossEntropy`; by default that of the batch, and of an
        array the mean squared error.
    rng : int, SeedSequence or Generator
        Source of the random blocks, directions and points.
    max_memory : int
        Bytes that automatic differentiation may take. Beyond it, it runs on fewer trials, then on
        fewer steps, and the check says so.

    Returns
    -------
    ValidationReport
        ``str(report)`` is a table.

    Raises
    ------
    InputError
        If only one of `targets` and `readout` is given, a mask or loss without them, a shape does
        not fit, or nothing tells the loss of targets that are probabilities of classes.
    InputTypeError
        If an argument is of the wrong type.

    Notes
    -----
    About 300 simulations and 200 products with the operators; seconds for a hundred units.

    References
    ----------
    .. [1] KPFlow, arXiv 2507.06381.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> traj = kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3)))
    >>> report = kpf.validate(traj)
    >>> report.passed, len(report.checks)
    (True, 21)
    """
    if not isinstance(trajectory, Trajectory):
        raise InputTypeError(
            "trajectory must be a Trajectory, as kpf.simulate returns it; got "
            f"{type(trajectory).__name__}."
        )
    generator = check_rng(rng)
    max_memory = check_integer(max_memory, "max_memory")
    double = _in_double(trajectory)
    chosen = _loss(double, targets, readout, mask, loss, generator)
    notes = [] if isinstance(chosen, OutputLoss) else [_LINEAR_NOTE]
    subject = _subject(double, chosen, generator, notes)
    # Many products of small arrays: waking the BLAS's threads for each costs more than it saves.
    with single_threaded_blas(), independence_allowed():
        checks = list(_double_checks(subject, generator, max_memory, notes))
        if trajectory.dtype != np.float64:
            own = Subject(trajectory, linearize(trajectory), subject.loss)
            checks += [
                replace(check, name=f"{check.name} ({trajectory.dtype})")
                for check in _own_checks(own, generator)
            ]
    title = (
        f"{trajectory.cell!r}, {trajectory.n_trials} trials of {trajectory.n_steps} steps, "
        f"{trajectory.dtype}"
    )
    passed = all(check.passed for check in checks)
    return ValidationReport(tuple(checks), passed, title, tuple(notes))


_LARGEST_GROWTH = 1e6
_LINEAR_NOTE = "without targets and readout, the loss is a random linear function of the states"
_ZERO_NOTE = (
    "the loss given has no gradient by the states, so a random linear function of them stands in"
)
_NO_STEP_NOTE = (
    "nothing was compared with automatic differentiation, for which the cell's step must be known: "
    "one of the package's own cells, or an AutogradCell"
)


def _double_checks(
    subject: Subject, rng: np.random.Generator, max_memory: int, notes: list[str]
) -> Iterator[Check]:
    from ._derivatives import autograd_checks, taylor_checks
    from ._gradients import (
        autograd_gradient_check,
        backpropagation_check,
        gradient_step_check,
        gradient_threshold,
    )
    from .reference_steps import reference_step

    yield from adjoint_checks(subject, rng)
    yield from identity_checks(subject, rng)
    subject = _predictable(subject, rng, notes)
    yield from taylor_checks(subject, rng)
    step = reference_step(subject.cell)
    if step is None:
        notes.append(_NO_STEP_NOTE)
    else:
        yield from autograd_checks(subject, step, rng)
    threshold = gradient_threshold(subject, rng)
    yield backpropagation_check(subject, threshold)
    if step is not None:
        yield autograd_gradient_check(subject, step, threshold, max_memory)
    yield gradient_step_check(subject)


def _predictable(subject: Subject, rng: np.random.Generator, notes: list[str]) -> Subject:
    """Return the first steps of a chaotic network, before its rounding errors grow too large."""
    trajectory = subject.trajectory
    direction = rng.standard_normal(subject.cell.n_parameters)
    direction *= np.linalg.norm(subject.parameters) / np.linalg.norm(direction)
    moved = Sensitivity(subject.linearization).apply(direction)
    size = float(np.linalg.norm(trajectory.states)) / math.sqrt(trajectory.n_steps)
    too_far = ~(np.linalg.norm(moved, axis=(0, 2)) <= _LARGEST_GROWTH * size)
    if size == 0 or not too_far[1:].any():
        return subject
    n_steps = 1 + int(np.argmax(too_far[1:]))
    notes.append(
        f"the dynamics are chaotic: after {n_steps} steps a relative change of the parameters has "
        f"grown {_LARGEST_GROWTH:.0e} times, and rounding errors with it; the checks after those "
        f"of the operators use the first {n_steps} of {trajectory.n_steps} steps"
    )
    shorter = replace(
        trajectory, inputs=trajectory.inputs[:, :n_steps], states=trajectory.states[:, :n_steps]
    )
    return _subject(shorter, subject.loss.first_steps(n_steps), rng, notes)


def _own_checks(subject: Subject, rng: np.random.Generator) -> Iterator[Check]:
    """Yield the checks that need no more than the products, in the trajectory's own precision."""
    from ._gradients import backpropagation_check, gradient_threshold

    yield from adjoint_checks(subject, rng)
    yield from identity_checks(subject, rng)
    yield backpropagation_check(subject, gradient_threshold(subject, rng))


def _subject(
    trajectory: Trajectory,
    loss: LinearLoss | OutputLoss,
    rng: np.random.Generator,
    notes: list[str],
) -> Subject:
    """Return the subject, with a random loss where the one given has no gradient."""
    subject = Subject(trajectory, linearize(trajectory), loss)
    has_gradient = isinstance(loss, LinearLoss) or bool(loss.mask.any() and subject.error.any())
    if has_gradient:
        return subject
    notes.append(_ZERO_NOTE)
    return replace(subject, loss=_random_loss(trajectory, rng))


def _in_double(trajectory: Trajectory) -> Trajectory:
    if trajectory.dtype == np.float64:
        return trajectory
    params = {name: array.astype(np.float64) for name, array in trajectory.params.items()}
    return simulate(trajectory.cell, params, trajectory.inputs, trajectory.h0)


def _random_loss(trajectory: Trajectory, rng: np.random.Generator) -> LinearLoss:
    return LinearLoss(
        rng.standard_normal(trajectory.states.shape) / np.sqrt(trajectory.states.size)
    )


def _loss(
    trajectory: Trajectory,
    targets: ArrayLike | TrialBatch | None,
    readout: ParamsLike | None,
    mask: ArrayLike | None,
    kind: Loss | None,
    rng: np.random.Generator,
) -> LinearLoss | OutputLoss:
    if targets is None and readout is None:
        if mask is not None:
            raise InputError("mask needs targets and readout: it weights the loss of the outputs.")
        if kind is not None:
            raise InputError("loss needs targets and readout: it is that of the outputs.")
        return _random_loss(trajectory, rng)
    if targets is None or readout is None:
        given, lacks = ("readout", "targets") if targets is None else ("targets", "readout")
        raise InputError(f"{given} needs {lacks}: the loss is that of the readout's outputs.")
    weights = check_readout(readout, trajectory.cell.n_units, dtype=np.float64)
    shape = (trajectory.n_trials, trajectory.n_steps, len(weights["weight"]))
    check_same_trials(trajectory, targets)
    wanted, weight, chosen = check_wanted(targets, mask, kind, shape, np.dtype(np.float64))
    if type(chosen) not in TRACED_LOSSES:
        known = " or ".join(f"{each.__name__}()" for each in TRACED_LOSSES)
        raise InputError(
            f"loss must be {known}, which automatic differentiation knows; got {chosen!r}."
        )
    return OutputLoss(weights, wanted, weight, chosen)
