"""The leading eigenpairs of any operator, with a certificate that none was left out."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .._typing import ArrayLike, RNGLike
from ..results import EigenResult
from ._any_scale import SPECTRUM, at_any_scale
from ._finish import rayleigh_ritz
from ._leading import Leading, Options, leading_pairs
from ._view import SpectralView
from .certificate import CERTIFICATE_PRODUCTS

EIGEN_METHODS = (
    "auto",
    "exact",
    "dense",
    "gram",
    "block-diagonal",
    "lanczos",
    "block-krylov",
    "lobpcg",
    "arpack",
)
"""What :func:`top_eigenpairs` accepts as ``method``."""


def top_eigenpairs(
    op: Any,
    k: int = 6,
    *,
    method: str = "auto",
    tolerance: float | None = None,
    max_products: int | None = None,
    max_memory: float | None = None,
    initial_vectors: ArrayLike | None = None,
    certificate_products: int = CERTIFICATE_PRODUCTS,
    self_adjoint: bool | None = None,
    rng: RNGLike = 0,
) -> EigenResult:
    """Return the k largest eigenvalues of an operator and their eigenvectors.

    They are the largest algebraically: of an operator with negative eigenvalues, those come last.
    The eigenpairs of an operator A that is not self-adjoint mean those of ``A A*``: its singular
    values squared, and its left singular vectors.

    Parameters
    ----------
    op : LinearOperator, array_like or sparse matrix, shape (n, p)
        The operator. It may have ``factor`` (L with ``op = L L*``), ``n_blocks`` (equal diagonal
        blocks of which it consists), ``exact_eigenpairs(k)``, ``coarse()`` (a cheaper operator
        near it in ``float32``) and ``astype(dtype)`` (the same operator rounded).
    k : int
        Number of pairs, at most n.
    method : {"auto", "exact", "dense", "gram", "block-diagonal", "lanczos", "block-krylov", \
"lobpcg", "arpack"}
        The solver. ``"auto"`` asks the operator for its exact eigenpairs, then takes the matrix
        (or the Gram matrix of the factor) where its size is at most 2,000, or at most 8,000 if
        that takes fewer products. Otherwise it iterates: in every diagonal block at once
        (``"block-diagonal"``) where the operator has several, by block Krylov from
        `initial_vectors`, and by Lanczos from a single vector without them. Lanczos for
        eigenpairs of a ``float64`` operator that has ``coarse()`` runs on that, if `tolerance` is
        at least 1e-9, and is refined with the operator itself. LOBPCG needs
        ``n >= 5 (k + max(4, k/4))`` and ARPACK ``k < n``; below that the matrix is taken, and
        `method` of the result says so.
    tolerance : float, optional
        A pair has converged when ``|A v - value v|`` is at most this times ``|A|``. By default
        ``eps^(2/3)``: 4e-11 in ``float64``, 2.4e-5 in ``float32``.
    max_products : int, optional
        Budget of an iterative solver, in products of single columns; the certificate's are not in
        it. By default ``400 (k + 16)``. Where it does not suffice, ``converged`` is False.
    max_memory : float, optional
        Bytes of working memory; by default 4 GiB.
    initial_vectors : array_like, shape (n, j), optional
        Where an iterative solver starts (the eigenvectors of an earlier checkpoint, say). Direct
        methods do not need them.
    certificate_products : int
        Products spent on the completeness certificate of an iterative solver; twice as many in
        diagonal blocks.
    self_adjoint : bool, optional
        Overrides ``op.self_adjoint``. An operator without that flag is tested by four random
        products.
    rng : int, SeedSequence or Generator
        Source of the random columns.

    Returns
    -------
    EigenResult
        ``complete=False`` says that the certificate found a larger eigenvalue that the result
        lacks. Lanczos and block Krylov then continue, in blocks, from what was found, within
        `max_products`; LOBPCG and ARPACK return what they have.

    Raises
    ------
    InputError, InputTypeError
        If an argument cannot be used, or a product gives NaN or infinity.
    MemoryLimitError
        If the method would take more than `max_memory`.

    Notes
    -----
    Memory of the direct methods: four matrices of n rows for ``"dense"``, three of the smaller side
    for ``"gram"``. Of Lanczos: a basis of
    ``max(2 k + 256, 4 k)`` columns of length n; of block Krylov: two of ``max(k + 128, 3 k)``
    (``k + 64`` in place of ``k + 128`` in diagonal blocks); fewer where `max_memory` asks for it.
    A single vector needs the fewest products: a third of what blocks of 16 take. Blocks find all
    copies of a repeated eigenvalue at once, which Lanczos leaves to the certificate. A refinement
    takes 10 k more columns of length n at most, and where these do not fit, Lanczos does without.

    Examples
    --------
    >>> result = top_eigenpairs(np.diag([3.0, 2.0, 2.0, 1.0]), k=3)
    >>> result
    EigenResult(3 eigenpairs 3 ... 2 of n=4, converged, complete, dense, 8 products)
    """
    solve = partial(
        _top_eigenpairs,
        k=k,
        method=method,
        tolerance=tolerance,
        max_products=max_products,
        max_memory=max_memory,
        initial_vectors=initial_vectors,
        certificate_products=certificate_products,
        self_adjoint=self_adjoint,
        rng=rng,
    )
    return at_any_scale(solve, (op,), SPECTRUM, self_adjoint=self_adjoint)


def _top_eigenpairs(
    op: Any,
    *,
    k: int,
    method: str,
    tolerance: float | None,
    max_products: int | None,
    max_memory: float | None,
    initial_vectors: ArrayLike | None,
    certificate_products: int,
    self_adjoint: bool | None,
    rng: RNGLike,
) -> EigenResult:
    view = SpectralView(op, self_adjoint=self_adjoint)
    options = Options.checked(
        view,
        k,
        method,
        EIGEN_METHODS,
        largest_k=view.n,
        tolerance=tolerance,
        max_products=max_products,
        max_memory=max_memory,
        initial_vectors=initial_vectors,
        certificate_products=certificate_products,
        rng=rng,
    )
    return eigen_result(view, options)


def eigen_result(view: SpectralView, options: Options) -> EigenResult:
    """Return the leading eigenpairs of a view for checked options."""
    found = _exact_pairs(view, options) or leading_pairs(view, options)
    pairs, certificate = found.pairs, found.certificate
    k = options.k if options.enough is None else max(options.k, len(pairs.values))
    return EigenResult(
        values=pairs.values,
        vectors=pairs.vectors,
        residual_norms=pairs.residual_norms.astype(view.dtype),
        converged=pairs.meet(k, options.tolerance),
        complete=len(pairs.values) == k and found.no_larger_left,
        n_matvecs=view.n_matvecs,
        method=found.method,
        certificate_value=np.nan if certificate is None else certificate.value,
        certificate_threshold=np.nan if certificate is None else certificate.threshold,
        tolerance=options.tolerance,
        cost=view.whole_cost(found.cost),
    )


def _exact_pairs(view: SpectralView, options: Options) -> Leading | None:
    if options.method not in ("auto", "exact"):
        return None
    found = view.ask_exact(
        "eigenpairs",
        options.k,
        max_memory=options.max_memory,
        required=options.method == "exact",
    )
    if found is None:
        return None
    (_, vectors), cost = found
    pairs = rayleigh_ritz(view, np.asarray(vectors, dtype=view.dtype))
    return Leading(pairs, "exact", None, cost)
