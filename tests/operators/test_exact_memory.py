"""What the closed forms say of their memory holds, by the peaks that NumPy allocates."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

import kpflow_numerics as kpf

# What Python and small arrays take beside: a form is told wrong by far more than this.
SLACK = 1.05
BESIDE = 2**17

CELLS = {"GRU": kpf.GRU(3, 40), "LSTM": kpf.LSTM(3, 40), "vanilla": kpf.VanillaRNN(3, 40)}
FORMS: list[tuple[str, tuple[object, ...]]] = [
    ("trace", ()),
    ("trace_bounds", (1e-3,)),
    ("participation_ratio_bounds", (1e-2,)),
    ("frobenius_norm", ()),
    ("eigenvalues", ()),
    ("eigenpairs", (5,)),
    ("eigenpairs", (60,)),
    ("schmidt", ()),
    ("partial_trace", (("unit",),)),
    ("partial_trace", (("trial",),)),
    ("partial_trace", (("time",),)),
    ("partial_trace", (("trial", "time"),)),
    ("partial_trace", (("trial", "unit"),)),
    ("partial_trace", (("time", "unit"),)),
]
OPERATORS: dict[str, Callable[[kpf.Linearization], object]] = {
    "K": kpf.ParameterOperator,
    "site": lambda lin: kpf.SiteOperator(lin, lin.weight_sites.names[0]),
    "P P*": kpf.PropagatorGram,
    "NTK": kpf.TangentKernel,
    "core": kpf.KroneckerCore,
}


def peak(function: Callable[[], object]) -> int:
    function()  # what is imported and compiled is not the form's
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_peak_is_seen() -> None:
    assert 8e6 <= peak(lambda: np.ones((1000, 1000)).sum()) <= 8.2e6


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_exact_forms_stay_within_what_they_claim(cell: kpf.GRU, name: str) -> None:
    inputs = np.random.default_rng(5).standard_normal((8, 20, 3))
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=5), inputs))
    beyond = []
    for form, arguments in FORMS:
        operator = OPERATORS[name](lin)
        cost = operator.exact_cost(form, *arguments)
        if not hasattr(operator, f"exact_{form}") or cost is None or cost.memory_bytes > 1e8:
            continue
        # A new operator each time: what one remembers is not allocated again.
        fresh = iter([operator, OPERATORS[name](lin)])
        taken = peak(lambda f=form, a=arguments, o=fresh: getattr(next(o), f"exact_{f}")(*a))
        if taken > SLACK * cost.memory_bytes + BESIDE:
            beyond.append((form, arguments, taken, cost.memory_bytes))
    assert beyond == []


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_rank_bounds_exponents_and_densities_do(cell: kpf.GRU) -> None:
    inputs = np.random.default_rng(5).standard_normal((5, 20, 3))
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=5), inputs))
    for compute, claim in (
        (lambda: kpf.rank_bounds(lin), 6 * 8 * 100**2),
        (lambda: kpf.lyapunov_exponents(lin), kpf.lyapunov_exponents(lin).cost.memory_bytes),
    ):
        assert peak(compute) <= SLACK * claim + BESIDE
    for operator in (kpf.TangentKernel(lin), kpf.Propagator(lin)):
        claim = kpf.spectral_density(operator, n_steps=6).cost.memory_bytes
        taken = peak(lambda op=operator: kpf.spectral_density(op, n_steps=6))
        assert taken <= SLACK * claim + 10 * BESIDE


@pytest.mark.parametrize("method", ["lobpcg", "arpack", "block-krylov"])
def test_iterative_solvers_do(method: str) -> None:
    inputs = np.random.default_rng(5).standard_normal((4, 15, 3))
    cell = kpf.LeakyRNN(3, 40, form="current")
    kernel = kpf.TangentKernel(kpf.linearize(kpf.simulate(cell, cell.init_params(rng=5), inputs)))
    claim = kpf.top_eigenpairs(kernel, 3, method=method).cost.memory_bytes
    taken = peak(lambda: kpf.top_eigenpairs(kernel, 3, method=method))
    assert taken <= SLACK * claim + BESIDE
