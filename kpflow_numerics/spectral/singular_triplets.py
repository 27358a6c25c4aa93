"""Extreme singular triplets of any operator."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg

from .._typing import ArrayLike, FloatArray, RNGLike
from .._validation import InputError
from ..results import Cost, SingularResult
from ..testing import default_tolerance
from ._any_scale import NORM, at_any_scale
from ._budget import LARGEST_DENSE_SIZE
from ._leading import Leading, Options, leading_pairs
from ._orthogonal import column_norms, orthonormalise
from ._view import CountedOperator, SpectralView
from .certificate import CERTIFICATE_PRODUCTS
from .dense import matrix_of

SINGULAR_METHODS = (
    "auto",
    "dense",
    "gram",
    "block-diagonal",
    "lanczos",
    "block-krylov",
    "lobpcg",
    "arpack",
)
"""What :func:`top_singular_triplets` accepts as ``method``."""


def top_singular_triplets(
    op: Any,
    k: int = 6,
    *,
    method: str = "auto",
    tolerance: float | None = None,
    max_products: int | None = None,
    max_memory: float | None = None,
    initial_vectors: ArrayLike | None = None,
    certificate_products: int = CERTIFICATE_PRODUCTS,
    rng: RNGLike = 0,
) -> SingularResult:
    """Return the k largest singular values of an operator and their vectors.

    Parameters
    ----------
    op : LinearOperator, array_like or sparse matrix, shape (n, p)
        The operator A, with adjoint products.
    k : int
        Number of triplets, at most ``min(n, p)``.
    method : {"auto", "dense", "gram", "block-diagonal", "lanczos", "block-krylov", "lobpcg", \
"arpack"}
        As in :func:`top_eigenpairs`, on ``A* A`` or ``A A*``, whichever is smaller; ``"dense"`` is
        the singular value decomposition of the matrix.
    tolerance : float, optional
        A triplet has converged when ``sqrt(|A v - s u|^2 + |A* u - s v|^2)`` is at most this times
        ``|A|``. By default ``eps^(2/3)``.
    max_products, max_memory, certificate_products, rng
        As in :func:`top_eigenpairs`. A product with ``A* A`` counts as two.
    initial_vectors : array_like, shape (min(n, p), j), optional
        Where an iterative solver starts: right vectors if ``p <= n``, otherwise left ones.

    Returns
    -------
    SingularResult

    Raises
    ------
    InputError, InputTypeError, MemoryLimitError
        As :func:`top_eigenpairs`.

    Notes
    -----
    All methods but ``"dense"`` work on the square of A, which hides singular values below
    ``sqrt(eps)`` times the largest.

    Examples
    --------
    >>> top_singular_triplets(np.diag([3.0, 2.0, 1.0])[:, :2], k=1).values
    array([3.])
    """
    solve = partial(
        _top_triplets,
        k=k,
        method=method,
        tolerance=tolerance,
        max_products=max_products,
        max_memory=max_memory,
        initial_vectors=initial_vectors,
        certificate_products=certificate_products,
        rng=rng,
    )
    return at_any_scale(solve, (op,), NORM)


def _top_triplets(
    op: Any,
    *,
    k: int,
    method: str,
    tolerance: float | None,
    max_products: int | None,
    max_memory: float | None,
    initial_vectors: ArrayLike | None,
    certificate_products: int,
    rng: RNGLike,
) -> SingularResult:
    operator = SpectralView(op, self_adjoint=False).operator
    n, p = operator.shape
    transposed = p <= n
    view = SpectralView(operator.H if transposed else operator, self_adjoint=False)
    options = Options.checked(
        view,
        k,
        method,
        SINGULAR_METHODS,
        largest_k=min(n, p),
        tolerance=tolerance,
        max_products=max_products,
        max_memory=max_memory,
        initial_vectors=initial_vectors,
        certificate_products=certificate_products,
        rng=rng,
    )
    factor = view.counted(view.operator)
    if options.method == "dense":
        result = _dense_triplets(factor, view, options)
    else:
        result = _triplets(factor, view, options)
    if transposed:
        return dataclasses.replace(result, left=result.right, right=result.left)
    return result


def smallest_singular_triplets(
    op: Any,
    k: int = 6,
    *,
    method: str = "auto",
    tolerance: float | None = None,
    max_products: int | None = None,
    max_memory: float | None = None,
    certificate_products: int = CERTIFICATE_PRODUCTS,
    rng: RNGLike = 0,
) -> SingularResult:
    """Return the k smallest singular values of an operator, ascending, and their vectors.

    They are the inverses of the largest of ``op.inverse``, which the operator must offer unless
    its matrix is small enough for the singular value decomposition.

    Parameters
    ----------
    op : LinearOperator, array_like or sparse matrix, shape (n, p)
        The operator A; `inverse`, where it has one, is a LinearOperator too.
    k : int
        Number of triplets, at most ``min(n, p)``.
    method, tolerance, max_products, max_memory, certificate_products, rng
        As in :func:`top_singular_triplets`, for the inverse. Without one, ``"auto"`` and
        ``"dense"`` are the only methods.

    Returns
    -------
    SingularResult
        `residual_norms` are those of A; `converged`, `complete` and the certificate are those of
        the inverse.

    Raises
    ------
    InputError
        If the operator has no inverse and is too large for its matrix, or if the inverse is zero.
    InputTypeError, MemoryLimitError
        As :func:`top_singular_triplets`.

    Examples
    --------
    >>> smallest_singular_triplets(np.diag([3.0, 2.0, 1.0]), k=2).values
    array([1., 2.])
    """
    solve = partial(
        _smallest_triplets,
        k=k,
        method=method,
        tolerance=tolerance,
        max_products=max_products,
        max_memory=max_memory,
        certificate_products=certificate_products,
        rng=rng,
    )
    return at_any_scale(solve, (op,), NORM)


def _smallest_triplets(
    op: Any,
    *,
    k: int,
    method: str,
    tolerance: float | None,
    max_products: int | None,
    max_memory: float | None,
    certificate_products: int,
    rng: RNGLike,
) -> SingularResult:
    view = SpectralView(op, self_adjoint=False)
    inverse = getattr(view.operator, "inverse", None)
    if inverse is None:
        return _smallest_of_matrix(
            view,
            k,
            method,
            tolerance=tolerance,
            max_products=max_products,
            max_memory=max_memory,
            initial_vectors=None,
            certificate_products=certificate_products,
            rng=rng,
        )
    largest = _largest_of_inverse(
        inverse,
        k,
        method=method,
        tolerance=tolerance,
        max_products=max_products,
        max_memory=max_memory,
        certificate_products=certificate_products,
        rng=rng,
    )
    if not np.all(largest.values > 0):
        raise InputError(f"{view.name}.inverse has a zero singular value, so it is no inverse.")
    values = 1 / largest.values
    left, right = largest.right, largest.left
    operator = view.counted(view.operator)
    norms = _residual_norms(operator, left, values, right)
    return dataclasses.replace(
        largest,
        left=left,
        values=values,
        right=right,
        residual_norms=norms,
        n_matvecs=largest.n_matvecs + view.n_matvecs,
        method=f"inverse, {largest.method}",
    )


def _largest_of_inverse(inverse: Any, k: int, **options: Any) -> SingularResult:
    """Return the largest triplets of the inverse, each as accurate as its inverse needs.

    A residual r of the inverse is one of at most ``|A| |r| / sigma`` in A: it must be small beside
    its own singular value, not beside the largest.
    """
    first = top_singular_triplets(inverse, k, **options)
    iterative = not np.isnan(first.certificate_value)
    limits = first.tolerance * first.values
    if not (iterative and first.converged) or np.all(first.residual_norms <= limits):
        return first
    n, p = inverse.shape
    least = 10 * float(np.finfo(first.values.dtype).eps)
    ratio = float(first.values[-1] / first.values[0])
    options["tolerance"] = max(first.tolerance * ratio, least)
    start = first.right if p <= n else first.left
    second = top_singular_triplets(inverse, k, initial_vectors=start, **options)
    return dataclasses.replace(
        second, n_matvecs=first.n_matvecs + second.n_matvecs, tolerance=first.tolerance
    )


def _triplets(factor: CountedOperator, view: SpectralView, options: Options) -> SingularResult:
    """Return the triplets of the factor L from the eigenpairs of ``L L*``."""
    found = leading_pairs(view, options)
    result = _from_left(factor, view, found, options)
    if len(result.values) == 0:
        return result
    ratio = float(result.values[-1] / result.values[0]) if result.values[0] > 0 else 0.0
    iterative = found.certificate is not None
    if (
        iterative
        and not result.converged
        and 0 < ratio < 1
        and found.pairs.meet(options.k, options.tolerance)
    ):
        # The residual of an eigenpair of L L* is that of the triplet times its singular value.
        least = 10 * float(np.finfo(view.dtype).eps)
        tighter = dataclasses.replace(
            options,
            tolerance=max(options.tolerance * ratio, least),
            start=found.pairs.vectors,
        )
        result = _from_left(factor, view, leading_pairs(view, tighter), options)
    return result


def _from_left(
    factor: CountedOperator, view: SpectralView, found: Leading, options: Options
) -> SingularResult:
    """Rotate left vectors so that both sides are orthonormal and belong to each other."""
    vectors = found.pairs.vectors
    if vectors.shape[1] == 0:
        empty = np.empty((factor.shape[1], 0), view.dtype)
        return _result(view, options, found, vectors, np.empty(0, view.dtype), empty, np.empty(0))
    images = factor.rmatmat(vectors)
    right, values, rotation = scipy.linalg.svd(images, full_matrices=False, check_finite=False)
    left = vectors @ rotation.T
    norm = float(np.max(values, initial=0.0))
    positive = values > default_tolerance(view.dtype, max(factor.shape)) * norm
    if not positive.all():
        # Zero singular values: any vectors outside the range belong to the null space.
        random = options.rng.standard_normal((len(right), int(np.sum(~positive))))
        null = orthonormalise(random.astype(view.dtype), (right[:, positive],))
        right = np.hstack([right[:, positive], null])
    norms: FloatArray = np.hypot(
        column_norms(images @ rotation.T - right * values),
        column_norms(factor.matmat(right) - left * values),
    )
    return _result(view, options, found, left, values, right, norms)


def _result(
    view: SpectralView,
    options: Options,
    found: Leading,
    left: FloatArray,
    values: FloatArray,
    right: FloatArray,
    norms: FloatArray,
) -> SingularResult:
    all_there = len(values) == options.k
    limit = options.tolerance * float(np.max(values, initial=0.0))
    certificate = found.certificate
    return SingularResult(
        left=left,
        values=values,
        right=right,
        residual_norms=norms.astype(view.dtype),
        converged=all_there and bool(np.all(norms <= limit)),
        complete=all_there and found.no_larger_left,
        n_matvecs=view.n_matvecs,
        method=found.method,
        certificate_value=np.nan if certificate is None else certificate.value,
        certificate_threshold=np.nan if certificate is None else certificate.threshold,
        tolerance=options.tolerance,
        cost=view.whole_cost(found.cost),
    )


def _dense_triplets(
    operator: CountedOperator, view: SpectralView, options: Options, *, smallest: bool = False
) -> SingularResult:
    matrix = matrix_of(operator, options.max_memory)
    left, values, right = scipy.linalg.svd(matrix, full_matrices=False, check_finite=False)
    chosen = slice(None, -options.k - 1, -1) if smallest else slice(options.k)
    left, sigma, right = left[:, chosen].copy(), values[chosen].copy(), right[chosen].T.copy()
    forward = column_norms(matrix @ right - left * sigma)
    norms = np.hypot(forward, column_norms(matrix.T @ left - right * sigma))
    n, p = operator.shape
    return SingularResult(
        left=left,
        values=sigma,
        right=right,
        residual_norms=norms.astype(view.dtype),
        converged=bool(np.all(norms <= options.tolerance * values[0])),
        complete=True,
        n_matvecs=view.n_matvecs,
        method="dense",
        tolerance=options.tolerance,
        cost=view.whole_cost(Cost(6.0 * n * p * min(n, p), 3.0 * n * p * view.dtype.itemsize)),
    )


def _smallest_of_matrix(
    view: SpectralView, k: int, method: str, **arguments: Any
) -> SingularResult:
    if min(view.operator.shape) > LARGEST_DENSE_SIZE:
        raise InputError(
            f"The smallest singular values of this {view.name} of shape {view.operator.shape} "
            f"need its inverse: it has no attribute `inverse`, and its matrix is larger than "
            f"{LARGEST_DENSE_SIZE}."
        )
    largest_k = min(view.operator.shape)
    options = Options.checked(view, k, method, ("auto", "dense"), largest_k=largest_k, **arguments)
    return _dense_triplets(view.counted(view.operator), view, options, smallest=True)


def _residual_norms(
    operator: CountedOperator, left: FloatArray, values: FloatArray, right: FloatArray
) -> FloatArray:
    forward = column_norms(operator.matmat(right) - left * values)
    backward = column_norms(operator.rmatmat(left) - right * values)
    norms: FloatArray = np.hypot(forward, backward).astype(operator.dtype)
    return norms
