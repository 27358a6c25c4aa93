"""Principal components of hidden states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from .._typing import ArrayLike, FloatArray
from .._validation import check_array, check_integer


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """Hidden states in the directions along which they vary most.

    Attributes
    ----------
    scores : ndarray, shape (B, T, r)
        The centred states along each direction.
    directions : ndarray, shape (H, r)
        Orthonormal directions in the space of units, the largest entry of each positive.
    mean : ndarray, shape (H,)
        The mean state over all trials and steps, which maps to the origin.
    fractions : ndarray, shape (r,)
        Share of the variance over all trials and steps along each direction, descending.
    """

    scores: FloatArray
    directions: FloatArray
    mean: FloatArray
    fractions: FloatArray


def principal_components(states: ArrayLike, n_components: int = 3) -> PrincipalComponents:
    """Return the principal components of states over all trials and steps.

    Parameters
    ----------
    states : array_like, shape (B, T, H)
        States, such as ``trajectory.hidden``.
    n_components : int
        Number of components ``r``. Where the states have fewer directions (``H`` or ``B T`` is
        smaller), the remaining scores, directions and fractions are zero.

    Returns
    -------
    PrincipalComponents

    Raises
    ------
    InputError, InputTypeError
        If `states` is not a finite real array of three axes, or `n_components` not a positive
        integer.

    Notes
    -----
    A singular value decomposition of the centred ``(B T, H)`` matrix:
    ``O(B T H min(B T, H))`` flops, three copies of the states. States that do not vary have
    fractions of zero.

    Examples
    --------
    >>> import numpy as np
    >>> states = np.array([[[3.0, 0.0], [-3.0, 0.0]], [[0.0, 1.0], [0.0, -1.0]]])
    >>> result = principal_components(states, n_components=2)
    >>> result.fractions
    array([0.9, 0.1])
    >>> result.scores[0, :, 0]
    array([ 3., -3.])
    """
    states = check_array(states, "states", ("B", "T", "H"))
    n_components = check_integer(n_components, "n_components")
    n_trials, n_steps, n_units = states.shape
    flat = states.reshape(-1, n_units)
    mean = flat.mean(axis=0)
    left, singular, right = scipy.linalg.svd(flat - mean, full_matrices=False)
    kept = min(n_components, len(singular))
    signs = np.copysign(1.0, right[np.arange(kept), np.abs(right[:kept]).argmax(axis=1)])
    scores = np.zeros((len(flat), n_components), states.dtype)
    directions = np.zeros((n_units, n_components), states.dtype)
    fractions = np.zeros(n_components, states.dtype)
    scores[:, :kept] = left[:, :kept] * singular[:kept] * signs
    directions[:, :kept] = right[:kept].T * signs
    total = float(np.square(singular, dtype=np.float64).sum())
    # What rounding leaves of states that are all the same is no variance.
    rounding = np.finfo(states.dtype).eps * float(np.abs(flat).max())
    if total > flat.size * rounding**2:
        fractions[:kept] = np.square(singular[:kept]) / total
    return PrincipalComponents(
        scores.reshape(n_trials, n_steps, n_components), directions, mean, fractions
    )
