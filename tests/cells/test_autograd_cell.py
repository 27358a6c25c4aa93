"""A user's own step: its products, its checks, and what it says when the step is wrong."""

from __future__ import annotations

import functools
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.scipy.special import erf, expit

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.analysis.reference_steps import reference_step
from kpflow_numerics.cells import cell_from_config
from kpflow_numerics.testing import (
    assert_operator_matches_dense,
    default_tolerance,
    dot_test,
    taylor_test,
)
from tests.cases.cells import SITE_CELLS, CellCase
from tests.cases.operators import OPERATOR_CASES, OperatorCase, dense_network

OPERATORS = pytest.mark.parametrize("operator_case", OPERATOR_CASES, ids=str)


def with_forward_rules(params, x, h):
    return anp.logaddexp(0.0, x @ params["w_in"].T + h @ params["w_rec"].T) - 0.5


def without_forward_rules(params, x, h):
    gate = expit(x @ params["w_in"].T)
    return gate * erf(h @ params["w_rec"].T + 0.3) + (1 - gate) * h


def with_a_number(params, x, h):
    return anp.tanh(params["scale"] * h + x @ params["w_in"].T) + params["unused"][0] * 0.0


def without_inputs(params, x, h):
    return h + 0.1 * anp.tanh(h @ params["w_rec"].T)


def lorenz(params, x, h):
    """An Euler step of the Lorenz equations, which have no inputs."""
    X, Y, Z = h[..., 0], h[..., 1], h[..., 2]
    velocity = [
        params["sigma"] * (Y - X),
        X * (params["rho"] - Z) - Y,
        X * Y - params["beta"] * Z,
    ]
    return h + 0.01 * anp.stack(velocity, axis=-1)


def two_halves(params, x, h):
    """A state ``[h, c]`` of which a readout sees the first half."""
    hidden, c = anp.split(h, 2, axis=-1)
    c = 0.5 * c + x @ params["w_in"].T + hidden @ params["w_rec"].T
    return anp.concatenate([anp.tanh(c), c], axis=-1)


MATRICES = {"w_in": (4, 2), "w_rec": (4, 4)}
OWN_CELLS: dict[str, kpf.AutogradCell] = {
    "forward rules": kpf.AutogradCell(with_forward_rules, MATRICES, 2, 4),
    "no forward rules": kpf.AutogradCell(without_forward_rules, MATRICES, 2, 4),
    "a number": kpf.AutogradCell(
        with_a_number, {"scale": (), "w_in": (4, 2), "unused": (3,)}, 2, 4
    ),
    "no inputs": kpf.AutogradCell(without_inputs, {"w_rec": (4, 4)}, 1, 4),
    "Lorenz": kpf.AutogradCell(lorenz, {"sigma": (), "rho": (), "beta": ()}, 1, 3),
    "two halves": kpf.AutogradCell(two_halves, MATRICES, 2, 4, n_state=8),
}
OWN = pytest.mark.parametrize("name", OWN_CELLS)
DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])


@OWN
@DTYPES
@OPERATORS
def test_every_operator_works(name: str, dtype: type, operator_case: OperatorCase) -> None:
    case = CellCase(OWN_CELLS[name], n_trials=2, n_steps=4, dtype=dtype)
    operator = operator_case.build(case.linearization())
    assert operator.dtype == dtype
    assert dot_test(operator, rng=51).passed
    assert_operator_matches_dense(operator, operator_case.oracle(dense_network(case)), rng=52)


@OWN
def test_taylor_slope_of_the_sensitivity(name: str) -> None:
    trajectory = CellCase(OWN_CELLS[name]).trajectory()
    cell = trajectory.cell
    result = taylor_test(
        lambda theta: cell.simulate_states(
            cell.layout.unpack(theta), trajectory.inputs, trajectory.h0
        ),
        kpf.Sensitivity(kpf.linearize(trajectory)).apply,
        cell.layout.pack(trajectory.params),
        np.random.default_rng(53).standard_normal(cell.n_parameters),
    )
    assert result.passed


@pytest.mark.parametrize("cell", SITE_CELLS, ids=str)
@pytest.mark.parametrize("operator_case", [OPERATOR_CASES[0], OPERATOR_CASES[3]], ids=str)
def test_it_equals_the_hand_written_cell(cell: kpf.VanillaRNN, operator_case: OperatorCase) -> None:
    step = reference_step(cell)
    assert step is not None
    twin = kpf.AutogradCell(
        step, cell.parameter_shapes, cell.n_inputs, cell.n_units, n_state=cell.n_state
    )
    by_hand, by_autograd = CellCase(cell), CellCase(twin)
    states = by_hand.trajectory().states
    tolerance = default_tolerance("float64", states.size)
    found = by_autograd.trajectory().states
    assert np.linalg.norm(found - states) <= tolerance * np.linalg.norm(states)
    assert_operator_matches_dense(
        operator_case.build(by_autograd.linearization()),
        operator_case.build(by_hand.linearization()).to_dense(),
        rng=54,
    )


@OWN
@DTYPES
def test_many_columns_go_through_the_matrices(
    name: str, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More columns than the state is large take the Jacobians; few take copies of the points, in
    # pieces where those are many.
    lin = CellCase(OWN_CELLS[name], dtype=dtype).linearization()
    A = lin.state_jacobians()
    n_state = lin.dims[2]
    rng = np.random.default_rng(55)
    for entries in (1, 2**20):
        monkeypatch.setattr("kpflow_numerics.cells.autograd_cell._TILED_ENTRIES", entries)
        for k in (1, n_state, n_state + 1):
            q = rng.standard_normal((*lin.dims, k)).astype(dtype)
            for found, expected in (
                (lin.state_jvp(q), A @ q),
                (lin.state_vjp(q), A.swapaxes(2, 3) @ q),
            ):
                assert found.dtype == dtype
                error = np.linalg.norm(found - expected)
                assert error <= default_tolerance(dtype, n_state) * np.linalg.norm(expected)


def test_a_step_that_depends_on_nothing_has_zero_derivatives() -> None:
    cell = kpf.AutogradCell(lambda params, x, h: 0.0 * h + 1.0, {"w": (2,)}, 1, 3)
    lin = kpf.linearize(kpf.simulate(cell, {"w": np.ones(2)}, np.ones((2, 4, 1))))
    assert not kpf.ParameterJacobian(lin).to_dense().any()
    constant = kpf.AutogradCell(lambda params, x, h: np.ones_like(x), {"w": (2,)}, 1, 1)
    lin = kpf.linearize(kpf.simulate(constant, {"w": np.ones(2)}, np.ones((2, 4, 1))))
    assert not kpf.ParameterOperator(lin).to_dense().any()
    assert np.array_equal(kpf.Propagator(lin).to_dense(), np.eye(8))


def test_functions_of_numpy_that_autograd_sees_give_the_same_derivatives() -> None:
    x = np.random.default_rng(59).standard_normal((2, 5, 2))
    ranks = []
    for module in (np, anp):

        def step(params, x, h, tanh=module.tanh):
            return tanh(h @ params["w_rec"].T + x @ params["w_in"].T)

        cell = kpf.AutogradCell(step, MATRICES, 2, 4)
        lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=58), x))
        ranks.append(kpf.TangentKernel(lin).to_dense())
    assert np.array_equal(*ranks)


def test_it_is_a_value() -> None:
    cell = OWN_CELLS["two halves"]
    assert cell == kpf.AutogradCell(two_halves, MATRICES, 2, 4, n_state=8)
    assert cell != OWN_CELLS["forward rules"]
    assert hash(cell) == hash(kpf.AutogradCell(two_halves, MATRICES, 2, 4, n_state=8))
    assert pickle.loads(pickle.dumps(cell)) == cell
    assert repr(cell) == "AutogradCell('two_halves', n_inputs=2, n_units=4, n_state=8)"
    with pytest.raises(AttributeError, match="cannot assign"):
        cell.n_units = 5


def test_names() -> None:
    assert OWN_CELLS["Lorenz"].name == "lorenz"
    assert kpf.AutogradCell(lorenz, {"w": ()}, 1, 3, name="chaos").name == "chaos"
    assert kpf.AutogradCell(functools.partial(lorenz), {"w": ()}, 1, 3).name == "partial"


def test_settings_keep_the_name_and_cannot_give_the_step_back() -> None:
    cell = OWN_CELLS["two halves"]
    assert cell.settings() == {
        "name": "two_halves",
        "parameter_shapes": {"w_in": [4, 2], "w_rec": [4, 4]},
        "n_inputs": 2,
        "n_units": 4,
        "n_state": 8,
    }
    with pytest.raises(InputError, match="the step 'two_halves', and a file cannot hold a func"):
        cell_from_config(cell.kind, cell.settings())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"step": "tanh"}, InputTypeError, "step must be a function step.*; got str"),
        ({"name": 3}, InputTypeError, "name must be a string; got 3"),
        ({"n_units": 0}, InputError, "n_units must be at least 1; got 0"),
        ({"n_inputs": 1.5}, InputTypeError, "n_inputs must be an integer"),
        ({"n_state": 3}, InputError, "n_state must be at least 4; got 3"),
        ({"parameter_shapes": [(4, 4)]}, InputTypeError, "must map parameter names to shapes"),
        ({"parameter_shapes": {}}, InputError, "must name at least one parameter"),
        ({"parameter_shapes": {"w": 4}}, InputTypeError, "got 'w': 4"),
        ({"parameter_shapes": {3: (4,)}}, InputTypeError, r"got 3: \(4,\)"),
        ({"parameter_shapes": {"w": (4, 0)}}, InputError, r"parameter_shapes\['w'\] must be at"),
    ],
)
def test_the_constructor_refuses(changes: dict, error: type[Exception], message: str) -> None:
    arguments = {
        "step": with_forward_rules,
        "parameter_shapes": MATRICES,
        "n_inputs": 2,
        "n_units": 4,
        **changes,
    }
    with pytest.raises(error, match=message):
        kpf.AutogradCell(**arguments)


@dataclass(frozen=True)
class WrongStep:
    """A step that must be refused, and how."""

    step: Callable
    error: type[Exception]
    message: str
    dtype: type = np.float64


def assigned(h: np.ndarray) -> np.ndarray:
    out = h + 1.0
    out[:, 0] = 0.0
    return out


WRONG_STEPS = {
    "fails": WrongStep(
        lambda params, x, h: params["missing"] * h,
        InputError,
        r"failed on x of shape \(1, 2\) and h of shape \(1, 4\) with KeyError: 'missing'",
    ),
    "for single vectors": WrongStep(
        lambda params, x, h: anp.tanh(params["w_rec"] @ h + params["w_in"] @ x),
        InputError,
        "It works on single vectors, but must take rows of them: write h @ W.T",
    ),
    "another shape": WrongStep(
        lambda params, x, h: h[:, :2],
        InputError,
        r"must give the next states \(1, 4\) for x \(1, 2\) and h \(1, 4\); got shape \(1, 2\)",
    ),
    "no array": WrongStep(
        lambda params, x, h: list(h), InputError, "must give the next states .* got <class 'list'>"
    ),
    "mean of rows": WrongStep(
        lambda params, x, h: anp.tanh(h - anp.mean(h, axis=0) + x @ params["w_in"].T),
        InputError,
        "must treat the rows of its arguments one by one; 3 rows together and alone differ by",
    ),
    "rows that fail together": WrongStep(
        lambda params, x, h: h.reshape(1, 4), InputError, r"failed on x of shape \(3, 2\)"
    ),
    "infinite": WrongStep(
        lambda params, x, h: h / 0.0, InputError, "gives NaN or infinity in its first steps from h0"
    ),
    "double of single": WrongStep(
        lambda params, x, h: h * np.float64(2.0),
        InputTypeError,
        "must give float32 for float32 arguments; got float64. Constants of NumPy's own float64",
        np.float32,
    ),
    "complex": WrongStep(lambda params, x, h: h * 1j, InputTypeError, "got complex128"),
    "NumPy's own where": WrongStep(
        lambda params, x, h: np.where(h > 0, h @ params["w_rec"].T, 0.0),
        InputError,
        "loses its derivatives in a function of NumPy .* Write every function .* autograd.numpy",
    ),
    "NumPy's own clip in a sum": WrongStep(
        lambda params, x, h: anp.tanh(h @ params["w_rec"].T) + 0.1 * np.clip(h, -0.5, 0.5),
        InputError,
        "loses its derivatives in a function of NumPy",
    ),
    "NumPy's own einsum of parameters": WrongStep(
        lambda params, x, h: h + np.einsum("mi,ui->mu", x, params["w_in"]),
        InputError,
        "loses its derivatives in a function of NumPy",
    ),
    "NumPy's own ones_like in a sum": WrongStep(
        lambda params, x, h: anp.tanh(h @ params["w_rec"].T) + np.ones_like(h),
        InputError,
        "loses its derivatives in a function of NumPy",
    ),
    "a norm of rows, which autograd 1.9 pushes forward into another shape": WrongStep(
        lambda params, x, h: h / anp.linalg.norm(h, axis=1, keepdims=True),
        InputError,
        "cannot be differentiated; autograd says ValueError: ",
    ),
    "assignment": WrongStep(
        lambda params, x, h: assigned(h),
        InputError,
        "cannot be differentiated; autograd says TypeError: .* assign to no element of an array",
    ),
}


@pytest.mark.parametrize("name", WRONG_STEPS)
def test_wrong_steps_are_refused(name: str) -> None:
    wrong = WRONG_STEPS[name]
    cell = kpf.AutogradCell(wrong.step, MATRICES, 2, 4, name="mine")
    inputs = np.random.default_rng(56).standard_normal((2, 5, 2))
    with pytest.raises(wrong.error, match=wrong.message) as caught:
        kpf.simulate(cell, cell.init_params(rng=57, dtype=wrong.dtype), inputs, np.ones(4))
    assert str(caught.value).startswith("The step 'mine' of the AutogradCell")


def test_a_step_that_overflows_later_is_named_by_simulate() -> None:
    cell = kpf.AutogradCell(lambda params, x, h: h * params["gain"], {"gain": ()}, 1, 3)
    with pytest.raises(InputError, match="overflow at step 8 of 20 in float64"):
        kpf.simulate(cell, {"gain": 1e40}, np.zeros((2, 20, 1)), np.full(3, 1.0))


def test_autograd_is_loaded_when_it_is_used() -> None:
    code = (
        "import sys\n"
        "import kpflow_numerics as kpf\n"
        "kpf.AutogradCell(lambda params, x, h: h, {'w': (2,)}, 1, 2)\n"
        "print('autograd' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"
