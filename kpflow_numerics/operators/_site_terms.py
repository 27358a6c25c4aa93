"""Operators of the form ``K = sum_g D^g X^g X^g* D^g*``, by what their exact forms need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._typing import FloatArray
from ..cells.sites import WeightSites


@dataclass(frozen=True)
class SiteTerms:
    """A sum of Gram operators of weight sites, in float64.

    K, one of its sites alone and the Kronecker core ``(V V*) kron I`` (one site of gain one on
    every unit) are all of this form.

    Parameters
    ----------
    dims : tuple of int
        ``(B, T, N)``.
    features : tuple of ndarray, shape (B T, m)
        ``X`` of each group of sites; a column that several parameters share counts fully.
    gains : tuple of ndarray, shape (B T, G, S, H)
        ``D`` of the sites of each group, for each slot of the state.
    scale : float
        What the sum is multiplied by.
    """

    dims: tuple[int, int, int]
    features: tuple[FloatArray, ...]
    gains: tuple[FloatArray, ...]
    scale: float = 1.0

    @property
    def n_slots(self) -> int:
        """Number of slots ``S`` of the state."""
        return int(self.gains[0].shape[2])

    @property
    def n_units(self) -> int:
        """Number of units ``H``: no two of them are coupled."""
        return int(self.gains[0].shape[3])

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return sum(D.shape[1] for D in self.gains)

    @property
    def n_features(self) -> int:
        """Sum of the features of all groups."""
        return sum(X.shape[1] for X in self.features)

    def of_trial(self, trial: int) -> SiteTerms:
        """Return the diagonal block of one trial."""
        n_steps = self.dims[1]
        rows = slice(trial * n_steps, (trial + 1) * n_steps)
        return SiteTerms(
            (1, *self.dims[1:]),
            tuple(X[rows] for X in self.features),
            tuple(D[rows] for D in self.gains),
            self.scale,
        )

    def without_coupling_of_slots(self) -> SiteTerms:
        """Return the diagonal of the blocks over slots: each slot of a unit is a unit."""
        gains = tuple(D.reshape(*D.shape[:2], 1, -1) for D in self.gains)
        return SiteTerms(self.dims, self.features, gains, self.scale)

    def unit_blocks(self, units: slice = slice(None)) -> FloatArray:
        """Return the block of each unit, shape ``(units, S B T, S B T)``, slots outermost."""
        n_rows = len(self.features[0])
        n_slots = self.n_slots
        total: FloatArray | None = None
        for X, D in zip(self.features, self.gains, strict=True):
            D = D[..., units].transpose(3, 2, 0, 1)  # (units, S, B T, G)
            D = D.reshape(len(D), n_slots * n_rows, -1)
            part = D @ D.transpose(0, 2, 1)
            part *= np.tile(X @ X.T, (n_slots, n_slots))
            total = part if total is None else np.add(total, part, out=total)
        assert total is not None
        total *= self.scale
        return total


def site_terms(sites: WeightSites, scale: float = 1.0) -> SiteTerms:
    """Return the terms of ``K`` from a cell's weight sites."""
    n_trials, n_steps, n_sites, n_slots, n_units = sites.gains.shape
    D = sites.gains.reshape(-1, n_sites, n_slots, n_units).astype(np.float64, copy=False)
    members = [
        slice(group.first_site, group.first_site + len(group.row_blocks)) for group in sites.groups
    ]
    features = tuple(
        group.weighted_features.reshape(len(D), -1).astype(np.float64, copy=False)
        for group in sites.groups
    )
    dims = (n_trials, n_steps, n_slots * n_units)
    return SiteTerms(dims, features, tuple(D[:, each] for each in members), scale)
