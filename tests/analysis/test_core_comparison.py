"""Cosines of kernel, K, core and ones equal what dense matrices give, as they are and centred."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError, MemoryLimitError
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import CELL_CASES, FLOAT32_CASES, SITE_CASES, CellCase

COSINES = [
    each.name for each in fields(kpf.CoreAgainstKernel) if each.name not in ("n_matvecs", "cost")
]
ONE_GROUP = tuple(case for case in SITE_CASES if case.cell.kind in ("vanilla-rnn", "leaky-rnn"))
CONSTANT_GAIN = tuple(case for case in SITE_CASES if vars(case.cell).get("form") == "current")


def over_units(matrix: np.ndarray, dims: tuple[int, int, int]) -> np.ndarray:
    blocks = matrix.reshape(dims[0] * dims[1], dims[2], dims[0] * dims[1], dims[2])
    return np.einsum("aibi->ab", blocks)


def plain_features(case: CellCase) -> np.ndarray:
    """Return V from the bare states and inputs: a constant column for each bias."""
    trajectory, cell = case.trajectory(), case.cell
    states, h0 = (np.asarray(each, np.float64) for each in (trajectory.states, trajectory.h0))
    previous = np.concatenate([h0[:, None], states[:, :-1]], axis=1)[..., : cell.n_units]
    settings = vars(cell)
    if settings.get("form") == "current":
        previous = (
            np.maximum(previous, 0) if settings["activation"] == "relu" else np.tanh(previous)
        )
    two_biases = cell.kind in ("vanilla-rnn", "gru", "lstm")
    n_constant = (2 if two_biases else 1) if settings.get("bias", True) else 0
    ones = np.ones((*states.shape[:2], n_constant))
    rows = np.concatenate([previous, np.asarray(trajectory.inputs, np.float64), ones], axis=-1)
    return rows.reshape(-1, rows.shape[-1])


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    norms = np.linalg.norm(first) * np.linalg.norm(second)
    return float(np.sum(first * second) / norms) if norms > 0 else np.nan


def assert_cosines(found: kpf.CoreAgainstKernel, case: CellCase) -> None:
    """Raise unless every cosine is that of dense matrices."""
    lin, V = case.linearization(), plain_features(case)
    n_rows = len(V)
    kernel, K = (
        over_units(operator.to_dense().astype(np.float64), lin.dims)
        for operator in (kpf.TangentKernel(lin), kpf.ParameterOperator(lin))
    )
    core, ones, C = V @ V.T, np.ones((n_rows, n_rows)), np.eye(n_rows) - 1.0 / n_rows
    expected = {
        "kernel_core": cosine(kernel, core),
        "kernel_core_centred": cosine(C @ kernel @ C, C @ core @ C),
        "parameter_core": cosine(K, core),
        "parameter_core_centred": cosine(C @ K @ C, C @ core @ C),
        "kernel_ones": cosine(kernel, ones),
        "parameter_ones": cosine(K, ones),
        "core_ones": cosine(core, ones),
    }
    assert list(expected) == COSINES
    for name, value in expected.items():
        # What centring leaves carries the rounding of the whole.
        left = [np.linalg.norm(C @ each @ C) / np.linalg.norm(each) for each in (kernel, K, core)]
        lost = 1.0 / min(left) if "centred" in name else 1.0
        bound = lost * default_tolerance(case.dtype, kernel.size)
        assert abs(getattr(found, name) - value) <= bound, name


@pytest.mark.parametrize("case", [*CELL_CASES, *FLOAT32_CASES], ids=str)
def test_every_cosine_against_dense_matrices(case: CellCase) -> None:
    lin = case.linearization()
    found = kpf.core_against_kernel(lin)
    assert_cosines(found, case)
    for operator, value in (
        (kpf.TangentKernel(lin), found.kernel_core),
        (kpf.ParameterOperator(lin), found.parameter_core),
    ):
        assert kpf.core_cosine(operator).value == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("name", COSINES)
def test_a_planted_error_in_any_cosine_is_seen(name: str) -> None:
    case = SITE_CASES[6]
    found = kpf.core_against_kernel(case.linearization())
    assert_cosines(found, case)
    with pytest.raises(AssertionError, match=name):
        assert_cosines(replace(found, **{name: getattr(found, name) * (1 + 1e-8)}), case)


def test_a_bias_counted_once_is_seen() -> None:
    with pytest.raises(AssertionError, match="kernel_core"):
        assert_cosines(kpf.core_against_kernel(SITE_CASES[7].linearization()), SITE_CASES[6])


def assert_angles(found: kpf.CoreAgainstKernel) -> None:
    """Raise unless the cosines are in [0, 1] and their angles obey the triangle inequality."""
    values = np.array([getattr(found, name) for name in COSINES])
    rounding = default_tolerance("float32")
    assert np.all((values >= -rounding) & (values <= 1 + rounding)), "range"
    core = np.arccos(np.minimum(found.core_ones, 1.0))
    for whole, ones in (
        (found.kernel_core, found.kernel_ones),
        (found.parameter_core, found.parameter_ones),
    ):
        whole, ones = np.arccos(np.minimum([whole, ones], 1.0))
        assert abs(ones - core) - 1e-6 <= whole <= ones + core + 1e-6, "triangle"


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
def test_angles(case: CellCase) -> None:
    assert_angles(kpf.core_against_kernel(case.linearization()))


def test_planted_angles_are_caught() -> None:
    found = kpf.core_against_kernel(SITE_CASES[0].linearization())
    with pytest.raises(AssertionError, match="range"):
        assert_angles(replace(found, kernel_core_centred=-0.1))
    with pytest.raises(AssertionError, match="triangle"):
        assert_angles(replace(found, kernel_core=0.0, kernel_ones=0.99, core_ones=0.99))


@pytest.mark.parametrize("case", CONSTANT_GAIN, ids=str)
def test_k_of_constant_gains_is_the_core(case: CellCase) -> None:
    found = kpf.core_against_kernel(case.linearization())
    assert found.parameter_core == pytest.approx(1.0, abs=1e-12)
    assert found.parameter_core_centred == pytest.approx(1.0, abs=1e-12)
    assert found.parameter_ones == pytest.approx(found.core_ones, abs=1e-12)
    assert found.kernel_core < 0.999


@pytest.mark.parametrize("case", ONE_GROUP, ids=str)
def test_turned_features_change_nothing(case: CellCase) -> None:
    lin = case.linearization()
    found, turned = (kpf.core_against_kernel(each) for each in (lin, kpf.compress_core(lin, 0.0)))
    cut = kpf.core_against_kernel(kpf.compress_core(lin, 0.05))
    for name in COSINES:
        assert getattr(turned, name) == pytest.approx(getattr(found, name), abs=1e-10)
    assert abs(cut.core_ones - found.core_ones) > 1e-5


def test_one_row_has_nothing_left_when_centred() -> None:
    case = CellCase(kpf.GRU(2, 4), n_trials=1, n_steps=1)
    found = kpf.core_against_kernel(case.linearization())
    assert found.kernel_core == pytest.approx(1.0)
    assert np.isnan([found.kernel_core_centred, found.parameter_core_centred]).all()


def test_rounding_alone_has_no_cosine() -> None:
    # At a fixed point all trials and steps are the same but for rounding.
    cell = kpf.VanillaRNN(2, 4)
    params = cell.init_params(gain=0.1, rng=5)
    params["weight_hh"][...] = 0.0
    h = np.tanh(0.3 * params["weight_ih"].sum(axis=1) + params["bias_ih"] + params["bias_hh"])
    inputs = np.full((2, 3, 2), 0.3)
    found = kpf.core_against_kernel(
        kpf.linearize(kpf.simulate(cell, params, inputs, np.stack([h, h])))
    )
    assert found.kernel_ones == pytest.approx(1.0)
    assert np.isnan([found.kernel_core_centred, found.parameter_core_centred]).all()


def test_nothing_has_no_cosine() -> None:
    cell = kpf.GRU(2, 4, bias=False)
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=5), np.zeros((2, 3, 2))))
    found = kpf.core_against_kernel(lin)
    assert np.isnan([getattr(found, name) for name in COSINES]).all()


def test_costs_count_both_partial_traces() -> None:
    lin = SITE_CASES[6].linearization()
    found = kpf.core_against_kernel(lin)
    reduced = [
        kpf.partial_trace(each, "unit")
        for each in (kpf.TangentKernel(lin), kpf.ParameterOperator(lin))
    ]
    assert found.n_matvecs == sum(each.n_matvecs for each in reduced)
    assert found.cost.flops > sum(each.cost.flops for each in reduced)


def test_errors_and_repr() -> None:
    lin = SITE_CASES[6].linearization()
    assert repr(kpf.core_against_kernel(lin)).startswith("CoreAgainstKernel(kernel 0.")
    with pytest.raises(InputTypeError, match="linearization must be a Linearization"):
        kpf.core_against_kernel(kpf.TangentKernel(lin))
    with pytest.raises(InputError, match="max_products"):
        kpf.core_against_kernel(lin, max_products=2)
    with pytest.raises(MemoryLimitError, match="partial trace needs"):
        kpf.core_against_kernel(lin, max_memory=100)


@pytest.mark.parametrize("exponent", [-500, -300, 300, 500])
def test_cosines_are_right_at_any_scale(exponent: int) -> None:
    # Units that are linear: the activity is that of small inputs times a power of two.
    cell = kpf.LeakyRNN(3, 5, form="rate", activation="relu", bias=False)
    inputs = np.random.default_rng(4).standard_normal((3, 4, 3))
    plain, scaled = (
        kpf.core_against_kernel(
            kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ldexp(inputs, each)))
        )
        for each in (0, exponent)
    )
    for name in COSINES:
        assert abs(getattr(scaled, name) - getattr(plain, name)) <= default_tolerance("float64", 60)
