"""How alike the states of tasks are, whatever their gradients do."""

from __future__ import annotations

import numpy as np

from .._typing import ArrayLike, FloatArray
from .._validation import check_array
from ._task_grams import check_task_ids, cosines, gram


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
    ids = check_task_ids(task_ids, array.shape[0])
    means = [array[ids == place].mean(axis=0) for place in range(int(ids.max()) + 1)]
    return cosines(gram(np.stack(means, axis=-1)))
