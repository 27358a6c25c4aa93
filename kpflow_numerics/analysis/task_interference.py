"""Interference of tasks: what learning one does to the others, through the tangent kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._typing import ArrayLike, FloatArray, IntArray
from .._validation import InputError, InputTypeError, check_array
from ..linearization import Linearization
from ..operators import Sensitivity
from ..operators.base import check_linearization


@dataclass(frozen=True, repr=False, eq=False)
class InterferenceResult:
    """How the gradients of tasks meet in the parameters, and what each does to the states.

    Attributes
    ----------
    names : tuple of str
        The M tasks; the axes of all matrices.
    matrix : ndarray, shape (M, M)
        ``err_i* NTK err_j = <grad_i, grad_j>``, symmetric and positive semi-definite. Gradient flow
        on task j alone changes the loss of task i at the rate ``-matrix[i, j]``: an entry below
        zero is interference.
    cosines : ndarray, shape (M, M)
        ``matrix`` over the norms of both gradients; NaN for a task without a gradient.
    by_parameter : dict of str to ndarray, shape (M, M)
        The part of each array of parameters, that is of each block of K; they add up to `matrix`.
    contributions : ndarray, shape (B, T, N, M)
        ``NTK err_i``, minus the move of all states that the error of task i causes. The states of a
        task's own trials move, and through K those of all others.
    """

    names: tuple[str, ...]
    matrix: FloatArray
    cosines: FloatArray
    by_parameter: dict[str, FloatArray]
    contributions: FloatArray

    @property
    def contribution_cosines(self) -> FloatArray:
        """Cosines ``(M, M)`` between the moves of all states that two tasks cause."""
        return _cosines(_gram(self.contributions))

    def __repr__(self) -> str:
        return f"InterferenceResult({', '.join(self.names)})"

    def __str__(self) -> str:
        width = max(8, *(len(name) for name in self.names)) + 1
        rows = ["".ljust(width) + "".join(name.rjust(width) for name in self.names)]
        for name, row in zip(self.names, self.cosines, strict=True):
            rows.append(name.ljust(width) + "".join(f"{value:{width}.3f}" for value in row))
        return "\n".join(rows)


def interference(
    linearization: Linearization,
    errors: ArrayLike,
    task_ids: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
) -> InterferenceResult:
    """Return how the tasks that a network is trained on interfere.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives on trials of all tasks, from :func:`kpflow_numerics.linearize`.
    errors : array_like, shape (B, T, N), or (B, T, N, M) without `task_ids`
        ``dloss/dh``, as :func:`kpflow_numerics.state_error` returns it; or one of them for each
        task.
    task_ids : array_like of int, shape (B,), optional
        The task of each trial, from 0: those of a batch, or any other assignment, such as
        conditions within a task. Every number up to the largest must have a trial.
    names : sequence of str, optional
        The names of the tasks; ``"task 0"``, ``"task 1"``, ... by default.

    Returns
    -------
    InterferenceResult
        Exact to rounding: no estimate enters.

    Raises
    ------
    InputError
        If shapes disagree, an error is not finite, a task has no trial, or names are too few.
    InputTypeError
        If an argument is of another kind.

    Notes
    -----
    With ``err_i`` the error on the trials of task i and zero elsewhere, ``grad_i = S* err_i`` and
    ``err_i* NTK err_j = <grad_i, grad_j>`` exactly. P does not couple trials, so that all that one
    task does to another goes through K. It takes one product of ``S*`` and one of ``S`` with M
    columns: ``2 M`` times the flops of one column, and ``M`` times the memory of the states. The
    error on a trial carries the weight that the loss gives it: that of a mean over all trials adds
    up to the whole gradient. Formula: KPFlow, arXiv 2507.06381.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> task = kpf.MultiTask(n_context=2, n_stimulus=2, n_memory=2, n_response=2)
    >>> batch = task.evaluation_batch(8)
    >>> cell = kpf.GRU(batch.n_inputs, 12)
    >>> readout = kpf.init_readout(12, batch.n_outputs, rng=3)
    >>> trajectory = kpf.simulate(cell, cell.init_params(rng=4), batch.inputs)
    >>> errors = kpf.state_error(trajectory, readout, batch.targets, mask=batch.mask)
    >>> found = kpf.interference(kpf.linearize(trajectory), errors, batch.task_ids,
    ...                          names=batch.task_names)
    >>> found.matrix.shape, bool((found.cosines.diagonal().round(6) == 1).all())
    ((4, 4), True)
    """
    check_linearization(linearization)
    block = _blocks_of_tasks(linearization, errors, task_ids)
    n_tasks = block.shape[-1]
    if names is None:
        names = [f"task {place}" for place in range(n_tasks)]
    if isinstance(names, str) or len(names) != n_tasks:
        raise InputError(f"names must be {n_tasks} names, one for each task; got {names!r}.")
    S = Sensitivity(linearization)
    gradients = S.apply_adjoint(block)
    by_parameter = {
        name: _gram(gradients[part]) for name, part in linearization.layout.slices.items()
    }
    matrix = np.sum(list(by_parameter.values()), axis=0)
    return InterferenceResult(
        tuple(str(name) for name in names),
        matrix,
        _cosines(matrix),
        by_parameter,
        S.apply(gradients),
    )


def accumulated_contribution_cosines(
    results: Sequence[InterferenceResult], weights: ArrayLike | None = None
) -> FloatArray:
    """Return the cosines of the tasks' contributions added up over training.

    Parameters
    ----------
    results : sequence of InterferenceResult
        One for each checkpoint, in order: of the same tasks on the same trials.
    weights : array_like, shape (number of results,), optional
        Length of the stretch of training that each stands for, such as learning rate times
        iterations; equal by default. A contribution is a rate of change, so that unequal steps
        between checkpoints need weights.

    Returns
    -------
    ndarray, shape (number of results, M, M)
        Cosines of ``sum_c w_c NTK_c err_i,c`` over the checkpoints up to each.

    Raises
    ------
    InputError
        If there is no result, or they or the weights do not fit each other.
    InputTypeError
        If one of them is no InterferenceResult.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> found = kpf.interference(lin, np.ones((2, 5, 8)), [0, 1])
    >>> kpf.accumulated_contribution_cosines([found, found]).round(3).tolist()[-1]
    [[1.0, 1.0], [1.0, 1.0]]
    """
    found = list(results)
    if not found:
        raise InputError("results must hold at least one InterferenceResult; got none.")
    for result in found:
        if not isinstance(result, InterferenceResult):
            raise InputTypeError(
                "results must be what kpf.interference returned; one of them is a "
                f"{type(result).__name__}."
            )
        if (result.names, result.contributions.shape) != (
            found[0].names,
            found[0].contributions.shape,
        ):
            raise InputError("results must be of the same tasks on the same trials throughout.")
    lengths = (
        np.ones(len(found)) if weights is None else check_array(weights, "weights", (len(found),))
    )
    total = np.zeros(found[0].contributions.shape)
    courses = []
    for length, result in zip(lengths, found, strict=True):
        total += length * result.contributions
        courses.append(_cosines(_gram(total)))
    return np.array(courses)


def task_similarity(states: ArrayLike, task_ids: ArrayLike) -> FloatArray:
    """Return the cosines between the mean trajectories of tasks.

    Parameters
    ----------
    states : array_like, shape (B, T, N)
        Hidden states, such as ``trajectory.states``.
    task_ids : array_like of int, shape (B,)
        The task of each trial, from 0.

    Returns
    -------
    ndarray, shape (M, M)
        Cosine of the states averaged over each task's trials, as one vector of all steps and units;
        not centred, so that activity common to all tasks makes them alike. NaN for a task whose
        mean vanishes.

    Raises
    ------
    InputError, InputTypeError
        If shapes disagree, a state is not finite, or a task has no trial.

    Notes
    -----
    Costs ``B T N + 2 M^2 T N`` flops. The same trials in every task, angle by angle, make it a
    comparison of tasks and not of stimuli; the evaluation batches of the library are such.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> states = np.ones((4, 5, 3)) * np.array([1.0, 1.0, -2.0, -2.0])[:, None, None]
    >>> kpf.task_similarity(states, [0, 0, 1, 1]).round(6).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    array = check_array(states, "states", ("B", "T", "N"), dtype=np.float64)
    ids = _check_task_ids(task_ids, array.shape[0])
    means = [array[ids == place].mean(axis=0) for place in range(int(ids.max()) + 1)]
    return _cosines(_gram(np.stack(means, axis=-1)))


def _blocks_of_tasks(
    linearization: Linearization, errors: ArrayLike, task_ids: ArrayLike | None
) -> FloatArray:
    """Return the error of each task as a column: ``(B, T, N, M)``."""
    dims, dtype = linearization.dims, linearization.dtype
    if task_ids is None:
        if np.ndim(errors) == len(dims):
            raise InputError(
                f"errors of shape {np.shape(errors)} need task_ids, which say of what task each "
                "trial is; or give one error for each task, (B, T, N, M)."
            )
        return check_array(errors, "errors", (*dims, "M"), dtype=dtype)
    error = check_array(errors, "errors", dims, dtype=dtype)
    ids = _check_task_ids(task_ids, dims[0])
    belongs = np.equal.outer(ids, np.arange(int(ids.max()) + 1))
    return error[..., None] * belongs[:, None, None, :].astype(dtype)


def _check_task_ids(task_ids: ArrayLike, n_trials: int) -> IntArray:
    ids = np.asarray(task_ids)
    if ids.dtype.kind not in "iu":
        raise InputTypeError(f"task_ids must be integers; got dtype {ids.dtype}.")
    if ids.shape != (n_trials,):
        raise InputError(
            f"task_ids must have shape ({n_trials},), one for each trial; got {ids.shape}."
        )
    ids = ids.astype(np.int64)
    if ids.min() < 0:
        raise InputError(f"task_ids must count from 0; got {ids.min()}.")
    missing = np.setdiff1d(np.arange(ids.max() + 1), ids)
    if missing.size:
        raise InputError(
            f"task_ids names no trial of task {missing[0]}, but one of task {ids.max()}; number "
            "the tasks without gaps, e.g. by np.unique(task_ids, return_inverse=True)."
        )
    return ids


def _gram(columns: FloatArray) -> FloatArray:
    flat = columns.reshape(-1, columns.shape[-1]).astype(np.float64, copy=False)
    return flat.T @ flat


def _cosines(gram: FloatArray) -> FloatArray:
    norms = np.sqrt(gram.diagonal())
    scale = np.multiply.outer(norms, norms)
    cosines: FloatArray = np.full_like(gram, np.nan)
    np.divide(gram, scale, out=cosines, where=scale > 0)
    return cosines
