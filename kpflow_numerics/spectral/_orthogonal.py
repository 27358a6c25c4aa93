"""Orthonormal bases by matrix-matrix products only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._typing import FloatArray

_MOST_PASSES = 5

# Above this product of shrinkages the projection need not be repeated: 30 times the rounding
# error is orthogonal enough.
_SAFE_SHRINKAGE = 0.03


def column_norms(X: FloatArray) -> FloatArray:
    """Return the norm of each column, accumulated in double precision."""
    norms: FloatArray = np.sqrt(np.einsum("ij,ij->j", X, X, dtype=np.float64))
    return norms


def orthonormalise(block: FloatArray, against: Sequence[FloatArray] = ()) -> FloatArray:
    """Return an orthonormal basis of what a block adds to orthonormal bases.

    Each pass projects the block out of the bases and orthonormalises it through the
    eigenvectors of its Gram matrix, where dependent directions show as small eigenvalues and are
    dropped (SVQB; Stathopoulos and Wu, SIAM J. Sci. Comput. 23, 2002). A further pass is made while
    cancellation may have left more than rounding; one without the bases where it has not.

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
    About ``4 n b (m + 2 b)`` flops a pass, all in matrix-matrix products.

    Examples
    --------
    >>> orthonormalise(np.array([[3.0, 3.0], [4.0, 4.0]])).shape
    (2, 1)
    """
    bases = [basis for basis in against if basis.shape[1]]
    room = block.shape[0] - sum(basis.shape[1] for basis in bases)
    precision = float(np.finfo(block.dtype).eps)
    norms = column_norms(block)
    kept = norms > 1e-3 * precision * float(np.max(norms, initial=0.0))
    block = block[:, kept] / norms[kept].astype(block.dtype)
    for number in range(_MOST_PASSES):
        for basis in bases:
            block -= basis @ (basis.T @ block)
        # Below this, what is left of a unit column is rounding noise. In later passes nothing
        # should be left to remove, so that a column which shrinks was noise.
        norms = column_norms(block)
        kept = norms > (4 * precision if number == 0 else 0.1)
        if not kept.all():
            block, norms = block[:, kept], norms[kept]
        smallest = 10 * len(norms) * precision if number == 0 else 0.01
        block, least = _orthonormal_basis(block, norms, smallest, room)
        if block.shape[1] == 0:
            return block
        # Rounding left in the block is magnified by this when its columns are combined.
        if least * float(np.min(norms)) > _SAFE_SHRINKAGE:
            break
    return _orthonormal_basis(block, column_norms(block), 0.01, room)[0]


def _orthonormal_basis(
    block: FloatArray, norms: FloatArray, smallest: float, room: int
) -> tuple[FloatArray, float]:
    """Return a basis of the columns, at most `room`, and the least root of the Gram matrix kept."""
    if block.shape[1] == 0:
        return block, 0.0
    gram = (block.T @ block).astype(np.float64) / np.outer(norms, norms)
    values, vectors = np.linalg.eigh(gram)
    kept = values > smallest
    kept[: max(0, len(values) - room)] = False
    if not kept.any():
        return block[:, :0], 0.0
    rotation = vectors[:, kept] / np.sqrt(values[kept]) / norms[:, None]
    return block @ rotation.astype(block.dtype), float(np.sqrt(np.min(values[kept])))
