"""The Hutch++ estimator of a trace."""

from __future__ import annotations

import numpy as np

from ..._typing import FloatArray
from ..._validation import InputError
from .._orthogonal import orthonormalise
from .forms import QuadraticForm, chunk_widths, random_signs
from .sampled import LEAST_SAMPLES, SampledTrace, mean_of_probes


class HutchPlusPlus:
    """A trace on a sketch of the range, and sampled on the rest; more products continue it.

    Parameters
    ----------
    form : QuadraticForm
        G.
    rng : Generator
        Source of the sketch and of the signs.
    """

    def __init__(self, form: QuadraticForm, rng: np.random.Generator) -> None:
        self._form, self._rng = form, rng
        self._basis: FloatArray = np.empty((form.size, 0), form.dtype)
        self._samples: FloatArray = np.empty(0)
        self._known = 0.0
        self.used = 0
        self.first_look = 3 * LEAST_SAMPLES * form.cost
        self.complete = False

    def extend(self, n_matvecs: int) -> None:
        """Spend more products: on the sketch until it has a third of all, then on new probes.

        Probes of an earlier call sampled a larger rest, and are dropped.
        """
        form = self._form
        budget = n_matvecs // form.cost
        if self.used == 0 and budget < 4:
            raise InputError(
                f"n_matvecs must be at least {4 * form.cost} for Hutch++ (a sketch of one column, "
                f"its quadratic form, and two probes); got {n_matvecs}."
            )
        total = self.used // form.cost + budget
        room = form.size - self._basis.shape[1]
        columns = min(total // 3 - self._basis.shape[1], room, max(budget - 2, 0) // 2)
        spent = 0
        if columns > 0:
            new = orthonormalise(form.sketch(columns, self._rng), [self._basis])
            self._known += self._sum_of_quadratic(new)
            self._basis = np.hstack([self._basis, new])
            spent = columns + new.shape[1]
            self._samples = np.empty(0)
        self.complete = self._basis.shape[1] == form.size
        if not self.complete:
            fresh = [self._residuals(width) for width in chunk_widths(budget - spent)]
            self._samples = np.concatenate([self._samples, *fresh])
            spent = budget
        self.used += spent * form.cost

    def result(self) -> SampledTrace:
        """Return the estimate so far."""
        form = self._form
        return mean_of_probes(
            self._samples, self._known, size=form.size, dtype=form.dtype, positive=form.positive
        )

    @property
    def work(self) -> tuple[float, float]:
        """Flops beside the products, and bytes kept."""
        columns = float(self._basis.shape[1])
        rows = self._form.size
        flops = 6.0 * rows * columns**2 + 4.0 * rows * columns * len(self._samples)
        return flops, 3.0 * rows * columns * self._form.dtype.itemsize

    def _sum_of_quadratic(self, columns: FloatArray) -> float:
        total, first = 0.0, 0
        for width in chunk_widths(columns.shape[1]):
            total += float(np.sum(self._form.quadratic(columns[:, first : first + width])))
            first += width
        return total

    def _residuals(self, width: int) -> FloatArray:
        signs = random_signs(self._form.size, width, self._form.dtype, self._rng)
        return self._form.quadratic(signs - self._basis @ (self._basis.T @ signs))


def hutch_plus_plus(form: QuadraticForm, n_matvecs: int, rng: np.random.Generator) -> SampledTrace:
    """Estimate ``tr G``: exactly on a sketch of the range, by random signs on the rest.

    A third of the products goes into a random sketch, whose orthonormal basis is Q; as many into
    ``tr(Q* G Q)``, which is known exactly; the others into Hutchinson's estimator of
    ``tr((I - Q Q*) G (I - Q Q*))``. Unbiased; for positive semi-definite G its standard error
    falls as ``1 / n_matvecs`` (Meyer, Musco, Musco and Woodruff, SOSA 2021). The standard error
    is that of the sampled part, given Q: the other part has none. What is left by the sketch may
    have few large eigenvalues, and few probes see it: the interval, of :func:`mean_of_probes`,
    allows for that, and is long on one side for small budgets.

    Parameters
    ----------
    form : QuadraticForm
        G.
    n_matvecs : int
        Budget of products, never exceeded; at least ``4 form.cost``. What three does not divide
        goes to the probes. Less is used only where the sketch spans the whole space, and the
        result is exact.
    rng : Generator
        Source of the sketch and of the signs.

    Raises
    ------
    InputError
        If the budget is too small.
    """
    estimator = HutchPlusPlus(form, rng)
    estimator.extend(n_matvecs)
    return estimator.result()
