"""What K can tell apart in time, and what P keeps of early inputs: exact, from closed forms."""

from __future__ import annotations

import math

import numpy as np

from .._threads import map_in_threads, n_threads
from .._typing import FloatArray
from .._validation import check_integer
from ..linearization import Linearization
from ..operators import ParameterOperator
from ..operators._gramians import each_controllability, trial_jacobians
from ..operators._site_gram import flat_features, flat_gains
from ..operators.base import check_linearization
from ..results import Cost, Estimate
from ..spectral import partial_trace
from ..spectral._budget import check_max_memory, check_memory

ROWS_AT_A_TIME = 256


def rank_over_time(linearization: Linearization, *, max_memory: float | None = None) -> Estimate:
    """Return the effective rank of K over trials and steps.

    It is the participation ratio of the partial trace of K over the units, ``R = sum_g G^g * (D^g
    D^g*)``, a matrix on pairs of trial and step: about how many patterns of change in time one
    step of gradient descent can tell apart, whichever units they are on. 1 means that all trials
    and steps change together.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.
    max_memory : float, optional
        Bytes of working memory; by default 4 GiB.

    Returns
    -------
    Estimate
        Exact; 0 where K vanishes.

    Raises
    ------
    InputError
        If the cell has no weight sites and K is too large to take apart by products.
    MemoryLimitError
        If it would take more than `max_memory`.

    Notes
    -----
    ``2 (B T)^2 sum_g (m_g + H)`` flops in float64 and a few rows of R at a time, for ``m_g``
    features of a group of weight sites. Cells without weight sites go through
    :func:`kpflow_numerics.partial_trace`.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.LeakyRNN(n_inputs=3, n_units=8, form="current")
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> kpf.rank_over_time(lin).value <= 10
    True
    """
    linearization = check_linearization(linearization)
    limit = check_max_memory(max_memory)
    sites = linearization.weight_sites
    if sites is None:
        reduced = partial_trace(ParameterOperator(linearization), ("unit",), max_memory=max_memory)
        matrix = np.asarray(reduced, dtype=np.float64)
        trace, square = float(np.trace(matrix)), float(np.vdot(matrix, matrix))
        return _exact(_ratio(trace, square), "rank over trials and steps", reduced.method,
                      reduced.n_matvecs, reduced.cost)  # fmt: skip
    gains = flat_gains(sites)
    n_rows = len(gains)
    pairs = [
        (flat_features(group), np.ascontiguousarray(gains[:, group.sites]).reshape(n_rows, -1))
        for group in sites.groups
    ]
    columns = sum(X.shape[1] + D.shape[1] for X, D in pairs)
    cost = Cost(
        float(n_rows) ** 2 * (columns + 4.0),
        8.0 * n_rows * (columns + 3.0 * ROWS_AT_A_TIME * n_threads()),
    )
    check_memory(cost.memory_bytes, limit, f"rank_over_time with B T = {n_rows:,}",
                 "Use fewer trials or steps, or raise max_memory.")  # fmt: skip

    def of_rows(start: int) -> tuple[float, float]:
        # R is symmetric: what lies right of these rows' square stands for its mirror as well.
        rows = slice(start, start + ROWS_AT_A_TIME)
        R = np.zeros((len(gains[rows]), n_rows - start))
        for X, D in pairs:
            R += (X[rows] @ X[start:].T) * (D[rows] @ D[start:].T)
        square = R[:, : len(R)]
        norm = 2.0 * np.vdot(R, R) - np.vdot(square, square)
        return float(np.trace(square)), float(norm)

    parts = map_in_threads(of_rows, range(0, n_rows, ROWS_AT_A_TIME))
    trace, squares = (math.fsum(column) for column in zip(*parts, strict=True))
    return _exact(_ratio(trace, squares), "rank over trials and steps", "exact", 0, cost)


def retained_directions(
    linearization: Linearization,
    n_early: int | None = None,
    *,
    max_memory: float | None = None,
) -> Estimate:
    """Return in how many directions the last step still feels the early ones.

    Unit perturbations of the first `n_early` states in all directions reach the last state of a
    trial with the covariance ``C = sum_{s <= n_early} P[T, s] P[T, s]*``. With the eigenvalues
    ``w_i`` of ``C / n_early``, the mean squared gains, the number is ``sum_i min(w_i, 1)``,
    averaged over trials: a direction in which the early inputs are kept or amplified counts 1, one
    in which they have decayed counts what is left. It is a rank of P with a scale: the
    participation ratio of ``P P*`` is *largest*, ``B T N``, for a network that forgets everything
    at once, as P is then the identity.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.
    n_early : int, optional
        How many steps are early, from 1 to T; by default half of them, ``T // 2``, at least one.
    max_memory : float, optional
        Bytes of working memory; by default 4 GiB.

    Returns
    -------
    Estimate
        Exact, between 0 and N.

    Raises
    ------
    InputError, InputTypeError
        If `n_early` cannot be used.
    MemoryLimitError
        If it would take more than `max_memory`.

    Notes
    -----
    ``C`` is the controllability Gramian ``M_{n_early}`` carried to the end, trial by trial and in
    float64: ``4 B T N^3`` flops, and the state Jacobians of a trial in each thread.

    What is linear sees only small perturbations: a network that keeps its inputs in separate
    attractors, and pulls small deviations back to them, forgets by this measure, and so do the
    gradients of its training.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> params = cell.init_params(gain=1e-3, rng=3)
    >>> lin = kpf.linearize(kpf.simulate(cell, params, np.ones((2, 10, 3))))
    >>> kpf.retained_directions(lin).value < 1e-12
    True
    """
    linearization = check_linearization(linearization)
    n_trials, n_steps, n_state = linearization.dims
    if n_early is None:
        n_early = max(1, n_steps // 2)
    n_early = check_integer(n_early, "n_early", maximum=n_steps)
    workers = min(n_trials, n_threads())
    cost = Cost(
        4.0 * n_trials * n_steps * float(n_state) ** 3,
        16.0 * workers * (n_steps + 2.0) * float(n_state) ** 2,
    )
    check_memory(cost.memory_bytes, check_max_memory(max_memory), "retained_directions",
                 "Use fewer steps, or raise max_memory.")  # fmt: skip
    kept = map_in_threads(
        lambda trial: _kept(trial_jacobians(linearization, trial), n_early), range(n_trials)
    )
    return _exact(math.fsum(kept) / n_trials, "retained directions", "exact", 0, cost)


def _kept(A: FloatArray, n_early: int) -> float:
    """Return ``sum_i min(w_i, 1)`` of one trial with the state Jacobians ``A (T, N, N)``."""
    C: FloatArray = np.eye(A.shape[1])
    for gramian in each_controllability(A[:n_early]):
        C = gramian
    for step in A[n_early:]:
        C = step @ C @ step.T
    weights = np.linalg.eigvalsh((C + C.T) / (2.0 * n_early))
    return float(np.clip(weights, 0.0, 1.0).sum())


def _ratio(trace: float, square: float) -> float:
    return trace**2 / square if square > 0 else 0.0


def _exact(value: float, quantity: str, method: str, n_matvecs: int, cost: Cost | None) -> Estimate:
    return Estimate(value, value, value, 0.0, method, n_matvecs, quantity, cost=cost)
