"""What tasks have done to the states, added up over training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._typing import ArrayLike, FloatArray
from .._validation import InputError, InputTypeError, check_array
from ._task_grams import cosines, gram
from .task_interference import InterferenceResult


class ContributionIntegral:
    """Integral of the tasks' contributions over training, by the trapezoidal rule.

    Holds two arrays of contributions, however many checkpoints there are.
    """

    def __init__(self) -> None:
        self._time = 0.0
        self._last: FloatArray | None = None
        self._total: FloatArray | None = None

    def add(self, contributions: FloatArray, time: float) -> FloatArray:
        """Go on to a later time, and return the cosines ``(M, M)`` of the integral up to it.

        At the first time they are those of the contributions themselves, to which the cosines of
        the integral tend as its length goes to zero.

        Parameters
        ----------
        contributions : ndarray, shape (..., M)
            Rates of change at that time.
        time : float
            Greater than that before.
        """
        if self._last is None or self._total is None:
            self._total = np.zeros(contributions.shape)
            found = gram(contributions)
        else:
            self._total += 0.5 * (time - self._time) * (self._last + contributions)
            found = gram(self._total)
        self._last, self._time = contributions, time
        return cosines(found)


def accumulated_contribution_cosines(
    results: Sequence[InterferenceResult],
    weights: ArrayLike | None = None,
    *,
    times: ArrayLike | None = None,
) -> FloatArray:
    """Return the cosines of the tasks' contributions added up over training.

    Parameters
    ----------
    results : sequence of InterferenceResult
        One for each checkpoint, in order: of the same tasks on the same trials.
    weights : array_like, shape (number of results,), optional
        Length of the stretch of training that each stands for, such as learning rate times
        iterations; equal by default. A contribution is a rate of change, so that unequal steps
        between checkpoints need weights, or `times`.
    times : array_like, shape (number of results,), optional
        In place of weights, the time of each in training, such as its iteration: the contributions
        are then integrated by the trapezoidal rule.

    Returns
    -------
    ndarray, shape (number of results, M, M)
        Cosines of ``sum_c w_c NTK_c err_i,c`` over the checkpoints up to each. With times, of the
        integral up to each; at the first, of its own contributions.

    Raises
    ------
    InputError
        If there is no result, they or the weights or times do not fit each other, or both are
        given.
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
    found = _check_results(results)
    if times is not None:
        if weights is not None:
            raise InputError("Give weights or times, not both.")
        instants = check_array(times, "times", (len(found),))
        if np.any(np.diff(instants) <= 0):
            raise InputError(f"times must increase; got {instants.tolist()}.")
        integral = ContributionIntegral()
        return np.array(
            [
                integral.add(result.contributions, float(time))
                for result, time in zip(found, instants, strict=True)
            ]
        )
    lengths = (
        np.ones(len(found)) if weights is None else check_array(weights, "weights", (len(found),))
    )
    total = np.zeros(found[0].contributions.shape)
    courses = []
    for length, result in zip(lengths, found, strict=True):
        total += length * result.contributions
        courses.append(cosines(gram(total)))
    return np.array(courses)


def _check_results(results: Sequence[InterferenceResult]) -> list[InterferenceResult]:
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
    return found
