"""The Gram operator ``P P*`` of the propagator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from .._threads import map_in_threads, n_threads
from .._typing import DTypeLike, FloatArray
from .._validation import check_real
from ..linearization import Linearization
from ..results import Cost
from . import _gramians, _product_costs
from ._cut_core import rounding_error
from ._single_precision import allows_single_precision
from .base import StructuredOperator, check_linearization
from .propagator import Propagator

Result = TypeVar("Result")


class PropagatorGram(StructuredOperator):
    """``P P*``: how far, and in how many directions, the dynamics spread a perturbation.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.

    Notes
    -----
    Shape ``(B, T, N) -> (B, T, N)``, self-adjoint, positive definite, block diagonal over trials.
    A product is two scans over the steps. The ``exact_`` methods go through the Gramians of
    control theory, trial by trial and in float64: ``O(B T N^3)`` flops for trace, norm and the
    partial traces over time, ``O(B T^2 N^3)`` for those that keep the time. ``exact_cost`` tells
    what each takes.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> kpf.PropagatorGram(lin)
    PropagatorGram((2, 5, 8) -> (2, 5, 8), float64)
    """

    self_adjoint = True
    positive_semidefinite = True

    def __init__(self, linearization: Linearization) -> None:
        self.linearization = check_linearization(linearization)
        super().__init__(linearization.dims, linearization.dims, linearization.dtype)
        self.n_blocks = linearization.dims[0]

    @cached_property
    def factor(self) -> Propagator:
        """The operator ``P`` of which this is the Gram operator."""
        return Propagator(self.linearization)

    def coarse(self) -> StructuredOperator | None:
        """Return the operator in ``float32``: it sees no features that could be cut."""
        return self.astype(np.float32)

    def _along(self, linearization: Linearization) -> PropagatorGram:
        return PropagatorGram(linearization)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        adjoint = self.linearization.propagate_adjoint(block)
        return self.linearization.propagate(adjoint, overwrite=True)

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self._apply_block(block)

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes; None for a cell without weight sites."""
        return _product_costs.in_place(
            _product_costs.propagation(self.linearization, k),
            _product_costs.propagation(self.linearization, k),
        )

    def _of_trials(
        self, function: Callable[[FloatArray], Result], trials: Iterable[int]
    ) -> list[Result]:
        """Return what `function` makes of the float64 state Jacobians ``(T, N, N)`` of a trial."""

        def of_trial(trial: int) -> Result:
            return function(_gramians.trial_jacobians(self.linearization, trial))

        return map_in_threads(of_trial, trials)

    def _sum_over_trials(self, function: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """Add up matrices, of which there are never more than a few at once."""
        trials, total = range(self.dims[0]), None
        for first in range(0, len(trials), n_threads()):
            found = self._of_trials(function, trials[first : first + n_threads()])
            while found:
                total = found.pop(0) if total is None else np.add(total, found.pop(0), out=total)
        return np.asarray(total)

    def _block_diagonal(
        self, function: Callable[[FloatArray], FloatArray], over: tuple[str, ...]
    ) -> FloatArray:
        """Put the matrix of each trial on the diagonal over trials."""
        n_trials, n_steps, n_state = self.dims
        kept = tuple(
            length for name, length in (("time", n_steps), ("unit", n_state)) if name not in over
        )
        side = math.prod(kept)
        result = np.zeros((n_trials, side, n_trials, side))
        for first in range(0, n_trials, n_threads()):
            trials = range(n_trials)[first : first + n_threads()]
            for trial, matrix in zip(trials, self._of_trials(function, trials), strict=True):
                result[trial, :, trial] = matrix.reshape(side, side)
        return result.reshape(n_trials, *kept, n_trials, *kept)

    def exact_cost(self, quantity: str, *arguments: Any) -> Cost | None:
        """Return what a closed form takes, or None where there is none.

        Parameters
        ----------
        quantity : str
            ``"trace"``, ``"frobenius_norm"``, ``"partial_trace"``, or
            ``"participation_ratio_bounds"`` with their width, whose flops count half where they
            are in ``float32``.
        *arguments
            What the exact method is given: for the partial trace, the axes `over`. Without them
            the cost is that of the dearest.
        """
        n_trials, n_steps, n_state = self.dims
        gemms = 2.0 * n_trials * n_steps * float(n_state) ** 3
        workers = min(n_trials, n_threads())
        # The state Jacobians of a trial, and once more while they are made; a few matrices beside.
        matrices = 8.0 * workers * (n_steps + 2.0) * float(n_state) ** 2
        match quantity:
            case "trace":
                return Cost(2.0 * gemms, 2.0 * matrices)
            case "frobenius_norm":
                return Cost(5.0 * gemms, 2.0 * matrices)
            case "participation_ratio_bounds":
                single = allows_single_precision(self.linearization, *arguments)
                return Cost((2.5 if single else 5.0) * gemms, 2.0 * matrices)
            case "partial_trace":
                over = arguments[0] if arguments else ()
                kept = [name for name in ("trial", "time", "unit") if name not in over]
                lengths = dict(zip(("trial", "time", "unit"), self.dims, strict=True))
                side = math.prod(lengths[name] for name in kept)
                of_trial = side // (n_trials if "trial" in kept else 1)
                result = 8.0 * (float(side) ** 2 + workers * float(of_trial) ** 2)
                if "time" in kept:
                    return Cost(gemms * (2.0 + n_steps / 2.0), 3.0 * matrices + result)
                return Cost(2.0 * gemms, 2.0 * matrices + result)
            case _:
                return None

    def exact_trace(self) -> float:
        """Return ``tr PP* = sum_t tr M_t``."""
        return sum(self._of_trials(_gramians.trace, range(self.dims[0])))

    def exact_frobenius_norm(self) -> float:
        """Return ``||PP*||_F``."""
        squares = self._of_trials(_gramians.squared_frobenius_norm, range(self.dims[0]))
        return float(np.sqrt(sum(squares)))

    def exact_participation_ratio_bounds(self, width: float) -> tuple[float, float] | None:
        """Return bounds of ``(tr PP*)^2 / ||PP*||_F^2``: its closed form, and what rounding may do.

        Parameters
        ----------
        width : float
            Relative width that the bounds may have, from 0. In ``float32`` if that is enough.

        Returns
        -------
        lower, upper : float
            Rounding is allowed for by ``10 eps sqrt(N)`` of trace and squared norm, which is
            measured (``benchmarks/rounding_of_cuts.py``) and not proved. None where they overflow.
        """
        width = check_real(width, "width", minimum=0)
        found = None
        if allows_single_precision(self.linearization, width):
            found = self._ratio_bounds(self.linearization.astype(np.float32), np.float32)
        return self._ratio_bounds(self.linearization, np.float64) if found is None else found

    def _ratio_bounds(
        self, linearization: Linearization, dtype: DTypeLike
    ) -> tuple[float, float] | None:
        def of_trial(trial: int) -> tuple[float, float]:
            A = linearization.state_jacobians(slice(trial, trial + 1), max_memory=math.inf)
            with np.errstate(over="ignore", invalid="ignore"):
                return _gramians.trace_and_squared_norm(A[0].astype(dtype, copy=False))

        found = map_in_threads(of_trial, range(self.dims[0]))
        total, squared = (sum(each) for each in zip(*found, strict=True))
        if not math.isfinite(total) or not math.isfinite(squared):
            return None
        value, rounding = total / squared * total, rounding_error(dtype, self.dims[2])
        return value * (1.0 - 3.0 * rounding), value * (1.0 + 3.0 * rounding)

    def exact_partial_trace(self, over: tuple[str, ...]) -> FloatArray:
        """Return the partial trace over the named axes.

        Parameters
        ----------
        over : tuple of {"trial", "time", "unit"}
            The axes summed over.

        Returns
        -------
        ndarray
            In float64, with the kept axes twice: ``("trial", "time")`` leaves ``(N, N)``,
            ``("unit",)`` leaves ``(B, T, B, T)``, all three a number.

        Notes
        -----
        With the time summed over, ``sum_t M_t`` or its trace: ``4 B T N^3`` flops. With the time
        kept, every block of the lower triangle is made: ``B T (T + 4) N^3`` flops.
        """
        of_trial = {
            (False, False): lambda A: np.asarray(_gramians.trace(A)),
            (False, True): _gramians.summed_controllability,
            (True, False): _gramians.unit_trace_blocks,
            (True, True): _gramians.whole,
        }["time" not in over, "unit" not in over]
        if "trial" in over:
            return self._sum_over_trials(of_trial)
        return self._block_diagonal(of_trial, over)
