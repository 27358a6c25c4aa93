"""The parameter operator ``K = J J*``."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .._typing import FloatArray
from .._validation import check_choice
from ..cells.sites import WeightSites
from ..linearization import Linearization
from ..results import Cost
from . import _site_gram
from .base import ScaledOperator, StructuredOperator, check_linearization
from .parameter_jacobian import ParameterJacobian


class ParameterOperator(StructuredOperator):
    """Gram operator of the one-step parameter Jacobian, the bottleneck of learning.

    ``K q = sum_g D^g (U^g U^g* (D^g q))`` over the weight sites: it couples all trials and steps,
    and, for site cells, no two different units.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.
    normalization : {"sum", "mean"}
        Plain sum over trials and steps, or the paper's average: ``K_sum = B T K_mean``.

    Notes
    -----
    Shape ``(B, T, N) -> (B, T, N)``, self-adjoint and positive semi-definite. A product costs
    ``4 B T m H k`` flops a site of ``m`` features; the temporary memory is that of a few units.

    For cells with weight sites the ``exact_`` methods give trace, norm, spectrum, eigenvectors
    and partial traces in closed form, in float64 whatever the operator's precision; they are what
    :func:`kpflow_numerics.trace` and its kin call. ``exact_cost`` tells their price, and is None
    where there is no closed form.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> K = kpf.ParameterOperator(lin)
    >>> K.apply(np.ones((2, 5, 8))).shape
    (2, 5, 8)
    """

    self_adjoint = True
    positive_semidefinite = True

    def __init__(self, linearization: Linearization, normalization: str = "sum") -> None:
        self.linearization = check_linearization(linearization)
        self.normalization = check_choice(normalization, "normalization", ("sum", "mean"))
        super().__init__(linearization.dims, linearization.dims, linearization.dtype)

    @cached_property
    def factor(self) -> ParameterJacobian | ScaledOperator:
        """The operator of which this is the Gram operator: ``J``, scaled if K is a mean."""
        J = ParameterJacobian(self.linearization)
        return J if self.normalization == "sum" else ScaledOperator(J, np.sqrt(self.scale))

    @property
    def scale(self) -> float:
        """What the plain sum over trials and steps is multiplied by."""
        n_trials, n_steps, _ = self.linearization.dims
        return 1.0 if self.normalization == "sum" else 1.0 / (n_trials * n_steps)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        product = self.linearization.param_gram(block)
        if self.normalization == "mean":
            product *= self.dtype.type(self.scale)
        return product

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self._apply_block(block)

    @property
    def _sites(self) -> WeightSites:
        sites = self.linearization.weight_sites
        if sites is None:
            raise AttributeError(
                f"{self.linearization.cell!r} has no weight sites, hence no closed forms for K."
            )
        return sites

    @cached_property
    def _unit_spectra(self) -> FloatArray:
        return _site_gram.unit_spectra(self._sites)

    def exact_cost(self, quantity: str) -> Cost | None:
        """Return what a closed form takes, or None where there is none.

        Parameters
        ----------
        quantity : str
            ``"trace"``, ``"frobenius_norm"``, ``"eigenvalues"``, ``"eigenpairs"`` or
            ``"partial_trace"``.
        """
        sites = self.linearization.weight_sites
        if sites is None:
            return None
        n_rows = sites.gains.shape[0] * sites.gains.shape[1]
        H, S = sites.n_units, sites.n_slots
        m = sum(group.features.shape[-1] for group in sites.groups)
        columns = sum(group.features.shape[-1] * len(group.row_blocks) for group in sites.groups)
        small = min(columns, S * n_rows)
        word = 8.0
        match quantity:
            case "trace":
                return Cost(2.0 * n_rows * (m + sites.gains[0, 0].size), word * n_rows * m)
            case "frobenius_norm":
                pairs = len(sites.names) * (len(sites.names) + 1) / 2
                return Cost(
                    2.0 * n_rows**2 * (m + pairs * H),
                    word
                    * n_rows
                    * ((len(sites.groups) + 2) * _site_gram.ROWS_AT_A_TIME + pairs * H),
                )
            case "eigenvalues":
                flops = H * (2.0 * S * n_rows * columns * small + 4.0 / 3.0 * small**3)
                return Cost(flops, word * (self.shape[0] + 2.0 * S * n_rows * columns))
            case "eigenpairs":
                flops = H * (2.0 * S * n_rows * columns * small + 4.0 / 3.0 * small**3)
                return Cost(flops, word * 4.0 * S * n_rows * columns)
            case "partial_trace":
                return Cost(2.0 * n_rows**2 * (m + sites.gains[0, 0].size), word * 3.0 * n_rows**2)
            case _:
                return None

    def exact_trace(self) -> float:
        """Return ``tr K = sum_g sum_bt |u^g_bt|^2 |D^g_bt|^2``."""
        return self.scale * _site_gram.trace(self._sites)

    def exact_frobenius_norm(self) -> float:
        """Return ``||K||_F``, ``O((B T)^2 (m + H))`` flops."""
        return self.scale * float(np.sqrt(_site_gram.squared_frobenius_norm(self._sites)))

    def exact_eigenvalues(self) -> FloatArray:
        """Return the whole spectrum, descending, from ``H`` small eigenproblems."""
        return self.scale * np.sort(self._unit_spectra, axis=None)[::-1]

    def exact_eigenpairs(self, k: int) -> tuple[FloatArray, FloatArray]:
        """Return the `k` leading eigenvalues and eigenvectors ``(n, k)``, each on one unit."""
        values, vectors = _site_gram.eigenpairs(self._sites, self._unit_spectra, k)
        return self.scale * values, vectors.astype(self.dtype, copy=False)

    def exact_partial_trace(self, over: tuple[str, ...]) -> FloatArray | None:
        """Return the partial trace over the named axes, or None where none is in closed form.

        Parameters
        ----------
        over : tuple of {"trial", "time", "unit"}
            The axes summed over: ``("unit",)`` leaves ``(B, T, B, T)``, ``("unit", "trial")``
            leaves ``(T, T)``, ``("unit", "time")`` ``(B, B)``, ``("trial", "time")`` ``(N, N)``.
        """
        match frozenset(over):
            case axes if axes == {"unit"}:
                return self.scale * _site_gram.unit_partial_trace(self._sites)
            case axes if axes == {"unit", "trial"}:
                return self.scale * np.einsum(
                    "btbs->ts", _site_gram.unit_partial_trace(self._sites)
                )
            case axes if axes == {"unit", "time"}:
                return self.scale * np.einsum(
                    "btct->bc", _site_gram.unit_partial_trace(self._sites)
                )
            case axes if axes == {"trial", "time"}:
                return self.scale * _site_gram.trial_time_partial_trace(self._sites)
            case _:
                return None
