"""The leading eigenpairs of a view, by the solver named or the cheapest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._typing import FloatArray
from .._validation import check_array, check_choice, check_integer, check_real, check_rng
from ..results import Cost
from ._budget import DENSE_SIZE, LARGEST_DENSE_SIZE, check_max_memory, dense_memory
from ._finish import Pairs, certify, rayleigh_ritz
from ._view import SpectralView
from .arpack import arpack_vectors
from .block_diagonal import block_diagonal_pairs, n_diagonal_blocks
from .block_krylov import BLOCK_COLUMNS, RitzPairs, basis_capacity, block_krylov
from .certificate import Certificate
from .dense import dense_pairs
from .gram import gram_pairs
from .lobpcg import lobpcg_block, lobpcg_vectors

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
        method = _cheapest(view, k, options.max_memory)
    method, label = _applicable(method, view.n, k)
    if method == "dense":
        pairs, cost = dense_pairs(view, k, options.max_memory)
        return Leading(pairs, label, None, cost)
    if method == "gram":
        pairs, cost = gram_pairs(view, k, options.max_memory, options.rng)
        return Leading(pairs, label, None, cost)
    if method == "block-krylov":
        return _certified_block_krylov(view, options)
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
    vectors = solver(
        view,
        k,
        tolerance=options.tolerance,
        rng=options.rng,
        max_products=options.max_products,
        start=options.start,
    )
    pairs = rayleigh_ritz(view, vectors)
    return Leading(pairs, label, _certificate(view, pairs, options), None)


def _certificate(view: SpectralView, pairs: Pairs, options: Options) -> Certificate | None:
    if len(pairs.values) == 0:
        return None
    return certify(view, pairs, options.tolerance, options.rng, options.certificate_products)


def _certified_block_krylov(view: SpectralView, options: Options) -> Leading:
    """Run block Krylov, and again from what the certificate found, until nothing is left out."""
    k = options.k
    capacity = basis_capacity(view.n, k, view.dtype, options.max_memory)
    remaining = options.max_products
    start = options.start
    while True:
        found: RitzPairs = block_krylov(
            view.apply,
            view.n,
            k,
            view.dtype,
            tolerance=0.5 * options.tolerance,
            rng=options.rng,
            max_products=remaining,
            capacity=capacity,
            start=start,
        )
        remaining -= found.used
        pairs = rayleigh_ritz(view, found.vectors)
        certificate = certify(
            view, pairs, options.tolerance, options.rng, options.certificate_products
        )
        if certificate.complete or not found.converged or remaining < k + BLOCK_COLUMNS:
            break
        # A block of random columns brings that many copies of a repeated eigenvalue at once.
        more = view.random_block(BLOCK_COLUMNS, options.rng)
        start = np.hstack([pairs.vectors, certificate.vectors, more])
    flops = 12.0 * view.n * capacity * (options.max_products - remaining)
    memory = (2.0 * capacity + 6 * BLOCK_COLUMNS) * view.n * view.dtype.itemsize
    return Leading(pairs, "block-krylov", certificate, Cost(flops, memory))


def _cheapest(view: SpectralView, k: int, max_memory: float) -> str:
    size = view.smaller_side
    iterative_products = _PRODUCTS_A_PAIR * (k + BLOCK_COLUMNS)
    small = size <= DENSE_SIZE or size <= min(LARGEST_DENSE_SIZE, iterative_products)
    if small and dense_memory(size, view.dtype) <= max_memory:
        return "dense" if view.self_adjoint and size == view.n else "gram"
    return "block-diagonal" if n_diagonal_blocks(view) > 1 else "block-krylov"


def _applicable(method: str, n: int, k: int) -> tuple[str, str]:
    """Return the solver that can run, and what the result calls it."""
    if method == "lobpcg" and n < 5 * lobpcg_block(k):
        return "dense", f"dense (lobpcg needs n >= {5 * lobpcg_block(k)})"
    if method == "arpack" and k >= n:
        return "dense", "dense (arpack needs k < n)"
    return method, method
