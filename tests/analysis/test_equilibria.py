"""Fixed points: residuals, dense Jacobians, closed forms, planted points, and what fails."""

from __future__ import annotations

from dataclasses import replace

import autograd.numpy as anp
import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import CELL_CASES, FLOAT32_CASES, LOW_RANK_CASES, SITE_CASES, CellCase
from tests.cases.jacobians import Points, complex_step_jacobians


def search(case: CellCase, **options) -> tuple[np.ndarray, kpf.FixedPoints]:
    """Return a constant input, and the fixed points from starts in a box."""
    rng = np.random.default_rng(case.seed + 5)
    x = rng.standard_normal(case.cell.n_inputs)
    starts = rng.uniform(-1, 1, (12, case.cell.n_state))
    return x, kpf.fixed_points(case.cell, case.params(), x, starts, **options)


def moved(case: CellCase, x: np.ndarray, states: np.ndarray) -> np.ndarray:
    inputs = np.broadcast_to(x, (len(states), 1, len(x)))
    return kpf.simulate(case.cell, case.params(), inputs, states).states[:, 0]


def assert_fixed(case: CellCase, x: np.ndarray, found: kpf.FixedPoints) -> None:
    sizes = np.maximum(np.linalg.norm(found.states, axis=1), 1.0)
    residuals = np.linalg.norm(moved(case, x, found.states) - found.states, axis=1) / sizes
    assert np.all(residuals <= found.tolerance), f"not fixed: {residuals.max():.1e}"


def assert_eigenvalues(case: CellCase, x: np.ndarray, found: kpf.FixedPoints) -> None:
    """Compare with the eigenvalues of Jacobians by complex steps, as roots of one polynomial."""
    inputs = np.broadcast_to(x, (len(found.states), len(x)))
    A, _ = complex_step_jacobians(Points(case.cell, case.params(), inputs, found.states))
    for values, jacobian in zip(found.eigenvalues, A, strict=True):
        assert np.all(np.diff(np.abs(values)) <= 1e-12)
        # Coefficients do not suffer where eigenvalues are defective, as single ones would.
        np.testing.assert_allclose(
            np.poly(values).real, np.poly(np.linalg.eigvals(jacobian)).real, atol=1e-10
        )
        radius = np.abs(np.linalg.eigvals(jacobian)).max()
        assert abs(np.abs(values[0]) - radius) < 1e-6


@pytest.mark.parametrize("case", [*CELL_CASES, *FLOAT32_CASES], ids=str)
def test_points_are_fixed(case: CellCase) -> None:
    x, found = search(case)
    assert found.states.dtype == case.dtype
    assert found.n_converged > 0
    assert_fixed(case, x.astype(case.dtype), found)
    assert found.n_converged + found.n_unconverged == len(found.labels) == 12
    assert found.n_starts.sum() == found.n_converged
    assert np.all(found.end_residuals[found.labels >= 0] <= found.tolerance)
    assert np.all(found.end_residuals[found.labels < 0] > found.tolerance)
    np.testing.assert_array_equal(
        found.stable, np.array([np.abs(values).max() < 1 for values in found.eigenvalues])
    )


@pytest.mark.parametrize("case", CELL_CASES, ids=str)
def test_eigenvalues_are_those_of_dense_jacobians(case: CellCase) -> None:
    x, found = search(case)
    assert_eigenvalues(case, x, found)


def test_faults_in_points_and_eigenvalues_are_seen() -> None:
    case = SITE_CASES[0]
    x, found = search(case)
    with pytest.raises(AssertionError, match="not fixed"):
        assert_fixed(case, x, replace(found, states=found.states + 1e-8))
    with pytest.raises(AssertionError):
        assert_eigenvalues(case, x, replace(found, eigenvalues=found.eigenvalues * (1 + 1e-6)))


def linear_step(params, x, h):
    return anp.dot(h, params["W"].T) + x


def linear_cell(H: int) -> kpf.AutogradCell:
    return kpf.AutogradCell(linear_step, {"W": (H, H)}, n_inputs=H, n_units=H)


@pytest.mark.parametrize("gain", [0.5, 3.0])
def test_a_linear_map_has_one_point_in_one_step(gain: float) -> None:
    rng = np.random.default_rng(9)
    W, x = gain * rng.standard_normal((6, 6)) / np.sqrt(6), rng.standard_normal(6)
    found = kpf.fixed_points(linear_cell(6), {"W": W}, x, rng.standard_normal((5, 6)))
    expected = np.linalg.solve(np.eye(6) - W, x)
    tolerance = default_tolerance(np.float64, 6) * np.linalg.cond(np.eye(6) - W)
    np.testing.assert_allclose(found.states, expected[None], atol=tolerance * 10)
    assert found.n_iterations.max() <= 2
    values = np.linalg.eigvals(W)
    np.testing.assert_allclose(np.abs(found.eigenvalues[0]), np.sort(np.abs(values))[::-1])
    assert found.stable[0] == (np.abs(values).max() < 1)
    assert found.labels.tolist() == [0] * 5


def test_a_map_without_fixed_points_is_said_to_have_none() -> None:
    cell = kpf.AutogradCell(lambda p, x, h: h + p["c"] + 0.1 * h**2, {"c": ()}, 1, 1, name="up")
    starts = np.array([[0.3], [-4.0], [7.0]])
    found = kpf.fixed_points(cell, {"c": 1.0}, [0.0], starts)
    assert len(found.states) == 0
    assert found.n_unconverged == 3
    assert found.labels.tolist() == [-1, -1, -1]
    # The place where the residual is least, a ghost of the points that a smaller c would have.
    np.testing.assert_allclose(found.ends, 0.0, atol=0.1)
    np.testing.assert_allclose(found.end_residuals, 1.0, rtol=0.01)
    assert repr(found) == "FixedPoints(0 points, 0 stable, 0 of 3 starts converged to 3.7e-11)"
    two = kpf.fixed_points(cell, {"c": -0.4}, [0.0], starts)
    np.testing.assert_allclose(np.sort(two.states[:, 0]), [-2.0, 2.0])
    assert two.n_unconverged == 0


def test_singular_jacobians_and_lines_of_points() -> None:
    W = np.diag([1.0, 0.5])
    starts = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, -3.0]])
    found = kpf.fixed_points(linear_cell(2), {"W": W}, [0.0, 0.0], starts)
    np.testing.assert_allclose(found.states, [[0, 0], [1, 0]], atol=1e-12)
    assert found.labels.tolist() == [0, 1, 1]
    assert not found.stable.any()
    near = kpf.fixed_points(linear_cell(2), {"W": W}, [0.0, 0.0], starts, merge_distance=1.5)
    assert near.labels.tolist() == [0, 0, 0]


def test_starts_do_not_see_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole = search(SITE_CASES[6])
    monkeypatch.setattr("kpflow_numerics.analysis.equilibria._CHUNK_BYTES", 1.0)
    _, alone = search(SITE_CASES[6])
    np.testing.assert_allclose(alone.ends, whole.ends, atol=1e-9)
    np.testing.assert_array_equal(alone.labels, whole.labels)


def test_few_iterations_leave_starts_unconverged() -> None:
    _, found = search(SITE_CASES[0], max_iterations=1)
    assert found.n_unconverged == 12
    assert found.n_iterations.tolist() == [1] * 12
    _, loose = search(SITE_CASES[0], max_iterations=1, tolerance=0.9)
    assert loose.n_unconverged < 12


def test_arguments() -> None:
    cell = kpf.VanillaRNN(2, 4)
    params, starts = cell.init_params(rng=3), np.zeros((3, 4))
    with pytest.raises(InputTypeError, match="cell must be a cell"):
        kpf.fixed_points("gru", params, [0, 0], starts)
    with pytest.raises(InputError, match=r"inputs must have shape \(2,\); got \(3,\)"):
        kpf.fixed_points(cell, params, [0, 0, 0], starts)
    with pytest.raises(InputError, match=r"starts must have shape \(M, 4\); got \(4,\)"):
        kpf.fixed_points(cell, params, [0, 0], np.zeros(4))
    with pytest.raises(InputError, match="tolerance must be finite and at least"):
        kpf.fixed_points(cell, params, [0, 0], starts, tolerance=0.0)
    with pytest.raises(InputError, match="max_iterations must be at least 0"):
        kpf.fixed_points(cell, params, [0, 0], starts, max_iterations=-1)
    with pytest.raises(InputError, match="merge_distance must be finite and at least 0"):
        kpf.fixed_points(cell, params, [0, 0], starts, merge_distance=-1.0)


# Planting.

WIDE = 9
PLANTABLE = [
    CellCase(replace(case.cell, n_units=WIDE), dtype=case.dtype)
    for case in (*SITE_CASES[:8], *LOW_RANK_CASES[:4], SITE_CASES[0].in_float32())
]


def planted(case: CellCase, n_points: int, seed: int = 19):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(case.cell.n_inputs).astype(case.dtype)
    points = rng.uniform(0.2, 0.8, (n_points, WIDE)).astype(case.dtype)
    if vars(case.cell).get("activation") != "relu":
        points *= rng.choice([-1, 1], points.shape)
    return x, points, kpf.plant_fixed_points(case.cell, case.params(), x, points)


def points_for(case: CellCase) -> int:
    return vars(case.cell).get("rank", 3)


@pytest.mark.parametrize("case", PLANTABLE, ids=str)
def test_planted_points_are_fixed_and_found(case: CellCase) -> None:
    x, points, params = planted(case, points_for(case))
    inputs = np.broadcast_to(x, (len(points), 1, len(x)))
    ends = kpf.simulate(case.cell, params, inputs, points).states[:, 0]
    largest = max(np.abs(array).max() for array in params.values())
    tolerance = default_tolerance(case.dtype, WIDE) * largest
    np.testing.assert_allclose(ends, points, atol=tolerance)
    found = kpf.fixed_points(case.cell, params, x, points, tolerance=max(tolerance, 1e-9))
    assert len(found.states) == len(points)
    np.testing.assert_allclose(found.states, points, atol=1e3 * tolerance)
    assert {name: array.dtype for name, array in params.items()} == {
        name: np.dtype(case.dtype) for name in params
    }


@pytest.mark.parametrize("case", PLANTABLE[:-1], ids=str)
def test_the_change_is_the_least(case: CellCase) -> None:
    x, points, params = planted(case, points_for(case))
    before = case.params()
    changed = [name for name in params if not np.array_equal(params[name], before[name])]
    assert changed == (["left"] if "left" in params else ["weight_hh"])
    change = params[changed[0]] - before[changed[0]]
    assert np.linalg.matrix_rank(change, tol=1e-8) <= len(points)
    again = kpf.plant_fixed_points(case.cell, params, x, points)
    np.testing.assert_allclose(again[changed[0]], params[changed[0]], atol=1e-8)


def test_the_closed_form_without_other_weights() -> None:
    cell = kpf.VanillaRNN(2, WIDE, bias=False)
    H = np.random.default_rng(5).choice([-0.9, 0.9], (WIDE, 3))
    zeros = {"weight_ih": np.ones((WIDE, 2)), "weight_hh": np.zeros((WIDE, WIDE))}
    params = kpf.plant_fixed_points(cell, zeros, [0.0, 0.0], H.T)
    np.testing.assert_allclose(params["weight_hh"], np.arctanh(H) @ np.linalg.pinv(H), atol=1e-12)
    found = kpf.fixed_points(cell, params, [0.0, 0.0], [*H.T, *-H.T, np.zeros(WIDE)])
    # The map is odd; about the origin it grows by atanh(s) / s along each of the points.
    assert len(found.states) == 7
    assert found.stable.tolist() == [True] * 6 + [False]
    np.testing.assert_allclose(found.eigenvalues[-1][:3], np.arctanh(0.9) / 0.9)
    both = kpf.plant_fixed_points(cell, zeros, [0.0, 0.0], [*H.T, -H[:, 0]])
    np.testing.assert_allclose(both["weight_hh"], params["weight_hh"], atol=1e-12)


def test_a_wrong_plant_is_seen() -> None:
    case = PLANTABLE[0]
    x, points, params = planted(case, 3)
    params["weight_hh"] = params["weight_hh"].copy()
    params["weight_hh"][0] *= 1.001
    found = kpf.fixed_points(case.cell, params, x, points)
    assert found.n_iterations.min() > 0
    assert np.abs(found.ends - points).max() > 1e-5


def test_what_cannot_be_planted() -> None:
    cell = kpf.VanillaRNN(2, 4)
    params, x = cell.init_params(rng=3), [0.5, 0.5]
    with pytest.raises(InputError, match=r"within \(-1, 1\).*modulus is 1.5"):
        kpf.plant_fixed_points(cell, params, x, np.full((1, 4), 1.5))
    with pytest.raises(InputError, match="5 points are 4 independent ones for weight_hh"):
        kpf.plant_fixed_points(cell, params, x, np.random.default_rng(3).uniform(-1, 1, (5, 4)))
    relu = replace(cell, activation="relu")
    with pytest.raises(InputError, match="at least 0, the values of relu; the smallest is -0.5"):
        kpf.plant_fixed_points(relu, params, x, np.full((1, 4), -0.5))
    low = kpf.LowRankRNN(2, 4, rank=1)
    points = np.random.default_rng(3).uniform(-0.9, 0.9, (2, 4))
    with pytest.raises(InputError, match="2 points are 1 independent ones for left"):
        kpf.plant_fixed_points(low, low.init_params(rng=3), x, points)
    lstm = kpf.LSTM(2, 2)
    with pytest.raises(InputTypeError, match="VanillaRNN, LeakyRNN, LowRankRNN or GRU"):
        kpf.plant_fixed_points(lstm, lstm.init_params(rng=3), x, points)
    with pytest.raises(InputTypeError, match="cell must be a cell"):
        kpf.plant_fixed_points(None, params, x, points)


@pytest.mark.parametrize("size", [1e200, 1e308])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_starts_whose_squares_overflow(activation, size):
    cell = kpf.VanillaRNN(2, 3, activation=activation)
    params = cell.init_params(gain=30, rng=3)
    found = kpf.fixed_points(cell, params, [0.5, 0.2], np.full((2, 3), size))
    assert len(found.labels) == 2
    assert np.isfinite(found.states).all()


def test_a_point_behind_closed_reset_gates_cannot_be_planted():
    cell = kpf.GRU(2, 3)
    params = cell.init_params(rng=3)
    params["bias_ih"][1] = -1000.0
    with pytest.raises(ValueError, match=r"points must leave the reset gates open.*unit 1 is 0"):
        kpf.plant_fixed_points(cell, params, [0.0, 0.0], [[0.5, -0.5, 0.2]])


def test_weights_beyond_the_precision_are_refused():
    cell = kpf.VanillaRNN(2, 3)
    params = cell.init_params(rng=3, dtype=np.float32)
    with pytest.raises(ValueError, match=r"points must have weights within float32.*would reach"):
        kpf.plant_fixed_points(cell, params, [1e30, 1e30], 1e-30 * np.array([[0.5, -0.5, 0.2]]))
