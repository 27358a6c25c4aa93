"""Finite-time Lyapunov exponents along a trajectory, with their uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.special

from .._typing import FloatArray, RNGLike
from .._validation import InputError, check_choice, check_integer, check_real, check_rng
from ..linearization import Linearization
from ..operators.base import check_linearization
from ..results import Check, Cost, Estimate, with_error
from ..spectral._budget import check_max_memory, check_memory
from ..testing import default_tolerance

LYAPUNOV_ERRORS = ("auto", "trials", "batches")
"""What :func:`lyapunov_exponents` accepts as ``errors_from``."""

CONFIDENCE = 0.95

_MOST_BATCHES = 20
_SHORTEST_BATCH = 5
_CHUNK_BYTES = 2.0**26


@dataclass(frozen=True, repr=False, eq=False)
class LyapunovResult:
    """Lyapunov exponents of a trajectory, per unit of time.

    Attributes
    ----------
    exponents : ndarray, shape (m,)
        Mean over trials, descending. Minus infinity where a step's Jacobian is singular.
    standard_errors : ndarray, shape (m,)
        Standard error of each; NaN where there is one trial of fewer than ten steps, or where the
        exponent is minus infinity.
    lower, upper : ndarray, shape (m,)
        The 95 % intervals, by Student's distribution.
    per_trial : ndarray, shape (B, m)
        Exponents of each trial, in the order of `exponents`.
    kaplan_yorke : Estimate
        Kaplan-Yorke dimension ``j + (lambda_1 + ... + lambda_j) / |lambda_{j+1}|``; NaN where more
        exponents are needed than were asked for. Its error is a jackknife over the samples.
    sum_rule : Check or None
        ``sum(lambda) = mean log|det A|``, the determinants by LU; None unless all N exponents were
        asked for and some step is not singular.
    mean_log_determinant : float
        ``mean log|det A|`` per unit of time; NaN unless all N exponents were asked for.
    errors_from : str
        ``"trials"``, ``"batches"`` or ``"none"``: what the errors were computed from.
    n_samples : int
        Number of trials, or of batches.
    n_steps : int
        Steps averaged over: T less those discarded.
    cost : Cost
        Estimated flops and working memory.
    """

    exponents: FloatArray
    standard_errors: FloatArray
    lower: FloatArray
    upper: FloatArray
    per_trial: FloatArray
    kaplan_yorke: Estimate
    sum_rule: Check | None
    mean_log_determinant: float
    errors_from: str
    n_samples: int
    n_steps: int
    cost: Cost

    def __repr__(self) -> str:
        count, shown = len(self.exponents), sorted({0, len(self.exponents) - 1})
        ends = " ... ".join(with_error(self.exponents[i], self.standard_errors[i]) for i in shown)
        errors = "no errors"
        if self.errors_from != "none":
            errors = f"errors from {self.n_samples} {self.errors_from}"
        noun = "exponent" if count == 1 else "exponents"
        return (
            f"LyapunovResult({count} {noun} {ends}, Kaplan-Yorke dimension "
            f"{with_error(self.kaplan_yorke.value, self.kaplan_yorke.standard_error)}, "
            f"{errors}, {self.n_steps} steps)"
        )


def lyapunov_exponents(
    linearization: Linearization,
    n_exponents: int | None = None,
    discard: int = 0,
    *,
    dt: float = 1.0,
    errors_from: str = "auto",
    max_memory: float | None = None,
    rng: RNGLike = 0,
) -> LyapunovResult:
    """Return the finite-time Lyapunov exponents of a trajectory, and how well they are known.

    An orthonormal frame ``Q_0`` is carried along each trial, ``A_t Q_{t-1} = Q_t R_t``; the
    exponents are the means over steps of ``log |R_t[i, i]|``. All ``A_1 ... A_T`` enter: also
    ``A_1``, which acts on ``h_0`` and which P lacks.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives along the trajectories, from :func:`kpflow_numerics.linearize`.
    n_exponents : int, optional
        How many of the largest to find, from 1 to N; by default all N.
    discard : int
        Steps at the beginning of each trial during which the frame turns to the directions of
        growth and nothing is averaged.
    dt : float
        Time of a step: the exponents are divided by it.
    errors_from : {"auto", "trials", "batches"}
        ``"trials"``: the standard deviation over trials, over ``sqrt(B)``. ``"batches"``: the
        steps, averaged over trials, are cut into up to 20 successive batches of equal length (at
        least 5 steps), and the standard deviation of their means is taken as if they were
        independent, which holds where a batch is much longer than the memory of the dynamics.
        ``"auto"`` takes the trials where there are two or more.
    max_memory : float, optional
        Bytes of working memory; by default 4 GiB.
    rng : int, SeedSequence or Generator
        Source of the random frame that each trial begins with.

    Returns
    -------
    LyapunovResult

    Raises
    ------
    InputError, InputTypeError
        If an argument cannot be used, or a Jacobian is not finite.
    MemoryLimitError
        If the frames and one step's Jacobians of all trials do not fit in `max_memory`.

    Notes
    -----
    In float64 whatever the precision of the states. ``B T (2 N^2 m + 4 N m^2)`` flops, and
    ``2/3 B T N^3`` for the determinants; memory ``3 B N^2`` for one step at a time, more steps
    where the Jacobians take less than 64 MiB, and ``B T m`` for the growth of every step.

    What a step's growth may lack to be distinguished from zero is rounding,
    ``N eps |A_t|``; below that the exponent is minus infinity. The frame needs some steps to align,
    which biases the exponents of short trials by ``O(1/T)``.

    References
    ----------
    Benettin, Galgani, Giorgilli and Strelcyn, Meccanica 15, 9-20 and 21-30 (1980); Frederickson,
    Kaplan, Yorke and Yorke, J. Differ. Equ. 49, 185-207 (1983).

    Examples
    --------
    The Hénon map has the exponents 0.419 and -1.623, of sum ``log 0.3``.

    >>> import autograd.numpy as anp
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> def henon(params, x, h):
    ...     first = 1.0 - params["a"] * h[:, 0] ** 2 + h[:, 1]
    ...     return anp.stack([first, params["b"] * h[:, 0]], axis=1)
    >>> cell = kpf.AutogradCell(henon, {"a": (), "b": ()}, n_inputs=1, n_units=2)
    >>> h0 = np.random.default_rng(3).uniform(-0.1, 0.1, (8, 2))
    >>> traj = kpf.simulate(cell, {"a": 1.4, "b": 0.3}, np.zeros((8, 1000, 1)), h0)
    >>> result = kpf.lyapunov_exponents(kpf.linearize(traj), discard=50)
    >>> bool(np.all((result.lower < [0.4192, -1.6232]) & ([0.4192, -1.6232] < result.upper)))
    True
    >>> bool(np.isclose(result.mean_log_determinant, np.log(0.3))), result.sum_rule.passed
    (True, True)
    """
    lin = check_linearization(linearization)
    _, n_steps, n_state = lin.dims
    if n_exponents is None:
        n_exponents = n_state
    m = check_integer(n_exponents, "n_exponents", maximum=n_state)
    discard = check_integer(discard, "discard", minimum=0, maximum=n_steps - 1)
    dt = check_real(dt, "dt", minimum=0, open_minimum=True)
    errors_from = check_choice(errors_from, "errors_from", LYAPUNOV_ERRORS)
    generator = check_rng(rng)
    cost = _cost(lin, m)
    remedy = "Use fewer trials or exponents, or raise max_memory."
    check_memory(cost.memory_bytes, check_max_memory(max_memory), "lyapunov_exponents", remedy)
    growth = _growth(lin, m, generator)
    steps = slice(discard, None)
    logs = growth.logs[:, steps] / dt
    samples, errors_from = _samples(logs, errors_from)
    mean = logs.mean(axis=(0, 1))
    order = np.argsort(-mean, kind="stable")
    exponents, samples = mean[order], samples[:, order]
    standard_errors = _standard_errors(samples)
    margin = _student(len(samples)) * standard_errors
    return LyapunovResult(
        exponents=exponents,
        standard_errors=standard_errors,
        lower=exponents - margin,
        upper=exponents + margin,
        per_trial=logs.mean(axis=1)[:, order],
        kaplan_yorke=_kaplan_yorke_estimate(exponents, samples, n_state, errors_from),
        sum_rule=_sum_rule(growth, steps, n_state) if m == n_state else None,
        mean_log_determinant=(
            float(growth.log_determinants[:, steps].mean() / dt) if m == n_state else math.nan
        ),
        errors_from=errors_from,
        n_samples=len(samples),
        n_steps=n_steps - discard,
        cost=cost,
    )


@dataclass(frozen=True, eq=False)
class _Growth:
    """The growth of every trial and step.

    Attributes
    ----------
    logs : ndarray, shape (B, T, m)
        ``log |R_ii|``.
    log_determinants : ndarray, shape (B, T)
        ``log |det A_t|``, where all are asked for.
    amplification : ndarray, shape (B, T)
        How rounding enters the sum of the logarithms: ``sum_i |A_t| / |R_ii|``.
    """

    logs: FloatArray
    log_determinants: FloatArray
    amplification: FloatArray


def _cost(lin: Linearization, m: int) -> Cost:
    n_trials, n_steps, n_state = lin.dims
    N, points = float(n_state), float(n_trials * n_steps)
    flops = points * (2 * N**2 * m + 4 * N * m**2 + (2 / 3 * N**3 if m == n_state else 0))
    one_step = 8 * n_trials * N**2
    jacobians = 3 * min(max(one_step, _CHUNK_BYTES), one_step * n_steps)
    return Cost(flops, jacobians + 8 * n_trials * (3 * N * m + n_steps * (m + 2)))


def _growth(lin: Linearization, m: int, rng: np.random.Generator) -> _Growth:
    """Carry a random frame along every trial."""
    n_trials, n_steps, n_state = lin.dims
    frame = np.linalg.qr(rng.standard_normal((n_trials, n_state, m)))[0]
    logs = np.empty((n_trials, n_steps, m))
    determinants, amplification = np.full((2, n_trials, n_steps), np.nan)
    rounding = n_state * float(np.finfo(np.float64).eps)
    chunk = max(1, int(_CHUNK_BYTES / (8 * n_trials * n_state**2)))
    for first in range(0, n_steps, chunk):
        steps = slice(first, min(first + chunk, n_steps))
        jacobians = lin.state_jacobians(steps=steps, max_memory=math.inf).astype(np.float64)
        if not np.isfinite(jacobians).all():
            raise InputError(
                f"A state Jacobian in the steps {steps.start} to {steps.stop - 1} has NaN or "
                "infinite entries: the trajectory has diverged. Check its states, its parameters "
                "and h0."
            )
        sizes = np.linalg.norm(jacobians, axis=(2, 3))
        if m == n_state:
            with np.errstate(divide="ignore"):
                determinants[:, steps] = np.linalg.slogdet(jacobians)[1]
        for t in range(steps.start, steps.stop):
            frame, triangle = np.linalg.qr(jacobians[:, t - first] @ frame)
            stretch = np.abs(np.diagonal(triangle, axis1=1, axis2=2))
            size = sizes[:, t - first, None]
            lost = stretch <= rounding * size
            with np.errstate(divide="ignore", invalid="ignore"):
                logs[:, t] = np.where(lost, -np.inf, np.log(stretch))
                amplification[:, t] = np.where(lost, np.inf, size / stretch).sum(axis=1)
    return _Growth(logs, determinants, amplification)


def _samples(logs: FloatArray, errors_from: str) -> tuple[FloatArray, str]:
    """Return what the errors are computed from, ``(s, m)``, and its name."""
    n_trials, n_steps, m = logs.shape
    if errors_from == "trials" or (errors_from == "auto" and n_trials > 1):
        return logs.mean(axis=1), "trials" if n_trials > 1 else "none"
    n_batches = min(_MOST_BATCHES, n_steps // _SHORTEST_BATCH)
    if n_batches < 2:
        return logs.mean(axis=(0, 1))[None], "none"
    length = n_steps // n_batches
    steps = logs.mean(axis=0)[n_steps - n_batches * length :]
    return steps.reshape(n_batches, length, m).mean(axis=1), "batches"


def _standard_errors(samples: FloatArray) -> FloatArray:
    """Return the standard error of the mean of independent samples ``(s, m)``."""
    errors: FloatArray = np.full(samples.shape[1], np.nan)
    finite = np.isfinite(samples).all(axis=0)
    if len(samples) > 1:
        errors[finite] = samples[:, finite].std(axis=0, ddof=1) / math.sqrt(len(samples))
    return errors


def _student(n_samples: int) -> float:
    """Return the half width of the interval in standard errors."""
    if n_samples < 2:
        return math.nan
    return float(scipy.special.stdtrit(n_samples - 1, (1 + CONFIDENCE) / 2))


def kaplan_yorke_dimension(exponents: FloatArray, n_state: int) -> float:
    """Return the Kaplan-Yorke dimension.

    Parameters
    ----------
    exponents : ndarray, shape (m,)
        The largest Lyapunov exponents, in any order.
    n_state : int
        State size N: the dimension where no volume shrinks.

    Returns
    -------
    float
        From 0 to N; NaN where fewer than N exponents are given and their sum is not negative.

    Examples
    --------
    >>> import numpy as np
    >>> round(kaplan_yorke_dimension(np.array([0.9056, 0.0, -14.5723]), 3), 3)
    2.062
    """
    ordered = np.sort(exponents)[::-1]
    sums = np.cumsum(ordered)
    negative = np.flatnonzero(~(sums >= 0))
    if len(negative) == 0:
        return float(n_state) if len(ordered) == n_state else math.nan
    j = int(negative[0])
    return 0.0 if j == 0 else float(j + sums[j - 1] / -ordered[j])


def _kaplan_yorke_estimate(
    exponents: FloatArray, samples: FloatArray, n_state: int, errors_from: str
) -> Estimate:
    value, count, error = kaplan_yorke_dimension(exponents, n_state), len(samples), math.nan
    if count > 1 and not math.isnan(value):
        left_out = np.array(
            [
                kaplan_yorke_dimension(np.delete(samples, i, axis=0).mean(axis=0), n_state)
                for i in range(count)
            ]
        )
        error = float(np.sqrt((count - 1) / count * np.sum((left_out - left_out.mean()) ** 2)))
    margin = _student(count) * error
    return Estimate(
        value=value,
        lower=max(0.0, value - margin) if margin >= 0 else math.nan,
        upper=min(float(n_state), value + margin) if margin >= 0 else math.nan,
        standard_error=error,
        method=f"QR, jackknife over {errors_from}" if count > 1 else "QR",
        n_matvecs=0,
        quantity="Kaplan-Yorke dimension",
        confidence=CONFIDENCE,
    )


def _sum_rule(growth: _Growth, steps: slice, n_state: int) -> Check | None:
    sums, determinants = growth.logs[:, steps].sum(axis=2), growth.log_determinants[:, steps]
    regular = np.isfinite(sums) & np.isfinite(determinants)
    if not regular.any():
        return None
    error = abs(float(np.mean(sums[regular] - determinants[regular])))
    scale = float(np.mean(growth.amplification[:, steps][regular]))
    threshold = default_tolerance(np.float64, n_state) * scale
    left_out = int(regular.size - regular.sum())
    return Check(
        name="sum of the Lyapunov exponents",
        formula="sum_i log|R_ii| = log|det A_t|",
        error=error,
        threshold=threshold,
        passed=error <= threshold,
        explanation=(
            "Difference of the means over trials and steps, the determinants by LU; "
            f"{left_out} singular of {regular.size} steps are left out."
        ),
    )
