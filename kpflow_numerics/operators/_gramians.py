"""Exact closed forms for ``P P*`` through the Gramians of control theory, trial by trial.

``M_1 = I, M_t = A_t M_{t-1} A_t* + I`` (controllability) and
``O_T = I, O_t = I + A_{t+1}* O_{t+1} A_{t+1}`` (observability). The blocks of ``P P*`` are
``(PP*)[t, s] = A_t ... A_{s+1} M_s`` for ``t >= s``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .._typing import FloatArray
from ..linearization import Linearization


def trial_jacobians(linearization: Linearization, trial: int) -> FloatArray:
    """Return the state Jacobians ``(T, N, N)`` of a trial, in float64."""
    found = linearization.state_jacobians(slice(trial, trial + 1), max_memory=math.inf)
    return found[0].astype(np.float64, copy=False)


def controllability(A: FloatArray) -> FloatArray:
    """Return the Gramians ``M (T, N, N)`` for the state Jacobians ``A (T, N, N)`` of one trial."""
    gramians = np.empty_like(A)
    for t, M in enumerate(each_controllability(A)):
        gramians[t] = M
    return gramians


def each_controllability(A: FloatArray) -> Iterator[FloatArray]:
    """Yield the Gramians ``M_t (N, N)`` one after another."""
    M = np.eye(A.shape[1])
    yield M
    for t in range(1, len(A)):
        M = A[t] @ M @ A[t].T
        M.flat[:: A.shape[1] + 1] += 1.0
        yield M


def observability(A: FloatArray) -> FloatArray:
    """Return the Gramians ``O (T, N, N)`` for the state Jacobians ``A (T, N, N)`` of one trial."""
    observed = np.empty_like(A)
    observed[-1] = np.eye(A.shape[1])
    for t in range(len(A) - 2, -1, -1):
        observed[t] = A[t + 1].T @ observed[t + 1] @ A[t + 1]
        observed[t].flat[:: A.shape[1] + 1] += 1.0
    return observed


def summed_controllability(A: FloatArray) -> FloatArray:
    """Return ``sum_t M_t`` of one trial, shape ``(N, N)``."""
    total = np.zeros(A.shape[1:])
    for M in each_controllability(A):
        total += M
    return total


def trace(A: FloatArray) -> float:
    """Return ``tr PP* = sum_t tr M_t`` of one trial."""
    return sum(float(np.trace(M)) for M in each_controllability(A))


def squared_frobenius_norm(A: FloatArray) -> float:
    """Return ``||PP*||_F^2 = sum_t (2 tr(M_t O_t M_t) - ||M_t||_F^2)`` of one trial."""
    return trace_and_squared_norm(A)[1]


def trace_and_squared_norm(A: FloatArray) -> tuple[float, float]:
    """Return ``tr PP*`` and ``||PP*||_F^2`` of one trial, with products in the precision of A.

    ``sum_t tr(M_t O_t M_t) = sum_t tr Q_t`` with ``Q_t = A_t Q_{t-1} A_t* + M_t^2``: one pass
    forward does, M and Q side by side, with five GEMMs a step, and no Gramian is kept.
    """
    n_steps, n_state = A.shape[:2]
    both = np.stack([np.eye(n_state, dtype=A.dtype)] * 2)
    M, Q = both
    carried, square = np.empty_like(both), np.empty_like(M)
    total, squared = float(n_state), float(n_state)
    for t in range(1, n_steps):
        np.matmul(A[t], both, out=carried)
        np.matmul(carried.reshape(-1, n_state), A[t].T, out=both.reshape(-1, n_state))
        M.flat[:: n_state + 1] += 1.0
        Q += np.matmul(M, M.T, out=square)
        total += float(np.trace(M))
        squared += 2.0 * float(np.trace(Q)) - float(np.vdot(M, M))
    return total, squared


def block_rows(A: FloatArray) -> Iterator[FloatArray]:
    """Yield row t of the lower block triangle of ``P P*``, shape ``(t + 1, N, N)``, for every t.

    Each is overwritten when the one after the next is asked for.
    """
    carried, other = np.empty_like(A), np.empty_like(A)
    for t, M in enumerate(each_controllability(A)):
        np.matmul(A[t], carried[:t], out=other[:t])
        other[t] = M
        carried, other = other, carried
        yield carried[: t + 1]


def unit_trace_blocks(A: FloatArray) -> FloatArray:
    """Return the matrix ``tr((PP*)[t, s])`` of one trial, shape ``(T, T)``."""
    blocks = np.empty((len(A), len(A)))
    for t, row in enumerate(block_rows(A)):
        blocks[t, : t + 1] = blocks[: t + 1, t] = np.trace(row, axis1=1, axis2=2)
    return blocks


def whole(A: FloatArray) -> FloatArray:
    """Return ``P P*`` of one trial, shape ``(T, N, T, N)``."""
    n_steps, n_state = A.shape[:2]
    matrix = np.empty((n_steps, n_state, n_steps, n_state))
    for t, row in enumerate(block_rows(A)):
        matrix[t, :, : t + 1] = row.transpose(1, 0, 2)
        matrix[:t, :, t] = row[:t].transpose(0, 2, 1)
    return matrix
