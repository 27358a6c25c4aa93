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
    norms = column_norms(block)
    kept = norms > 1e-3 * precision * float(np.max(norms, initial=0.0))
    block = block[:, kept] / norms[kept].astype(block.dtype)
    for number in range(_MOST_PASSES):
        parts = [basis.T @ block for basis in bases]
        for basis, part in zip(bases, parts, strict=True):
            block -= basis @ part
        # Below this, what is left of a unit column is rounding noise. In later passes nothing
        # should be left to remove, so that a column which shrinks was noise.
        norms = column_norms(block)
        kept = norms > (4 * precision if number == 0 else 0.1)
        if not kept.all():
            block, norms = block[:, kept], norms[kept]
        if block.shape[1] == 0:
            return block
        gram = (block.T @ block).astype(np.float64) / np.outer(norms, norms)
        values, vectors = np.linalg.eigh(gram)
        kept = values > (10 * len(values) * precision if number == 0 else 0.01)
        kept[: max(0, len(values) - room)] = False
        rotation = vectors[:, kept] / np.sqrt(values[kept]) / norms[:, None]
        block = block @ rotation.astype(block.dtype)
        leak = max((float(np.max(np.abs(part), initial=0.0)) for part in parts), default=0.0)
        drift = float(np.max(np.abs(values - 1)))
        if number > 0 and max(leak, drift) < 100 * precision * np.sqrt(len(values)):
            break
    return block
