"""The tangent kernel of the hidden states, ``NTK = P K P*``."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from .._threads import map_in_threads, n_threads
from .._typing import DTypeLike, FloatArray
from .._validation import check_real
from ..cells.sites import WeightSites
from ..linearization import Linearization
from ..results import Cost
from . import _cut_core, _kernel_seeds, _kernel_trace, _product_costs
from ._cut_core import rounding_error
from ._gramians import trial_jacobians
from ._single_precision import allows_single_precision
from ._site_terms import site_terms
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
    ``P``. For cells with weight sites ``exact_trace`` needs no products with the kernel: at most
    ``B T^2 N^3`` flops, one trial at a time and in float64; ``exact_trace_bounds`` takes a
    fraction of them. ``exact_participation_ratio_bounds`` needs a pass over the columns of the
    sensitivity to the few features that carry most of the activity.

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

    def _along(self, linearization: Linearization) -> TangentKernel:
        return TangentKernel(linearization)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        return self.linearization.tangent_kernel(block)

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self._apply_block(block)

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes; None for a cell without weight sites."""
        return _product_costs.tangent_kernel(self.linearization, k)

    def exact_cost(self, quantity: str, *arguments: Any) -> Cost | None:
        """Return what a closed form takes, or None where there is none.

        Parameters
        ----------
        quantity : str
            ``"trace"``, or ``"trace_bounds"`` or ``"participation_ratio_bounds"`` with the
            relative width as an argument, whose cost is a guess: it depends on how smooth the
            activity is, and on how few features carry it. Flops in ``float32`` count half.
        *arguments
            Of the closed form.
        """
        sites = self.linearization.weight_sites
        if sites is None:
            return None
        if quantity == "participation_ratio_bounds":
            return self._participation_ratio_cost(*arguments)
        if quantity not in ("trace", "trace_bounds"):
            return None
        n_trials, n_steps, n_state = self.dims
        threads = min(n_threads(), n_trials)
        matrices = 5.0 * 8.0 * threads * n_steps * float(n_state) ** 2
        blocks = n_trials * (n_steps**2 + 4.0 * n_steps) * float(n_state) ** 3
        if quantity == "trace":
            return Cost(blocks, matrices)
        single = allows_single_precision(self.linearization, *arguments)
        seeds = _kernel_seeds.expected_flops(sites, *arguments) * (0.5 if single else 1.0)
        return Cost(min(seeds, blocks), _kernel_seeds.memory_bytes(sites) * threads)

    def exact_trace(self) -> float:
        """Return ``tr NTK = ||S||_F^2``, each trial by the cheaper of two algorithms.

        Through the row blocks of ``P* P``, ``T^2 N^3`` flops a trial; or through scans of as many
        seeds as the trial's blocks of K have eigenvalues above rounding, ``2 T N^2`` flops each,
        where its activity has so low a rank that this is less.
        """
        sites = self._sites
        terms = site_terms(sites)

        def of_trial(trial: int) -> float:
            A, own = trial_jacobians(self.linearization, trial), terms.of_trial(trial)
            if _kernel_seeds.may_be_few(own):
                seeds = _kernel_seeds.unit_seeds(own)
                if 2.0 * seeds.n_above_rounding < A.shape[0] * A.shape[1]:
                    return _kernel_seeds.trace_bounds(seeds, A, 0.0)[0]
            return _kernel_trace.trial_trace(sites, trial, A)

        return sum(map_in_threads(of_trial, range(self.dims[0])))

    def exact_trace_bounds(self, width: float) -> tuple[float, float]:
        """Return certain bounds of the trace, no further apart than `width` of it.

        Parameters
        ----------
        width : float
            Relative width that the bounds may have, from 0.

        Returns
        -------
        lower, upper : float
            Without randomness, to rounding in float64: the lower is the trace of the kernel with
            K cut to its leading eigenvectors on each unit and trial, the upper adds a bound of
            what was cut. The truth is mostly much nearer to the lower.
        """
        width = check_real(width, "width", minimum=0)
        if allows_single_precision(self.linearization, width):
            rounding = rounding_error(np.float32, self.dims[2])
            own = (width * (1.0 - rounding) - 2.0 * rounding) / (1.0 + rounding)
            lower, upper = self._trace_bounds(own, np.float32)
            if np.isfinite(upper):
                return (1.0 - rounding) * lower, (1.0 + rounding) * upper
        return self._trace_bounds(width, np.float64)

    def _trace_bounds(self, width: float, dtype: DTypeLike) -> tuple[float, float]:
        """Return bounds of the trace from scans in a precision."""
        terms = site_terms(self._sites)

        def of_trial(trial: int) -> tuple[float, float]:
            seeds = _kernel_seeds.unit_seeds(terms.of_trial(trial))
            A = trial_jacobians(self.linearization, trial).astype(dtype, copy=False)
            return _kernel_seeds.trace_bounds(seeds, A, width)

        found = map_in_threads(of_trial, range(self.dims[0]))
        return sum(lower for lower, _ in found), sum(upper for _, upper in found)

    def exact_participation_ratio_bounds(self, width: float) -> tuple[float, float]:
        """Return certain bounds of ``(tr NTK)^2 / |NTK|_F^2``, at most `width` of it apart.

        Parameters
        ----------
        width : float
            Relative width that the bounds may have, from 0.

        Returns
        -------
        lower, upper : float
            Without randomness: the norm is that of the kernel with the features of each site cut
            to their leading directions, up to the square of the trace that the cut leaves out.
            Rounding is allowed for by ``10 eps sqrt(N)`` of each norm, which is measured
            (``benchmarks/rounding_of_cuts.py`` finds a tenth of it) and not proved; so they are
            never closer than some ``50 eps sqrt(N)`` of the ratio. Otherwise further apart than
            asked only where four cuts, ever finer, did not do.
        """
        width = check_real(width, "width", minimum=0)
        trace = self.exact_trace_bounds(0.2 * width)
        if self.dtype == np.float64 and allows_single_precision(self.linearization, width):
            single = self.linearization.astype(np.float32)
            lower, upper = _cut_core.participation_ratio_bounds(single, trace, width)
            if upper - lower <= width * lower:
                return lower, upper
        return _cut_core.participation_ratio_bounds(self.linearization, trace, width)

    def _participation_ratio_cost(self, width: float) -> Cost | None:
        trace, column = self.exact_cost("trace_bounds", 0.2 * width), self.product_cost(1)
        block = self.product_cost(_cut_core.COLUMNS)
        if trace is None or column is None or block is None:
            return None
        shares = _cut_core.core_shares(self.linearization)
        n_columns = shares.n_parameters(float(shares.tolerances(0.1 * width**0.5)[0]))
        single = self.dtype == np.float64 and allows_single_precision(self.linearization, width)
        # Squares are in float64, of a block's states or of its parameters beside it. A finer cut
        # stands beside the one that it continues, and so does a linearisation in float32.
        itemsize, parameters = self.dtype.itemsize, self.linearization.n_parameters
        half = 0.5 if single else 1.0
        squares = max(8 * self.shape[0], (2 * half * itemsize + 8) * parameters)
        columns = float(_cut_core.COLUMNS) * (squares + half * itemsize * parameters)
        kept = (3.0 if single else 2.0) * self.linearization.memory_bytes
        memory = half * (block.memory_bytes + kept) + columns
        flops = trace.flops + half * n_columns * column.flops
        return Cost(flops, max(trace.memory_bytes, memory))

    @property
    def _sites(self) -> WeightSites:
        sites = self.linearization.weight_sites
        if sites is None:
            raise AttributeError(
                f"{self.linearization.cell!r} has no weight sites, hence no closed form."
            )
        return sites
