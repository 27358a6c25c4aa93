"""The tangent kernel of the hidden states, ``NTK = P K P*``."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .._threads import map_in_threads, n_threads
from .._typing import FloatArray
from ..linearization import Linearization
from ..results import Cost
from . import _kernel_trace
from .base import StructuredOperator, check_linearization
from .sensitivity import Sensitivity


class TangentKernel(StructuredOperator):
    """Gram operator of the sensitivity, ``S S* = P K P*``.

    Gradient descent with a small step moves the states by ``dh/dtau = -NTK err`` [1]_.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.

    Notes
    -----
    Shape ``(B, T, N) -> (B, T, N)``, self-adjoint and positive semi-definite, of rank at most
    ``min(n, p)``. A plain sum over trials and steps. A product costs one of ``P*``, ``K`` and
    ``P``. For cells with weight sites ``exact_trace`` needs no products with the kernel:
    ``B T^2 N^3`` flops, one trial at a time and in float64.

    References
    ----------
    .. [1] KPFlow, arXiv 2507.06381.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> kpf.TangentKernel(lin)
    TangentKernel((2, 5, 8) -> (2, 5, 8), float64)
    """

    self_adjoint = True
    positive_semidefinite = True

    def __init__(self, linearization: Linearization) -> None:
        self.linearization = check_linearization(linearization)
        super().__init__(linearization.dims, linearization.dims, linearization.dtype)

    @cached_property
    def factor(self) -> Sensitivity:
        """The operator ``S`` of which this is the Gram operator."""
        return Sensitivity(self.linearization)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        linearization = self.linearization
        adjoint = linearization.propagate_adjoint(block)
        return linearization.propagate(linearization.param_gram(adjoint))

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self._apply_block(block)

    def exact_cost(self, quantity: str) -> Cost | None:
        """Return what the closed form of ``"trace"`` takes; None for all else."""
        if quantity != "trace" or self.linearization.weight_sites is None:
            return None
        n_trials, n_steps, n_state = self.dims
        flops = n_trials * (n_steps**2 + 4.0 * n_steps) * float(n_state) ** 3
        return Cost(flops, 5.0 * 8.0 * n_threads() * n_steps * float(n_state) ** 2)

    def exact_trace(self) -> float:
        """Return ``tr NTK = ||S||_F^2``."""
        sites = self.linearization.weight_sites
        if sites is None:
            raise AttributeError(
                f"{self.linearization.cell!r} has no weight sites, hence no closed form."
            )

        def of_trial(trial: int) -> float:
            jacobians = self.linearization.state_jacobians(
                slice(trial, trial + 1), max_memory=2**62
            )
            A = jacobians[0].astype(np.float64, copy=False)
            return _kernel_trace.trial_trace(sites, trial, A)

        return sum(map_in_threads(of_trial, range(self.dims[0])))
