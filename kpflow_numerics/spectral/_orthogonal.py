"""Orthonormal bases by matrix-matrix products only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._typing import FloatArray

_MOST_PASSES = 5


def column_norms(X: FloatArray) -> FloatArray:
    """Return the norm of each column, accumulated in double precision."""
    norms: FloatArray = np.sqrt(np.einsum("ij,ij->j", X, X, dtype=np.float64))
    return norms


def orthonormalise(block: FloatArray, against: Sequence[FloatArray] = ()) -> FloatArray:
    """Return an orthonormal basis of what a block adds to orthonormal bases.

    Each pass projects the block out of the bases and orthonormalises it through the
    eigenvectors of its Gram matrix, where dependent directions show as small eigenvalues and are
    dropped (SVQB; Stathopoulos and Wu, SIAM J. Sci. Comput. 23, 2002). At least two passes are
    made, more only while one still finds something to remove.

    Parameters
    ----------
    block : ndarray, shape (n, b)
        Any columns, also zero, dependent, or inside the bases. Not changed.
    against : sequence of ndarray, shape (n, m_i)
        Bases, orthonormal together.

    Returns
    -------
    ndarray, shape (n, r)
        With ``r <= b``, and never more than the room that the bases leave.

    Notes
    -----
    About ``8 n b (m + b)`` flops, all in matrix-matrix products.

    Examples
    --------
    >>> orthonormalise(np.array([[3.0, 3.0], [4.0, 4.0]])).shape
    (2, 1)
    """
    bases = [basis for basis in against if basis.shape[1]]
    room = block.shape[0] - sum(basis.shape[1] for basis in bases)
    precision = float(np.finfo(block.dtype).eps)
    for number in range(_MOST_PASSES):
        if number == 0:
            norms = column_norms(block)
            block = _scaled(block, norms, 1e-3 * precision * float(np.max(norms, initial=0.0)))
        removed = [basis.T @ block for basis in bases]
        for basis, part in zip(bases, removed, strict=True):
            block = block - basis @ part
        # What is left of a unit column is rounding noise below this; in later passes nothing
        # should be left to remove, so a column that shrinks was noise.
        block = _scaled(block, column_norms(block), 4 * precision if number == 0 else 0.1)
        if block.shape[1] == 0:
            return block
        values, vectors = np.linalg.eigh((block.T @ block).astype(np.float64))
        kept = values > (10 * len(values) * precision if number == 0 else 0.01)
        kept[: max(0, len(values) - room)] = False
        block = block @ (vectors[:, kept] / np.sqrt(values[kept])).astype(block.dtype)
        leak = max((float(np.max(np.abs(part), initial=0.0)) for part in removed), default=0.0)
        drift = float(np.max(np.abs(values - 1)))
        if number > 0 and max(leak, drift) < 100 * precision * np.sqrt(block.shape[1]):
            break
    return block


def _scaled(block: FloatArray, norms: FloatArray, least: float) -> FloatArray:
    """Return the columns longer than `least`, at unit length."""
    kept = norms > least
    return (block[:, kept] / norms[kept]).astype(block.dtype, copy=False)
