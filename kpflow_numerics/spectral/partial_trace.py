"""An operator on (trial, time, unit) reduced to a matrix on some of its axes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from .._typing import Array, FloatArray
from .._validation import InputError, InputTypeError, check_choice, check_integer, suggest
from ..results import Cost, ReducedMatrix
from ._any_scale import SPECTRUM, at_any_scale
from ._budget import CHEAP_FLOPS, EXACT_FLOPS, check_max_memory, check_memory
from ._view import PRODUCT_COLUMNS, SpectralView
from .dense import chunks, unit_columns

AXES = ("trial", "time", "unit")
"""Names of the axes of a state array ``(B, T, N)``."""

PARTIAL_TRACE_METHODS = ("auto", "exact", "dense", "gram")
"""What :func:`partial_trace` accepts as ``method``."""

DEFAULT_MAX_PRODUCTS = 10_000
"""Products that a reduction may take unless told otherwise."""


def partial_trace(
    op: Any,
    over: str | Iterable[str],
    method: str = "auto",
    *,
    dims: tuple[int, int, int] | None = None,
    max_products: int = DEFAULT_MAX_PRODUCTS,
    max_memory: float | None = None,
    self_adjoint: bool | None = None,
) -> ReducedMatrix:
    """Return the partial trace of an operator: the sum of its diagonal blocks over some axes.

    With `i` the index over the traced axes and `a`, `b` those over the kept ones,
    ``M[a, b] = sum_i A[(a, i), (b, i)]``. The partial trace of an operator A that is not
    self-adjoint means that of ``A A*``. Its trace is the trace of the operator.

    It is not what has been published under this name, which applies the operator to an array
    that is constant along the traced axes and sums: see :func:`uniform_projection`.

    Parameters
    ----------
    op : LinearOperator, shape (n, p)
        The operator. It may have ``dimsd`` (the axes of its n entries), ``factor`` (L with
        ``op = L L*``), and ``exact_partial_trace(over)``, which is given the names in the order of
        the axes and returns the matrix.
    over : str or iterable of {"trial", "time", "unit"}
        The axes to trace over. None of them gives the whole matrix, all of them the trace as a
        1 x 1 matrix.
    method : {"auto", "exact", "dense", "gram"}
        ``"auto"`` takes products with unit vectors, of the factor (``"gram"``: p of them) or with
        the operator itself (``"dense"``: n), whichever are fewer; before that it asks the
        operator, whose closed form is taken for no more flops than the products take (below 1e10
        in any case; up to 2e12 where the products' are not known), and always where more than
        `max_products` would be needed.
    dims : tuple of int, optional
        The axes' lengths ``(B, T, N)``, where the operator does not have them.
    max_products : int
        Refuse rather than take more products of single columns.
    max_memory : float, optional
        Bytes of working memory; by default 4 GiB.
    self_adjoint : bool, optional
        Overrides ``op.self_adjoint``. An operator without that flag is tested by four random
        products.

    Returns
    -------
    ReducedMatrix
        Of side d, the product of the kept axes' lengths, in C order.

    Raises
    ------
    InputError
        If the axes are unknown, or more than `max_products` are needed.
    InputTypeError
        If an argument has a type that cannot be used.
    MemoryLimitError
        If it would take more than `max_memory`.

    Examples
    --------
    >>> over_units = partial_trace(np.eye(24), over=("trial", "unit"), dims=(2, 3, 4))
    >>> over_units.matrix.diagonal()
    array([8., 8., 8.])
    """
    solve = partial(
        _partial_trace,
        over=check_axes(over),
        method=method,
        dims=dims,
        max_products=max_products,
        max_memory=max_memory,
        self_adjoint=self_adjoint,
    )
    return at_any_scale(solve, (op,), SPECTRUM, self_adjoint=self_adjoint)


def _partial_trace(
    op: Any,
    *,
    over: str | Iterable[str],
    method: str,
    dims: tuple[int, int, int] | None,
    max_products: int,
    max_memory: float | None,
    self_adjoint: bool | None,
) -> ReducedMatrix:
    view = SpectralView(op, self_adjoint=self_adjoint)
    lengths = _axis_lengths(view, dims)
    traced = check_axes(over)
    method = check_choice(method, "method", PARTIAL_TRACE_METHODS)
    max_products = check_integer(max_products, "max_products")
    memory = check_max_memory(max_memory)
    kept = tuple(name for name in AXES if name not in traced)
    size = math.prod(lengths[AXES.index(name)] for name in kept)
    if method in ("auto", "exact"):
        found = None
        if _has_own_axes(view, lengths, required=method == "exact"):
            found = view.ask_exact(
                "partial_trace",
                traced,
                max_memory=memory,
                max_flops=_worthwhile_flops(view, max_products),
                required=method == "exact",
            )
        if found is not None:
            matrix = np.asarray(found[0]).reshape(size, size)
            return ReducedMatrix(
                matrix,
                traced,
                kept,
                "partial trace",
                "exact",
                view.n_matvecs,
                view.whole_cost(found[1]),
            )
        method = "gram" if _factor_is_shorter(view) else "dense"
    work = 4.0 * PRODUCT_COLUMNS * view.n * view.dtype.itemsize
    needed = float(size) ** 2 * view.dtype.itemsize + work
    check_memory(
        needed, memory, f"The {size} x {size} partial trace", "Trace over more axes, or raise it."
    )
    reduce = _by_factor if method == "gram" else _by_unit_vectors
    matrix = reduce(view, lengths, traced, size, max_products)
    cost = Cost(2.0 * view.n * size * (view.n if method == "dense" else 1), needed)
    return ReducedMatrix(
        matrix, traced, kept, "partial trace", method, view.n_matvecs, view.whole_cost(cost)
    )


def uniform_projection(
    op: Any,
    over: str | Iterable[str],
    *,
    normalization: str = "sum",
    dims: tuple[int, int, int] | None = None,
    max_products: int = DEFAULT_MAX_PRODUCTS,
    max_memory: float | None = None,
    self_adjoint: bool | None = None,
) -> ReducedMatrix:
    """Return the projection of an operator on what is constant along some axes: ``1* A 1``.

    ``M[a, b] = sum_ij A[(a, i), (b, j)]``, over all pairs of indices of the reduced axes, where the
    partial trace takes ``i = j`` only. That of an operator A that is not self-adjoint means that
    of ``A A*``.

    Parameters
    ----------
    op : LinearOperator, shape (n, p)
        The operator; ``op.dimsd`` are its axes.
    over : str or iterable of {"trial", "time", "unit"}
        The axes along which the direction is constant.
    normalization : {"sum", "mean"}
        ``"sum"`` as above; ``"mean"`` divides by the number of entries summed over on one side, so
        that the direction ``1 / sqrt(d)`` has unit length and M is a compression of the operator.
    dims, max_products, max_memory, self_adjoint
        As in :func:`partial_trace`.

    Returns
    -------
    ReducedMatrix
        Of side d, the product of the kept axes' lengths, from d products (2 d where the operator
        is not self-adjoint).

    Raises
    ------
    InputError, InputTypeError, MemoryLimitError
        As :func:`partial_trace`.

    Examples
    --------
    >>> uniform_projection(np.ones((24, 24)), over=("trial", "unit"), dims=(2, 3, 4)).matrix[0]
    array([64., 64., 64.])
    """
    solve = partial(
        projection_of,
        over=check_axes(over),
        normalization=normalization,
        dims=dims,
        max_products=max_products,
        max_memory=max_memory,
        self_adjoint=self_adjoint,
    )
    return at_any_scale(solve, (op,), SPECTRUM, self_adjoint=self_adjoint)


def projection_of(
    op: Any,
    *,
    over: str | Iterable[str],
    normalization: str,
    dims: tuple[int, int, int] | None,
    max_products: int,
    max_memory: float | None,
    self_adjoint: bool | None,
) -> ReducedMatrix:
    """Return the projection of an operator whose scale is in range."""
    view = SpectralView(op, self_adjoint=self_adjoint)
    lengths = _axis_lengths(view, dims)
    summed = check_axes(over)
    normalization = check_choice(normalization, "normalization", ("sum", "mean"))
    max_products = check_integer(max_products, "max_products")
    memory = check_max_memory(max_memory)
    kept = tuple(name for name in AXES if name not in summed)
    size = math.prod(lengths[AXES.index(name)] for name in kept)
    _check_products(view, size, max_products)
    work = 4.0 * PRODUCT_COLUMNS * view.n * view.dtype.itemsize
    needed = float(size) ** 2 * view.dtype.itemsize + work
    check_memory(
        needed, memory, f"The {size} x {size} projection", "Sum over more axes, or raise it."
    )
    sum_axes = tuple(AXES.index(name) for name in summed)
    expand = tuple(
        1 if name in summed else length for name, length in zip(AXES, lengths, strict=True)
    )
    matrix = np.empty((size, size), dtype=view.dtype)
    for first, last in chunks(size):
        units = unit_columns(first, last, size, view.dtype).reshape(*expand, last - first)
        block = np.broadcast_to(units, (*lengths, last - first)).reshape(view.n, -1)
        images = view.apply(block).reshape(*lengths, last - first)
        matrix[:, first:last] = images.sum(axis=sum_axes).reshape(size, -1)
    if normalization == "mean":
        matrix /= view.n // size
    return ReducedMatrix(
        matrix,
        summed,
        kept,
        "uniform projection",
        "dense",
        view.n_matvecs,
        view.whole_cost(Cost(0.0, needed)),
    )


def check_axes(over: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names of axes in their order, each once."""
    names = (over,) if isinstance(over, str) else over
    try:
        names = tuple(names)
    except TypeError as error:
        raise InputTypeError(f"over must name axes among {AXES}; got {over!r}.") from error
    for name in names:
        if name not in AXES:
            hint = suggest(name, AXES) if isinstance(name, str) else ""
            raise InputError(f"over must name axes among {AXES}; got {name!r}.{hint}")
    if len(set(names)) != len(names):
        raise InputError(f"over must name each axis once; got {names}.")
    return tuple(name for name in AXES if name in names)


def _axis_lengths(view: SpectralView, dims: tuple[int, int, int] | None) -> tuple[int, ...]:
    lengths = getattr(view.operator, "dimsd", None) if dims is None else dims
    where = f"{view.name}.dimsd" if dims is None else "dims"
    if lengths is None:
        raise InputError(
            f"This {view.name} does not say its axes: pass dims=(B, T, N), the numbers of trials, "
            "steps and units."
        )
    lengths = tuple(int(length) for length in lengths)
    if len(lengths) != len(AXES) or math.prod(lengths) != view.n:
        raise InputError(
            f"{where} must be the three lengths (B, T, N) whose product is {view.n}; got {lengths}."
        )
    return lengths


def _has_own_axes(view: SpectralView, lengths: tuple[int, ...], *, required: bool) -> bool:
    """Return whether the lengths are those that a closed form speaks of."""
    own = getattr(view.operator, "dimsd", None)
    if own is None or tuple(own) == lengths:
        return True
    if required:
        raise InputError(
            f'method="exact" knows the axes {tuple(own)} of this {view.name} only; got '
            f'dims={lengths}. Leave out dims, or use method="auto".'
        )
    return False


def _factor_is_shorter(view: SpectralView) -> bool:
    return view.factor is not None and view.factor.shape[1] <= view.n


def _worthwhile_flops(view: SpectralView, max_products: int) -> float:
    """Return how many flops a closed form may take before the products are the cheaper way."""
    if view.factor is not None and _factor_is_shorter(view):
        columns, cost = view.factor.shape[1], view.factor.product_cost()
        flops = None if cost is None else cost.flops
    else:
        columns, flops = view.n, view.product_flops
    if columns > max_products:
        return math.inf
    return EXACT_FLOPS if flops is None else max(CHEAP_FLOPS, columns * flops)


def _check_products(view: SpectralView, columns: int, max_products: int) -> None:
    if columns > max_products:
        raise InputError(
            f"This reduction of {view.name} takes products with {columns:,} columns, more than "
            f"max_products={max_products:,}. Raise max_products, keep fewer axes, or use a smaller "
            "batch."
        )


def _split(block: Array, lengths: tuple[int, ...], traced: tuple[str, ...], size: int) -> Array:
    """Return a block as (kept, traced, columns)."""
    order = sorted(range(3), key=lambda axis: (AXES[axis] in traced, axis))
    columns = block.shape[1]
    array = block.reshape(*lengths, columns).transpose(*order, 3)
    return array.reshape(size, -1, columns)


def _by_factor(
    view: SpectralView,
    lengths: tuple[int, ...],
    traced: tuple[str, ...],
    size: int,
    max_products: int,
) -> FloatArray:
    """Sum ``X X*`` over the factor's columns, each as a matrix X of (kept, traced)."""
    factor = view.factor
    if factor is None:
        raise InputError(
            f'method="gram" needs an operator that is not self-adjoint, or one with a factor L '
            f'(op = L L*), which this {view.name} does not offer; use method="dense".'
        )
    columns = factor.shape[1]
    _check_products(view, columns, max_products)
    matrix = np.zeros((size, size), dtype=view.dtype)
    for first, last in chunks(columns):
        images = factor.matmat(unit_columns(first, last, columns, view.dtype))
        block = _split(images, lengths, traced, size).reshape(size, -1)
        matrix += block @ block.T
    return matrix


def _by_unit_vectors(
    view: SpectralView,
    lengths: tuple[int, ...],
    traced: tuple[str, ...],
    size: int,
    max_products: int,
) -> FloatArray:
    """Add up the columns of the diagonal blocks."""
    _check_products(view, view.n, max_products)
    order = _split(np.arange(view.n).reshape(-1, 1), lengths, traced, size)[:, :, 0]
    kept_of, traced_of = np.empty(view.n, int), np.empty(view.n, int)
    kept_of[order.ravel()] = np.repeat(np.arange(size), order.shape[1])
    traced_of[order.ravel()] = np.tile(np.arange(order.shape[1]), size)
    transposed = np.zeros((size, size), dtype=view.dtype)
    for first, last in chunks(view.n):
        images = view.apply(unit_columns(first, last, view.n, view.dtype))
        blocks = _split(images, lengths, traced, size)
        columns = np.arange(last - first)
        picked = blocks[:, traced_of[first:last], columns]
        np.add.at(transposed, kept_of[first:last], picked.T)
    return np.ascontiguousarray(transposed.T)
