"""Local derivatives of a cell whose recurrent weights are a product of two factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .._threads import kernel_threads, share_rows
from .._typing import FloatArray, Params
from ..kernels import low_rank
from .sites import WeightSites


@dataclass(frozen=True)
class LowRankSites:
    """Local derivatives of ``a = M N* g(h) + W_in x + b`` along a trajectory.

    The factor ``M``, the input weights and the bias act through one weight site, with the features
    ``[N* g(h), 1, x]``; the factor ``N`` does not: its part of the parameter Jacobian is
    ``D M dN* g``, whose gains ``D M`` are no diagonal matrix.

    Parameters
    ----------
    site : WeightSites
        The one weight site. It carries the gains ``D`` and ``phi'`` as its ``inner``, and no
        recurrent weights.
    read : ndarray, shape (B, T, H)
        ``g(h_{t-1})``, what ``N*`` multiplies.
    left, right : ndarray, shape (H, r)
        ``M`` and ``N``.
    carry : float
        Derivative of each state by the previous one, not through weights.
    """

    site: WeightSites
    read: FloatArray
    left: FloatArray
    right: FloatArray
    carry: float

    @property
    def gains(self) -> FloatArray:
        """``D`` of shape ``(B, T, H)``."""
        return self.site.gains[:, :, 0, 0]

    @property
    def rank(self) -> int:
        """Columns ``r`` of the factors."""
        return int(self.left.shape[1])

    @property
    def features(self) -> FloatArray:
        """What ``M``, the bias and the input weights multiply, ``(B, T, m)``."""
        return self.site.groups[0].features

    @cached_property
    def _left_transposed(self) -> FloatArray:
        return np.ascontiguousarray(self.left.T)

    @cached_property
    def _right_transposed(self) -> FloatArray:
        return np.ascontiguousarray(self.right.T)

    @cached_property
    def _flat_read(self) -> FloatArray:
        return np.ascontiguousarray(self.read.reshape(-1, self.read.shape[-1]))

    @cached_property
    def _read_transposed(self) -> FloatArray:
        return np.ascontiguousarray(self._flat_read.T)

    @cached_property
    def _inner_or_placeholder(self) -> FloatArray:
        inner = self.site.inner
        return np.zeros((1, 1, len(self.left)), self.left.dtype) if inner is None else inner

    @property
    def _has_inner(self) -> bool:
        return self.site.inner is not None

    def _work(self, block: FloatArray) -> float:
        """Return the multiplications by the factors in one product with a block."""
        return 2.0 * block.size * self.rank

    def propagate(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``P block`` for a block ``(B, T, N, k)``, in its place if `overwrite`."""
        out = block if overwrite else block.copy()
        with kernel_threads(self._work(block)):
            low_rank.propagate(
                self.carry,
                self.gains,
                self._inner_or_placeholder,
                self._has_inner,
                self.left,
                self._right_transposed,
                out,
            )
        return out

    def propagate_adjoint(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``P* block`` for a block ``(B, T, N, k)``, in its place if `overwrite`."""
        out = block if overwrite else block.copy()
        with kernel_threads(self._work(block)):
            low_rank.propagate_adjoint(
                self.carry,
                self.gains,
                self._inner_or_placeholder,
                self._has_inner,
                self.right,
                self._left_transposed,
                out,
            )
        return out

    def state_jvp(self, block: FloatArray) -> FloatArray:
        """Return ``A_t block[:, t]`` for every step of a block ``(B, T, N, k)``."""
        out = np.zeros_like(block)
        with kernel_threads(self._work(block)):
            low_rank.apply_state_jacobians(
                self.carry,
                self.gains,
                self._inner_or_placeholder,
                self._has_inner,
                self.left,
                self._right_transposed,
                block,
                out,
            )
        return out

    def state_vjp(self, block: FloatArray) -> FloatArray:
        """Return ``A_t* block[:, t]`` for every step of a block ``(B, T, N, k)``."""
        out = np.zeros_like(block)
        outer = self.site.inner
        ones = np.ones_like(self.gains) if outer is None else outer
        with kernel_threads(self._work(block)):
            low_rank.apply_state_jacobians(
                self.carry,
                ones,
                self.gains,
                True,
                self.right,
                self._left_transposed,
                block,
                out,
            )
        return out

    def state_jacobians(self, trials: slice, steps: slice = slice(None)) -> FloatArray:
        """Return ``A_t`` of some trials and steps as an array ``(trials, steps, N, N)``."""
        A = self.gains[trials, steps][..., None] * (self.left @ self.right.T)
        if self.site.inner is not None:
            A *= self.site.inner[trials, steps][:, :, None, :]
        diagonal = np.arange(len(self.left))
        A[:, :, diagonal, diagonal] += A.dtype.type(self.carry)
        return A

    def param_jvp(self, parameters: Mapping[str, FloatArray]) -> FloatArray:
        """Return ``J v`` as a block ``(B, T, N, k)``; `parameters` have a last axis of ``k``."""
        out = self.site.param_jvp(parameters)
        direction = parameters["right"]
        latent = self._multiply(self._flat_read, direction.reshape(len(direction), -1))
        self._add_latent(latent, out)
        return out

    def param_vjp(self, block: FloatArray, shapes: Mapping[str, tuple[int, ...]]) -> Params:
        """Return ``J* block`` as arrays of the parameters' shapes with a last axis of ``k``."""
        gradients = self.site.param_vjp(block, shapes)
        by_right = self._multiply(self._read_transposed, self._gather_latent(block))
        gradients["right"] = by_right.reshape(len(by_right), self.rank, -1)
        return gradients

    def param_gram(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``J J* block`` for a block ``(B, T, N, k)``, in its place if `overwrite`."""
        core = self._multiply(self._read_transposed, self._gather_latent(block))
        out = self.site.param_gram(block, overwrite=overwrite)
        self._add_latent(self._multiply(self._flat_read, core), out)
        return out

    def _gather_latent(self, block: FloatArray) -> FloatArray:
        """Return ``M* D q`` for a block ``(B, T, H, k)`` as ``(B T, r k)``."""
        q = block.reshape(-1, *block.shape[2:])
        latent = np.empty((len(q), self.rank, block.shape[-1]), block.dtype)
        gains = self.gains.reshape(len(q), -1)
        with kernel_threads(float(block.size) * self.rank):
            low_rank.gather_latent(gains, self._left_transposed, share_rows(len(q)), q, latent)
        return latent.reshape(len(q), -1)

    def _add_latent(self, latent: FloatArray, out: FloatArray) -> None:
        """Add ``D M latent`` to `out`; `latent` is ``(B T, r k)``."""
        rows = out.reshape(-1, *out.shape[2:])
        latent = latent.reshape(len(rows), self.rank, -1)
        gains = self.gains.reshape(len(rows), -1)
        with kernel_threads(float(out.size) * self.rank):
            low_rank.add_latent(gains, self.left, share_rows(len(rows)), latent, rows)

    def _multiply(self, left: FloatArray, right: FloatArray) -> FloatArray:
        out = np.empty((len(left), right.shape[1]), left.dtype)
        with kernel_threads(float(left.size) * right.shape[1]):
            low_rank.multiply_rows(left, right, share_rows(len(left)), out)
        return out
