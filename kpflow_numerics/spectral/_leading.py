"""The leading eigenpairs of a view, by the solver named or the cheapest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._typing import FloatArray
from .._validation import check_array, check_choice, check_integer, check_real, check_rng
from ..results import Cost
from ._budget import DENSE_SIZE, LARGEST_DENSE_SIZE, check_max_memory, dense_memory
from ._finish import Pairs, certify, rayleigh_ritz
from ._refined import Refined, refined_lanczos
from ._side import Side, given_side, smaller_side
from ._view import SpectralView
from .arpack import arpack_vectors, lanczos_vectors
from .block_diagonal import block_diagonal_pairs, n_diagonal_blocks
from .block_krylov import BLOCK_COLUMNS, RitzPairs, basis_capacity, block_krylov
from .certificate import Certificate, completeness_certificate, single_precision_certificate
from .dense import dense_pairs
from .gram import gram_pairs
from .lanczos import lanczos, lanczos_capacity
from .lobpcg import lobpcg_block, lobpcg_vectors

FINEST_REFINED = 1e-9
"""Down to this tolerance Lanczos runs in ``float32`` where it can. A correction takes a block of
products and makes residuals some 30 times smaller: below, they cost more than ``float32`` saves.
"""

_PRODUCTS_A_PAIR = 20


@dataclass(frozen=True, eq=False)
class Options:
    """What the user asked for, checked."""

    k: int
    method: str
    tolerance: float
    max_products: int
    max_memory: float
    start: FloatArray | None
    certificate_products: int
    rng: np.random.Generator
    enough: Callable[[FloatArray], int] | None = None

    @classmethod
    def checked(
        cls,
        view: SpectralView,
        k: Any,
        method: Any,
        methods: tuple[str, ...],
        *,
        largest_k: int,
        tolerance: Any,
        max_products: Any,
        max_memory: Any,
        initial_vectors: Any,
        certificate_products: Any,
        rng: Any,
    ) -> Options:
        """Check the arguments at the door of a public function."""
        k = check_integer(k, "k", maximum=largest_k)
        if tolerance is None:
            tolerance = float(np.finfo(view.dtype).eps) ** (2 / 3)
        if max_products is None:
            max_products = 400 * (k + BLOCK_COLUMNS)
        start = initial_vectors
        if start is not None:
            start = check_array(start, "initial_vectors", (view.n, "j"), dtype=view.dtype)
        return cls(
            k=k,
            method=check_choice(method, "method", methods),
            tolerance=check_real(tolerance, "tolerance", minimum=0, maximum=1, open_minimum=True),
            max_products=check_integer(max_products, "max_products", minimum=k),
            max_memory=check_max_memory(max_memory),
            start=start,
            certificate_products=check_integer(
                certificate_products, "certificate_products", minimum=4
            ),
            rng=check_rng(rng),
        )


@dataclass(frozen=True, eq=False)
class Leading:
    """The leading eigenpairs, how they were found, and what vouches for them."""

    pairs: Pairs
    method: str
    certificate: Certificate | None
    cost: Cost | None

    @property
    def no_larger_left(self) -> bool:
        """Whether the whole spectrum is known, or the certificate found nothing larger."""
        return self.certificate is None or self.certificate.complete


def leading_pairs(view: SpectralView, options: Options) -> Leading:
    """Find the leading eigenpairs by ``options.method`` (not ``"exact"``)."""
    k = options.k
    method = options.method
    if method == "auto":
        method = _cheapest(view, k, options.max_memory, options.start)
    method, label = _applicable(method, view.n, k)
    if method == "dense":
        pairs, cost = dense_pairs(view, k, options.max_memory)
        return Leading(pairs, label, None, cost)
    if method == "gram":
        pairs, cost = gram_pairs(view, k, options.max_memory, options.rng)
        return Leading(pairs, label, None, cost)
    if method in ("lanczos", "block-krylov"):
        return _certified_krylov(view, options, method)
    if method == "block-diagonal":
        found = block_diagonal_pairs(
            view,
            k,
            tolerance=options.tolerance,
            max_products=options.max_products,
            max_memory=options.max_memory,
            start=options.start,
            certificate_products=options.certificate_products,
            rng=options.rng,
        )
        return Leading(found[0], label, found[1], found[2])
    solver = lobpcg_vectors if method == "lobpcg" else arpack_vectors
    before = view.n_matvecs
    vectors = solver(
        view,
        k,
        tolerance=options.tolerance,
        rng=options.rng,
        max_products=options.max_products,
        start=options.start,
    )
    cost = _scipy_cost(view, method, options, view.n_matvecs - before)
    pairs = rayleigh_ritz(view, vectors)
    return Leading(pairs, label, _certificate(view, pairs, options), cost)


def _scipy_cost(view: SpectralView, method: str, options: Options, n_products: int) -> Cost:
    """Return what SciPy's iterations, and the certificate's vectors, take beside the products."""
    k = options.k
    width = lobpcg_block(k) if method == "lobpcg" else lanczos_vectors(k, view.n)
    flops, columns = (48.0, 15.0) if method == "lobpcg" else (8.0, 2.0)
    kept = max(columns * width, _finish_columns(options, k)) * view.n
    return Cost(flops * view.n * width * n_products, kept * view.dtype.itemsize)


def _finish_columns(options: Options, k: int) -> float:
    """Return the columns that the certificate of k pairs, or their Ritz problem, takes."""
    return max(2.0 * options.certificate_products + k + 9.0, 5.0 * k)


def _certificate(view: SpectralView, pairs: Pairs, options: Options) -> Certificate | None:
    if len(pairs.values) == 0:
        return None
    return certify(view, pairs, options.tolerance, options.rng, options.certificate_products)


def _certified_krylov(view: SpectralView, options: Options, method: str) -> Leading:
    """Run a Krylov iteration, and others from what it found where that does not suffice."""
    if method == "lanczos" and options.start is None and _refinable(view, options):
        coarse = view.twin("coarse")
        if coarse is not None:
            return _refined_or_whole(view, coarse, options)
    return _of_whole_precision(view, options, method)


def _refinable(view: SpectralView, options: Options) -> bool:
    """Whether refinement may serve the tolerance, the number of pairs and the budget asked for.

    An iteration with the coarse operator that a budget ends has found nothing that could be given.
    """
    fixed = options.enough is None and options.max_products >= _PRODUCTS_A_PAIR * options.k
    return fixed and view.dtype == np.float64 and options.tolerance >= FINEST_REFINED


def _refined_or_whole(view: SpectralView, coarse: SpectralView, options: Options) -> Leading:
    """Refine what Lanczos finds in ``float32``; go on in ``float64`` where that does not suffice.

    Lanczos finds one copy of a repeated eigenvalue, in either precision. Where the certificate sees
    that another is missing, blocks bring the rest.
    """
    before = view.n_matvecs
    found = refined_lanczos(
        view,
        coarse,
        options.k,
        tolerance=options.tolerance,
        rng=options.rng,
        max_products=options.max_products,
        max_memory=options.max_memory,
    )
    remaining = options.max_products - (view.n_matvecs - before)
    if found is None:
        remaining = max(remaining, options.k)
        rest = dataclasses.replace(options, max_products=remaining)
        return _of_whole_precision(view, rest, "lanczos")
    pairs, cost = found.pairs, found.cost
    certificate = _in_single_precision(found, options) or _certificate(view, pairs, options)
    first = Leading(pairs, "lanczos, float32, refined", certificate, cost)
    good = first.no_larger_left and pairs.meet(options.k, options.tolerance)
    if good or remaining < options.k + BLOCK_COLUMNS:
        return first
    start = [pairs.vectors]
    if certificate is not None and not certificate.complete:
        # A block of random columns brings that many copies of a repeated eigenvalue at once.
        start += [certificate.vectors, view.random_block(BLOCK_COLUMNS, options.rng)]
    again = dataclasses.replace(options, start=np.hstack(start), max_products=remaining)
    last = _of_whole_precision(view, again, "block-krylov")
    both = None if last.cost is None else _joined(cost, last.cost)
    return dataclasses.replace(last, method=f"{first.method}, {last.method}", cost=both)


def _in_single_precision(found: Refined, options: Options) -> Certificate | None:
    """Return the certificate if products in ``float32`` can give it."""
    if found.single is None:
        return None
    return single_precision_certificate(
        found.single.side.apply,
        found.pairs.values,
        found.single.vectors,
        norm=found.pairs.norm,
        rng=options.rng,
        n_products=options.certificate_products,
    )


def _of_whole_precision(view: SpectralView, options: Options, method: str) -> Leading:
    """Run a Krylov iteration on the smaller side, and on the given one where that does not suffice.

    Vectors of eigenvalues near zero are lost on the way back from the smaller side.
    """
    before = view.n_matvecs
    side = smaller_side(view)
    found = _on_side(view, side, options, method, options.max_products)
    n_pairs = max(options.k, len(found.pairs.values))
    if side.n == view.n or found.pairs.meet(n_pairs, options.tolerance):
        return found
    remaining = options.max_products - (view.n_matvecs - before)
    if remaining < options.k + BLOCK_COLUMNS:
        return found
    start = dataclasses.replace(options, start=found.pairs.vectors)
    return _on_side(view, given_side(view), start, "block-krylov", remaining)


def _on_side(
    view: SpectralView, side: Side, options: Options, method: str, max_products: int
) -> Leading:
    """Run an iteration, and blocks from what the certificate found until nothing is left out."""
    k = min(options.k, side.n)
    remaining = max_products // side.n_products
    start = None if options.start is None else side.lower(options.start)
    label, cost = method, Cost(0.0, 0.0)
    while True:
        found, used_cost = _krylov_pairs(view, side, options, method, k, remaining, start)
        cost = _joined(cost, used_cost)
        k = max(k, len(found.values))
        remaining -= found.used
        pairs = rayleigh_ritz(view, side.lift(found.vectors))
        certificate = completeness_certificate(
            side.apply,
            found.values,
            found.vectors,
            found.residual_norms,
            tolerance=_met_tolerance(found, options.tolerance, pairs.norm),
            norm=pairs.norm,
            rng=options.rng,
            n_products=options.certificate_products,
        )
        if certificate.complete or not found.converged or remaining < k + BLOCK_COLUMNS:
            break
        # A block of random columns brings that many copies of a repeated eigenvalue at once.
        more = options.rng.standard_normal((side.n, BLOCK_COLUMNS)).astype(view.dtype, copy=False)
        start = np.hstack([found.vectors, certificate.vectors, more])
        method = "block-krylov"
    return Leading(pairs, label, certificate, cost)


def _joined(first: Cost, then: Cost) -> Cost:
    """Return what two computations take, one after the other."""
    return Cost(first.flops + then.flops, max(first.memory_bytes, then.memory_bytes))


def _met_tolerance(found: RitzPairs, tolerance: float, norm: float) -> float:
    """Return what the pairs of a side meet, whose lifted vectors meet a smaller tolerance."""
    if not found.converged or norm == 0:
        return tolerance
    return max(tolerance, float(np.max(found.residual_norms)) / norm)


def _krylov_pairs(
    view: SpectralView,
    side: Side,
    options: Options,
    method: str,
    k: int,
    max_products: int,
    start: FloatArray | None,
) -> tuple[RitzPairs, Cost]:
    """Return the pairs that one iteration finds, and its cost beside the products."""
    tolerance = 0.5 * options.tolerance
    if method == "lanczos" and start is None:
        capacity = lanczos_capacity(side.n, k, view.dtype, options.max_memory)
        found, _ = lanczos(
            side.apply,
            side.n,
            k,
            view.dtype,
            tolerance=tolerance,
            rng=options.rng,
            max_products=max_products,
            capacity=capacity,
            lifted=side.factor is not None,
            enough=options.enough,
        )
        flops = 4.0 * side.n * capacity * found.used
        columns = capacity + k + 6.0
    else:
        capacity = basis_capacity(side.n, k, view.dtype, options.max_memory)
        found = block_krylov(
            side.apply,
            side.n,
            k,
            view.dtype,
            tolerance=tolerance,
            rng=options.rng,
            max_products=max_products,
            capacity=capacity,
            start=start,
            enough=options.enough,
        )
        flops = 12.0 * side.n * capacity * found.used
        columns = 2.0 * capacity + max(6.0 * BLOCK_COLUMNS, k + 3.0 * BLOCK_COLUMNS)
    finish = _finish_columns(options, len(found.values))
    # The pairs of the smaller side are lifted, and their Ritz problem is that of the given one.
    lifted = 5.0 * len(found.values) * (view.n - side.n)
    numbers = max(columns * side.n, finish * side.n + lifted)
    return found, Cost(flops, numbers * view.dtype.itemsize)


def _cheapest(
    view: SpectralView, k: int, max_memory: float, start: FloatArray | None = None
) -> str:
    size = view.smaller_side
    iterative_products = _PRODUCTS_A_PAIR * (k + BLOCK_COLUMNS)
    small = size <= DENSE_SIZE or size <= min(LARGEST_DENSE_SIZE, iterative_products)
    if small and dense_memory(size, view.dtype, k) <= max_memory:
        return "dense" if view.self_adjoint and size == view.n else "gram"
    if n_diagonal_blocks(view) > 1:
        return "block-diagonal"
    return "lanczos" if start is None else "block-krylov"


def _applicable(method: str, n: int, k: int) -> tuple[str, str]:
    """Return the solver that can run, and what the result calls it."""
    if method == "lobpcg" and n < 5 * lobpcg_block(k):
        return "dense", f"dense (lobpcg needs n >= {5 * lobpcg_block(k)})"
    if method == "arpack" and k >= n:
        return "dense", "dense (arpack needs k < n)"
    return method, method
