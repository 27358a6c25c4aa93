"""Lyapunov exponents: published values, dense products, and intervals that cover."""

from __future__ import annotations

import math
import re

import autograd.numpy as anp
import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError, MemoryLimitError
from kpflow_numerics.analysis.lyapunov import _samples, _standard_errors, _student
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import CELL_CASES, FLOAT32_CASES, OWN_CASES, SITE_CASES, CellCase
from tests.cases.operators import dense_network

DT = 0.01


def henon(params, x, h):
    return anp.stack([1.0 - params["a"] * h[:, 0] ** 2 + h[:, 1], params["b"] * h[:, 0]], axis=1)


def lorenz(params, x, h):
    """One step of Runge and Kutta's fourth order."""

    def flow(h):
        x, y, z = h[:, 0], h[:, 1], h[:, 2]
        columns = [params["sigma"] * (y - x), x * (params["rho"] - z) - y, x * y]
        return anp.stack(columns, axis=1) - params["beta"] * h * np.array([0.0, 0.0, 1.0])

    first = flow(h)
    second = flow(h + DT / 2 * first)
    third = flow(h + DT / 2 * second)
    return h + DT / 6 * (first + 2 * second + 2 * third + flow(h + DT * third))


def map_of_inputs(params, x, h):
    """A linear map whose Jacobian is the diagonal of its inputs."""
    return params["one"] * x * h


def growth_by(factors: np.ndarray) -> kpf.Linearization:
    cell = kpf.AutogradCell(map_of_inputs, {"one": ()}, factors.shape[2], factors.shape[2])
    return kpf.linearize(kpf.simulate(cell, {"one": 1.0}, factors))


def assert_published(result: kpf.analysis.LyapunovResult, published: list[float]) -> None:
    """Within 3 standard errors, and the rounding of the published digits."""
    error = np.abs(result.exponents - published)
    assert np.all(error <= 3 * result.standard_errors + 1e-3), (result, published)
    assert np.all(result.standard_errors < 0.05)


def test_the_henon_map() -> None:
    cell = kpf.AutogradCell(henon, {"a": (), "b": ()}, n_inputs=1, n_units=2)
    h0 = np.random.default_rng(9).uniform(-0.1, 0.1, (16, 2))
    traj = kpf.simulate(cell, {"a": 1.4, "b": 0.3}, np.zeros((16, 3000, 1)), h0)
    result = kpf.lyapunov_exponents(kpf.linearize(traj), discard=100, rng=7)
    assert_published(result, [0.4192, np.log(0.3) - 0.4192])
    assert result.mean_log_determinant == pytest.approx(np.log(0.3), rel=1e-12)
    assert result.exponents.sum() == pytest.approx(np.log(0.3), rel=1e-10)
    assert result.sum_rule.passed
    dimension = result.kaplan_yorke
    assert abs(dimension.value - 1.258) <= 3 * dimension.standard_error + 1e-3
    assert 0 < dimension.standard_error < 0.01
    alone = kpf.lyapunov_exponents(kpf.linearize(traj), discard=100, errors_from="batches")
    assert alone.n_samples == 20
    ratios = alone.standard_errors / result.standard_errors
    assert np.all((ratios > 0.3) & (ratios < 3))


def test_the_lorenz_flow() -> None:
    shapes = {"sigma": (), "rho": (), "beta": ()}
    cell = kpf.AutogradCell(lorenz, shapes, n_inputs=1, n_units=3)
    h0 = np.random.default_rng(9).normal([0, 0, 25], 5, (16, 3))
    params = {"sigma": 10.0, "rho": 28.0, "beta": 8 / 3}
    traj = kpf.simulate(cell, params, np.zeros((16, 6000, 1)), h0)
    result = kpf.lyapunov_exponents(kpf.linearize(traj), discard=1000, dt=DT, rng=7)
    assert_published(result, [0.9056, 0.0, -14.5723])
    # The flow contracts volumes at a constant rate; the step's order leaves O(dt^4).
    assert result.mean_log_determinant == pytest.approx(-(10 + 1 + 8 / 3), abs=1e-2)
    assert result.sum_rule.passed
    dimension = result.kaplan_yorke
    assert abs(dimension.value - 2.062) <= 3 * dimension.standard_error + 1e-3
    assert dimension.lower < dimension.value < dimension.upper


@pytest.mark.parametrize("case", [*CELL_CASES, *FLOAT32_CASES], ids=str)
def test_products_of_jacobians(case: CellCase) -> None:
    # Whatever frame it began with, the volume that is spanned grows as that under the product.
    lin, dense = case.linearization(), dense_network(case)
    n_trials, n_steps, n_state = lin.dims
    result = kpf.lyapunov_exponents(lin, rng=7)
    one = kpf.lyapunov_exponents(lin, 1, rng=7)
    tolerance = default_tolerance(case.dtype, n_state * n_steps)
    singular = not np.isfinite(result.exponents).all()
    if singular:
        assert "relu" in str(case)
        assert result.exponents[-1] == -np.inf
    else:
        logs = np.linalg.slogdet(dense.A)[1]
        conditions = np.linalg.cond(dense.A).max()
        np.testing.assert_allclose(
            result.per_trial.sum(axis=1), logs.mean(axis=1), atol=tolerance * conditions
        )
        assert result.sum_rule.passed
    for trial in range(n_trials):
        start = np.random.default_rng(7).standard_normal((n_trials, n_state, 1))[trial]
        v = start / np.linalg.norm(start)
        for A in dense.A[trial]:
            v = A @ v
        expected = np.log(np.linalg.norm(v)) / n_steps
        assert one.per_trial[trial, 0] == pytest.approx(expected, abs=10 * tolerance)


def test_chunks_of_steps_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lin = SITE_CASES[6].linearization()
    whole = kpf.lyapunov_exponents(lin, discard=1)
    monkeypatch.setattr("kpflow_numerics.analysis.lyapunov._CHUNK_BYTES", 1.0)
    by_step = kpf.lyapunov_exponents(lin, discard=1)
    np.testing.assert_allclose(by_step.per_trial, whole.per_trial, atol=1e-13)


def test_time_discard_and_order() -> None:
    rng = np.random.default_rng(9)
    factors = np.exp(np.array([-1.0, 0.5]) + 0.1 * rng.standard_normal((4, 60, 2)))
    lin = growth_by(factors)
    result = kpf.lyapunov_exponents(lin, discard=30, dt=0.5)
    assert result.n_steps == 30
    means = np.log(factors[:, 30:]).mean(axis=(0, 1)) / 0.5
    np.testing.assert_allclose(result.exponents, means[::-1], atol=1e-6)
    assert result.kaplan_yorke.value == pytest.approx(1 + means[1] / -means[0])
    growing = kpf.lyapunov_exponents(growth_by(np.full((2, 9, 2), 3.0)))
    assert growing.kaplan_yorke.value == 2.0
    shrinking = kpf.lyapunov_exponents(growth_by(np.full((2, 9, 2), 0.5)))
    assert shrinking.kaplan_yorke.value == 0.0
    assert math.isnan(kpf.lyapunov_exponents(lin, 1).kaplan_yorke.value)


def test_singular_jacobians() -> None:
    factors = np.broadcast_to([3.0, 2.0], (2, 60, 2)).copy()
    factors[1, 55, 1] = 0.0
    result = kpf.lyapunov_exponents(growth_by(factors), discard=20)
    assert result.exponents[0] == pytest.approx(np.log(3.0), abs=1e-6)
    assert result.exponents[1] == -np.inf
    assert np.isnan(result.standard_errors[1])
    assert result.mean_log_determinant == -np.inf
    assert result.kaplan_yorke.value == 1.0
    assert result.sum_rule.passed
    assert "1 singular of 80 steps" in result.sum_rule.explanation
    nothing = kpf.lyapunov_exponents(growth_by(np.zeros((1, 12, 2))))
    assert nothing.sum_rule is None
    assert np.all(nothing.exponents == -np.inf)
    assert nothing.kaplan_yorke.value == 0.0


def test_errors_of_too_few_steps_are_not_known() -> None:
    result = kpf.lyapunov_exponents(growth_by(np.full((1, 9, 1), 2.0)))
    assert result.errors_from == "none"
    assert np.isnan(result.standard_errors).all()
    assert np.isnan(result.lower).all()
    assert math.isnan(result.kaplan_yorke.lower)


@pytest.mark.parametrize(("source", "shape"), [("trials", (6, 4)), ("batches", (1, 400))])
def test_intervals_cover(source: str, shape: tuple[int, int]) -> None:
    # The exponent of a product of random numbers is the mean of their logarithms, here -0.3.
    covered, ratios = 0, []
    for seed in range(200):
        logs = -0.3 + np.random.default_rng(1000 + seed).standard_normal((*shape, 1))
        result = kpf.lyapunov_exponents(growth_by(np.exp(logs)), errors_from=source)
        assert result.errors_from == source
        covered += bool(result.lower[0] <= -0.3 <= result.upper[0])
        ratios.append((result.exponents[0] + 0.3) / result.standard_errors[0])
    assert 180 <= covered <= 198
    assert abs(np.mean(ratios)) < 0.3


def test_batches_cover_where_steps_are_correlated() -> None:
    covered, naive = 0, 0
    for seed in range(200):
        noise = np.random.default_rng(2000 + seed).standard_normal(2400)
        logs = np.empty(2400)
        logs[0] = noise[0]
        for t in range(1, 2400):
            logs[t] = 0.8 * logs[t - 1] + 0.6 * noise[t]
        samples, _ = _samples(logs.reshape(1, -1, 1), "batches")
        margin = _student(len(samples)) * _standard_errors(samples)[0]
        covered += bool(abs(logs.mean()) <= margin)
        naive += bool(abs(logs.mean()) <= 1.96 * logs.std() / np.sqrt(2400))
    assert 180 <= covered <= 198
    assert naive < 180


def test_a_planted_fault_fails_the_sum_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    lin = OWN_CASES[0].linearization()
    assert kpf.lyapunov_exponents(lin).sum_rule.passed
    right = np.linalg.qr

    def transposed(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        Q, R = right(matrix)
        return Q * 1.001, R

    monkeypatch.setattr(np.linalg, "qr", transposed)
    assert not kpf.lyapunov_exponents(lin).sum_rule.passed


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_exponents": 5}, InputError, "n_exponents must be from 1 to 4; got 5"),
        ({"n_exponents": 1.5}, InputTypeError, "n_exponents must be an integer"),
        ({"discard": 5}, InputError, "discard must be from 0 to 4; got 5"),
        ({"dt": 0.0}, InputError, "dt must be finite and greater than 0"),
        ({"errors_from": "steps"}, InputError, "errors_from must be one of"),
        ({"rng": None}, InputTypeError, "rng must be an integer seed"),
        ({"max_memory": 100}, MemoryLimitError, "lyapunov_exponents needs about .* Use fewer"),
    ],
)
def test_arguments_are_checked(
    options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        kpf.lyapunov_exponents(SITE_CASES[0].linearization(), **options)


def test_a_linearization_is_needed() -> None:
    with pytest.raises(InputTypeError, match="linearization must be a Linearization"):
        kpf.lyapunov_exponents(np.eye(3))


@pytest.mark.parametrize(
    ("n_trials", "n_steps", "text"),
    [
        (
            3,
            8,
            r"LyapunovResult\(2 exponents \S+ \+- \S+ \.\.\. .*, errors from 3 trials, 8 steps\)",
        ),
        (1, 4, r"LyapunovResult\(2 exponents .*error unknown.*, no errors, 4 steps\)"),
    ],
)
def test_one_line_for_people(n_trials: int, n_steps: int, text: str) -> None:
    cell = kpf.GRU(2, 5)
    inputs = np.random.default_rng(5).standard_normal((n_trials, n_steps, 2))
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=5), inputs))
    assert re.fullmatch(text, repr(kpf.lyapunov_exponents(lin, 2)))
