"""Leading modes of an operator as courses over trials and steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from .._typing import ArrayLike, FloatArray
from .._validation import InputError, check_array, check_integer


@dataclass(frozen=True, eq=False)
class ModeCourses:
    """How each mode of an operator runs over trials and steps.

    Attributes
    ----------
    courses : ndarray, shape (r, B, T)
        Course of each mode: of unit norm over trials and steps, its largest entry positive.
    fractions : ndarray, shape (r,)
        Share of each mode's squared norm that its course explains, from 0 to 1. At 1 all units
        follow the same course.
    """

    courses: FloatArray
    fractions: FloatArray


def mode_courses(
    vectors: ArrayLike, dims: tuple[int, int, int], n_modes: int | None = None
) -> ModeCourses:
    """Return the course over trials and steps that explains most of each mode.

    A mode is an eigenvector on ``(trial, time, unit)``. Reshaped to a matrix ``(B T, N)``, its
    dominant left singular vector is the course, and the square of its largest singular value over
    the sum of all squares is the share that the course explains.

    Parameters
    ----------
    vectors : array_like, shape (n, k)
        Modes, a column each, in the C order of ``(B, T, N)``, as :func:`top_eigenpairs` gives.
    dims : tuple of int
        Shape ``(B, T, N)``.
    n_modes : int, optional
        How many of the leading columns to take; all of them by default, and at most all.

    Returns
    -------
    ModeCourses

    Raises
    ------
    InputError
        If the rows of `vectors` are not ``B T N``, or anything is not finite.

    Notes
    -----
    ``O(B T N min(B T, N))`` flops and a copy of one mode at a time. The modes of a repeated
    eigenvalue are an arbitrary basis of its eigenspace, and so are their courses; eigenvectors of
    K live on one unit each.

    Examples
    --------
    >>> import numpy as np
    >>> course, weights = np.array([[1.0, 2.0, 2.0]]) / 3.0, np.array([0.6, -0.8])
    >>> result = mode_courses(np.multiply.outer(course, weights).reshape(-1, 1), (1, 3, 2))
    >>> result.courses[0].round(3), result.fractions.round(3)
    (array([[0.333, 0.667, 0.667]]), array([1.]))
    """
    n_trials, n_steps, n_state = dims
    columns = check_array(vectors, "vectors", (n_trials * n_steps * n_state, "k"))
    n_modes = columns.shape[1] if n_modes is None else check_integer(n_modes, "n_modes", minimum=0)
    n_modes = min(n_modes, columns.shape[1])
    courses = np.zeros((n_modes, n_trials, n_steps), columns.dtype)
    fractions = np.zeros(n_modes, columns.dtype)
    for mode in range(n_modes):
        matrix = columns[:, mode].reshape(n_trials * n_steps, n_state)
        left, singular, _ = scipy.linalg.svd(matrix, full_matrices=False)
        if singular[0] == 0:
            raise InputError(f"vectors[:, {mode}] is zero; a mode must have a length.")
        courses[mode] = _with_fixed_sign(left[:, 0]).reshape(n_trials, n_steps)
        fractions[mode] = (singular[0] / scipy.linalg.norm(singular)) ** 2
    return ModeCourses(courses, fractions)


def _with_fixed_sign(vector: FloatArray) -> FloatArray:
    """Return the vector or its negative, so that its entry of largest magnitude is positive."""
    return vector * np.copysign(1.0, vector[np.argmax(np.abs(vector))]).astype(vector.dtype)
