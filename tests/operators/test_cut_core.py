"""Certain bounds of the tangent kernel's participation ratio from a cut of the features."""

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError
from kpflow_numerics.operators import _cut_core
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import SITE_CASES


def dense_kernel(lin):
    S = kpf.Sensitivity(lin).to_dense().astype(np.float64)
    return S @ S.T


def collapsed_linearization(cell, n_trials=4, n_steps=20):
    params = cell.init_params(gain=0.5, rng=3)
    inputs = np.repeat(np.random.default_rng(5).standard_normal((n_trials, 1, 3)), n_steps, axis=1)
    return kpf.linearize(kpf.simulate(cell, params, inputs))


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
def test_norms_of_a_cut_are_those_of_its_matrix(case):
    lin = case.linearization()
    cut = kpf.compress_core(lin, 0.03)
    whole, small = dense_kernel(lin), dense_kernel(cut)
    norms = _cut_core.cut_norms(lin, cut)
    tolerance = default_tolerance(lin.dtype, lin.dims[2])
    assert norms.trace == pytest.approx(np.trace(small), rel=tolerance)
    assert norms.squared == pytest.approx(np.sum(small**2), rel=4 * tolerance)
    assert norms.product == pytest.approx(np.sum(small * whole), rel=4 * tolerance)


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
def test_a_coarser_cut_is_continued(case):
    lin = case.linearization()
    coarse, fine = (kpf.compress_core(lin, tolerance) for tolerance in (0.1, 1e-4))
    whole = _cut_core.cut_norms(lin, fine)
    known = _cut_core.cut_norms(lin, coarse)
    lacking = _cut_core._beyond(coarse, fine)
    assert lacking.sum() == fine.n_parameters - coarse.n_parameters
    continued = _cut_core.cut_norms(lin, fine, 1.0, (coarse, known))
    tolerance = 4 * default_tolerance(lin.dtype, lin.dims[2])
    for name in ("trace", "squared", "product"):
        assert getattr(continued, name) == pytest.approx(getattr(whole, name), rel=tolerance)


def test_a_continued_cut_that_forgets_the_mixed_terms_is_caught(monkeypatch):
    lin = collapsed_linearization(kpf.GRU(3, 12))
    coarse, fine = (kpf.compress_core(lin, tolerance) for tolerance in (0.1, 1e-4))
    known, whole = _cut_core.cut_norms(lin, coarse), _cut_core.cut_norms(lin, fine)
    right = _cut_core.cut_norms(lin, fine, 1.0, (coarse, known))
    assert right.squared == pytest.approx(whole.squared, rel=1e-12)
    monkeypatch.setattr(_cut_core, "_beyond", lambda *_: np.ones(fine.n_parameters, bool))
    wrong = _cut_core.cut_norms(lin, fine, 1.0, (coarse, known))
    assert wrong.squared > 1.01 * whole.squared


@pytest.mark.parametrize("width", [0.3, 1e-2, 1e-4])
@pytest.mark.parametrize("case", SITE_CASES, ids=str)
def test_bounds_hold_the_rank_and_are_as_narrow_as_asked(case, width):
    lin = case.linearization()
    truth = np.trace(dense_kernel(lin)) ** 2 / np.sum(dense_kernel(lin) ** 2)
    lower, upper = kpf.TangentKernel(lin).exact_participation_ratio_bounds(width)
    slack = 4 * default_tolerance(lin.dtype, lin.dims[2])
    assert lower <= truth * (1 + slack)
    assert truth <= upper * (1 + slack)
    assert upper - lower <= (width + slack) * truth


@pytest.mark.parametrize("cell", [kpf.GRU(3, 12), kpf.LSTM(3, 12), kpf.VanillaRNN(3, 12)], ids=str)
def test_few_features_do(cell, monkeypatch):
    lin = collapsed_linearization(cell)
    sizes = []
    counted = _cut_core.cut_norms

    def counting(linearization, cut, *known):
        sizes.append(cut.n_parameters)
        return counted(linearization, cut, *known)

    monkeypatch.setattr(_cut_core, "cut_norms", counting)
    kpf.TangentKernel(lin).exact_participation_ratio_bounds(1e-2)
    assert max(sizes) < 0.6 * lin.n_parameters


def test_what_a_cut_leaves_out_is_seen():
    # Bounds that forgot the rest would be tight around a wrong value.
    lin = collapsed_linearization(kpf.GRU(3, 12))
    cut = kpf.compress_core(lin, 0.3)
    norms = _cut_core.cut_norms(lin, cut)
    truth = float(np.sum(dense_kernel(lin) ** 2))
    trace = kpf.TangentKernel(lin).exact_trace()
    least, most = norms.squared_norm_bounds(trace)
    assert least < truth < most
    assert norms.squared < 0.999 * truth
    assert norms.squared_norm_bounds(norms.trace)[1] < truth


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1e-8, 1e-13, 0])
def test_rounding_does_not_break_the_bounds(width, dtype):
    for seed in (3, 4, 5):
        cell = kpf.VanillaRNN(3, 12)
        params = cell.init_params(gain=0.5, rng=seed)
        inputs = np.random.default_rng(seed).standard_normal((3, 15, 3)).astype(dtype)
        params = {name: array.astype(dtype) for name, array in params.items()}
        lin = kpf.linearize(kpf.simulate(cell, params, inputs))
        lower, upper = kpf.TangentKernel(lin).exact_participation_ratio_bounds(width)
        N = dense_kernel(lin)
        truth = np.trace(N) ** 2 / np.sum(N**2)
        assert lower <= truth <= upper
        assert upper - lower <= (width + 4 * default_tolerance(dtype, 12)) * truth


def test_bounds_that_allow_no_rounding_break(monkeypatch):
    monkeypatch.setattr(_cut_core, "ROUNDINGS", 0)
    with pytest.raises(AssertionError):
        test_rounding_does_not_break_the_bounds(1e-13, np.float64)


@pytest.mark.parametrize(
    ("dtype", "size"), [(np.float32, 1e-15), (np.float32, 1e-30), (np.float64, 1e-130)]
)
def test_small_activity_has_the_rank_of_its_multiple(dtype, size):
    cell = kpf.VanillaRNN(3, 12, bias=False)
    params = {name: a.astype(dtype) for name, a in cell.init_params(rng=3).items()}
    inputs = np.random.default_rng(5).standard_normal((3, 15, 3))
    # So narrow that float64 is not left for float32.
    width = 1e-3 if dtype == np.float32 else 1e-5
    bounds = [
        kpf.TangentKernel(
            kpf.linearize(kpf.simulate(cell, params, (scale * inputs).astype(dtype)))
        ).exact_participation_ratio_bounds(width)
        for scale in (size, 1e-6)
    ]
    np.testing.assert_allclose(*bounds, rtol=default_tolerance(dtype, 12))


def test_what_leaves_the_range_of_the_floats_has_the_bounds_of_any_kernel():
    cell = kpf.VanillaRNN(3, 12, activation="relu")
    params = cell.init_params(gain=30, rng=1, dtype=np.float32)
    lin = kpf.linearize(kpf.simulate(cell, params, np.ones((2, 30, 3), np.float32)))
    bounds = kpf.TangentKernel(lin).exact_participation_ratio_bounds(0.1)
    assert bounds == (1.0, lin.n_parameters)


def test_wide_bounds_are_left_to_the_eigenpairs():
    # The few features that carry this kernel are nothing next to the late ones.
    cell = kpf.VanillaRNN(3, 12, activation="relu")
    params = cell.init_params(gain=30, rng=3)
    kernel = kpf.TangentKernel(kpf.linearize(kpf.simulate(cell, params, np.ones((2, 30, 3)))))
    lower, upper = kernel.exact_participation_ratio_bounds(1e-3)
    assert upper > 2 * lower
    found = kpf.effective_rank(kernel, method="bounds", rtol=1e-3)
    assert found.upper - found.lower <= 2e-3 * found.value
    assert lower <= found.value <= upper


@pytest.mark.parametrize("width", [-0.1, np.nan])
def test_a_width_is_a_number_from_0(width):
    kernel = kpf.TangentKernel(collapsed_linearization(kpf.VanillaRNN(3, 5)))
    for bounds in (kernel.exact_participation_ratio_bounds, kernel.exact_trace_bounds):
        with pytest.raises(InputError, match="width must be finite and at least 0; got"):
            bounds(width)


def test_a_kernel_that_is_zero_has_rank_zero():
    lin = collapsed_linearization(kpf.VanillaRNN(3, 5))
    assert _cut_core.participation_ratio_bounds(lin, (0.0, 0.0), 0.1) == (0.0, 0.0)


def test_bounds_of_the_rank_take_it():
    kernel = kpf.TangentKernel(collapsed_linearization(kpf.VanillaRNN(3, 12)))
    found = kpf.effective_rank(kernel, method="bounds", rtol=1e-3)
    truth = kpf.effective_rank(kernel, method="dense").value
    assert found.n_matvecs == 0
    assert found.lower <= truth <= found.upper
    assert found.upper - found.lower <= 2.1e-3 * truth


def test_its_cost_grows_as_the_bounds_narrow():
    kernel = kpf.TangentKernel(collapsed_linearization(kpf.GRU(3, 12)))
    costs = [kernel.exact_cost("participation_ratio_bounds", width) for width in (0.1, 1e-3, 1e-6)]
    assert costs[0].flops <= costs[1].flops <= costs[2].flops
    assert costs[0].flops < costs[2].flops
