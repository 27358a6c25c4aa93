"""The whole spectrum of an operator, where it is affordable."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import scipy.linalg

from .._typing import FloatArray
from .._validation import InputError, check_choice, check_integer
from ..results import Cost, SpectrumResult
from ._any_scale import SPECTRUM, at_any_scale
from ._budget import LARGEST_DENSE_SIZE, check_max_memory, dense_memory
from ._view import SpectralView
from .dense import matrix_of, self_adjoint_matrix
from .gram import gram_matrix, required_factor

SPECTRUM_METHODS = ("auto", "exact", "dense", "gram")
"""What :func:`eigenvalues` accepts as ``method``."""


def eigenvalues(
    op: Any,
    method: str = "auto",
    *,
    max_size: int = LARGEST_DENSE_SIZE,
    max_memory: float | None = None,
    self_adjoint: bool | None = None,
) -> SpectrumResult:
    """Return all eigenvalues of an operator, descending.

    The eigenvalues of an operator A that is not self-adjoint mean those of ``A A*``: its squared
    singular values, and zeros up to n of them.

    Parameters
    ----------
    op : LinearOperator, array_like or sparse matrix, shape (n, p)
        The operator. It may have ``exact_eigenvalues()`` and ``factor`` (L with ``op = L L*``).
    method : {"auto", "exact", "dense", "gram"}
        ``"auto"`` asks the operator, then takes the matrix or the Gram matrix of the factor,
        whichever is smaller. ``"dense"`` of an operator that is not self-adjoint is the singular
        value decomposition of its matrix.
    max_size : int
        Largest side of a matrix to take apart.
    max_memory : float, optional
        Bytes of working memory; by default 4 GiB.
    self_adjoint : bool, optional
        Overrides ``op.self_adjoint``. An operator without that flag is tested by four random
        products.

    Returns
    -------
    SpectrumResult
        Of length n.

    Raises
    ------
    InputError
        If the matrix would be larger than `max_size`.
    MemoryLimitError
        If it would not fit.

    Notes
    -----
    Takes ``4/3 m^3`` flops and three ``m x m`` matrices for a (smaller) side m, and m products (2 m
    for a Gram matrix).

    Examples
    --------
    >>> np.asarray(eigenvalues(np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]])))
    array([4., 1.])
    """
    solve = partial(
        spectrum_of,
        method=method,
        max_size=max_size,
        max_memory=max_memory,
        self_adjoint=self_adjoint,
    )
    return at_any_scale(solve, (op,), SPECTRUM, self_adjoint=self_adjoint)


def spectrum_of(
    op: Any, *, method: str, max_size: int, max_memory: float | None, self_adjoint: bool | None
) -> SpectrumResult:
    """Return all eigenvalues of an operator whose scale is in range."""
    view = SpectralView(op, self_adjoint=self_adjoint)
    method = check_choice(method, "method", SPECTRUM_METHODS)
    max_size = check_integer(max_size, "max_size")
    memory = check_max_memory(max_memory)
    if method in ("auto", "exact"):
        found = view.ask_exact("eigenvalues", max_memory=memory, required=method == "exact")
        if found is not None:
            values = np.sort(np.asarray(found[0]))[::-1]
            return SpectrumResult(values, "exact", view.n_matvecs, view.whole_cost(found[1]))
        method = "dense" if view.self_adjoint and view.smaller_side == view.n else "gram"
    size = view.n if method == "dense" and view.self_adjoint else view.smaller_side
    if size > max_size:
        raise InputError(
            f"The whole spectrum of this {view.name} of shape {view.operator.shape} needs a "
            f"{size} x {size} matrix, larger than max_size={max_size}. Use "
            "top_eigenpairs(op, k) for the leading part, or raise max_size."
        )
    values = _dense_values(view, memory) if method == "dense" else _gram_values(view, memory)
    cost = Cost(4 / 3 * size**3, dense_memory(size, view.dtype))
    return SpectrumResult(values, method, view.n_matvecs, view.whole_cost(cost))


def _dense_values(view: SpectralView, max_memory: float) -> FloatArray:
    if view.self_adjoint:
        return _descending(self_adjoint_matrix(view, max_memory))
    matrix = matrix_of(view.counted(view.operator), max_memory)
    sigma = scipy.linalg.svd(matrix, compute_uv=False, overwrite_a=True, check_finite=False)
    return _padded(sigma**2, view.n)


def _gram_values(view: SpectralView, max_memory: float) -> FloatArray:
    values = _descending(gram_matrix(required_factor(view), max_memory))
    # A Gram matrix has no negative eigenvalues: those that appear are rounding.
    return _padded(np.maximum(values, 0), view.n)


def _descending(matrix: FloatArray) -> FloatArray:
    values = scipy.linalg.eigh(
        matrix, eigvals_only=True, driver="evd", overwrite_a=True, check_finite=False
    )
    return np.ascontiguousarray(values[::-1])


def _padded(values: FloatArray, n: int) -> FloatArray:
    padded = np.zeros(n, dtype=values.dtype)
    padded[: len(values)] = values
    return padded
