"""P = Phi V Phi^-1: true at few steps, and lost soon."""

from __future__ import annotations

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError, MemoryLimitError
from kpflow_numerics.analysis.fundamental_solution import VolterraOperator
from kpflow_numerics.testing import default_tolerance, dot_test
from tests.cases.cells import CELL_CASES, FLOAT32_CASES, OWN_CASES, SITE_CASES, CellCase
from tests.cases.operators import dense_network

# A unit of a rectified network that is off has a row of zeros in its Jacobian.
# A_t of a low-rank network without leak has the rank of its weights: there is no inverse.
REGULAR = [
    case
    for case in CELL_CASES
    if ("relu,bias" not in str(case) or "rate" in str(case))
    and not (isinstance(case.cell, kpf.LowRankRNN) and case.cell.leak == 1.0)
]


def vanilla(n_units: int, n_steps: int) -> kpf.Linearization:
    cell = kpf.VanillaRNN(2, n_units)
    inputs = np.random.default_rng(9).standard_normal((2, n_steps, 2))
    return kpf.linearize(kpf.simulate(cell, cell.init_params(rng=23), inputs))


@pytest.mark.parametrize("case", [*REGULAR, *FLOAT32_CASES], ids=str)
def test_it_is_the_propagator(case: CellCase) -> None:
    lin, dense = case.linearization(), dense_network(case).block_products()
    solution = kpf.FundamentalSolution(lin)
    tolerance = default_tolerance(case.dtype, len(dense)) * solution.condition_numbers.max()
    assert np.abs(solution.to_dense() - dense).max() <= tolerance * np.abs(dense).max()
    adjoint = solution.H.matmat(np.eye(len(dense)))
    assert np.abs(adjoint - dense.T).max() <= tolerance * np.abs(dense).max()
    assert solution.reconstruction_error(rng=7) <= tolerance
    assert solution.dtype == solution.phi.dtype == case.dtype
    assert solution.n_blocks == case.n_trials


def test_phi_and_its_condition() -> None:
    case = SITE_CASES[0]
    lin, A = case.linearization(), dense_network(case).A
    solution = kpf.FundamentalSolution(lin)
    for trial in range(3):
        product = np.eye(4)
        for t in range(5):
            product = A[trial, t] @ product if t else product
            np.testing.assert_allclose(solution.phi[trial, t], product, atol=1e-13)
            assert solution.condition_numbers[trial, t] == pytest.approx(
                np.linalg.cond(product), rel=1e-8
            )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dims", [(1, 1, 1), (2, 5, 3)])
def test_the_volterra_operator(dims: tuple[int, int, int], dtype: type) -> None:
    V = VolterraOperator(dims, dtype)
    over_time = np.kron(np.tril(np.ones((dims[1], dims[1]))), np.eye(dims[2]))
    np.testing.assert_array_equal(V.to_dense(), np.kron(np.eye(dims[0]), over_time))
    assert V.to_dense().dtype == dtype
    dot_test(V)
    j = np.arange(1, dims[1] + 1)
    sigma = 1 / (2 * np.sin((2 * j - 1) * np.pi / (4 * dims[1] + 2)))
    found = np.linalg.svd(V.to_dense(), compute_uv=False)
    np.testing.assert_allclose(found, np.repeat(sigma, dims[0] * dims[2]), rtol=1e-5)


def test_the_error_grows_with_the_condition_and_is_lost_soon() -> None:
    errors, conditions = [], []
    for n_steps in (2, 6, 15):
        solution = kpf.FundamentalSolution(vanilla(32, n_steps))
        errors.append(solution.reconstruction_error())
        conditions.append(solution.condition_numbers.max())
    assert errors[0] < 1e-12 < errors[1] < 1e-6 < 1e-2 < errors[2]
    assert conditions[0] < conditions[1] < conditions[2]


def test_a_planted_fault_is_seen() -> None:
    solution = kpf.FundamentalSolution(SITE_CASES[0].linearization())
    assert solution.reconstruction_error() < 1e-9
    solution.phi[:, 3] *= 1.001
    assert solution.reconstruction_error() > 1e-5


def test_singular_and_diverging_solutions_are_refused() -> None:
    cell = kpf.VanillaRNN(1, 3, activation="relu", bias=False)
    params = cell.init_params(rng=23)
    off = kpf.linearize(kpf.simulate(cell, params, np.zeros((2, 4, 1))))
    with pytest.raises(InputError, match="of trial 0 at step 2 is singular or not finite"):
        kpf.FundamentalSolution(off)


def test_arguments_are_checked() -> None:
    with pytest.raises(InputTypeError, match="linearization must be a Linearization"):
        kpf.FundamentalSolution(np.eye(3))
    with pytest.raises(
        MemoryLimitError, match=r"shape \(3, 5, 4, 4\) needs about .*kpf.Propagator"
    ):
        kpf.FundamentalSolution(OWN_CASES[0].linearization(), max_memory=1000)
