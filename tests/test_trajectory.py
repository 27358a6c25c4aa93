"""What ``simulate`` accepts, returns and refuses."""

from __future__ import annotations

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import CELL_CASES, FLOAT32_CASES, CellCase
from tests.cases.operators import dense_network

CASES = pytest.mark.parametrize("case", CELL_CASES + FLOAT32_CASES, ids=str)
CELL = kpf.GRU(n_inputs=3, n_units=4)
PARAMS = CELL.init_params(rng=17)
INPUTS = np.random.default_rng(18).standard_normal((2, 5, 3))


@CASES
def test_states_are_the_steps_one_after_another(case: CellCase) -> None:
    trajectory = case.trajectory()
    expected = dense_network(case).states
    assert trajectory.states.shape == expected.shape
    tolerance = default_tolerance(case.dtype, case.n_steps * case.cell.n_state)
    error = np.linalg.norm(trajectory.states - expected)
    assert error <= tolerance * np.linalg.norm(expected)


@CASES
def test_what_a_trajectory_holds(case: CellCase) -> None:
    trajectory = case.trajectory()
    cell = case.cell
    assert (trajectory.n_trials, trajectory.n_steps) == (case.n_trials, case.n_steps)
    assert trajectory.states.shape == (case.n_trials, case.n_steps, cell.n_state)
    assert trajectory.previous.shape == trajectory.states.shape
    assert np.array_equal(trajectory.previous[:, 0], trajectory.h0)
    assert np.array_equal(trajectory.previous[:, 1:], trajectory.states[:, :-1])
    assert np.array_equal(trajectory.hidden, trajectory.states[..., : cell.n_units])
    arrays = [trajectory.states, trajectory.inputs, trajectory.h0, *trajectory.params.values()]
    assert {array.dtype for array in [*arrays, trajectory]} == {np.dtype(case.dtype)}
    assert all(array.flags.c_contiguous for array in arrays)


@CASES
def test_the_same_arguments_give_the_same_bits(case: CellCase) -> None:
    assert np.array_equal(case.trajectory().states, case.trajectory().states)


def test_the_initial_state() -> None:
    zero = kpf.simulate(CELL, PARAMS, INPUTS)
    assert np.array_equal(zero.h0, np.zeros((2, 4)))
    one = np.random.default_rng(19).standard_normal(4)
    shared = kpf.simulate(CELL, PARAMS, INPUTS, one)
    each = kpf.simulate(CELL, PARAMS, INPUTS, np.stack([one, one]))
    assert np.array_equal(shared.h0, each.h0)
    assert np.array_equal(shared.states, each.states)
    assert not np.allclose(shared.states, zero.states)


def test_the_precision_is_that_of_the_parameters() -> None:
    single = {name: array.astype(np.float32) for name, array in PARAMS.items()}
    mixed = {**single, "bias_hh": PARAMS["bias_hh"]}
    for params, expected in ((single, np.float32), (PARAMS, np.float64), (mixed, np.float64)):
        for inputs in (INPUTS, INPUTS.astype(np.float32)):
            assert kpf.simulate(CELL, params, inputs, np.zeros(4)).dtype == expected


def test_memory_order_and_lists_do_not_matter() -> None:
    expected = kpf.simulate(CELL, PARAMS, INPUTS).states
    strided = np.repeat(INPUTS, 2, axis=1)[:, ::2]
    fortran = {name: np.asfortranarray(array) for name, array in PARAMS.items()}
    backwards = {name: PARAMS[name].tolist() for name in reversed(PARAMS)}
    for params, inputs in (
        (PARAMS, strided),
        (PARAMS, INPUTS.tolist()),
        (fortran, np.asfortranarray(INPUTS)),
        (backwards, INPUTS),
    ):
        assert np.array_equal(kpf.simulate(CELL, params, inputs).states, expected)


def test_arguments_come_back_unchanged() -> None:
    h0 = np.ones((2, 4))
    before = [array.copy() for array in (INPUTS, h0, *PARAMS.values())]
    kpf.simulate(CELL, PARAMS, INPUTS, h0)
    for array, copy in zip((INPUTS, h0, *PARAMS.values()), before, strict=True):
        assert np.array_equal(array, copy)


@CASES
def test_what_the_caller_does_to_its_arrays_later_changes_nothing(case: CellCase) -> None:
    given = case.trajectory()
    params = {name: array.copy() for name, array in given.params.items()}
    inputs, h0 = given.inputs.copy(), given.h0.copy()
    trajectory = kpf.simulate(case.cell, params, inputs, h0)
    for array in (inputs, h0, *params.values()):
        array *= 3.0
    q = np.ones(trajectory.states.size, case.dtype)
    expected, found = (kpf.TangentKernel(kpf.linearize(each)) @ q for each in (given, trajectory))
    assert np.array_equal(found, expected)


class Tensor:
    """What a tensor of PyTorch does that has a gradient."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


def with_nan(array: np.ndarray) -> np.ndarray:
    array = np.array(array)
    array.flat[1] = np.nan
    return array


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"cell": "gru"}, InputTypeError, "cell must be a cell of kpflow_numerics.*; got str"),
        ({"inputs": INPUTS[0]}, InputError, r"inputs must have shape \(B, T, 3\); got \(5, 3\)"),
        ({"inputs": INPUTS[..., :2]}, InputError, r"\(B, T, 3\); got \(2, 5, 2\)"),
        ({"inputs": INPUTS[:, :0]}, InputError, r"\(B, T, 3\); got \(2, 0, 3\)"),
        ({"inputs": with_nan(INPUTS)}, InputError, "inputs must be finite; 1 of its 30 entries"),
        ({"inputs": INPUTS * 1j}, InputTypeError, "inputs must be real; got dtype complex128"),
        ({"inputs": [["a"]]}, InputTypeError, "inputs must be numeric; got dtype <U1"),
        ({"inputs": [[None]]}, InputTypeError, "inputs must be numeric; got dtype object"),
        ({"inputs": None}, InputTypeError, "inputs must be numeric; got NoneType"),
        ({"inputs": {"x": 1}}, InputTypeError, "inputs must be numeric; got dict"),
        ({"inputs": [[[1, 2, 3], [1, 2]]]}, InputError, "inputs must be a rectangular array"),
        ({"inputs": INPUTS[:0]}, InputError, r"got \(0, 5, 3\)\. It is empty"),
        ({"inputs": Tensor()}, InputTypeError, "inputs cannot be .* Tensor says: Can't call numpy"),
        ({"params": PARAMS | {"bias_hh": Tensor()}}, InputTypeError, r"params\['bias_hh'\] cannot"),
        (
            {"inputs": np.ma.masked_greater(INPUTS, np.sort(INPUTS.ravel())[-4])},
            InputError,
            r"inputs must have no masked entries; 3 of its 30 are. .* \.filled",
        ),
        ({"h0": np.zeros(3)}, InputError, r"h0 must have shape \(4,\); got \(3,\)"),
        ({"h0": np.zeros((3, 4))}, InputError, r"h0 must have shape \(2, 4\); got \(3, 4\)"),
        ({"h0": with_nan(np.zeros(4))}, InputError, "h0 must be finite"),
        ({"h0": np.zeros(4, complex)}, InputTypeError, "h0 must be real"),
        ({"params": {}}, InputError, "params lacks 'weight_ih'"),
        ({"params": PARAMS | {"weigth_hh": 0}}, InputError, "Did you mean 'weight_hh'?"),
    ],
)
def test_refusals(changes: dict, error: type[Exception], message: str) -> None:
    arguments = {"cell": CELL, "params": PARAMS, "inputs": INPUTS, **changes}
    with pytest.raises(error, match=message):
        kpf.simulate(**arguments)


def test_an_overflow_is_named_with_its_step() -> None:
    cell = kpf.VanillaRNN(n_inputs=1, n_units=2, activation="relu", bias=False)
    params = {"weight_ih": np.ones((2, 1)), "weight_hh": np.full((2, 2), 1e100)}
    with pytest.raises(InputError, match="overflow at step 5 of 9 in float64"):
        kpf.simulate(cell, params, np.ones((3, 9, 1)))
