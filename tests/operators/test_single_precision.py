"""Certain bounds in float32: they hold what float64 finds, and are so only where that does."""

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.operators import propagator_gram, tangent_kernel
from kpflow_numerics.operators._cut_core import rounding_error
from kpflow_numerics.operators._single_precision import MARGIN, allows_single_precision
from kpflow_numerics.testing import default_tolerance

GAINS = (0.5, 1.5, 4.0)
WIDTH = 2e-3
CELLS = {
    "vanilla": kpf.VanillaRNN(3, 12),
    "leaky": kpf.LeakyRNN(3, 12),
    "gru": kpf.GRU(3, 12),
    "lstm": kpf.LSTM(3, 8),
}


def linearization(name, gain, scale=1.0):
    cell = CELLS[name]
    inputs = scale * np.random.default_rng(5).standard_normal((3, 60, 3))
    return kpf.linearize(kpf.simulate(cell, cell.init_params(gain=gain, rng=7), inputs))


def in_double(monkeypatch, function):
    """Return what bounds are where nothing is computed in float32."""
    with monkeypatch.context() as patch:
        for module in (propagator_gram, tangent_kernel):
            patch.setattr(module, "allows_single_precision", lambda *_: False)
        return function()


@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize("name", CELLS)
def test_bounds_hold_the_closed_forms(name, gain):
    lin = linearization(name, gain)
    assert allows_single_precision(lin, WIDTH)
    gram, kernel = kpf.PropagatorGram(lin), kpf.TangentKernel(lin)
    rank = (gram.exact_trace() / gram.exact_frobenius_norm()) ** 2
    for (lower, upper), truth in (
        (gram.exact_participation_ratio_bounds(WIDTH), rank),
        (kernel.exact_trace_bounds(WIDTH), kernel.exact_trace()),
    ):
        assert lower <= truth <= upper
        assert upper - lower <= WIDTH * upper


@pytest.mark.parametrize("name", ["vanilla", "gru"])
def test_bounds_of_the_kernels_rank_overlap_those_in_float64(name, monkeypatch):
    kernel = kpf.TangentKernel(linearization(name, 1.5))
    lower, upper = kernel.exact_participation_ratio_bounds(WIDTH)
    S = kpf.Sensitivity(kernel.linearization).to_dense()
    weights = np.linalg.svd(S, compute_uv=False) ** 2
    assert lower <= weights.sum() ** 2 / np.sum(weights**2) <= upper
    double = in_double(monkeypatch, lambda: kernel.exact_participation_ratio_bounds(WIDTH))
    assert double != (lower, upper)


def test_bounds_without_an_allowance_for_rounding_are_caught(monkeypatch):
    monkeypatch.setattr(propagator_gram, "rounding_error", lambda *_: 0.0)
    missed = 0
    for name in CELLS:
        gram = kpf.PropagatorGram(linearization(name, 1.5))
        lower, upper = gram.exact_participation_ratio_bounds(WIDTH)
        missed += not lower <= (gram.exact_trace() / gram.exact_frobenius_norm()) ** 2 <= upper
    assert missed > 0


def test_narrow_bounds_are_in_float64(monkeypatch):
    lin = linearization("gru", 1.5)
    narrow = 0.9 * MARGIN * rounding_error(np.float32, lin.dims[2])
    assert not allows_single_precision(lin, narrow)
    gram = kpf.PropagatorGram(lin)
    found = gram.exact_participation_ratio_bounds(narrow)
    double = in_double(monkeypatch, lambda: gram.exact_participation_ratio_bounds(narrow))
    assert found == double


def test_derivatives_out_of_its_range_are_in_float64():
    cell = kpf.VanillaRNN(3, 12, activation="relu")
    inputs = 1e30 * np.random.default_rng(5).standard_normal((3, 20, 3))
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=7), inputs))
    assert not allows_single_precision(lin, WIDTH)
    kernel = kpf.TangentKernel(lin)
    lower, upper = kernel.exact_trace_bounds(WIDTH)
    slack = default_tolerance("float64", lin.dims[2])
    assert lower * (1 - slack) <= kernel.exact_trace() <= upper * (1 + slack)


def test_flops_in_float32_count_half():
    gram = kpf.PropagatorGram(linearization("gru", 1.5))
    wide, narrow = (gram.exact_cost("participation_ratio_bounds", each) for each in (WIDTH, 1e-9))
    assert wide.flops == narrow.flops / 2
