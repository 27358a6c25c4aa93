"""A few products that tell whether a sketch of the range is worth its price."""

from __future__ import annotations

import numpy as np

from .estimators.forms import FactorForm, SelfAdjointForm, random_signs

LEAST_BUDGET = 48
"""Samples below which there is none to spare for a pilot."""

_MOST_COLUMNS = 8
_REACH = 2.0  # standard errors in half a 95 % interval


def pilot_columns(samples: int) -> int:
    """Return how many of so many samples a pilot takes: a twelfth, from 4 to 8, or none."""
    return 0 if samples < LEAST_BUDGET else min(samples // 12, _MOST_COLUMNS)


def sketch_pays(
    form: FactorForm | SelfAdjointForm,
    columns: int,
    samples: int,
    rtol: float | None,
    rng: np.random.Generator,
) -> bool:
    """Return whether estimates with a sketch are expected to beat plain samples.

    With random signs ``z_i``, the mean of ``z_i* G z_i`` estimates ``tr G`` and that of
    ``(z_i* G z_j)^2`` estimates ``|G|_F^2``, and so the participation ratio PR of G. Plain samples
    have the relative variance ``2 / (m PR)``: a large PR is good for them, and bad for a sketch,
    which holds much of the trace only if it has as many columns as PR.

    Parameters
    ----------
    form : FactorForm or SelfAdjointForm
        G.
    columns : int
        Columns of the pilot, at least 2.
    samples : int
        Samples that may be spent.
    rtol : float or None
        Relative accuracy at which fewer suffice.
    rng : Generator
        Source of the signs, which no estimate uses again: the choice does not bias it.
    """
    signs = random_signs(form.size, columns, form.dtype, rng)
    gram = form.gram(signs, form.images(signs))
    above = gram[np.triu_indices(columns, 1)]
    square = float(np.mean(above**2))
    if square == 0.0:
        return False
    ratio = float(np.mean(np.diagonal(gram))) ** 2 / square
    if rtol is not None:
        samples = min(samples, int(2.0 * (_REACH / rtol) ** 2 / ratio) + 1)
    return ratio < samples
