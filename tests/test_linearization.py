"""Both kinds of linearisation give the same products, those of autograd's matrices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputTypeError, MemoryLimitError
from kpflow_numerics.kernels.columns import MOST_COLUMNS
from kpflow_numerics.linearization import (
    GenericLinearization,
    SiteLinearization,
    StructuredLinearization,
)
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import CELL_CASES, FLOAT32_CASES, OWN_CASES, SITE_CASES, CellCase
from tests.cases.operators import OPERATOR_CELL_CASES, dense_network

ALL_CASES = pytest.mark.parametrize("case", OPERATOR_CELL_CASES, ids=str)
STATE_PRODUCTS = (
    "state_jvp",
    "state_vjp",
    "propagate",
    "propagate_adjoint",
    "unpropagate",
    "unpropagate_adjoint",
    "param_gram",
    "param_vjp",
    "sensitivity_adjoint",
    "tangent_kernel",
)

PARAMETER_PRODUCTS = ("param_jvp", "sensitivity")
IN_PLACE_PRODUCTS = (
    "propagate",
    "propagate_adjoint",
    "param_gram",
    "sensitivity_adjoint",
    "tangent_kernel",
)


def assert_close(found: np.ndarray, expected: np.ndarray, dtype: type, size: int) -> None:
    assert found.shape == expected.shape
    assert found.dtype == dtype
    error = np.linalg.norm(found - expected)
    assert error <= default_tolerance(dtype, size) * np.linalg.norm(expected)


def products(
    lin: kpf.Linearization, k: int
) -> dict[str, tuple[Callable[..., np.ndarray], np.ndarray]]:
    """Return every product of a linearisation, with a random block for it."""
    rng = np.random.default_rng(41)
    state = rng.standard_normal((*lin.dims, k)).astype(lin.dtype)
    params = rng.standard_normal((lin.n_parameters, k)).astype(lin.dtype)
    found = {name: (getattr(lin, name), state) for name in STATE_PRODUCTS}
    return {**found, **{name: (getattr(lin, name), params) for name in PARAMETER_PRODUCTS}}


@pytest.mark.parametrize("k", [1, 3, MOST_COLUMNS + 1])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("case", SITE_CASES, ids=str)
def test_blocks_of_any_order_in_memory_give_the_same(
    case: CellCase, overwrite: bool, k: int
) -> None:
    lin = case.linearization()
    for name, (product, block) in products(lin, k).items():
        if overwrite and name not in IN_PLACE_PRODUCTS:
            continue
        expected = product(block)
        for other in (np.asfortranarray(block), np.repeat(block, 2, axis=-1)[..., ::2]):
            options = {"overwrite": True} if overwrite else {}
            found = product(other, **options)
            np.testing.assert_array_equal(found, expected, err_msg=name)


@ALL_CASES
def test_the_state_jacobians_are_those_of_autograd(case: CellCase) -> None:
    found = case.linearization().state_jacobians()
    assert_close(found, dense_network(case).A, case.dtype, case.cell.n_state)


@ALL_CASES
def test_the_first_jacobian_acts_on_the_initial_state(case: CellCase) -> None:
    # A_1 never enters P, but the products of single steps have it.
    lin, A = case.linearization(), dense_network(case).A
    q = np.random.default_rng(42).standard_normal((*lin.dims, 2)).astype(case.dtype)
    assert_close(lin.state_jvp(q), A @ q, case.dtype, case.cell.n_state)
    assert_close(lin.state_vjp(q), A.swapaxes(2, 3) @ q, case.dtype, case.cell.n_state)


@pytest.mark.parametrize("case", SITE_CASES + FLOAT32_CASES, ids=str)
@pytest.mark.parametrize("k", [1, 3])
def test_the_generic_linearisation_gives_the_same(case: CellCase, k: int) -> None:
    lin = case.linearization()
    generic = products(GenericLinearization(lin.trajectory), k)
    for name, (multiply, block) in products(lin, k).items():
        expected = generic[name][0](block)
        assert_close(multiply(block), expected, case.dtype, lin.trajectory.states.size)


@ALL_CASES
def test_blocks_are_their_columns(case: CellCase) -> None:
    lin = case.linearization()
    for multiply, block in products(lin, 5).values():
        together = multiply(block)
        before = block.copy()
        columns = [multiply(np.ascontiguousarray(block[..., [j]])) for j in range(5)]
        alone = np.concatenate(columns, axis=-1)
        assert_close(together, alone, case.dtype, case.n_trials * case.n_steps)
        assert np.array_equal(block, before)


def test_kinds() -> None:
    for case in CELL_CASES:
        lin = case.linearization()
        if isinstance(case.cell, kpf.AutogradCell):
            kind = GenericLinearization
        elif isinstance(case.cell, kpf.LowRankRNN):
            kind = StructuredLinearization
        else:
            kind = SiteLinearization
        assert type(lin) is kind
        assert (lin.weight_sites is not None) == (kind is SiteLinearization)
        assert lin.cell is case.cell
        assert lin.dims == lin.trajectory.states.shape
        assert lin.n_parameters == case.cell.n_parameters


@pytest.mark.parametrize("case", [*SITE_CASES[-2:], OWN_CASES[0]], ids=str)
def test_state_jacobians_of_some_trials(case: CellCase) -> None:
    lin = case.linearization()
    everything = lin.state_jacobians()
    assert np.array_equal(lin.state_jacobians(slice(1, 3)), everything[1:3])
    some = lin.state_jacobians(slice(1, 3), slice(2, 5))
    tolerance = default_tolerance(lin.dtype, lin.dims[2]) * np.abs(everything).max()
    assert some.shape == (2, 3, *everything.shape[2:])
    assert np.abs(some - everything[1:3, 2:5]).max() <= tolerance
    with pytest.raises(MemoryLimitError, match="Use the operators, which never store them"):
        lin.state_jacobians(max_memory=everything.nbytes - 1)
    assert lin.state_jacobians(slice(0, 1), max_memory=everything.nbytes - 1).shape[0] == 1


def test_only_trajectories_are_linearised() -> None:
    with pytest.raises(InputTypeError, match="must be a Trajectory, as kpf.simulate returns it"):
        kpf.linearize(np.zeros((2, 5, 4)))


def test_a_generic_product_of_another_step_is_caught() -> None:
    # The comparison above fails where a linearisation reads its inputs one step late.
    case = CellCase(kpf.GRU(2, 4))
    lin = case.linearization()
    late = kpf.Trajectory(
        lin.cell,
        lin.trajectory.params,
        np.roll(lin.trajectory.inputs, 1, axis=1),
        lin.trajectory.h0,
        lin.trajectory.states,
    )
    generic = products(GenericLinearization(late), 2)
    for name, (multiply, block) in products(lin, 2).items():
        with pytest.raises(AssertionError):
            assert_close(multiply(block), generic[name][0](block), case.dtype, 60)


def test_one_line_for_people() -> None:
    lin = CellCase(kpf.GRU(2, 4)).linearization()
    B, T, N = lin.dims
    of_states = f"GRU(n_inputs=2, n_units=4, bias=True), ({B}, {T}, {N}), float64)"
    assert repr(lin) == f"SiteLinearization({of_states}"
    assert repr(lin.trajectory) == f"Trajectory({of_states}"
    assert repr(kpf.compress_core(lin, 0.5)).startswith("CompressedLinearization(GRU(")


@pytest.mark.parametrize("case", [*CELL_CASES, OWN_CASES[0]], ids=str)
def test_another_precision_is_the_same_network_rounded(case: CellCase) -> None:
    lin = case.linearization()
    single = lin.astype(np.float32)
    assert type(single) is type(lin)
    assert single.dtype == single.trajectory.previous.dtype == np.float32
    assert lin.dtype == np.float64
    np.testing.assert_array_equal(single.trajectory.states, lin.trajectory.states.astype("f4"))
    block = np.random.default_rng(5).standard_normal((*lin.dims, 3))
    for name in STATE_PRODUCTS:
        found, whole = getattr(single, name)(block.astype("f4")), getattr(lin, name)(block)
        assert_close(found, whole, np.float32, 10 * block.size)
