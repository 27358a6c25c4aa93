"""The factorisation ``P = Phi V Phi^-1`` of the propagator: true, and useless for computing."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .._typing import FloatArray, RNGLike
from .._validation import InputError, check_rng
from ..linearization import Linearization
from ..operators import InversePropagator, Propagator, StructuredOperator
from ..operators.base import check_linearization
from ..spectral._budget import check_max_memory, check_memory


class VolterraOperator(StructuredOperator):
    """Volterra integration V: the running sum over the steps of every trial and unit.

    All ones on and below the diagonal over time, the identity over trials and units.

    Parameters
    ----------
    dims : tuple of int
        Shape ``(B, T, N)``.
    dtype : dtype_like
        ``float64`` or ``float32``.

    Notes
    -----
    ``B T N k`` additions a product. Its singular values over time are
    ``1 / (2 sin((2 j - 1) pi / (4 T + 2)))``, ``j = 1 ... T``.

    Examples
    --------
    >>> import numpy as np
    >>> VolterraOperator((1, 4, 1), np.float64).apply(np.ones((1, 4, 1))).ravel()
    array([1., 2., 3., 4.])
    """

    def __init__(self, dims: tuple[int, int, int], dtype: np.dtype[np.floating]) -> None:
        super().__init__(dims, dims, dtype)
        self.n_blocks = dims[0]

    def _apply_block(self, block: FloatArray) -> FloatArray:
        return np.cumsum(block, axis=1)

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return np.ascontiguousarray(np.cumsum(block[:, ::-1], axis=1)[:, ::-1])


class FundamentalSolution(StructuredOperator):
    """The propagator as ``P = Phi V Phi^-1``, to see what the formula is worth.

    ``Phi_1 = I, Phi_t = A_t Phi_{t-1}`` is the fundamental solution of the linearised dynamics, and
    V the integration over time (:class:`VolterraOperator`). The formula is exact in exact
    arithmetic, and useless for computing: the condition number of ``Phi_t`` grows exponentially
    with t, and the relative error is about eps times that. Measured on vanilla networks at
    initialisation: 2e-9 at N = 32 and T = 6, 2e-8 at N = 8 and T = 15, and no digit left at twice
    that length; on a GRU, 1e-10 at T = 30 and none at T = 90. Only a slow leak (0.1) keeps it small
    (3e-13 at T = 90). :class:`kpflow_numerics.Propagator` goes through the recursion
    ``(P q)_t = q_t + A_t (P q)_{t-1}`` instead, which loses nothing. `condition_numbers` and
    `reconstruction_error` measure it for the network at hand.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.
    max_memory : float, optional
        Bytes of working memory; by default 4 GiB.

    Raises
    ------
    InputTypeError
        If `linearization` is not one.
    InputError
        If a fundamental matrix is singular to the last bit, or not finite, so that the formula
        does not apply.
    MemoryLimitError
        If ``Phi`` would take more than `max_memory`.

    Notes
    -----
    Shape ``(B, T, N) -> (B, T, N)``. ``2 B T N^3`` flops and ``3 B T N^2`` numbers of memory to
    make; a product solves with every ``Phi_t``: ``B T (2/3 N^3 + 4 N^2 k)`` flops.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 6, 3))))
    >>> solution = kpf.FundamentalSolution(lin)
    >>> solution.phi.shape, solution.condition_numbers.shape
    ((2, 6, 8, 8), (2, 6))
    >>> 1e-16 < solution.reconstruction_error() < 1e-10
    True
    """

    def __init__(self, linearization: Linearization, max_memory: float | None = None) -> None:
        self.linearization = check_linearization(linearization)
        dims, dtype = linearization.dims, linearization.dtype
        super().__init__(dims, dims, dtype)
        self.n_blocks = dims[0]
        check_memory(
            3.0 * dims[0] * dims[1] * dims[2] ** 2 * dtype.itemsize,
            check_max_memory(max_memory),
            f"The fundamental solution of shape {(*dims, dims[2])}",
            "Use kpf.Propagator, fewer trials or steps, or raise max_memory.",
        )
        self.phi = self._solution()

    def _solution(self) -> FloatArray:
        phi = self.linearization.state_jacobians(max_memory=np.inf)
        phi[:, 0] = np.eye(self.dims[2], dtype=self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for t in range(1, self.dims[1]):
                phi[:, t] = phi[:, t] @ phi[:, t - 1]
        bad = ~np.isfinite(phi).all(axis=(2, 3))
        if not bad.any():
            bad = np.linalg.slogdet(phi)[0] == 0
        if bad.any():
            trial, step = np.argwhere(bad)[0]
            raise InputError(
                f"The fundamental matrix of trial {trial} at step {step + 1} is singular or not "
                "finite, so that P = Phi V Phi^-1 does not apply; use kpf.Propagator, which needs "
                "no inverse."
            )
        return phi

    @cached_property
    def volterra(self) -> VolterraOperator:
        """The operator V."""
        n_trials, n_steps, n_state = self.linearization.dims
        return VolterraOperator((n_trials, n_steps, n_state), self.dtype)

    @cached_property
    def inverse(self) -> InversePropagator:
        """The sparse inverse ``P^-1``, which needs no fundamental solution."""
        return InversePropagator(self.linearization)

    @cached_property
    def condition_numbers(self) -> FloatArray:
        """Condition number of every ``Phi_t`` in the 2-norm, ``(B, T)``; ``O(B T N^3)`` flops."""
        sigma = np.linalg.svd(self.phi, compute_uv=False)
        with np.errstate(divide="ignore"):
            numbers: FloatArray = sigma[..., 0] / sigma[..., -1]
        return numbers

    def reconstruction_error(self, n_columns: int = 8, rng: RNGLike = 0) -> float:
        """Return ``|Phi V Phi^-1 X - P X| / |P X|`` in the Frobenius norm.

        Parameters
        ----------
        n_columns : int
            Columns of X, standard normal.
        rng : int, SeedSequence or Generator
            Where they come from.

        Returns
        -------
        float
            Infinite where the formula overflows.
        """
        generator = check_rng(rng)
        X = generator.standard_normal((*self.dims, n_columns)).astype(self.dtype, copy=False)
        expected = Propagator(self.linearization).apply(X).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            error = np.linalg.norm(self.apply(X) - expected) / np.linalg.norm(expected)
        return float(error) if np.isfinite(error) else np.inf

    def _apply_block(self, block: FloatArray) -> FloatArray:
        return self.phi @ self.volterra._apply_block(np.linalg.solve(self.phi, block))

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        transposed = self.phi.swapaxes(2, 3)
        return np.linalg.solve(transposed, self.volterra._apply_adjoint_block(transposed @ block))
