"""The part ``K_g`` of the parameter operator that goes through one weight site."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .._typing import FloatArray
from .._validation import InputError, check_choice
from ..cells.sites import WeightSites
from ..linearization import Linearization
from ..results import Cost
from ._site_forms import SiteForms
from .base import ScaledOperator, StructuredOperator, check_linearization


class SiteOperator(SiteForms):
    """Gram operator ``K_g`` of one weight site: ``K = sum_g K_g`` over the sites of a cell.

    ``K_g q = D^g (U^g U^g* (D^g* q))``: what the weights ``W_g`` alone can do to the states in one
    step. A GRU has the sites ``"r", "z", "nh", "n"``, an LSTM ``"i", "f", "g", "o"``, the others
    ``"a"`` alone, which is all of K.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives of a cell with weight sites.
    site : str
        The name of the site.
    normalization : {"sum", "mean"}
        Plain sum over trials and steps, or their average, as in
        :class:`~kpflow_numerics.ParameterOperator`.

    Raises
    ------
    InputError
        If the cell has no weight sites, or none of this name.

    See Also
    --------
    kpflow_numerics.ParameterOperator.sites : All of them.
    kpflow_numerics.rank_bounds : Their effective ranks against those of their features.

    Notes
    -----
    Shape ``(B, T, N) -> (B, T, N)``, self-adjoint and positive semi-definite. A product costs
    ``4 B T m H k`` flops for ``m`` features, beside a copy of the site's gains (``B T N`` numbers).
    The ``exact_`` methods are those of K, with one site.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.GRU(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> K = kpf.ParameterOperator(lin)
    >>> parts = [kpf.SiteOperator(lin, site).exact_trace() for site in ("r", "z", "nh", "n")]
    >>> bool(np.isclose(sum(parts), K.exact_trace()))
    True
    """

    self_adjoint = True
    positive_semidefinite = True

    def __init__(self, linearization: Linearization, site: str, normalization: str = "sum") -> None:
        self.linearization = check_linearization(linearization)
        sites = linearization.weight_sites
        if sites is None:
            raise InputError(
                f"linearization must be of a cell with weight sites; {linearization.cell!r} has "
                "none. Use ParameterOperator, which needs none."
            )
        self.site = check_choice(site, "site", sites.names)
        self.normalization = check_choice(normalization, "normalization", ("sum", "mean"))
        self._restricted = sites.restricted_to(site)
        super().__init__(linearization.dims, linearization.dims, linearization.dtype)

    @cached_property
    def factor(self) -> StructuredOperator:
        """The operator of which this is the Gram operator, on all ``p`` parameters."""
        J = SiteJacobian(self.linearization, self._restricted)
        return J if self.normalization == "sum" else ScaledOperator(J, np.sqrt(self.scale))

    @property
    def scale(self) -> float:
        """What the plain sum over trials and steps is multiplied by."""
        n_trials, n_steps, _ = self.linearization.dims
        return 1.0 if self.normalization == "sum" else 1.0 / (n_trials * n_steps)

    @property
    def _sites_or_none(self) -> WeightSites:
        return self._restricted

    def _apply_block(self, block: FloatArray) -> FloatArray:
        product = self._restricted.param_gram(block)
        if self.normalization == "mean":
            product *= self.dtype.type(self.scale)
        return product

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self._apply_block(block)

    def product_cost(self, k: int = 1) -> Cost:
        """Return what a product with `k` columns takes."""
        n_trials, n_steps, n_state = self.linearization.dims
        (group,) = self._restricted.groups
        steps = float(n_trials * n_steps) * k
        flops = 4.0 * steps * group.features.shape[-1] * self._restricted.n_units
        return Cost(flops, 1.5 * self.dtype.itemsize * steps * n_state)


class SiteJacobian(StructuredOperator):
    """The columns of ``J`` of one site's parameters, the others zero.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives of a cell with weight sites.
    restricted : WeightSites
        Its sites, restricted to one.

    Notes
    -----
    Shape ``(p,) -> (B, T, N)``, in the cell's parameter order, so that ``J`` is their sum.
    """

    def __init__(self, linearization: Linearization, restricted: WeightSites) -> None:
        self._layout = linearization.layout
        self._restricted = restricted
        super().__init__((linearization.n_parameters,), linearization.dims, linearization.dtype)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        return self._restricted.param_jvp(self._layout.unpack(block))

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self._layout.pack(self._restricted.param_vjp(block, self._layout.shapes))

    def product_cost(self, k: int = 1) -> Cost:
        """Return what a product, or an adjoint product, with `k` columns takes."""
        n_trials, n_steps, n_state = self.dimsd
        (group,) = self._restricted.groups
        steps = float(n_trials * n_steps) * k
        flops = 2.0 * steps * group.features.shape[-1] * self._restricted.n_units
        return Cost(flops, self.dtype.itemsize * (steps * n_state + 2.0 * self.dims[0] * k))
