"""Hutchinson's estimator of a trace."""

from __future__ import annotations

import numpy as np

from ..._validation import InputError
from .forms import QuadraticForm, chunk_widths, random_signs
from .sampled import SampledTrace, mean_of_probes


def hutchinson(form: QuadraticForm, n_matvecs: int, rng: np.random.Generator) -> SampledTrace:
    """Estimate ``tr G`` by the mean of ``z* G z`` over random signs z.

    Unbiased, with the variance ``2 (|G|_F^2 - sum_i G_ii^2) / m`` for m probes (Hutchinson, Commun.
    Statist. Simula. 19, 1990). The standard error is that of the sample.

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
    probes = n_matvecs // form.cost
    if probes < 2:
        raise InputError(
            f"n_matvecs must be at least {2 * form.cost} for Hutchinson's estimator (two probes "
            f"give a standard error); got {n_matvecs}."
        )
    samples = [
        form.quadratic(random_signs(form.size, width, form.dtype, rng))
        for width in chunk_widths(probes)
    ]
    return mean_of_probes(
        np.concatenate(samples), 0.0, size=form.size, dtype=form.dtype, positive=form.positive
    )
