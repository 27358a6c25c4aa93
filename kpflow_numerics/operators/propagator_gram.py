"""The Gram operator ``P P*`` of the propagator."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

import numpy as np

from .._threads import map_in_threads, n_threads
from .._typing import FloatArray
from ..linearization import Linearization
from ..results import Cost
from . import _gramians
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
    control theory, one trial at a time and in float64: ``O(B T N^3)`` flops for trace and norm,
    ``O(B T^2 N^3)`` for the partial traces over units.

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

    @cached_property
    def factor(self) -> Propagator:
        """The operator ``P`` of which this is the Gram operator."""
        return Propagator(self.linearization)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        return self.linearization.propagate(self.linearization.propagate_adjoint(block))

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self._apply_block(block)

    def _of_each_trial(self, function: Callable[[FloatArray], Result]) -> list[Result]:
        """Return what `function` makes of the float64 state Jacobians ``(T, N, N)`` of a trial."""

        def of_trial(trial: int) -> Result:
            jacobians = self.linearization.state_jacobians(
                slice(trial, trial + 1), max_memory=2**62
            )
            return function(jacobians[0].astype(np.float64, copy=False))

        return map_in_threads(of_trial, range(self.dims[0]))

    def exact_cost(self, quantity: str) -> Cost | None:
        """Return what a closed form takes, or None where there is none.

        Parameters
        ----------
        quantity : str
            ``"trace"``, ``"frobenius_norm"`` or ``"partial_trace"``.
        """
        n_trials, n_steps, n_state = self.dims
        gemms = 2.0 * n_trials * n_steps * float(n_state) ** 3
        matrices = 8.0 * n_threads() * n_steps * float(n_state) ** 2
        match quantity:
            case "trace":
                return Cost(2.0 * gemms, matrices)
            case "frobenius_norm":
                return Cost(5.0 * gemms, 2.0 * matrices)
            case "partial_trace":
                return Cost(gemms * (2.0 + n_steps / 2.0), 3.0 * matrices)
            case _:
                return None

    def exact_trace(self) -> float:
        """Return ``tr PP* = sum_t tr M_t``."""
        return sum(self._of_each_trial(_gramians.trace))

    def exact_frobenius_norm(self) -> float:
        """Return ``||PP*||_F``."""
        return float(np.sqrt(sum(self._of_each_trial(_gramians.squared_frobenius_norm))))

    def exact_partial_trace(self, over: tuple[str, ...]) -> FloatArray | None:
        """Return the partial trace over the named axes, or None where none is in closed form.

        Parameters
        ----------
        over : tuple of {"trial", "time", "unit"}
            The axes summed over: ``("trial", "time")`` leaves ``(N, N)``, ``("unit", "trial")``
            leaves ``(T, T)``, ``("unit",)`` leaves ``(B, T, B, T)``.
        """
        n_trials, n_steps, _ = self.dims
        match frozenset(over):
            case axes if axes == {"trial", "time"}:
                return np.sum(self._of_each_trial(_gramians.summed_controllability), axis=0)
            case axes if axes == {"unit", "trial"}:
                return np.sum(self._of_each_trial(_gramians.unit_trace_blocks), axis=0)
            case axes if axes == {"unit"}:
                total = np.zeros((n_trials, n_steps, n_trials, n_steps))
                for trial, blocks in enumerate(self._of_each_trial(_gramians.unit_trace_blocks)):
                    total[trial, :, trial] = blocks
                return total
            case _:
                return None
