"""Exact closed forms for ``P P*`` through the Gramians of control theory, trial by trial.

``M_1 = I, M_t = A_t M_{t-1} A_t* + I`` (controllability) and
``O_T = I, O_t = I + A_{t+1}* O_{t+1} A_{t+1}`` (observability).
"""

from __future__ import annotations

import numpy as np

from .._typing import FloatArray


def controllability(A: FloatArray) -> FloatArray:
    """Return the Gramians ``M (T, N, N)`` for the state Jacobians ``A (T, N, N)`` of one trial."""
    M = np.empty_like(A)
    M[0] = np.eye(A.shape[1])
    for t in range(1, len(A)):
        M[t] = A[t] @ M[t - 1] @ A[t].T
        M[t].flat[:: A.shape[1] + 1] += 1.0
    return M


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
    return controllability(A).sum(axis=0)


def trace(A: FloatArray) -> float:
    """Return ``tr PP* = sum_t tr M_t`` of one trial."""
    n_state = A.shape[1]
    M, total = np.eye(n_state), float(n_state)
    for t in range(1, len(A)):
        M = A[t] @ M @ A[t].T
        M.flat[:: n_state + 1] += 1.0
        total += float(np.trace(M))
    return total


def squared_frobenius_norm(A: FloatArray) -> float:
    """Return ``||PP*||_F^2 = sum_t (2 tr(M_t O_t M_t) - ||M_t||_F^2)`` of one trial."""
    M = controllability(A)
    observed, total = np.eye(A.shape[1]), 0.0
    for t in range(len(A) - 1, -1, -1):
        total += 2.0 * float(np.vdot(observed @ M[t], M[t])) - float(np.vdot(M[t], M[t]))
        if t > 0:
            observed = A[t].T @ observed @ A[t]
            observed.flat[:: A.shape[1] + 1] += 1.0
    return total


def unit_trace_blocks(A: FloatArray) -> FloatArray:
    """Return the matrix ``tr((PP*)[t, s])`` of one trial, shape ``(T, T)``."""
    n_steps, n_state = A.shape[:2]
    M = controllability(A)
    blocks = np.empty((n_steps, n_steps))
    carried = np.empty((0, n_state, n_state))
    for t in range(n_steps):
        carried = np.concatenate([A[t] @ carried, M[t : t + 1]])
        blocks[t, : t + 1] = blocks[: t + 1, t] = np.trace(carried, axis1=1, axis2=2)
    return blocks
