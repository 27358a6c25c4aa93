"""The cell of factored recurrent weights: its first values, its closed forms, what it is beside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import LOW_RANK_CASES, CellCase

CASES = pytest.mark.parametrize("case", LOW_RANK_CASES, ids=str)
IN_SINGLE = pytest.mark.parametrize("case", [c.in_float32() for c in LOW_RANK_CASES[:4]], ids=str)
PARTIAL_TRACES = {
    ("unit",): "btacda->btcd",
    ("trial", "time"): "btabtc->ac",
    ("trial", "time", "unit"): "btabta->",
}


def full_rank(case: CellCase) -> tuple[kpf.Trajectory, kpf.Trajectory]:
    """Return a trajectory, and that of the leaky cell with the product as its weights."""
    found, cell = case.trajectory(), case.cell
    settings = {key: value for key, value in vars(cell).items() if key != "rank"}
    params = dict(found.params)
    params["weight_hh"] = params.pop("left") @ params.pop("right").T
    leaky = kpf.LeakyRNN(**settings)
    return found, kpf.simulate(leaky, params, found.inputs, found.h0)


@CASES
def test_it_moves_as_the_leaky_cell_with_the_product_as_weights(case: CellCase) -> None:
    found, expected = full_rank(case)
    size = expected.states[0].size
    np.testing.assert_allclose(
        found.states, expected.states, atol=default_tolerance(np.float64, size)
    )
    block = np.random.default_rng(53).standard_normal((*found.states.shape, 2))
    for operator in (kpf.Propagator, kpf.InversePropagator):
        for method in ("apply", "apply_adjoint"):
            low, full = (
                getattr(operator(kpf.linearize(each)), method)(block) for each in (found, expected)
            )
            scale = np.abs(full).max()
            assert np.abs(low - full).max() <= default_tolerance(np.float64, size) * scale


@CASES
def test_closed_forms_of_k(case: CellCase) -> None:
    lin = case.linearization()
    dense = kpf.ParameterOperator(lin).to_dense()
    for normalization, scale in (("sum", 1.0), ("mean", 1.0 / (lin.dims[0] * lin.dims[1]))):
        K = kpf.ParameterOperator(lin, normalization)
        assert_close(K.exact_trace(), scale * np.trace(dense))
        assert_close(K.exact_frobenius_norm(), scale * np.linalg.norm(dense))
        for over, indices in PARTIAL_TRACES.items():
            expected = scale * np.einsum(indices, dense.reshape(*lin.dims, *lin.dims))
            found = K.exact_partial_trace(over)
            assert found is not None
            assert_close(found, expected)
            assert K.exact_cost("partial_trace", over) is not None


def assert_close(found, expected) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error <= default_tolerance(np.float64, 100), f"wrong by {error:.1e}"


def test_a_wrong_closed_form_is_seen() -> None:
    lin = LOW_RANK_CASES[0].linearization()
    K = kpf.ParameterOperator(lin)
    factored = lin.low_rank_sites
    assert factored is not None
    # Without the part of N: what a cell with one weight site would give.
    own = np.square(factored.features).sum(-1) * np.square(factored.gains).sum(-1)
    with pytest.raises(AssertionError, match="wrong by"):
        assert_close(own.sum(), K.exact_trace())


@CASES
def test_what_has_no_closed_form_is_found_by_products(case: CellCase) -> None:
    lin = case.linearization()
    K = kpf.ParameterOperator(lin)
    dense = K.to_dense()
    assert K.exact_cost("eigenvalues") is None
    assert K.exact_cost("partial_trace", ("time",)) is None
    assert K.exact_partial_trace(("unit", "trial")) is None
    found = kpf.partial_trace(K, ("unit", "trial")).matrix
    assert_close(found, np.einsum("btabda->td", dense.reshape(*lin.dims, *lin.dims)))
    values = kpf.eigenvalues(K).values
    assert_close(values, np.linalg.eigvalsh(dense)[::-1][: len(values)])


def test_the_spectral_functions_use_the_closed_forms() -> None:
    K = kpf.ParameterOperator(LOW_RANK_CASES[0].linearization())
    for found in (kpf.trace(K), kpf.frobenius_norm(K), kpf.effective_rank(K)):
        assert found.is_exact
        assert found.n_matvecs == 0


@IN_SINGLE
def test_single_precision(case: CellCase) -> None:
    lin, double = case.linearization(), replace(case, dtype=np.float64).linearization()
    block = np.random.default_rng(61).standard_normal((*lin.dims, 3))
    for operator in (kpf.ParameterOperator, kpf.TangentKernel, kpf.Propagator):
        found, expected = operator(lin).apply(block), operator(double).apply(block)
        assert found.dtype == np.float32
        tolerance = default_tolerance(np.float32, lin.dims[1] * lin.dims[2], factor=8)
        assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)
    trace = kpf.ParameterOperator(double).exact_trace()
    assert abs(kpf.ParameterOperator(lin).exact_trace() / trace - 1) < default_tolerance(
        np.float32, 20
    )


def test_first_values_have_the_scale_of_full_weights() -> None:
    cell = kpf.LowRankRNN(3, 200, rank=10)
    plain, scaled = cell.init_params(rng=61), cell.init_params(gain=2.5, rng=61)
    W = plain["left"] @ plain["right"].T
    # The variance of an entry is a mean over 2 H r numbers; 10 % is five standard deviations.
    assert abs(W.var() * 3 * 200 - 1) < 0.1
    assert abs(np.abs(np.linalg.eigvals(W)).max() * np.sqrt(3) - 1) < 0.35
    np.testing.assert_allclose(scaled["left"], 2.5 * plain["left"], rtol=1e-15)
    for name in ("right", "weight_ih", "bias"):
        np.testing.assert_array_equal(scaled[name], plain[name])
    assert np.abs(plain["weight_ih"]).max() <= 1 / np.sqrt(200)
    assert not cell.init_params(gain=0.0, rng=5)["left"].any()
    single = cell.init_params(gain=2.5, rng=61, dtype="float32")
    for name, value in single.items():
        np.testing.assert_array_equal(value, scaled[name].astype(np.float32))
    with pytest.raises(ValueError, match="gain must be finite and at least 0; got -1"):
        cell.init_params(gain=-1.0)
    with pytest.raises(TypeError, match="dtype must be float32 or float64; got int8"):
        cell.init_params(dtype="int8")


def test_it_trains_and_is_kept_in_a_run_file(tmp_path) -> None:
    task = kpf.MemoryPro(n_stimulus=3, n_memory=2, n_response=3)
    cell = kpf.LowRankRNN(task.n_inputs, 12, rank=2)
    path = tmp_path / "run.h5"
    run = kpf.train(cell, task, n_iterations=60, optimizer=kpf.Adam(1e-2), checkpoint_every=30,
                    batch_size=16, evaluation_trials=6, rng=7, store=path)  # fmt: skip
    losses = [each.evaluation_loss for each in run.checkpoints]
    assert losses[-1] < 0.7 * losses[0]
    with kpf.RunFile.open(path) as file:
        assert file.cell == cell
        np.testing.assert_array_equal(file.checkpoint(-1).params["right"], run.params["right"])


@CASES
def test_validation_passes(case: CellCase) -> None:
    report = kpf.validate(case.trajectory(), rng=71)
    assert report.passed, report
