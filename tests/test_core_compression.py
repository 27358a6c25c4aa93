"""Compression of the features of weight sites: what it keeps, what it loses, what it says."""

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.testing import default_tolerance, dot_test
from tests.cases.cells import FLOAT32_CASES, OWN_CASES, SITE_CASES

ALL_CASES = [*SITE_CASES, *FLOAT32_CASES]


def collapsed(cell):
    """Return a linearisation along constant inputs, where activity settles."""
    params = cell.init_params(gain=0.3, rng=3)
    inputs = np.repeat(np.random.default_rng(5).standard_normal((4, 1, 3)), 20, axis=1)
    return kpf.linearize(kpf.simulate(cell, params, inputs))


@pytest.mark.parametrize("case", ALL_CASES, ids=str)
def test_without_tolerance_nothing_changes_but_the_parameters(case):
    lin = case.linearization()
    small = kpf.compress_core(lin, tolerance=0.0)
    tolerance = 10 * default_tolerance(lin.dtype, lin.dims[0] * lin.dims[1] * lin.dims[2])
    for kind in (kpf.ParameterOperator, kpf.TangentKernel):
        expected, found = kind(lin).to_dense(), kind(small).to_dense()
        assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)
    assert kpf.Sensitivity(small).shape[1] == small.n_parameters == small.layout.size
    assert small.trace_error <= tolerance


@pytest.mark.parametrize("case", ALL_CASES, ids=str)
def test_its_operators_have_adjoints_and_factors(case):
    small = kpf.compress_core(case.linearization(), tolerance=1e-3)
    S, NTK = kpf.Sensitivity(small), kpf.TangentKernel(small)
    dot_test(S)
    dot_test(kpf.ParameterJacobian(small))
    x = np.random.default_rng(7).standard_normal((NTK.shape[0], 3)).astype(small.dtype)
    expected = S.matmat(S.rmatmat(x))
    tolerance = 10 * default_tolerance(small.dtype, NTK.shape[0])
    assert np.linalg.norm(NTK.matmat(x) - expected) <= tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize("cell", [kpf.VanillaRNN(3, 6), kpf.GRU(3, 6), kpf.LSTM(3, 5)], ids=repr)
@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-6])
def test_what_is_lost_is_positive_and_as_small_as_it_says(cell, tolerance):
    lin = collapsed(cell)
    small = kpf.compress_core(lin, tolerance)
    K, less = kpf.ParameterOperator(lin).to_dense(), kpf.ParameterOperator(small).to_dense()
    lost = np.linalg.eigvalsh(K - less)
    rounding = 1e-13 * np.trace(K)
    assert lost.min() >= -rounding
    assert lost.sum() / np.trace(K) == pytest.approx(small.trace_error, abs=1e-12)
    for before, after in zip(lin.weight_sites.groups, small.weight_sites.groups, strict=True):
        X, Y = (
            group.weighted_features.reshape(-1, group.features.shape[-1])
            for group in (before, after)
        )
        error = np.linalg.norm(X @ X.T - Y @ Y.T, 2) / np.linalg.norm(X @ X.T, 2)
        assert error <= tolerance * (1 + 1e-9)


@pytest.mark.parametrize("size", [1e-25, 1.0, 1e25])
def test_features_in_single_precision_are_cut_where_those_in_double_are(size):
    cell = kpf.LeakyRNN(3, 8, form="current", activation="relu", bias=False)
    inputs = size * np.repeat(np.random.default_rng(5).standard_normal((4, 1, 3)), 20, axis=1)
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(gain=0.3, rng=3), inputs))
    small, single = kpf.compress_core(lin, 1e-5), kpf.compress_core(lin.astype(np.float32), 1e-5)
    assert single.dtype == np.float32
    assert single.ranks == small.ranks < (lin.weight_sites.groups[0].features.shape[-1],)
    for whole, cut in zip(small.weight_sites.groups, single.weight_sites.groups, strict=True):
        X, Y = (group.features.reshape(80, -1) / size for group in (whole, cut))
        error = np.linalg.norm(X @ X.T - Y @ Y.T)
        assert error <= default_tolerance(np.float32, 80) * np.linalg.norm(X @ X.T)


def test_collapsed_activity_leaves_few_parameters():
    lin = collapsed(kpf.GRU(3, 12))
    small = kpf.compress_core(lin, 1e-6)
    assert small.n_parameters < lin.n_parameters
    assert small.ranks < tuple(group.features.shape[-1] for group in lin.weight_sites.groups)


def test_exact_forms_are_those_of_the_compressed_operators():
    small = kpf.compress_core(collapsed(kpf.GRU(3, 6)), 1e-2)
    for kind in (kpf.ParameterOperator, kpf.TangentKernel):
        operator = kind(small)
        assert operator.exact_trace() == pytest.approx(np.trace(operator.to_dense()), rel=1e-12)


def test_bad_arguments():
    with pytest.raises(InputError, match="has none, and nothing to compress"):
        kpf.compress_core(OWN_CASES[0].linearization())
    lin = collapsed(kpf.GRU(3, 6))
    with pytest.raises(InputError, match="tolerance must be"):
        kpf.compress_core(lin, -1.0)
    with pytest.raises(InputTypeError, match="linearization must be a Linearization"):
        kpf.compress_core(np.eye(3))
