"""The inner product and the alignment of two operators."""

from __future__ import annotations

from functools import partial
from typing import Any

from .._typing import RNGLike
from .._validation import check_choice, check_integer, check_rng
from ..results import Estimate
from ._any_scale import NO_SCALE, SPECTRUM, at_any_scale
from ._bounded import DEFAULT_PAIRS
from ._budget import check_max_memory
from ._pair import Pair, Spending
from .trace import DEFAULT_PRODUCTS, check_rtol

INNER_PRODUCT_METHODS = ("auto", "exact", "dense", "gram", "hutchinson", "hutch++")
"""What :func:`inner_product` accepts as ``method``."""

ALIGNMENT_METHODS = (*INNER_PRODUCT_METHODS, "bounds")
"""What :func:`alignment` accepts as ``method``."""


def inner_product(
    A: Any,
    B: Any,
    method: str = "auto",
    *,
    n_matvecs: int = DEFAULT_PRODUCTS,
    rtol: float | None = None,
    rng: RNGLike = 0,
    max_memory: float | None = None,
) -> Estimate:
    """Return the inner product ``tr(A B)`` of two self-adjoint operators.

    An operator that is not self-adjoint stands for ``A A*``.

    Parameters
    ----------
    A, B : LinearOperator, array_like or sparse matrix
        Operators on the same space: n rows each. Either may have
        ``exact_inner_product(other)`` with ``exact_inner_product_cost(other)``, and ``factor``
        (L with ``A = L L*``).
    method : {"auto", "exact", "dense", "gram", "hutchinson", "hutch++"}
        ``"exact"`` asks the operators; ``"dense"`` sums ``<A e, B e>`` over the n unit vectors,
        ``"gram"`` sums ``|M* L e|^2`` over those of the smallest side of the factors;
        ``"hutchinson"`` and ``"hutch++"`` estimate that sum. ``"auto"`` asks, then takes unit
        vectors, each if it is no dearer than an estimate (as :func:`trace` compares); otherwise
        XNysTrace where both have factors, and Hutch++ where they do not.
    n_matvecs : int
        Budget of the estimators, in products of single columns with either operator.
    rtol : float, optional
        Relative accuracy, as in :func:`trace`: the estimators stop when half the width of the 95 %
        interval is at most this times the value, or at `n_matvecs`.
    rng : int, SeedSequence or Generator
        Source of the random probes.
    max_memory : float, optional
        Bytes of working memory; by default 4 GiB.

    Returns
    -------
    Estimate
        Exact to rounding, or with its standard error and 95 % interval.

    Raises
    ------
    InputError, InputTypeError
        If an argument cannot be used.
    MemoryLimitError
        If the method would take more than `max_memory`.

    See Also
    --------
    alignment : The cosine.

    Examples
    --------
    >>> import numpy as np
    >>> inner_product(np.diag([2.0, 1.0]), np.diag([1.0, 3.0]))
    Estimate(5, dense, 12 products)
    """
    solve = partial(
        _inner_product,
        method=method,
        n_matvecs=n_matvecs,
        rtol=rtol,
        rng=rng,
        max_memory=max_memory,
    )
    return at_any_scale(solve, (A, B), SPECTRUM)


def _inner_product(
    A: Any,
    B: Any,
    *,
    method: str,
    n_matvecs: int,
    rtol: float | None,
    rng: RNGLike,
    max_memory: float | None,
) -> Estimate:
    spending = _checked(method, INNER_PRODUCT_METHODS, n_matvecs, rtol, rng, max_memory)
    pair = Pair(A, B, spending)
    exact = pair.exact_product()
    found = pair.product() if exact is None else exact
    return pair.with_products(found)


def alignment(
    A: Any,
    B: Any,
    method: str = "auto",
    *,
    n_matvecs: int = DEFAULT_PRODUCTS,
    rtol: float | None = None,
    n_pairs: int = DEFAULT_PAIRS,
    rng: RNGLike = 0,
    max_memory: float | None = None,
) -> Estimate:
    """Return the alignment of two operators, ``tr(A B) / (|A|_F |B|_F)``.

    The cosine of the angle between them: 1 where one is a positive multiple of the other; never
    negative where both are positive semi-definite. An operator that is not self-adjoint stands for
    ``A A*``, so that ``alignment(K, P)`` is that of K with ``P P*``. They may belong to two
    checkpoints, or to two cells of the same state size.

    Parameters
    ----------
    A, B : LinearOperator, array_like or sparse matrix
        Operators on the same space: n rows each. Either may have
        ``exact_inner_product(other)`` with ``exact_inner_product_cost(other)``,
        ``exact_frobenius_norm()``, and ``factor`` (L with ``A = L L*``).
    method : {"auto", "exact", "dense", "gram", "hutchinson", "hutch++", "bounds"}
        ``"exact"`` asks the operators for ``tr(A B)`` and both norms. ``"dense"`` makes all three
        from the n unit vectors, ``"gram"`` each from the smallest side of the factors.
        ``"hutchinson"`` and ``"hutch++"`` estimate all three from the same products.
        ``"bounds"`` leaves a certain interval: ``tr(A B)`` in closed form, or from unit vectors
        where there are at most 2,000; each norm in closed form, or between certain bounds from
        the trace and leading eigenpairs (see :func:`frobenius_norm`).
        ``"auto"`` asks for each, and then takes unit vectors, each if it is no dearer than an
        estimate (as :func:`trace` compares). It estimates only what is left: the ratio by the
        split of Hutch++ where both ``tr(A B)`` and a norm are unknown, otherwise the unknown part
        by itself, by XNysTrace where there is a factor. `method` of the result says what that was.
    n_matvecs : int
        Budget of the estimators, in products of single columns with either operator. Never
        exceeded; four random products for each operator without a ``self_adjoint`` flag come on
        top.
    rtol : float, optional
        Accuracy of the ratio: the estimators stop before the budget ends as soon as the half width
        of the 95 % interval is at most this share of the value; for bounds half their distance,
        until which more eigenpairs are found.
    n_pairs : int
        Eigenpairs of each operator that bounds begin with.
    rng : int, SeedSequence or Generator
        Source of the random probes.
    max_memory : float, optional
        Bytes of working memory; by default 4 GiB.

    Returns
    -------
    Estimate
        Within [-1, 1], or [0, 1] where both operators say that they are positive semi-definite.

    Raises
    ------
    InputError
        If an operator is zero, which leaves the alignment undefined; or if an argument cannot be
        used.
    InputTypeError
        If an argument has a type that cannot be used.
    MemoryLimitError
        If the method would take more than `max_memory`.

    See Also
    --------
    inner_product : The numerator.

    Notes
    -----
    Among K, its parts by weight site, the Kronecker core and ``P P*``, everything is in closed
    form: from ``(B T)^2 (m + H)`` flops for two of K's kind, through ``14 B T N^3`` for two
    ``P P*``, to ``B T^2 N^3`` for K with ``P P*``. For the tangent kernel with ``P P*`` the
    numerator is, in at most ``4 B T^2 N^3`` flops, and only ``|NTK|_F`` is estimated. For the
    kernel with K, the core or another kernel it is the ratio that is sampled. The cost of the
    result counts the products where the operators tell what they cost.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> K, PP = kpf.ParameterOperator(lin), kpf.PropagatorGram(lin)
    >>> round(alignment(K, PP).value, 2), alignment(K, PP).method
    (0.27, 'exact')
    >>> alignment(kpf.TangentKernel(lin), PP, "bounds", rtol=0.05).is_certified
    True
    """
    solve = partial(
        _alignment,
        method=method,
        n_matvecs=n_matvecs,
        rtol=rtol,
        n_pairs=n_pairs,
        rng=rng,
        max_memory=max_memory,
    )
    return at_any_scale(solve, (A, B), NO_SCALE)


def _alignment(
    A: Any,
    B: Any,
    *,
    method: str,
    n_matvecs: int,
    rtol: float | None,
    n_pairs: int,
    rng: RNGLike,
    max_memory: float | None,
) -> Estimate:
    spending = _checked(method, ALIGNMENT_METHODS, n_matvecs, rtol, rng, max_memory)
    n_pairs = check_integer(n_pairs, "n_pairs")
    pair = Pair(A, B, spending)
    norms = pair.exact_norms()
    if spending.method == "bounds":
        return pair.certain(norms, n_pairs)
    numerator = pair.exact_product()
    by = pair.unit_vectors(norms, numerator)
    if by == "dense" and numerator is None:
        return pair.dense_alignment()
    if pair.is_sampled(norms, numerator, by):
        return pair.sampled_alignment(norms)
    if numerator is None:
        numerator = pair.product(by)
    return pair.ratio(numerator, pair.all_norms(norms, by))


def _checked(
    method: str,
    methods: tuple[str, ...],
    n_matvecs: int,
    rtol: float | None,
    rng: RNGLike,
    max_memory: float | None,
) -> Spending:
    return Spending(
        check_choice(method, "method", methods),
        check_integer(n_matvecs, "n_matvecs"),
        check_rtol(rtol),
        check_rng(rng),
        check_max_memory(max_memory),
    )
