"""The tangent kernel's trace: two exact algorithms, and certain bounds."""

from itertools import pairwise

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.operators import _kernel_seeds, _kernel_trace
from kpflow_numerics.operators._gramians import trial_jacobians
from kpflow_numerics.operators._site_terms import site_terms
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import SITE_CASES


def collapsed_linearization(cell, n_trials=3, n_steps=12):
    """Return the linearisation of a cell whose activity has a low rank."""
    params = cell.init_params(gain=0.2, rng=3)
    inputs = np.repeat(np.random.default_rng(5).standard_normal((n_trials, 1, 3)), n_steps, axis=1)
    return kpf.linearize(kpf.simulate(cell, params, inputs))


def trial_traces(lin):
    S = kpf.Sensitivity(lin).to_dense().astype(np.float64)
    return np.square(S.reshape(lin.dims[0], -1)).sum(axis=1)


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
def test_both_algorithms_give_each_trial(case):
    lin = case.linearization()
    sites = lin.weight_sites
    for trial, truth in enumerate(trial_traces(lin)):
        A = trial_jacobians(lin, trial)
        seeds = _kernel_seeds.unit_seeds(site_terms(sites).of_trial(trial))
        tolerance = default_tolerance(lin.dtype, lin.dims[2])
        for found in (
            _kernel_trace.trial_trace(sites, trial, A),
            *_kernel_seeds.trace_bounds(seeds, A, 0.0),
        ):
            assert found == pytest.approx(truth, rel=tolerance)


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
@pytest.mark.parametrize("width", [0.5, 1e-2, 1e-6])
def test_bounds_hold_the_trace_and_are_as_narrow_as_asked(case, width, monkeypatch):
    monkeypatch.setattr(_kernel_seeds, "COLUMNS_AT_A_TIME", 3)
    kernel = kpf.TangentKernel(case.linearization())
    truth = kernel.exact_trace()
    lower, upper = kernel.exact_trace_bounds(width)
    assert lower <= truth * (1 + 1e-12)
    assert truth <= upper * (1 + 1e-12)
    assert upper - lower <= width * lower


def test_bounds_leave_something_out(monkeypatch):
    monkeypatch.setattr(_kernel_seeds, "COLUMNS_AT_A_TIME", 3)
    kernel = kpf.TangentKernel(collapsed_linearization(kpf.GRU(3, 6)))
    truth = kernel.exact_trace()
    lower, upper = kernel.exact_trace_bounds(0.1)
    assert lower < truth < upper


def test_a_bound_that_forgets_the_observability_is_caught(monkeypatch):
    monkeypatch.setattr(_kernel_seeds, "COLUMNS_AT_A_TIME", 1)
    monkeypatch.setattr(_kernel_seeds, "_observed", lambda A: np.full(A.shape[1], 1e-3))
    kernel = kpf.TangentKernel(collapsed_linearization(kpf.GRU(3, 6)))
    _, upper = kernel.exact_trace_bounds(0.1)
    assert upper < kernel.exact_trace()


@pytest.mark.parametrize("cell", [kpf.VanillaRNN(3, 6), kpf.GRU(3, 6), kpf.LSTM(3, 5)], ids=repr)
def test_the_cheaper_algorithm_runs(cell, monkeypatch):
    lin = collapsed_linearization(cell, n_steps=24)
    truth = trial_traces(lin).sum()
    monkeypatch.setattr(_kernel_trace, "trial_trace", lambda *_: pytest.fail("blocks are dearer"))
    assert kpf.TangentKernel(lin).exact_trace() == pytest.approx(truth, rel=1e-12)


def test_costs():
    kernel = kpf.TangentKernel(collapsed_linearization(kpf.GRU(3, 6)))
    exact = kernel.exact_cost("trace")
    costs = [kernel.exact_cost("trace_bounds", width) for width in (1e-1, 1e-3, 1e-6)]
    assert all(a.flops <= b.flops <= exact.flops for a, b in pairwise(costs))
    assert kernel.exact_cost("eigenvalues") is None
