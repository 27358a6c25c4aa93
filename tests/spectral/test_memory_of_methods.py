"""What eigenpairs and certain bounds take is what their cost says, by the peaks of allocation."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.results import Cost
from kpflow_numerics.spectral import _leading
from kpflow_numerics.spectral._refinements import FactorRefinement

BESIDE = 2**19
DTYPES = ["float32", "float64"]


class Diagonal(kpf.operators.base.StructuredOperator):
    """A diagonal with few numbers of its own, whose products take their result."""

    def __init__(
        self, values: np.ndarray, shape: tuple[int, int], *, n_blocks: int = 1, factor: Any = None
    ) -> None:
        super().__init__((shape[1],), (shape[0],), values.dtype)
        self.values = values
        self.n_blocks = n_blocks
        if shape[0] == shape[1]:
            self.self_adjoint = self.positive_semidefinite = True
        if factor is not None:
            self.factor = factor

    def _product(self, block: np.ndarray, rows: int) -> np.ndarray:
        out = np.zeros((rows, block.shape[1]), self.dtype)
        count = len(self.values)
        np.multiply(self.values[:, None], block[:count], out=out[:count])
        return out

    def _apply_block(self, block: np.ndarray) -> np.ndarray:
        return self._product(block, self.shape[0])

    def _apply_adjoint_block(self, block: np.ndarray) -> np.ndarray:
        return self._product(block, self.shape[1])

    def product_cost(self, k: int = 1) -> Cost:
        entries = float(max(self.shape)) * k
        return Cost(entries, entries * self.dtype.itemsize)

    def exact_trace(self) -> float:
        return float(np.sum(self.values, dtype=np.float64))


def decaying(count: int, dtype: str, n_blocks: int = 1) -> np.ndarray:
    return (0.85 ** (np.arange(count) % (count // n_blocks))).astype(dtype)


def square(dtype: str, n: int = 10_000, n_blocks: int = 1) -> Diagonal:
    return Diagonal(decaying(n, dtype, n_blocks), (n, n), n_blocks=n_blocks)


def with_factor(dtype: str) -> Diagonal:
    values = decaying(2_000, dtype)
    factor = Diagonal(np.sqrt(values), (10_000, 2_000))
    return Diagonal(values, (10_000, 10_000), factor=factor)


def tall(dtype: str) -> Diagonal:
    return Diagonal(np.sqrt(decaying(500, dtype)), (1_500, 500))


METHODS = {
    "dense": lambda dtype: square(dtype, 900),
    "dense, not self-adjoint": tall,
    "gram": tall,
    "block-diagonal": lambda dtype: square(dtype, n_blocks=5),
    "lanczos": square,
    "lanczos, smaller side": with_factor,
    "block-krylov": square,
    "block-krylov, smaller side": with_factor,
    "lobpcg": square,
    "arpack": square,
}


def peak(function: Callable[[], Any]) -> tuple[int, Any]:
    function()  # what is imported and kept is not the computation's
    tracemalloc.start()
    try:
        found = function()
        return tracemalloc.get_traced_memory()[1], found
    finally:
        tracemalloc.stop()


def assert_peak(measured: float, formula: float) -> None:
    """Fail if a formula says too little, or much too much."""
    found = f"took {measured / 2**20:.2f} MiB, formula {formula / 2**20:.2f} MiB"
    assert measured <= 1.15 * formula + BESIDE, found
    assert formula <= 1.35 * measured + BESIDE, found


def pairs(name: str, dtype: str, k: int) -> tuple[int, float]:
    op = METHODS[name](dtype)
    method = name.split(",")[0]
    taken, found = peak(lambda: kpf.top_eigenpairs(op, k, method=method))
    assert found.method == method
    return taken, found.cost.memory_bytes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [4, 30])
@pytest.mark.parametrize("name", METHODS)
def test_eigenpairs_take_what_is_said(name: str, k: int, dtype: str) -> None:
    if name == "lobpcg" and k == 30:
        k = 8  # thirty take half a minute
    assert_peak(*pairs(name, dtype, k))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [kpf.effective_rank, kpf.frobenius_norm])
@pytest.mark.parametrize("make", [square, with_factor])
def test_bounds_from_eigenpairs_take_what_is_said(
    make: Callable[[str], Diagonal], function: Callable[..., Any], dtype: str
) -> None:
    op = make(dtype)
    taken, found = peak(lambda: function(op, method="bounds", n_pairs=12))
    assert found.method == "bounds"
    assert_peak(taken, found.cost.memory_bytes)


def kernel(dtype: str) -> kpf.TangentKernel:
    cell = kpf.GRU(3, 48)
    params = {name: a.astype(dtype) for name, a in cell.init_params(gain=0.5, rng=3).items()}
    inputs = np.random.default_rng(5).standard_normal((8, 1, 3)).astype(dtype)
    inputs = np.ascontiguousarray(np.broadcast_to(inputs, (8, 60, 3)))
    return kpf.TangentKernel(kpf.linearize(kpf.simulate(cell, params, inputs)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("quantity", ["trace", "rank"])
def test_bounds_of_the_kernel_take_what_is_said(quantity: str, dtype: str) -> None:
    op = kernel(dtype)
    if quantity == "trace":
        taken, found = peak(lambda: kpf.trace(op, "bounds", rtol=1e-2))
    else:
        taken, found = peak(lambda: kpf.effective_rank(op, method="bounds", rtol=0.05))
        assert found.n_matvecs == 0
    assert_peak(taken, found.cost.memory_bytes)


def refined_pairs(k: int) -> tuple[int, float]:
    op = kernel("float64")
    taken, found = peak(lambda: kpf.top_eigenpairs(op, k, method="lanczos", tolerance=1e-8, rng=3))
    assert found.method == "lanczos, float32, refined"
    return taken, found.cost.memory_bytes


@pytest.mark.parametrize("k", [4, 10, 20])
def test_a_refinement_in_the_domain_takes_at_most_what_is_said(k: int) -> None:
    taken, formula = refined_pairs(k)
    assert 0.3 * formula <= taken <= formula + BESIDE


def test_blocks_that_a_refinement_keeps_too_long_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    own, held = FactorRefinement.images, []

    def hoarding(self: FactorRefinement, block: np.ndarray) -> np.ndarray:
        held.extend(np.ones((self._view.n, block.shape[1])) for _ in range(4))
        return own(self, block)

    monkeypatch.setattr(FactorRefinement, "images", hoarding)
    taken, formula = refined_pairs(20)
    assert taken > formula + BESIDE


def test_a_second_basis_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    own, held = _leading.lanczos, []

    def wasteful(apply: Any, n: int, k: int, dtype: Any, **options: Any) -> Any:
        held.append(np.empty((n, options["capacity"]), dtype))
        return own(apply, n, k, dtype, **options)

    monkeypatch.setattr(_leading, "lanczos", wasteful)
    with pytest.raises(AssertionError, match="took"):
        assert_peak(*pairs("lanczos", "float64", 4))


def test_a_formula_that_says_too_much_is_found() -> None:
    with pytest.raises(AssertionError, match="formula"):
        assert_peak(10 * 2**20, 15 * 2**20)
