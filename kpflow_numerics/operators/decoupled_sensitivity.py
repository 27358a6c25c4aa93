"""The sensitivity with parameters of its own for every trial."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .._typing import FloatArray
from .._validation import check_integer
from ..linearization import Linearization
from ..results import Cost
from . import _product_costs
from .base import StructuredOperator, check_linearization


class DecoupledSensitivity(StructuredOperator):
    """Block diagonal of the sensitivities ``S_g = dh_g/dtheta`` of groups of trials.

    Its adjoint gives the gradient of every group by itself, where that of the sensitivity adds them
    up. ``|S|_F`` and the diagonal blocks of the tangent kernel are the same.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.
    n_groups : int, optional
        Groups of consecutive trials, as equal as can be; by default each trial is one.

    Notes
    -----
    Shape ``(n_groups, p) -> (B, T, N)``. A product takes as many flops as one of the sensitivity.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> kpf.DecoupledSensitivity(lin)
    DecoupledSensitivity((2, 104) -> (2, 5, 8), float64)
    """

    def __init__(self, linearization: Linearization, n_groups: int | None = None) -> None:
        self.linearization = check_linearization(linearization)
        n_trials = linearization.dims[0]
        if n_groups is None:
            n_groups = n_trials
        self.n_groups = check_integer(n_groups, "n_groups", maximum=n_trials)
        ends = [n_trials * group // self.n_groups for group in range(self.n_groups + 1)]
        self._groups = [slice(*each) for each in pairwise(ends)]
        dims = (self.n_groups, linearization.n_parameters)
        super().__init__(dims, linearization.dims, linearization.dtype)

    def _along(self, linearization: Linearization) -> DecoupledSensitivity:
        return DecoupledSensitivity(linearization, self.n_groups)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        moved = np.empty((*self.dimsd, block.shape[-1]), self.dtype)
        for columns, trials in zip(block, self._groups, strict=True):
            moved[trials] = self.linearization.of_trials(trials).param_jvp(columns)
        return self.linearization.propagate(moved, overwrite=True)

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        moved = self.linearization.propagate_adjoint(block)
        return self.linearization.param_vjp_of_groups(moved, self._groups)

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes; None for a cell without weight sites."""
        found = _product_costs.in_place(
            _product_costs.jacobian(self.linearization, k),
            _product_costs.propagation(self.linearization, k),
        )
        if found is None:
            return None
        entries = float(sum(self.shape)) * k
        return Cost(found.flops, found.memory_bytes + entries * self.dtype.itemsize)
