"""The parameter operator ``K = J J*``."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from .._typing import FloatArray
from .._validation import check_choice
from ..cells.low_rank_sites import LowRankSites
from ..cells.sites import WeightSites
from ..linearization import Linearization
from ..results import Cost
from . import _low_rank_forms, _product_costs
from ._site_forms import SiteForms
from .base import ScaledOperator, check_linearization
from .parameter_jacobian import ParameterJacobian
from .site_operator import SiteOperator


class ParameterOperator(SiteForms):
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

    For cells with weight sites the ``exact_`` methods give trace, norm, spectrum, eigenvectors,
    partial traces and the Schmidt decomposition in closed form, in float64 whatever the operator's
    precision; they are what :func:`kpflow_numerics.trace` and its kin call. For
    :class:`~kpflow_numerics.LowRankRNN` trace, norm, and the partial traces over the units and over
    trials and steps have one. ``exact_cost`` tells their price, and is None where there is none.
    ``sites`` are the parts of K that go through one weight site each.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> K = kpf.ParameterOperator(lin)
    >>> K.apply(np.ones((2, 5, 8))).shape
    (2, 5, 8)
    >>> [*K.sites]
    ['a']
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

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes; None for a cell without weight sites."""
        return _product_costs.gram(self.linearization, k)

    @property
    def _sites_or_none(self) -> WeightSites | None:
        return self.linearization.weight_sites

    @property
    def _low_rank(self) -> LowRankSites | None:
        return self.linearization.low_rank_sites

    def exact_cost(self, quantity: str, *arguments: object) -> Cost | None:
        """Return what a closed form takes, or None where there is none; see the notes."""
        if self._low_rank is not None:
            return _low_rank_forms.cost(self._low_rank, quantity, *arguments)
        return super().exact_cost(quantity, *arguments)

    def exact_trace(self) -> float:
        """Return the trace, from norms of features and gains alone."""
        if self._low_rank is not None:
            return self.scale * _low_rank_forms.trace(self._low_rank)
        return super().exact_trace()

    def exact_frobenius_norm(self) -> float:
        """Return the Frobenius norm, ``O((B T)^2 (m + H))`` flops."""
        if self._low_rank is not None:
            squared = _low_rank_forms.squared_frobenius_norm(self._low_rank)
            return self.scale * float(np.sqrt(squared))
        return super().exact_frobenius_norm()

    def exact_partial_trace(self, over: Iterable[str]) -> FloatArray | None:
        """Return the partial trace over the named axes; None where it has no closed form."""
        if self._low_rank is None:
            return super().exact_partial_trace(over)
        reduced = _low_rank_forms.partial_trace(self._low_rank, over)
        return None if reduced is None else self.scale * reduced

    @cached_property
    def sites(self) -> dict[str, SiteOperator]:
        """The parts ``K_g`` of ``K = sum_g K_g``, by the names of the weight sites."""
        return {
            name: SiteOperator(self.linearization, name, self.normalization)
            for name in self._sites.names
        }
