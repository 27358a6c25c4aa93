"""Hutchinson's estimator of a trace."""

from __future__ import annotations

import numpy as np

from ..._typing import FloatArray
from ..._validation import InputError
from .forms import QuadraticForm, chunk_widths, random_signs
from .sampled import LEAST_SAMPLES, SampledTrace, mean_of_probes


class Hutchinson:
    """The mean of ``z* G z`` over random signs z, which more products continue.

    Parameters
    ----------
    form : QuadraticForm
        G.
    rng : Generator
        Source of the signs.
    """

    def __init__(self, form: QuadraticForm, rng: np.random.Generator) -> None:
        self._form, self._rng = form, rng
        self._samples: FloatArray = np.empty(0)
        self.used = 0
        self.first_look = LEAST_SAMPLES * form.cost
        self.complete = False

    def extend(self, n_matvecs: int) -> None:
        """Spend more products, all that are whole probes; at least two probes at first."""
        cost = self._form.cost
        probes = n_matvecs // cost
        if self.used == 0 and probes < 2:
            raise InputError(
                f"n_matvecs must be at least {2 * cost} for Hutchinson's estimator (two probes "
                f"give a standard error); got {n_matvecs}."
            )
        new = [
            self._form.quadratic(random_signs(self._form.size, width, self._form.dtype, self._rng))
            for width in chunk_widths(probes)
        ]
        self._samples = np.concatenate([self._samples, *new])
        self.used += probes * cost

    def result(self) -> SampledTrace:
        """Return the estimate so far."""
        form = self._form
        return mean_of_probes(
            self._samples, 0.0, size=form.size, dtype=form.dtype, positive=form.positive
        )

    @property
    def work(self) -> tuple[float, float]:
        """Flops beside the products, and bytes kept."""
        return 2.0 * self._form.size * self.used, 8.0 * len(self._samples)


def hutchinson(form: QuadraticForm, n_matvecs: int, rng: np.random.Generator) -> SampledTrace:
    """Estimate ``tr G`` by the mean of ``z* G z`` over random signs z.

    Unbiased, with the variance ``2 (|G|_F^2 - sum_i G_ii^2) / m`` for m probes (Hutchinson, Commun.
    Statist. Simula. 19, 1990). The standard error is that of the sample. The 95 % interval, of
    :func:`mean_of_probes`, was measured to cover in 93 to 98 % of the cases from four probes on.

    Parameters
    ----------
    form : QuadraticForm
        G.
    n_matvecs : int
        Budget of products; ``n_matvecs // form.cost`` probes are made, at least two.
    rng : Generator
        Source of the signs.

    Raises
    ------
    InputError
        If the budget does not suffice for two probes.
    """
    estimator = Hutchinson(form, rng)
    estimator.extend(n_matvecs)
    return estimator.result()
