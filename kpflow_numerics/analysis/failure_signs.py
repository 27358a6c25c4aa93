"""Signs that learning has failed or will: computed numbers against thresholds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

import numpy as np

from .._errors import suggest
from .._validation import InputError, InputTypeError, check_real
from ..results import Estimate
from .checkpoint import NetworkAnalysis
from .quantities import RANK_OVER_TIME, RETAINED_DIRECTIONS

Course: TypeAlias = "tuple[tuple[int, Estimate], ...]"

K_RANK = "K of low rank"
FORGETTING = "early inputs forgotten"
INTERFERENCE = "tasks interfere"


@dataclass(frozen=True)
class SignThresholds:
    """From where on a sign is raised; the table ``[signs]`` of a configuration.

    Attributes
    ----------
    k_rank : float
        K's rank over trials and steps that some checkpoint must reach. Below 2, one step of
        gradient descent moves all trials and steps in little more than one pattern.
    retained_directions : float
        Directions in which the last step must still feel the first half of them. Below 0.1, of no
        direction as much as a tenth of the squared size is left.
    interference : float
        What the mean cosine between the gradients of two tasks must not fall below, with the sign
        turned. At 0.5 a step for one of two tasks of equal gradients undoes half of what a
        step for the other achieves.
    """

    k_rank: float = 2.0
    retained_directions: float = 0.1
    interference: float = 0.5


@dataclass(frozen=True)
class FailureSign:
    """A number that tells of a failure of learning where it lies beyond its threshold.

    Attributes
    ----------
    name : str
        Which sign.
    estimate : Estimate
        The number; NaN where it is not known.
    threshold : float
        Where the sign begins.
    side : {"below", "above"}
        On which side of the threshold it is raised.
    meaning : str
        What was computed, and what it means if the sign is raised.
    course : tuple of (int, Estimate)
        What the number was made of: the iteration and value of each analysis.
    reason : str
        Why the number is not known, where it is not.
    """

    name: str
    estimate: Estimate
    threshold: float
    side: Literal["below", "above"]
    meaning: str
    course: Course = ()
    reason: str = ""

    @property
    def verdict(self) -> Literal["raised", "not raised", "undecided", "not known"]:
        """``"raised"`` or ``"not raised"`` only where the whole interval lies on that side."""
        lower, upper = self.estimate.lower, self.estimate.upper
        if math.isnan(lower) or math.isnan(upper):
            return "not known"
        if self.side == "below":
            lower, upper, threshold = -upper, -lower, -self.threshold
        else:
            threshold = self.threshold
        if lower > threshold:
            return "raised"
        return "not raised" if upper <= threshold else "undecided"

    @property
    def raised(self) -> bool:
        """Whether the sign is raised, its whole interval beyond the threshold."""
        return self.verdict == "raised"

    @property
    def number(self) -> str:
        """The value with its interval, and the threshold, in words."""
        if self.verdict == "not known":
            return "not known"
        value = f"{self.estimate.value:.3g}"
        if not self.estimate.is_exact:
            value += f" in [{self.estimate.lower:.3g}, {self.estimate.upper:.3g}]"
            if not self.estimate.is_certified:
                value += f" ({100 * self.estimate.confidence:.3g} %)"
        return f"{value}, threshold {self.threshold:.3g}"

    def __str__(self) -> str:
        if self.verdict == "not known":
            return f"{self.name}: not known: {self.reason}"
        what = f"{self.estimate.quantity} " if self.estimate.quantity else ""
        return f"{self.name}: {self.verdict}, {what}{self.number} (raised {self.side})"


def failure_signs(
    analyses: Any,
    thresholds: SignThresholds | Mapping[str, float] | None = None,
    *,
    interference: Sequence[tuple[int, Any]] | None = None,
) -> tuple[FailureSign, ...]:
    """Return the signs of failed learning: a number, its threshold, and whether it lies beyond.

    Parameters
    ----------
    analyses : RunFile, NetworkAnalysis or iterable of NetworkAnalysis
        Analyses over training, which hold K's rank over trials and steps and P's retained
        directions (both are among the default quantities).
    thresholds : SignThresholds or mapping of str to float, optional
        Thresholds; what a mapping leaves out has its default.
    interference : sequence of (int, InterferenceResult), optional
        For each iteration, how the tasks interfere; by default what the analyses hold, which those
        of a multi-task run do.

    Returns
    -------
    tuple of FailureSign
        Three, in this order:

        ``"K of low rank"``
            The largest :func:`rank_over_time` over all analyses lies below ``k_rank``: K was of
            very low rank throughout training, so that steps far apart cannot be changed
            differently, and long dependencies may not be learned.
        ``"early inputs forgotten"``
            The :func:`retained_directions` of the last analysis lie below theirs: P has lost its
            rank between early and late steps, so that neither an early input nor a gradient crosses
            the trial.
        ``"tasks interfere"``
            The mean over the analyses of the cosine between two tasks' gradients is, for the pair
            where it is most negative, below minus ``interference``: learning one task unlearns the
            other.

        A sign whose interval holds the threshold is undecided; one whose number is not at hand
        says why.

    Raises
    ------
    InputError
        If there is no analysis, or a threshold is unknown or not a number in its range.
    InputTypeError
        If the analyses or thresholds are of another kind.

    Notes
    -----
    The page *Signs of trouble* of the documentation argues for the defaults. The participation
    ratio of P falls in networks that learn well, and is no sign.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> task = kpf.MemoryPro(n_stimulus=4, n_memory=4, n_response=4)
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> params = cell.init_params(gain=0.01, rng=3)
    >>> analysis = kpf.analyze_network(cell, params, task.evaluation_batch(4), n_eigenpairs=3)
    >>> for sign in kpf.failure_signs(analysis):
    ...     print(sign.name, "-", sign.verdict)
    K of low rank - raised
    early inputs forgotten - raised
    tasks interfere - not known
    """
    limits = check_thresholds(thresholds)
    found = _check_analyses(analyses)
    if interference is None:
        interference = [
            (analysis.iteration, held)
            for analysis in found
            if (held := analysis.interference) is not None
        ]
    return (
        _k_rank(found, limits.k_rank),
        _forgetting(found, limits.retained_directions),
        _interference(sorted(interference, key=lambda pair: pair[0]), limits.interference),
    )


def check_thresholds(thresholds: SignThresholds | Mapping[str, float] | None) -> SignThresholds:
    """Return thresholds that are numbers in their ranges.

    Raises
    ------
    InputError, InputTypeError
        If they are not.
    """
    if thresholds is None:
        thresholds = SignThresholds()
    if isinstance(thresholds, Mapping):
        known = [entry.name for entry in fields(SignThresholds)]
        for name in thresholds:
            if name not in known:
                raise InputError(
                    f"thresholds has no {name!r}; it takes {', '.join(known)}."
                    f"{suggest(str(name), known)}"
                )
        thresholds = SignThresholds(**thresholds)
    if not isinstance(thresholds, SignThresholds):
        raise InputTypeError(
            "thresholds must be SignThresholds or a mapping such as {'k_rank': 1.5}; got "
            f"{type(thresholds).__name__}."
        )
    return SignThresholds(
        k_rank=check_real(thresholds.k_rank, "k_rank", minimum=0),
        retained_directions=check_real(
            thresholds.retained_directions, "retained_directions", minimum=0
        ),
        interference=check_real(thresholds.interference, "interference", minimum=-1, maximum=1),
    )


def _check_analyses(analyses: Any) -> list[NetworkAnalysis]:
    if isinstance(analyses, NetworkAnalysis):
        analyses = [analyses]
    held = getattr(analyses, "analyses", analyses)
    if isinstance(held, str) or not isinstance(held, Iterable):
        raise InputTypeError(
            "analyses must be an open run file, a NetworkAnalysis or several; got "
            f"{type(analyses).__name__}."
        )
    found = list(held)
    for analysis in found:
        if not isinstance(analysis, NetworkAnalysis):
            raise InputTypeError(
                "analyses must be an open run file, a NetworkAnalysis or several; one of them is a "
                f"{type(analysis).__name__}."
            )
    if not found:
        raise InputError(
            "There is no analysis to look for signs in: analyse the run first, with kpf.analyze or "
            "`kpflow analyze`."
        )
    return sorted(found, key=lambda analysis: analysis.iteration)


def _k_rank(analyses: Sequence[NetworkAnalysis], threshold: float) -> FailureSign:
    course = _course(analyses, RANK_OVER_TIME, "K")
    meaning = (
        "largest effective rank of K over trials and steps among the analysed checkpoints; if it "
        "is low throughout training, steps far apart cannot be changed differently, and long "
        "dependencies may not be learned"
    )
    if not course:
        return _unknown(K_RANK, threshold, "below", meaning, _lacking("rank-over-time"))
    estimates = [estimate for _, estimate in course]
    return FailureSign(K_RANK, _largest(estimates), threshold, "below", meaning, course)


def _forgetting(analyses: Sequence[NetworkAnalysis], threshold: float) -> FailureSign:
    course = _course(analyses, RETAINED_DIRECTIONS, "P")
    meaning = (
        "in how many directions the last step feels the first half of the steps, at the last "
        "analysed checkpoint; if in none, P has lost its rank on the way, and early inputs are "
        "forgotten and out of reach of gradients"
    )
    if not course or course[-1][0] != analyses[-1].iteration:
        return _unknown(FORGETTING, threshold, "below", meaning, _lacking("retained-directions"))
    return FailureSign(FORGETTING, course[-1][1], threshold, "below", meaning, course)


def _interference(results: Sequence[tuple[int, Any]], threshold: float) -> FailureSign:
    meaning = (
        "minus the mean cosine over training between two tasks' gradients, for the pair that "
        "interferes most; if it is high, learning one task unlearns the other"
    )

    def unknown(reason: str) -> FailureSign:
        return _unknown(INTERFERENCE, threshold, "above", meaning, reason)

    if not results:
        return unknown("there is one task, or the interference of tasks was not computed")
    names = tuple(results[0][1].names)
    if len(names) < 2:
        return unknown("there is one task")
    if any(tuple(result.names) != names for _, result in results):
        raise InputError("interference must be of the same tasks at every iteration.")
    cosines = np.array([np.asarray(result.cosines, dtype=np.float64) for _, result in results])
    # A task whose errors vanish at a checkpoint has no direction there, and its cosines are NaN.
    means = {}
    for pair in itertools.combinations(range(len(names)), 2):
        of_pair = cosines[(..., *pair)]
        if np.isfinite(of_pair).any():
            means[pair] = -float(np.mean(of_pair[np.isfinite(of_pair)]))
    if not means:
        return unknown("no two tasks have errors that do not vanish")
    worst = max(means, key=lambda pair: means[pair])
    course = tuple(
        (iteration, _exact(-float(matrix[worst])))
        for (iteration, _), matrix in zip(results, cosines, strict=True)
        if np.isfinite(matrix[worst])
    )
    tasks = " and ".join(str(names[place]) for place in worst)
    return FailureSign(
        INTERFERENCE, _exact(means[worst]), threshold, "above", f"{meaning} (here {tasks})", course
    )


def _course(analyses: Sequence[NetworkAnalysis], name: str, operator: str) -> Course:
    return tuple(
        (analysis.iteration, entry.estimate)
        for analysis in analyses
        for entry in analysis.quantities
        if (entry.name, entry.operators) == (name, (operator,))
    )


def _largest(estimates: Sequence[Estimate]) -> Estimate:
    """Return the largest of several numbers; its interval holds it where all of theirs hold."""
    best = max(estimates, key=lambda estimate: estimate.value)
    return Estimate(
        value=best.value,
        lower=max(estimate.lower for estimate in estimates),
        upper=max(estimate.upper for estimate in estimates),
        standard_error=best.standard_error,
        method=best.method,
        n_matvecs=sum(estimate.n_matvecs for estimate in estimates),
        quantity=best.quantity,
        confidence=max(0.0, 1.0 - math.fsum(1.0 - each.confidence for each in estimates)),
    )


def _exact(value: float) -> Estimate:
    return Estimate(value, value, value, 0.0, "exact", 0, "minus the cosine")


def _unknown(
    name: str, threshold: float, side: Literal["below", "above"], meaning: str, reason: str
) -> FailureSign:
    nan = math.nan
    return FailureSign(
        name, Estimate(nan, nan, nan, nan, "", 0), threshold, side, meaning, reason=reason
    )


def _lacking(quantity: str) -> str:
    return (
        f"the analyses do not hold it; analyse with {quantity!r} among the quantities "
        "(--set analysis.quantities)"
    )
