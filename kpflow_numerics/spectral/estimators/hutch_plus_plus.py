"""The Hutch++ estimator of a trace."""

from __future__ import annotations

import numpy as np

from ..._validation import InputError
from .._orthogonal import orthonormalise
from .forms import QuadraticForm, chunk_widths, random_signs
from .sampled import SampledTrace, mean_of_probes


def hutch_plus_plus(form: QuadraticForm, n_matvecs: int, rng: np.random.Generator) -> SampledTrace:
    """Estimate ``tr G``: exactly on a sketch of the range, by random signs on the rest.

    A third of the products goes into a random sketch, whose orthonormal basis is Q; as many into
    ``tr(Q* G Q)``, which is known exactly; the others into Hutchinson's estimator of
    ``tr((I - Q Q*) G (I - Q Q*))``. Unbiased; for positive semi-definite G its standard error
    falls as ``1 / n_matvecs`` (Meyer, Musco, Musco and Woodruff, SOSA 2021). The standard error
    is that of the sampled part, given Q: the other part has none. With fewer than about ten
    probes on a fast decaying spectrum the 95 % interval was seen to cover the truth in 88 % of
    the cases only.

    Parameters
    ----------
    form : QuadraticForm
        G.
    n_matvecs : int
        Budget of products, never exceeded; at least ``4 form.cost``. Less is used only where the
        sketch spans the whole space, and the result is exact.
    rng : Generator
        Source of the sketch and of the signs.

    Raises
    ------
    InputError
        If the budget is too small.
    """
    budget = n_matvecs // form.cost
    if budget < 4:
        raise InputError(
            f"n_matvecs must be at least {4 * form.cost} for Hutch++ (a sketch of one column, its "
            f"quadratic form, and two probes); got {n_matvecs}."
        )
    columns = min(budget // 3, form.size)
    basis = orthonormalise(form.sketch(columns, rng))
    known = _sum_of_quadratic(form, basis)
    probes = budget - columns - basis.shape[1]
    samples = np.empty(0)
    if basis.shape[1] < form.size:
        samples = np.concatenate(
            [_residual_samples(form, basis, width, rng) for width in chunk_widths(probes)]
        )
    return mean_of_probes(samples, known, size=form.size, dtype=form.dtype, positive=form.positive)


def _sum_of_quadratic(form: QuadraticForm, basis: np.ndarray) -> float:
    total, first = 0.0, 0
    for width in chunk_widths(basis.shape[1]):
        total += float(np.sum(form.quadratic(basis[:, first : first + width])))
        first += width
    return total


def _residual_samples(
    form: QuadraticForm, basis: np.ndarray, width: int, rng: np.random.Generator
) -> np.ndarray:
    signs = random_signs(form.size, width, form.dtype, rng)
    return form.quadratic(signs - basis @ (basis.T @ signs))
