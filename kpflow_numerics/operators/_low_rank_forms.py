"""Exact closed forms of K for a cell whose recurrent weights are ``M N*``.

With the features V of what M, the input weights and the bias multiply, ``G = g(h)`` of what N
multiplies, and the diagonal gains D of each trial and step, K has the blocks

    K[s, t] = D_s ( (V V*)[s, t] I + (G G*)[s, t] M M* ) D_t,

of which everything below is a sum. All of it is done in float64, a few rows of ``(B T, B T)``
matrices at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .._typing import FloatArray
from ..cells.low_rank_sites import LowRankSites
from ..results import Cost

ROWS_AT_A_TIME = 512
WORD = 8.0


def cost(sites: LowRankSites, quantity: str, *arguments: object) -> Cost | None:
    """Return what a closed form takes, or None where there is none."""
    n_rows, H = sites.gains.shape[0] * sites.gains.shape[1], sites.gains.shape[2]
    columns = float(sites.features.shape[-1] + H)
    chunk = float(min(ROWS_AT_A_TIME, n_rows)) * n_rows
    gathered = n_rows * (columns + 3.0 * H)
    match quantity:
        case "trace":
            return Cost(2.0 * gathered, WORD * gathered)
        case "frobenius_norm":
            flops = 2.0 * float(n_rows) ** 2 * (columns + 3.0 * H) + 2.0 * n_rows * float(H) ** 2
            return Cost(flops, WORD * (gathered + 5.0 * chunk + float(H) ** 2))
        case "partial_trace":
            over = frozenset(arguments[0] if arguments else ("unit",))  # type: ignore[call-overload]
            if over >= {"trial", "time"}:
                return Cost(2.0 * n_rows * float(H) ** 2, WORD * (gathered + 2.0 * float(H) ** 2))
            if over == {"unit"}:
                whole = WORD * (gathered + float(n_rows) ** 2 + 3.0 * chunk)
                return Cost(2.0 * float(n_rows) ** 2 * (columns + 2.0 * H), whole)
            return None
        case _:
            return None


def trace(sites: LowRankSites) -> float:
    """Return ``sum_bt sum_i D_i^2 (|v|^2 + |g|^2 |M_i|^2)``."""
    V, G, D, M = _doubles(sites)
    squares = np.square(D)
    rows = np.square(M).sum(axis=1)
    own = np.square(V).sum(axis=1) @ squares.sum(axis=1)
    through = np.square(G).sum(axis=1) @ (squares @ rows)
    return float(own + through)


def squared_frobenius_norm(sites: LowRankSites) -> float:
    """Return ``sum( A A EE* + 2 A C E diag(W) E* + C C E (W W) E* )``, products entry by entry.

    ``A = V V*``, ``C = G G*``, ``E = D D`` and ``W = M M*``.
    """
    V, G, D, M = _doubles(sites)
    E = np.square(D)
    W = M @ M.T
    by_diagonal, by_squares = E * np.diag(W), E @ np.square(W)
    total = 0.0
    for rows in _chunks(len(D)):
        A, C = V[rows] @ V.T, G[rows] @ G.T
        total += float(np.vdot(A * A, E[rows] @ E.T))
        total += 2.0 * float(np.vdot(A * C, by_diagonal[rows] @ E.T))
        total += float(np.vdot(C * C, by_squares[rows] @ E.T))
    return total


def partial_trace(sites: LowRankSites, over: Iterable[str]) -> FloatArray | None:
    """Return the partial trace over the units, or over trials and steps, or all; None for others.

    ``("unit",)`` leaves ``(B, T, B, T)``, ``("trial", "time")`` ``(H, H)``, all three a number.
    """
    summed = frozenset(over)
    n_trials, n_steps = sites.gains.shape[:2]
    V, G, D, M = _doubles(sites)
    if summed == {"trial", "time", "unit"}:
        return np.array(trace(sites))
    if summed == {"trial", "time"}:
        own = np.square(V).sum(axis=1) @ np.square(D)
        through = (D * np.square(G).sum(axis=1)[:, None]).T @ D
        through *= M @ M.T
        through[np.diag_indices_from(through)] += own
        return through
    if summed == {"unit"}:
        weighted = D * np.square(M).sum(axis=1)
        out = np.empty((len(D), len(D)))
        for rows in _chunks(len(D)):
            out[rows] = (V[rows] @ V.T) * (D[rows] @ D.T)
            out[rows] += (G[rows] @ G.T) * (weighted[rows] @ D.T)
        return out.reshape(n_trials, n_steps, n_trials, n_steps)
    return None


def _doubles(sites: LowRankSites) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return V, G and D with a row for each trial and step, and M."""
    V, G, D = (
        array.reshape(-1, array.shape[-1]).astype(np.float64, copy=False)
        for array in (sites.features, sites.read, sites.gains)
    )
    return V, G, D, sites.left.astype(np.float64, copy=False)


def _chunks(n_rows: int) -> Iterator[slice]:
    for start in range(0, n_rows, ROWS_AT_A_TIME):
        yield slice(start, start + ROWS_AT_A_TIME)
