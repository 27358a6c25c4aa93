"""Momentum: an operator on the errors of a window of iterations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse.linalg import LinearOperator

from ..._typing import FloatArray, ParamsLike
from ..._validation import InputError, InputTypeError, check_flag, check_real
from ...linearization import Linearization
from ...results import Cost
from .. import _product_costs
from ..base import StructuredOperator, check_linearization
from .preconditioned import check_preconditioner, precondition


class MomentumKernel(StructuredOperator):
    """What a step with momentum makes of the errors of the last iterations.

    With the errors ``err_1 .. err_L`` of L iterations, oldest first, and their sensitivities
    ``S_i``, the step after the last one moves the states, to first order, by
    ``dh = -eta sum_i c_i S_L M S_i* err_i``, ``c_i = beta^(L - i)``.

    Parameters
    ----------
    linearizations : sequence of Linearization
        One for each iteration, oldest first, all of the same sizes; the last is that of the network
        that is moved. Trials may differ from one to the next.
    momentum : float
        ``beta``, from 0 up to, but not including, 1.
    nesterov : bool
        Whether in Nesterov's form: ``c_L = 1 + beta``, and ``c_i = beta^(L - i + 1)`` before.
    preconditioner : mapping of str to array_like, or LinearOperator, optional
        M, as :class:`PreconditionedKernel` takes it. With ``beta = beta1``, M that of Adam
        (:func:`kpflow_numerics.adam_preconditioner`) and the result times
        ``(1 - beta1) / (1 - beta1^s)`` it is step s of Adam.

    Raises
    ------
    InputError, InputTypeError
        If an argument cannot be used.

    Notes
    -----
    Shape ``(L, B, T, N) -> (B, T, N)``. A product takes L of ``S*`` and one of ``S``.

    *What is linear.* The map from the errors of the window to the move, with the trajectories
    given; exactly so for SGD and momentum, and for Adam once its denominators are given.
    *What is not.* The errors are themselves made by the earlier moves, so that training as a whole
    is not a linear map; and Adam's denominators depend on the squares of the gradients, the last
    one's included. A window that starts after the first iteration leaves out ``beta^L`` of a steady
    past.

    *Steady state.* While errors and trajectories hardly change, the sum is
    ``NTK err / (1 - beta)``: a larger learning rate, and no other direction.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> rule = kpf.MomentumKernel([lin, lin, lin], momentum=0.5)
    >>> rule.coefficients
    array([0.25, 0.5 , 1.  ])
    >>> err = np.ones((2, 5, 8))
    >>> np.allclose(rule.apply(np.stack([err] * 3)), 1.75 * kpf.TangentKernel(lin).apply(err))
    True
    """

    def __init__(
        self,
        linearizations: Sequence[Linearization],
        momentum: float = 0.9,
        *,
        nesterov: bool = False,
        preconditioner: ParamsLike | LinearOperator | None = None,
    ) -> None:
        if isinstance(linearizations, Linearization) or not isinstance(linearizations, Sequence):
            raise InputTypeError(
                "linearizations must be a sequence of Linearization, one for each iteration; got "
                f"{type(linearizations).__name__}."
            )
        if not linearizations:
            raise InputError("linearizations must hold at least one Linearization; got none.")
        self.linearizations = tuple(check_linearization(each) for each in linearizations)
        last = self.linearizations[-1]
        for each in self.linearizations:
            same = (each.dims, each.dtype, dict(each.layout.shapes)) == (
                last.dims, last.dtype, dict(last.layout.shapes),
            )  # fmt: skip
            if not same:
                raise InputError(
                    "linearizations must be of one cell and precision, with equal numbers of "
                    f"trials and steps; got {each!r} beside {last!r}."
                )
        super().__init__((len(self.linearizations), *last.dims), last.dims, last.dtype)
        beta = check_real(momentum, "momentum", minimum=0.0, maximum=1.0, open_maximum=True)
        self.momentum, self.nesterov = beta, check_flag(nesterov, "nesterov")
        ages = np.arange(len(self.linearizations))[::-1]
        self.coefficients = beta**ages if not nesterov else beta ** (ages + 1) + (ages == 0)
        self.preconditioner = (
            None
            if preconditioner is None
            else check_preconditioner(preconditioner, last.layout, self.dtype)
        )

    def _apply_block(self, block: FloatArray) -> FloatArray:
        last, total = self.linearizations[-1], None
        for each, coefficient, errors in zip(
            self.linearizations, self.coefficients, block, strict=True
        ):
            gradient = each.sensitivity_adjoint(np.ascontiguousarray(errors))
            gradient *= self.dtype.type(coefficient)
            total = gradient if total is None else np.add(total, gradient, out=total)
        update = np.asarray(total)
        if self.preconditioner is not None:
            update = precondition(self.preconditioner, update)
        return last.sensitivity(update)

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        last = self.linearizations[-1]
        update = last.sensitivity_adjoint(block)
        if self.preconditioner is not None:
            update = precondition(self.preconditioner, update, adjoint=True)
        moved = [
            each.sensitivity(self.dtype.type(coefficient) * update)
            for each, coefficient in zip(self.linearizations, self.coefficients, strict=True)
        ]
        return np.stack(moved)

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes; None for a cell without weight sites."""
        last = self.linearizations[-1]
        one = _product_costs.one_after_another(
            _product_costs.propagation(last, k), _product_costs.jacobian(last, k)
        )
        if one is None or isinstance(self.preconditioner, LinearOperator):
            return None
        count = len(self.linearizations) + 1
        return Cost(count * one.flops, count * one.memory_bytes)
