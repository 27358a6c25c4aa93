"""Interference of tasks: what learning one does to the others, through the tangent kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._typing import ArrayLike, FloatArray, ParamsLike
from .._validation import InputError, InputTypeError, check_array
from ..linearization import Linearization
from ..operators import OutputSensitivity, Sensitivity
from ..operators.base import check_linearization
from ._task_grams import check_task_ids, cosines, gram


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
        Those of a readout are ``"readout/weight"`` and ``"readout/bias"``.
    contributions : ndarray, shape (B, T, N, M)
        ``NTK err_i``, minus the move of all states that the error of task i causes. The states of a
        task's own trials move, and through K those of all others. With a readout it is minus the
        move of all outputs, ``(B, T, O, M)``.
    """

    names: tuple[str, ...]
    matrix: FloatArray
    cosines: FloatArray
    by_parameter: dict[str, FloatArray]
    contributions: FloatArray

    @property
    def contribution_cosines(self) -> FloatArray:
        """Cosines ``(M, M)`` between the moves of all states, or outputs, that two tasks cause."""
        return cosines(gram(self.contributions))

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
    readout: ParamsLike | None = None,
    preconditioner: ParamsLike | None = None,
) -> InterferenceResult:
    """Return how the tasks that a network is trained on interfere.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives on trials of all tasks, from :func:`kpflow_numerics.linearize`.
    errors : array_like, shape (B, T, N), or (B, T, N, M) without `task_ids`
        ``dloss/dh``, as :func:`kpflow_numerics.state_error` returns it; or one of them for each
        task. With `readout` they are ``dloss/dy`` of the outputs, ``(B, T, O)``, as
        :func:`kpflow_numerics.output_error` returns it.
    task_ids : array_like of int, shape (B,), optional
        The task of each trial, from 0: those of a batch, or any other assignment, such as
        conditions within a task. Every number up to the largest must have a trial.
    names : sequence of str, optional
        The names of the tasks; ``"task 0"``, ``"task 1"``, ... by default.
    readout : mapping of str to array_like, optional
        ``weight (O, H)`` and ``bias (O,)`` of a readout that is trained with the cell: the
        gradients are those by all parameters, the kernel is that of the outputs,
        :class:`OutputKernel` of ``parameters="all"``.
    preconditioner : mapping of str to array_like, optional
        A diagonal M that the optimiser multiplies gradients by, such as
        :func:`adam_preconditioner`: a non-negative array for each of the parameters, with a
        readout also for ``"readout/weight"`` and ``"readout/bias"``. Inner products are then
        ``<grad_i, M grad_j>``, and contributions ``S M S* err_i``.

    Returns
    -------
    InterferenceResult
        Exact to rounding: no estimate enters.

    Raises
    ------
    InputError
        If shapes disagree, an error is not finite, a task has no trial, names are too few, or the
        preconditioner lacks an array or has a negative entry.
    InputTypeError
        If an argument is of another kind.

    Notes
    -----
    With ``err_i`` the error on the trials of task i and zero elsewhere, ``grad_i = S* err_i`` and
    ``err_i* NTK err_j = <grad_i, grad_j>`` exactly. P does not couple trials, so that all that one
    task does to another goes through K. It takes one product of ``S*`` and one of ``S`` with M
    columns: ``2 M`` times the flops of one column. Memory is what ``Sensitivity.product_cost(M)``
    says, ``b M (B T N + 2 p)`` bytes and what the kernels gather, with ``b M p`` for the gradients,
    and for more than 12 tasks, or fewer trials than threads, a copy of their errors, ``b M B T N``.
    The error on a trial carries the weight that the loss gives it: that of a mean over all trials
    adds up to the whole gradient. Formula: KPFlow, arXiv 2507.06381.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> task = kpf.MultiTask(n_context=2, n_stimulus=2, n_memory=2, n_response=2)
    >>> batch = task.evaluation_batch(8)
    >>> cell = kpf.GRU(batch.n_inputs, 12)
    >>> readout = kpf.init_readout(12, batch.n_outputs, rng=3)
    >>> trajectory = kpf.simulate(cell, cell.init_params(rng=4), batch.inputs)
    >>> errors = kpf.state_error(trajectory, readout, batch)
    >>> found = kpf.interference(kpf.linearize(trajectory), errors, batch.task_ids,
    ...                          names=batch.task_names)
    >>> found.matrix.shape, bool((found.cosines.diagonal().round(6) == 1).all())
    ((4, 4), True)
    """
    check_linearization(linearization)
    S: Sensitivity | OutputSensitivity
    if readout is None:
        S, slices = Sensitivity(linearization), linearization.layout.slices
        shapes = dict(linearization.layout.shapes)
    else:
        S = OutputSensitivity(linearization, readout, parameters="all")
        slices = S.slices
        own = {f"readout/{name}": array.shape for name, array in S.readout.items()}
        shapes = {**linearization.layout.shapes, **own}
    block = _blocks_of_tasks(S, errors, task_ids)
    n_tasks = block.shape[-1]
    if names is None:
        names = [f"task {place}" for place in range(n_tasks)]
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InputTypeError(f"names must be a sequence of {n_tasks} names; got {names!r}.")
    names = [str(name) for name in names]
    if len(names) != n_tasks:
        raise InputError(f"names must be {n_tasks} names, one for each task; got {names!r}.")
    gradients = S.apply_adjoint(block)
    del block  # as large as the contributions
    if preconditioner is not None:
        roots = _roots(preconditioner, slices, shapes, S.dtype)
        gradients *= roots
    by_parameter = {name: gram(gradients[part]) for name, part in slices.items()}
    if preconditioner is not None:
        gradients *= roots
    matrix = np.sum(list(by_parameter.values()), axis=0)
    return InterferenceResult(
        tuple(names),
        matrix,
        cosines(matrix),
        by_parameter,
        S.apply(gradients),
    )


def _blocks_of_tasks(
    sensitivity: Sensitivity | OutputSensitivity, errors: ArrayLike, task_ids: ArrayLike | None
) -> FloatArray:
    """Return the error of each task as a column, the last axis."""
    dims, dtype = sensitivity.dimsd, sensitivity.dtype
    if task_ids is None:
        if np.ndim(errors) == len(dims):
            raise InputError(
                f"errors of shape {np.shape(errors)} need task_ids, which say of what task each "
                "trial is; or give one error for each task along one more axis."
            )
        return check_array(errors, "errors", (*dims, "M"), dtype=dtype)
    error = check_array(errors, "errors", dims, dtype=dtype)
    ids = check_task_ids(task_ids, dims[0])
    belongs = np.equal.outer(ids, np.arange(int(ids.max()) + 1))
    return error[..., None] * belongs[:, None, None, :].astype(dtype)


def _roots(
    preconditioner: ParamsLike,
    slices: Mapping[str, slice],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: np.dtype[Any],
) -> FloatArray:
    """Return the square roots ``(p, 1)`` of a diagonal preconditioner."""
    if not isinstance(preconditioner, Mapping):
        raise InputTypeError(
            "preconditioner must map the names of the parameters to arrays; got "
            f"{type(preconditioner).__name__}."
        )
    if set(preconditioner) != set(slices):
        raise InputError(
            f"preconditioner must have an array for each of {', '.join(slices)}; it has "
            f"{', '.join(str(name) for name in preconditioner) or 'none'}."
        )
    roots = np.empty((max(part.stop for part in slices.values()), 1), dtype)
    for name, part in slices.items():
        label = f"preconditioner[{name!r}]"
        entries = check_array(preconditioner[name], label, shapes[name], dtype=dtype)
        if entries.min() < 0:
            raise InputError(f"{label} must not be negative; its least entry is {entries.min():g}.")
        roots[part, 0] = np.sqrt(entries).ravel()
    return roots
