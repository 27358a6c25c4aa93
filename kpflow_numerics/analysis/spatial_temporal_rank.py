"""Effective ranks of the recurrent weights' response, and of what weights see over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from .._typing import ArrayLike, FloatArray
from .._validation import InputError, InputTypeError, check_array, check_flag, check_real
from ..results import Estimate
from ..spectral import rank_from_weights
from ..trajectory import Trajectory


@dataclass(frozen=True, repr=False, eq=False)
class SpatialRank:
    """Effective rank of the steady response ``R = (I - g W)^-1`` of units to inputs of each.

    Attributes
    ----------
    rank : float
        The effective rank, from 1 to H.
    singular_values : ndarray, shape (H,)
        Those of R, descending; infinite where ``I - g W`` is singular.
    condition_number : float
        Largest over smallest of them. Where it nears ``1 / eps`` the largest values are rounding.
    spectral_radius : float
        Largest modulus of the eigenvalues of ``g W``. From 1 on, R is no longer what activity of
        a linear network settles to.
    gain : float
        The factor g.
    recipe, weighting : str
        How `rank` was made of the squared singular values.
    """

    rank: float
    singular_values: FloatArray
    condition_number: float
    spectral_radius: float
    gain: float
    recipe: str
    weighting: str

    def __repr__(self) -> str:
        return (
            f"SpatialRank({self.rank:.4g} of {len(self.singular_values)} ({self.recipe}, weighting "
            f"{self.weighting!r}), condition number {self.condition_number:.2g}, spectral radius "
            f"{self.spectral_radius:.3g})"
        )


def spatial_rank(
    weight: ArrayLike,
    gain: float = 1.0,
    recipe: str = "participation-ratio",
    *,
    weighting: str = "eigenvalue",
) -> SpatialRank:
    """Return the effective rank of ``(I - g W)^-1`` for recurrent weights W.

    The response R of a linear network ``h = g W h + x`` that has settled. Its effective rank is
    that of ``R R*``, the covariance of the activity under white input: the participation ratio of
    the default is ``(sum s^2)^2 / sum s^4`` with the singular values s of R.

    Parameters
    ----------
    weight : array_like, shape (H, H)
        Recurrent weights W.
    gain : float
        The factor g; 1 for weights that are scaled already, such as those of a trained network.
    recipe : str
        A recipe of :func:`~kpflow_numerics.effective_rank`.
    weighting : {"eigenvalue", "root", "squared"}
        Weights ``s^2``, ``s`` or ``s^4``.

    Returns
    -------
    SpatialRank

    Raises
    ------
    InputError, InputTypeError
        If `weight` is not a finite square matrix, or a name is unknown.

    Warnings
    --------
    What a gain of 1 means depends on how W is scaled. Gaussian weights of variance ``1 / H`` have
    a spectral radius of 1, PyTorch's uniform ones of ``init_params`` one of ``1 / sqrt(3)``: what
    happens to the former at g = 1 happens to the latter at ``g = sqrt(3)``. Compare by
    `spectral_radius`. Beyond 1 some eigenvalue of ``g W`` is near 1 as a rule, R is dominated by
    few directions, and the rank varies much from draw to draw.

    Notes
    -----
    The singular values of R are the inverses of those of ``I - g W``: no matrix is inverted.
    About ``15 H^3`` flops with the eigenvalues. For independent weights of variance ``1 / H`` and
    g < 1 the participation ratio is ``H (1 - g^2)^2`` for large H [1]_.

    References
    ----------
    .. [1] Hu and Sompolinsky (2022), "The spectrum of covariance matrices of randomly connected
       recurrent neuronal networks with linear dynamics", PLoS Computational Biology 18,
       e1010327.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> kpf.spatial_rank(np.zeros((8, 8))).rank
    8.0
    >>> kpf.spatial_rank(np.diag([1.0, 0.0, 0.0]), gain=0.5)
    SpatialRank(2 of 3 (participation-ratio, weighting 'eigenvalue'), condition number 2, spectral radius 0.5)
    """  # noqa: E501 - the repr in one line
    matrix = check_array(weight, "weight", ("H", "H"), dtype=np.float64)
    if matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"weight must be square, (H, H); got {matrix.shape}.")
    gain = check_real(gain, "gain")
    with np.errstate(over="ignore"):
        scaled = gain * matrix
    if not np.isfinite(scaled).all():
        raise InputError(
            f"gain times weight overflows; got gain={gain:g} and a largest weight of "
            f"{np.abs(matrix).max():g}. Reduce the gain or the weights."
        )
    distances = scipy.linalg.svdvals(np.eye(len(scaled)) - scaled)
    smallest = float(distances[-1])
    # Relative to the largest, so that the limit of a singular matrix is met without infinities.
    relative = np.ones_like(distances)
    np.divide(smallest, distances, out=relative, where=distances > 0)
    rank = rank_from_weights(relative**2, recipe, weighting)
    with np.errstate(divide="ignore"):
        values = 1.0 / distances[::-1]
    condition = float(distances[0]) / smallest if smallest > 0 else np.inf
    radius = float(np.abs(np.linalg.eigvals(scaled)).max())
    return SpatialRank(rank, values, condition, radius, gain, recipe, weighting)


def temporal_rank(
    trajectory: Trajectory,
    recipe: str = "participation-ratio",
    *,
    weighting: str = "eigenvalue",
    centred: bool = False,
) -> Estimate:
    """Return the effective dimension of ``[h, x]`` over trials and time.

    The rows ``[h_{t-1}, x_t]`` of all trials and steps are what recurrent and input weights
    multiply: the participation ratio of their squared singular values is the effective dimension
    that Theorem 1 sets against the rank of K, but for the bias.

    Parameters
    ----------
    trajectory : Trajectory
        What :func:`~kpflow_numerics.simulate` returned. Of an LSTM the h half of the state.
    recipe, weighting : str
        As for :func:`spatial_rank`.
    centred : bool
        Whether the mean over trials and steps is taken away first, as for a dimension of the
        variability. By default it is not, as in the theorem, and the mean is a direction too.

    Returns
    -------
    Estimate
        An exact number, at most ``min(B T, H + I)``; 0 where everything vanishes.

    Raises
    ------
    InputError, InputTypeError
        If `trajectory` is not a Trajectory, or a name is unknown.

    See Also
    --------
    kpflow_numerics.rank_bounds : Theorem 1 with each site's own features, as a check.

    Notes
    -----
    ``O(B T (H + I)^2)`` flops and two copies of the states.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.GRU(n_inputs=3, n_units=8)
    >>> inputs = np.random.default_rng(3).standard_normal((2, 9, 3))
    >>> traj = kpf.simulate(cell, cell.init_params(rng=3), inputs)
    >>> print(kpf.temporal_rank(traj))
    temporal rank (participation-ratio): 2.94302 (dense, 0 products)
    """
    if not isinstance(trajectory, Trajectory):
        raise InputTypeError(
            "trajectory must be a Trajectory, as kpf.simulate returns it; got "
            f"{type(trajectory).__name__}."
        )
    centred = check_flag(centred, "centred")
    hidden = trajectory.previous[..., : trajectory.cell.n_units]
    rows = np.concatenate([hidden, trajectory.inputs], axis=-1, dtype=np.float64)
    flat = rows.reshape(-1, rows.shape[-1])
    if centred:
        flat -= flat.mean(axis=0)
    values = scipy.linalg.svdvals(flat, overwrite_a=True)
    # Relative to the largest, whose square may vanish.
    relative = values / values[0] if values[0] > 0 else values
    rank = rank_from_weights(relative**2, recipe, weighting)
    return Estimate(rank, rank, rank, 0.0, "dense", 0, "temporal rank", recipe)
