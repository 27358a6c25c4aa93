"""The inner product and the alignment of two operators."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from .._typing import RNGLike
from .._validation import InputError, check_choice, check_integer, check_real, check_rng
from ..results import Cost, Estimate
from ._budget import DENSE_SIZE, EXACT_FLOPS, ask_exact, check_max_memory, check_memory
from ._view import PRODUCT_COLUMNS, SpectralView
from .dense import chunks, unit_columns
from .estimators.forms import GramForm, QuadraticForm, squared_norm_form
from .estimators.hutch_plus_plus import hutch_plus_plus
from .estimators.hutchinson import hutchinson
from .estimators.products import (
    PairForm,
    TraceOfProduct,
    product_form,
    products_of,
    sampled_alignment,
)
from .estimators.sampled import CONFIDENCE
from .trace import DEFAULT_PRODUCTS

ALIGNMENT_METHODS = ("auto", "exact", "dense", "gram", "hutchinson", "hutch++")
"""What :func:`alignment` and :func:`inner_product` accept as ``method``."""

_REMEDY = 'Raise max_memory, use a smaller batch, or take method="hutch++".'


def inner_product(
    A: Any,
    B: Any,
    method: str = "auto",
    *,
    n_matvecs: int = DEFAULT_PRODUCTS,
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
        ``"hutchinson"`` and ``"hutch++"`` estimate that sum. ``"auto"`` asks, then takes the unit
        vectors where there are at most 2,000 of them, then Hutch++.
    n_matvecs : int
        Budget of the estimators, in products of single columns with either operator.
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
    >>> inner_product(np.diag([2.0, 1.0]), np.diag([1.0, 3.0]))
    Estimate(5, dense, 12 products)
    """
    pair = _Pair(A, B, method, n_matvecs, rng, max_memory)
    exact = pair.exact_product()
    return pair.product() if exact is None else exact


def alignment(
    A: Any,
    B: Any,
    method: str = "auto",
    *,
    n_matvecs: int = DEFAULT_PRODUCTS,
    rtol: float | None = None,
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
    method : {"auto", "exact", "dense", "gram", "hutchinson", "hutch++"}
        ``"exact"`` asks the operators for ``tr(A B)`` and both norms. ``"dense"`` makes all three
        from the n unit vectors, ``"gram"`` each from the smallest side of the factors.
        ``"hutchinson"`` and ``"hutch++"`` estimate all three from the same products.
        ``"auto"`` asks for each, takes unit vectors where there are at most 2,000, and estimates
        only what is left by Hutch++; `method` of the result says what that was.
    n_matvecs : int
        Budget of the estimators, in products of single columns with either operator. Never
        exceeded; four random products for each operator without a ``self_adjoint`` flag come on
        top.
    rtol : float, optional
        Where the ratio itself is sampled, stop before the budget ends as soon as the half width of
        the 95 % interval is at most this share of the value. Where only a norm or only the
        numerator is, the whole budget is spent.
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
    kernel with K, the core or another kernel it is the ratio that is sampled.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> K, PP = kpf.ParameterOperator(lin), kpf.PropagatorGram(lin)
    >>> round(alignment(K, PP).value, 2), alignment(K, PP).method
    (0.27, 'exact')
    """
    pair = _Pair(A, B, method, n_matvecs, rng, max_memory, rtol)
    norms = pair.exact_norms()
    numerator = pair.exact_product()
    if numerator is None and pair.unit_vectors(norms) == "dense":
        return pair.dense_alignment()
    if pair.sampling(norms, numerator):
        return pair.sampled_alignment(norms)
    if numerator is None:
        numerator = pair.product()
    return pair.ratio(numerator, pair.all_norms(norms))


class _Pair:
    """Two operators, and what may be spent on them."""

    def __init__(
        self,
        A: Any,
        B: Any,
        method: str,
        n_matvecs: int,
        rng: RNGLike,
        max_memory: float | None,
        rtol: float | None = None,
    ) -> None:
        self.method = check_choice(method, "method", ALIGNMENT_METHODS)
        self.n_matvecs = check_integer(n_matvecs, "n_matvecs")
        self.max_memory = check_max_memory(max_memory)
        self.rng = check_rng(rng)
        if rtol is not None:
            rtol = check_real(rtol, "rtol", minimum=0, open_minimum=True)
        self.rtol = rtol
        self.views = (SpectralView(A), SpectralView(B))
        first, second = self.views
        if first.n != second.n:
            raise InputError(
                "A and B must act on the same space: equal numbers of trials, steps and state "
                f"entries. {first.name} has {first.n:,} rows, {second.name} has {second.n:,}."
            )
        self._started = self.products
        self.dtype: np.dtype[Any] = np.result_type(first.dtype, second.dtype)

    @property
    def products(self) -> int:
        """Products of single columns made so far."""
        return self.views[0].n_matvecs + self.views[1].n_matvecs

    @property
    def asks(self) -> bool:
        """Whether closed forms are wanted."""
        return self.method in ("auto", "exact")

    # What is known

    def exact_product(self) -> Estimate | None:
        """Return ``tr(A B)`` if it is in closed form and affordable."""
        if not self.asks:
            return None
        required = self.method == "exact"
        for A, B in (self.views, self.views[::-1]):
            for source in _sources(A):
                for other in _sources(B):
                    found = self._ask(source, other, required)
                    if found is not None:
                        return self._known(found[0], "exact", "inner product", found[1])
        if required:
            names = " and ".join(view.name for view in self.views)
            raise InputError(
                'method="exact" needs a closed form, exact_inner_product(other), which '
                f'{names} do not offer for each other here; use method="auto".'
            )
        return None

    def _ask(self, source: Any, other: Any, required: bool) -> tuple[float, Cost | None] | None:
        function = getattr(source, "exact_inner_product", None)
        if function is None:
            return None
        estimate = getattr(source, "exact_inner_product_cost", None)
        cost: Cost | None = None
        if estimate is not None:
            cost = estimate(other)
            if cost is None:
                return None
        if cost is not None:
            if required:
                what = f"{type(source).__name__}.exact_inner_product()"
                check_memory(cost.memory_bytes, self.max_memory, what, _REMEDY)
            elif cost.memory_bytes > self.max_memory or cost.flops > EXACT_FLOPS:
                return None
        value = function(other)
        return None if value is None else (float(value), cost)

    def exact_norms(self) -> list[Estimate | None]:
        """Return the Frobenius norms that are in closed form and affordable."""
        found: list[Estimate | None] = []
        for view in self.views:
            answer = None
            if self.asks:
                for source in _sources(view):
                    answer = ask_exact(source, "frobenius_norm", max_memory=self.max_memory)
            norm = None
            if answer is not None:
                norm = self._known(float(answer[0]), "exact", "Frobenius norm", answer[1])
            found.append(norm)
        if self.method == "exact" and None in found:
            name = self.views[found.index(None)].name
            raise InputError(
                'method="exact" needs a closed form of both norms, exact_frobenius_norm(), which '
                f'this {name} does not offer here; use method="auto", which estimates the rest.'
            )
        return found

    # What is made from unit vectors

    def product_form(self) -> TraceOfProduct:
        """Return the form whose trace is ``tr(A B)``, as the method asks."""
        if self.method == "dense":
            return PairForm(*self.views)
        form = product_form(*self.views)
        if self.method == "gram" and isinstance(form, PairForm):
            raise InputError(
                'method="gram" needs an operator with a factor L (A = L L*) of fewer columns than '
                f"rows, or one that is not self-adjoint with fewer columns; {self.views[0].name} "
                f'and {self.views[1].name} have none. Use method="dense".'
            )
        return form

    def unit_vectors(self, norms: list[Estimate | None]) -> str | None:
        """Return by which unit vectors all that is left is affordable, if by any."""
        if self.method in ("dense", "gram"):
            return self.method
        if self.method != "auto":
            return None
        dense = self.views[0].n * sum(products_of(view) for view in self.views)
        form = self.product_form()
        gram = form.cost * form.size
        for view, norm in zip(self.views, norms, strict=True):
            gram += _norm_form(view).size * _norm_form(view).cost if norm is None else 0
        if min(dense, gram) > max(self.n_matvecs, 2 * DENSE_SIZE):
            return None
        return "gram" if gram < dense and not isinstance(form, PairForm) else "dense"

    def dense_alignment(self) -> Estimate:
        """Return the alignment from the products with all unit vectors."""
        first, second = self.views
        totals = np.zeros(3)
        for start, stop in chunks(first.n):
            E = unit_columns(start, stop, first.n, self.dtype)
            Y, Z = (view.apply(E).astype(np.float64, copy=False) for view in self.views)
            totals += [np.vdot(Y, Z), np.vdot(Y, Y), np.vdot(Z, Z)]
        cost = Cost(6.0 * first.n**2, 4.0 * PRODUCT_COLUMNS * second.n * 8.0)
        product, *norms = (
            self._known(float(value), "dense", "", cost)
            for value in (totals[0], *np.sqrt(totals[1:]))
        )
        return self.ratio(product, norms)

    # What is sampled

    def sampling(self, norms: list[Estimate | None], numerator: Estimate | None) -> bool:
        """Return whether the ratio itself is sampled, because more than one part is unknown."""
        if self.method in ("hutchinson", "hutch++"):
            return True
        return self.unit_vectors(norms) is None and numerator is None and None in norms

    def sampled_alignment(self, norms: list[Estimate | None]) -> Estimate:
        """Return the alignment from one set of random products with both operators."""
        first, second = self.views
        squares = [None if norm is None else norm.value**2 for norm in norms]
        sketched = self.method != "hutchinson"
        self._check_nonzero(norms)
        found = sampled_alignment(
            first,
            second,
            (squares[0], squares[1]),
            self.n_matvecs,
            self.rng,
            sketched=sketched,
            rtol=self.rtol,
        )
        columns = self.n_matvecs // 6 if sketched else 0
        memory = (2.0 * columns + 6.0 * PRODUCT_COLUMNS) * first.n * self.dtype.itemsize
        return self._clipped(
            Estimate(
                found.value,
                found.lower,
                found.upper,
                found.standard_error,
                "hutch++" if sketched else "hutchinson",
                self.products,
                "alignment",
                confidence=CONFIDENCE if found.standard_error > 0 else 1.0,
                cost=Cost(4.0 * first.n * columns * self.n_matvecs, memory),
            )
        )

    def product(self) -> Estimate:
        """Return ``tr(A B)`` from unit vectors or random ones."""
        return self._trace(self.product_form(), "inner product", self.n_matvecs)

    def all_norms(self, norms: list[Estimate | None]) -> list[Estimate]:
        """Return the norms, those that are not known from unit vectors or random ones."""
        share = max((self.n_matvecs) // max(norms.count(None), 1), 1)
        return [
            self._norm(view, share) if norm is None else norm
            for view, norm in zip(self.views, norms, strict=True)
        ]

    def _norm(self, view: SpectralView, n_matvecs: int) -> Estimate:
        square = self._trace(_norm_form(view), "Frobenius norm", n_matvecs)
        value = math.sqrt(max(square.value, 0.0))
        return dataclasses.replace(
            square,
            value=value,
            lower=math.sqrt(max(square.lower, 0.0)),
            upper=math.sqrt(max(square.upper, 0.0)),
            standard_error=square.standard_error / (2 * value) if value > 0 else 0.0,
        )

    def _trace(self, form: QuadraticForm, quantity: str, n_matvecs: int) -> Estimate:
        """Return the trace of a form from unit vectors where few are needed, or from random ones.

        The sum over unit vectors is called "gram" where they are not those of the whole space.
        """
        memory = 4.0 * PRODUCT_COLUMNS * (self.views[0].n + form.size) * 8.0
        few = form.size <= max(n_matvecs // form.cost, DENSE_SIZE)
        if self.method in ("dense", "gram") or (self.method in ("auto", "exact") and few):
            value = 0.0
            for start, stop in chunks(form.size):
                columns = unit_columns(start, stop, form.size, form.dtype)
                value += float(np.sum(form.quadratic(columns)))
            name = "dense" if form.size == self.views[0].n else "gram"
            return self._known(value, name, quantity, Cost(2.0 * form.size**2, memory))
        name = "hutchinson" if self.method == "hutchinson" else "hutch++"
        estimator = hutchinson if name == "hutchinson" else hutch_plus_plus
        found = estimator(form, n_matvecs, self.rng)
        sketched = n_matvecs // (3 * form.cost)
        return Estimate(
            found.value,
            found.lower,
            found.upper,
            found.standard_error,
            name,
            self.products,
            quantity,
            confidence=CONFIDENCE if found.standard_error > 0 else 1.0,
            cost=Cost(4.0 * form.size * sketched * n_matvecs, memory),
        )

    # The ratio

    def ratio(self, product: Estimate, norms: list[Estimate]) -> Estimate:
        """Return the alignment from its three parts, of which any may be uncertain."""
        self._check_nonzero([*norms])
        size = norms[0].value * norms[1].value
        value = product.value / size
        # Independent relative errors, each side of the interval by itself.
        up, down = (
            [_distance(product.upper, product.value, size)],
            [_distance(product.lower, product.value, size)],
        )
        variance = (product.standard_error / size) ** 2
        for norm in norms:
            ends = (norm.value / max(norm.lower, 1e-300 * norm.value), norm.value / norm.upper)
            larger, smaller = ends if value >= 0 else ends[::-1]
            up.append(abs(value) * abs(larger - 1))
            down.append(abs(value) * abs(smaller - 1))
            variance += (value * norm.standard_error / norm.value) ** 2
        parts = [product, *norms]
        return self._clipped(
            Estimate(
                value,
                value - math.hypot(*down),
                value + math.hypot(*up),
                math.sqrt(variance),
                _methods(product, norms),
                self.products,
                "alignment",
                confidence=min(part.confidence for part in parts),
                cost=_total([part.cost for part in parts]),
            )
        )

    def _check_nonzero(self, norms: list[Estimate | None]) -> None:
        for letter, view, norm in zip("AB", self.views, norms, strict=True):
            if norm is not None and norm.value <= 0:
                raise InputError(
                    f"The alignment is not defined: {letter} ({view.name}) is zero. Use "
                    "inner_product, which is zero then."
                )

    def _clipped(self, found: Estimate) -> Estimate:
        positive = all(view.positive_semidefinite for view in self.views)
        bounds = (0.0 if positive else -1.0, 1.0)
        value, lower, upper = (
            min(max(each, bounds[0]), bounds[1]) for each in (found.value, found.lower, found.upper)
        )
        return dataclasses.replace(found, value=value, lower=lower, upper=upper)

    def _known(self, value: float, method: str, quantity: str, cost: Cost | None) -> Estimate:
        return Estimate(value, value, value, 0.0, method, self.products, quantity, cost=cost)


def _sources(view: SpectralView) -> list[Any]:
    """Return the operators whose exact methods speak of the self-adjoint operator of a view."""
    return view.exact_sources if view.self_adjoint else view.exact_sources[1:]


def _norm_form(view: SpectralView) -> QuadraticForm:
    """Return the form whose trace is the squared norm of the self-adjoint operator of a view."""
    if not view.self_adjoint and view.factor is not None:
        return GramForm(view.factor)
    return squared_norm_form(view)


def _distance(end: float, value: float, size: float) -> float:
    return abs(end - value) / size


def _methods(product: Estimate, norms: list[Estimate]) -> str:
    """Return how the parts were found: one word, or also that of the norms."""
    alike = {"dense", "gram"} if product.method in ("dense", "gram") else {product.method}
    others = [norm.method for norm in norms if norm.method not in alike]
    return f"{product.method}, norm by {others[0]}" if others else product.method


def _total(costs: list[Cost | None]) -> Cost | None:
    known = [cost for cost in costs if cost is not None]
    if not known:
        return None
    return Cost(sum(cost.flops for cost in known), max(cost.memory_bytes for cost in known))
