"""Exact trace of the tangent kernel of a cell with weight sites, trial by trial."""

from __future__ import annotations

import numpy as np

from .._typing import FloatArray
from ..cells.sites import WeightSites
from . import _gramians


def trial_trace(sites: WeightSites, trial: int, A: FloatArray) -> float:
    """Return ``||S_b||_F^2`` of one trial, ``T^2 N^3`` flops in tall GEMMs.

    ``tr(P K P*) = sum_{s, s'} sum_g G^g[s, s'] D^g_s . diag((P*P)[s, s']) . D^g_s'``, with
    ``(P*P)[s, s'] = O_s A_s ... A_{s'+1}`` for ``s >= s'``.

    Parameters
    ----------
    sites : WeightSites
        The cell's sites along the trajectory.
    trial : int
        The trial.
    A : ndarray, shape (T, N, N)
        Its state Jacobians, in float64.
    """
    n_steps, n_state = A.shape[:2]
    n_slots, n_units = sites.n_slots, sites.n_units
    gains = sites.gains[trial].astype(np.float64, copy=False)
    grams = np.empty((len(sites.names), n_steps, n_steps))
    for group in sites.groups:
        X = group.weighted_features[trial].astype(np.float64, copy=False)
        grams[group.first_site : group.first_site + len(group.row_blocks)] = X @ X.T
    observed = _gramians.observability(A)
    # Y[s] holds (P*P)[s, s'] for the s' that the loop has reached; row blocks s < s' are unused.
    Y = np.empty_like(observed)
    total = 0.0
    for earlier in range(n_steps - 1, -1, -1):
        if earlier < n_steps - 1:
            later = Y[earlier + 1 :].reshape(-1, n_state) @ A[earlier + 1]
            Y[earlier + 1 :] = later.reshape(-1, n_state, n_state)
        Y[earlier] = observed[earlier]
        blocks = Y[earlier:].reshape(-1, n_slots, n_units, n_slots, n_units)
        diagonal = np.einsum("nahbh->nabh", blocks)
        pairs = np.einsum(
            "ngah,nabh,gbh->gn", gains[earlier:], diagonal, gains[earlier], optimize=True
        )
        weighted = grams[:, earlier, earlier:] * pairs
        total += 2.0 * float(weighted.sum()) - float(weighted[:, 0].sum())
    return total
