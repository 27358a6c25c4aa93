"""Closed forms of Gram operators over weight sites: those of K, and of its part of one site."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from functools import cached_property

import numpy as np

from .._threads import n_threads
from .._typing import FloatArray
from ..cells.sites import WeightSites
from ..linearization import Linearization
from ..results import Cost
from . import _schmidt, _site_gram
from .base import StructuredOperator

WORD = 8.0


class SiteForms(StructuredOperator):
    """Exact quantities of ``scale * sum_g D^g X^g X^g* D^g*``, all of them in float64.

    A subclass says which sites are summed, and the scale.
    """

    linearization: Linearization

    @property
    @abstractmethod
    def scale(self) -> float:
        """What the plain sum over trials and steps is multiplied by."""

    @property
    @abstractmethod
    def _sites_or_none(self) -> WeightSites | None:
        """The sites summed over, where the cell has sites."""

    @property
    def _sites(self) -> WeightSites:
        sites = self._sites_or_none
        if sites is None:
            raise AttributeError(
                f"{self.linearization.cell!r} has no weight sites, hence no closed forms for K."
            )
        return sites

    @cached_property
    def _unit_spectra(self) -> FloatArray:
        return _site_gram.unit_spectra(self._sites)

    def exact_cost(self, quantity: str, *arguments: object) -> Cost | None:
        """Return what a closed form takes, or None where there is none.

        Parameters
        ----------
        quantity : str
            ``"trace"``, ``"frobenius_norm"``, ``"eigenvalues"``, ``"eigenpairs"``,
            ``"partial_trace"`` or ``"schmidt"``.
        *arguments
            What the closed form takes. The cost of a partial trace depends on its axes; without
            any it is that over the units.
        """
        sites = self._sites_or_none
        if sites is None:
            return None
        n_rows = sites.gains.shape[0] * sites.gains.shape[1]
        H, S = sites.n_units, sites.n_slots
        m = sum(group.features.shape[-1] for group in sites.groups)
        columns = sum(group.features.shape[-1] * len(group.row_blocks) for group in sites.groups)
        small = min(columns, S * n_rows)
        gains = sites.gains[0, 0].size
        factor = float(S * n_rows) * columns
        workers = min(H, n_threads())
        match quantity:
            case "trace":
                return Cost(2.0 * n_rows * (m + gains), WORD * 2.0 * n_rows * (m + gains))
            case "frobenius_norm":
                pairs = len(sites.names) * (len(sites.names) + 1) / 2
                chunk = n_threads() * (len(sites.groups) + 1) * _site_gram.NORM_ROWS
                return Cost(
                    float(n_rows) ** 2 * (m + pairs * H), WORD * n_rows * (m + chunk + pairs * H)
                )
            case "eigenvalues":
                flops = H * (2.0 * S * n_rows * columns * small + 4.0 / 3.0 * small**3)
                own = 2.0 * factor + n_rows * m + 2.0 * float(small) ** 2
                return Cost(flops, WORD * (2.0 * self.shape[0] + workers * own))
            case "eigenpairs":
                flops = H * (2.0 * S * n_rows * columns * small + 4.0 / 3.0 * small**3)
                k = arguments[0] if arguments else 1
                assert isinstance(k, int | np.integer)
                own = 4.0 * factor + n_rows * m + 4.0 * float(small) ** 2
                if k > small:
                    own += 2.0 * float(S * n_rows) ** 2
                kept = float(self.shape[0]) * (2.0 + int(k))
                return Cost(flops, WORD * (kept + workers * own))
            case "partial_trace":
                over = arguments[0] if arguments else ("unit",)
                assert isinstance(over, Iterable)
                return _partial_trace_cost(sites, frozenset(over))
            case "schmidt":
                return _schmidt.cost(sites)
            case _:
                return None

    def exact_trace(self) -> float:
        """Return the trace, ``sum_g sum_bt |u^g_bt|^2 |D^g_bt|^2``."""
        return self.scale * _site_gram.trace(self._sites)

    def exact_frobenius_norm(self) -> float:
        """Return the Frobenius norm, ``O((B T)^2 (m + H))`` flops."""
        return self.scale * float(np.sqrt(_site_gram.squared_frobenius_norm(self._sites)))

    def exact_eigenvalues(self) -> FloatArray:
        """Return the whole spectrum, descending, from ``H`` small eigenproblems."""
        return self.scale * np.sort(self._unit_spectra, axis=None)[::-1]

    def exact_eigenpairs(self, k: int) -> tuple[FloatArray, FloatArray]:
        """Return the `k` leading eigenvalues and eigenvectors ``(n, k)``, each on one unit."""
        values, vectors = _site_gram.eigenpairs(self._sites, self._unit_spectra, k)
        return self.scale * values, vectors.astype(self.dtype, copy=False)

    def exact_partial_trace(self, over: Iterable[str]) -> FloatArray | None:
        """Return the partial trace over the named axes, any of them.

        Parameters
        ----------
        over : iterable of {"trial", "time", "unit"}
            The axes summed over: ``("unit",)`` leaves ``(B, T, B, T)``, ``("unit", "trial")``
            leaves ``(T, T)``, ``("trial", "time")`` ``(N, N)``, none of them the whole matrix,
            all of them a number.
        """
        reduced = _site_gram.partial_trace(self._sites, over)
        reduced *= self.scale
        return reduced

    def exact_schmidt(self) -> tuple[FloatArray, FloatArray, float]:
        """Return Schmidt values across (trial, time) | unit, the leading unit factor, the rest.

        Returns
        -------
        values : ndarray, shape (r,)
            Descending; their squares sum to the squared Frobenius norm.
        unit_factor : ndarray, shape (N, N)
            Of unit norm and non-negative trace.
        rest : float
            Frobenius distance to the nearest Kronecker product, to rounding even if it is tiny.
        """
        values, factor, rest = _schmidt.decompose(self._sites)
        return self.scale * values, factor, self.scale * rest


def _partial_trace_cost(sites: WeightSites, over: frozenset[str]) -> Cost:
    n_trials, n_steps, n_sites, S, H = sites.gains.shape
    n_rows = n_trials * n_steps
    m = sum(group.features.shape[-1] for group in sites.groups)
    n_kept = (1 if "trial" in over else n_trials) * (1 if "time" in over else n_steps)
    side = n_kept * (1 if "unit" in over else S * H)
    if n_kept == 1:
        gains = sites.gains[0, 0].size
        flops = 2.0 * n_rows * (m + gains * S)
        return Cost(flops, WORD * (n_rows * (2.0 * m + 3.0 * gains) + float(side) ** 2))
    chunk = float(min(_site_gram.ROWS_AT_A_TIME, n_rows)) * n_kept
    gathered = 2.0 * n_rows * (m + sites.gains[0, 0].size)
    if "unit" in over:
        flops, chunks = float(n_sites) * S * H, 2.0
    else:
        flops, chunks = 1.5 * n_sites * S**2 * H, len(sites.groups) + n_threads()
    return Cost(
        2.0 * n_rows * n_kept * (m + flops), WORD * (float(side) ** 2 + chunks * chunk + gathered)
    )
