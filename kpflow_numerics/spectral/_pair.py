"""Two operators on one space: the parts of their alignment, each had by the cheapest way."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._validation import InputError
from ..results import Cost, Estimate
from ._budget import DENSE_SIZE, ask_exact, check_memory, worthwhile_flops
from ._view import PRODUCT_COLUMNS, ProductCounter, SpectralView
from .dense import chunks, unit_columns
from .estimators.forms import GramForm, QuadraticForm, squared_norm_form
from .estimators.products import (
    PairForm,
    TraceOfProduct,
    product_form,
    products_of,
    sampled_alignment,
    sketch_columns,
    total_flops,
)
from .estimators.sampled import CONFIDENCE
from .frobenius_norm import norm_bounds
from .trace import root_of_square, trace_of_form, unit_vectors_pay, with_products

_REMEDY = 'Raise max_memory, use a smaller batch, or take method="hutch++".'

_UNIT_VECTORS = ("dense", "gram")
_SAMPLING = ("hutchinson", "hutch++")


@dataclass(frozen=True)
class Spending:
    """What was asked for, and what may be spent on it.

    Attributes
    ----------
    method : str
        A name of ``ALIGNMENT_METHODS``.
    n_matvecs : int
        Budget of the estimators.
    rtol : float or None
        Relative accuracy of the result.
    rng : Generator
        Source of random probes.
    max_memory : float
        Bytes of working memory.
    """

    method: str
    n_matvecs: int
    rtol: float | None
    rng: np.random.Generator
    max_memory: float


class Pair:
    """Two operators, and what may be spent on them.

    The parts of a result have the costs of their methods alone; those of all products are added to
    the result.
    """

    def __init__(self, A: Any, B: Any, spending: Spending) -> None:
        self._spending = spending
        counter = ProductCounter()
        self._views = (SpectralView(A, counter=counter), SpectralView(B, counter=counter))
        first, second = self._views
        if first.n != second.n:
            raise InputError(
                "A and B must act on the same space: equal numbers of trials, steps and state "
                f"entries. {first.name} has {first.n:,} rows, {second.name} has {second.n:,}."
            )
        self._dtype: np.dtype[Any] = np.result_type(first.dtype, second.dtype)
        # A sample of any estimate takes a product with either operator.
        self._sample_flops = total_flops(first.product_flops, second.product_flops)

    def with_products(self, found: Estimate) -> Estimate:
        """Return an estimate with all products counted and paid for."""
        return with_products(found, self._views[0])

    # What is known

    def exact_product(self) -> Estimate | None:
        """Return ``tr(A B)`` if it is in closed form and affordable."""
        method = self._spending.method
        if method not in ("auto", "exact", "bounds"):
            return None
        for A, B in (self._views, self._views[::-1]):
            for source in _sources(A):
                for other in _sources(B):
                    found = self._ask(source, other)
                    if found is not None:
                        return _known(found[0], "exact", "inner product", found[1])
        if method == "exact":
            raise InputError(
                'method="exact" needs a closed form, exact_inner_product(other), which '
                f'{self._names} do not offer for each other here; use method="auto".'
            )
        return None

    def _ask(self, source: Any, other: Any) -> tuple[float, Cost | None] | None:
        function = getattr(source, "exact_inner_product", None)
        if function is None:
            return None
        estimate = getattr(source, "exact_inner_product_cost", None)
        cost: Cost | None = None
        if estimate is not None:
            cost = estimate(other)
            if cost is None:
                return None
        spending = self._spending
        if cost is not None and spending.method == "auto":
            limit = worthwhile_flops(self._sample_flops, spending.rtol)
            if cost.memory_bytes > spending.max_memory or cost.flops > limit:
                return None
        elif cost is not None:
            what = f"{type(source).__name__}.exact_inner_product()"
            check_memory(cost.memory_bytes, spending.max_memory, what, _REMEDY)
        value = function(other)
        return None if value is None else (float(value), cost)

    def exact_norms(self) -> list[Estimate | None]:
        """Return the Frobenius norms that are in closed form and affordable."""
        spending = self._spending
        if spending.method not in ("auto", "exact", "bounds"):
            return [None, None]
        found = [self._exact_norm(view) for view in self._views]
        if spending.method == "exact" and None in found:
            name = self._views[found.index(None)].name
            raise InputError(
                'method="exact" needs a closed form of both norms, exact_frobenius_norm(), which '
                f'this {name} does not offer here; use method="auto", which estimates the rest.'
            )
        return found

    def _exact_norm(self, view: SpectralView) -> Estimate | None:
        limit = math.inf
        if self._spending.method != "exact":
            limit = worthwhile_flops(_norm_form(view).flops, self._spending.rtol)
        for source in _sources(view):
            answer = ask_exact(
                source, "frobenius_norm", max_memory=self._spending.max_memory, max_flops=limit
            )
            if answer is not None:
                return _known(float(answer[0]), "exact", "Frobenius norm", answer[1])
        return None

    # What is made from unit vectors

    def product_form(self) -> TraceOfProduct:
        """Return the form whose trace is ``tr(A B)``, as the method asks."""
        if self._spending.method == "dense":
            return PairForm(*self._views)
        form = product_form(*self._views)
        if self._spending.method == "gram" and isinstance(form, PairForm):
            first, second = self._views
            raise InputError(
                'method="gram" needs an operator with a factor L (A = L L*) of fewer columns than '
                f"rows, or one that is not self-adjoint with fewer columns; {first.name} "
                f'and {second.name} have none. Use method="dense".'
            )
        return form

    def unit_vectors(self, norms: list[Estimate | None], numerator: Estimate | None) -> str | None:
        """Return by which unit vectors all that is left is affordable, if by any.

        Norms that are left alone go each its own way.
        """
        spending = self._spending
        if spending.method in _UNIT_VECTORS:
            return spending.method
        if spending.method != "auto" or numerator is not None:
            return None
        form = self.product_form()
        forms: list[QuadraticForm] = [form]
        forms += [
            _norm_form(view) for view, norm in zip(self._views, norms, strict=True) if norm is None
        ]
        gram = float(sum(each.size * each.cost for each in forms))
        gram_flops = total_flops(
            *(None if each.flops is None else each.size * each.flops for each in forms)
        )
        n = self._views[0].n
        dense = float(n * sum(products_of(view) for view in self._views))
        by_gram = gram < dense and not isinstance(form, PairForm)
        dense_flops = None if self._sample_flops is None else n * self._sample_flops
        # Half of the products are with either operator.
        pays = unit_vectors_pay(
            min(dense, gram) / 2,
            gram_flops if by_gram else dense_flops,
            self._sample_flops,
            spending.n_matvecs // 2,
            spending.rtol,
        )
        if not pays:
            return None
        return "gram" if by_gram else "dense"

    def dense_alignment(self) -> Estimate:
        """Return the alignment from the products with all unit vectors."""
        first, second = self._views
        totals = np.zeros(3)
        for start, stop in chunks(first.n):
            E = unit_columns(start, stop, first.n, self._dtype)
            Y, Z = (view.apply(E).astype(np.float64, copy=False) for view in self._views)
            totals += [np.vdot(Y, Z), np.vdot(Y, Y), np.vdot(Z, Z)]
        cost = Cost(6.0 * first.n**2, 4.0 * PRODUCT_COLUMNS * second.n * 8.0)
        product = _known(float(totals[0]), "dense", "inner product", cost)
        norms = [
            _known(float(value), "dense", "Frobenius norm", None) for value in np.sqrt(totals[1:])
        ]
        return self.ratio(product, norms)

    # What is sampled

    def is_sampled(
        self, norms: list[Estimate | None], numerator: Estimate | None, by: str | None
    ) -> bool:
        """Return whether the ratio itself is sampled, because more than one part is unknown."""
        if self._spending.method in _SAMPLING:
            return True
        return by is None and numerator is None and None in norms

    def sampled_alignment(self, norms: list[Estimate | None]) -> Estimate:
        """Return the alignment from one set of random products with both operators."""
        first, second = self._views
        spending = self._spending
        squares = [None if norm is None else norm.value**2 for norm in norms]
        self._check_nonzero(norms)
        columns = sketch_columns(first, second, spending.n_matvecs, spending.rtol)
        column_bytes = float(first.n * self._dtype.itemsize)
        block = 6.0 * PRODUCT_COLUMNS * column_bytes
        sketch = 8.0 * columns * column_bytes
        sketched = spending.method == "hutch++" or (
            spending.method == "auto" and block + sketch <= spending.max_memory
        )
        memory = block + sketch * sketched
        check_memory(
            memory,
            spending.max_memory,
            f"A sampled alignment with n_matvecs={spending.n_matvecs}",
            'Use fewer products, or method="hutchinson", which keeps none.',
        )
        found = sampled_alignment(
            first,
            second,
            (squares[0], squares[1]),
            spending.n_matvecs,
            spending.rng,
            sketched=sketched,
            rtol=spending.rtol,
        )
        flops = 8.0 * first.n * columns * self._views[0].n_matvecs * sketched
        parts = [Cost(flops, memory), *(norm.cost for norm in norms if norm is not None)]
        return self._finished(
            Estimate(
                found.value,
                found.lower,
                found.upper,
                found.standard_error,
                "hutch++" if sketched else "hutchinson",
                0,
                "alignment",
                confidence=CONFIDENCE if found.standard_error > 0 else 1.0,
                cost=_total(parts),
            )
        )

    def product(self, by: str | None = None) -> Estimate:
        """Return ``tr(A B)`` from unit vectors or random ones."""
        spending = self._spending
        form = self.product_form()
        return self._trace(form, "inner product", spending.n_matvecs, spending.rtol, by)

    def all_norms(self, norms: list[Estimate | None], by: str | None) -> list[Estimate]:
        """Return the norms, those that are not known from unit vectors or random ones."""
        unknown, left = norms.count(None), self._spending.n_matvecs
        aim = None
        if self._spending.rtol is not None and unknown:
            # Independent errors; and an interval of a square that is so narrow is one of the
            # inverse root narrower than asked, also where all of it is on one side.
            each = self._spending.rtol / math.sqrt(unknown)
            aim = 2.0 * each / (1.0 + 4.0 * each)
        found = []
        for view, norm in zip(self._views, norms, strict=True):
            if norm is None:
                square = self._trace(
                    _norm_form(view), "Frobenius norm", max(left // unknown, 1), aim, by
                )
                unknown, left = unknown - 1, left - square.n_matvecs
                norm = root_of_square(square)
            found.append(norm)
        return found

    def _trace(
        self,
        form: QuadraticForm,
        quantity: str,
        n_matvecs: int,
        rtol: float | None,
        by: str | None,
    ) -> Estimate:
        """Return the trace of a form.

        The sum over unit vectors is called "gram" where they are not those of the whole space.
        """
        n, method = self._views[0].n, self._spending.method
        if by is not None or method in _UNIT_VECTORS:
            method = "dense"
        spending = self._spending
        found = trace_of_form(
            form, n, method, n_matvecs, spending.rng, quantity, spending.max_memory, rtol
        )
        if found.method == "dense" and form.size != n:
            return dataclasses.replace(found, method="gram")
        return found

    # What is certain

    def certain(self, norms: list[Estimate | None], n_pairs: int) -> Estimate:
        """Return the alignment between certain bounds, from ``tr(A B)`` to rounding."""
        spending = self._spending
        product = self.exact_product()
        if product is None:
            form = self.product_form()
            if form.size > max(DENSE_SIZE, spending.n_matvecs // form.cost):
                raise InputError(
                    f'method="bounds" needs tr(A B), of which {self._names} have no closed form '
                    f"for each other, and the {form.size:,} unit vectors of the smallest side are "
                    'too many. Raise n_matvecs to twice as many, or use method="auto".'
                )
            product = self._trace(form, "inner product", spending.n_matvecs, None, "gram")
        unknown = norms.count(None)
        rtol = None if spending.rtol is None else spending.rtol / max(unknown, 1)
        found, products = [], 0
        for view, norm in zip(self._views, norms, strict=True):
            if norm is None:
                norm = norm_bounds(
                    view, n_pairs, rtol, spending.n_matvecs, spending.rng, spending.max_memory
                )
                products += norm.n_matvecs - view.n_matvecs
            found.append(norm)
        self._check_nonzero([*found])
        return self._between(product, found, products)

    def _between(self, product: Estimate, norms: list[Estimate], products: int) -> Estimate:
        """Divide by interval arithmetic; `products` were counted elsewhere."""
        ends = [
            product.value / (first * second)
            for first, second in (
                (norms[0].lower, norms[1].lower),
                (norms[0].upper, norms[1].upper),
            )
        ]
        lower, upper = min(ends), max(ends)
        value = (lower + upper) / 2
        relative = math.hypot(*(norm.standard_error / norm.value for norm in norms))
        names = dict.fromkeys(norm.method for norm in norms if norm.method != "exact")
        found = self._finished(
            Estimate(
                value,
                lower,
                upper,
                abs(value) * relative,
                "; ".join(names) or product.method,
                0,
                "alignment",
                confidence=min(norm.confidence for norm in norms),
                cost=_total([product.cost, *(norm.cost for norm in norms)]),
            )
        )
        middle = (found.lower + found.upper) / 2
        return dataclasses.replace(found, value=middle, n_matvecs=found.n_matvecs + products)

    # The ratio

    def ratio(self, product: Estimate, norms: list[Estimate]) -> Estimate:
        """Return the alignment from its three parts, of which any may be uncertain."""
        self._check_nonzero([*norms])
        size = norms[0].value * norms[1].value
        value = product.value / size
        # Independent relative errors, each side of the interval by itself.
        up = [abs(product.upper - product.value) / size]
        down = [abs(product.lower - product.value) / size]
        variance = (product.standard_error / size) ** 2
        for norm in norms:
            ends = (norm.value / max(norm.lower, 1e-300 * norm.value), norm.value / norm.upper)
            larger, smaller = ends if value >= 0 else ends[::-1]
            up.append(abs(value) * abs(larger - 1))
            down.append(abs(value) * abs(smaller - 1))
            variance += (value * norm.standard_error / norm.value) ** 2
        parts = [product, *norms]
        return self._finished(
            Estimate(
                value,
                value - math.hypot(*down),
                value + math.hypot(*up),
                math.sqrt(variance),
                _methods(product, norms),
                0,
                "alignment",
                confidence=min(part.confidence for part in parts),
                cost=_total([part.cost for part in parts]),
            )
        )

    def _check_nonzero(self, norms: list[Estimate | None]) -> None:
        for letter, view, norm in zip("AB", self._views, norms, strict=True):
            if norm is not None and norm.value <= 0:
                raise InputError(
                    f"The alignment is not defined: {letter} ({view.name}) is zero. Use "
                    "inner_product, which is zero then."
                )

    def _finished(self, found: Estimate) -> Estimate:
        """Return an alignment within its limits, with its products."""
        positive = all(view.positive_semidefinite for view in self._views)
        bounds = (0.0 if positive else -1.0, 1.0)
        value, lower, upper = (
            min(max(each, bounds[0]), bounds[1]) for each in (found.value, found.lower, found.upper)
        )
        clipped = dataclasses.replace(found, value=value, lower=lower, upper=upper)
        return self.with_products(clipped)

    @property
    def _names(self) -> str:
        return " and ".join(view.name for view in self._views)


def _known(value: float, method: str, quantity: str, cost: Cost | None) -> Estimate:
    return Estimate(value, value, value, 0.0, method, 0, quantity, cost=cost)


def _sources(view: SpectralView) -> list[Any]:
    """Return the operators whose exact methods speak of the self-adjoint operator of a view."""
    return view.exact_sources if view.self_adjoint else view.exact_sources[1:]


def _norm_form(view: SpectralView) -> QuadraticForm:
    """Return the form whose trace is the squared norm of the self-adjoint operator of a view."""
    if not view.self_adjoint and view.factor is not None:
        return GramForm(view.factor)
    return squared_norm_form(view)


def _methods(product: Estimate, norms: list[Estimate]) -> str:
    """Return how the parts were found: one word, or also that of the norms."""
    alike = _UNIT_VECTORS if product.method in _UNIT_VECTORS else (product.method,)
    others = [norm.method for norm in norms if norm.method not in alike]
    return f"{product.method}, norm by {others[0]}" if others else product.method


def _total(costs: list[Cost | None]) -> Cost | None:
    known = [cost for cost in costs if cost is not None]
    if not known:
        return None
    return Cost(sum(cost.flops for cost in known), max(cost.memory_bytes for cost in known))
