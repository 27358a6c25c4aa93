"""Spatial and temporal ranks: closed forms, dense inverses, and the scale of W."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.spectral import RECIPES, WEIGHTINGS, rank_from_weights
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import CELL_CASES, FLOAT32_CASES, SITE_CASES, CellCase


def gaussian(H: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((H, H)) / np.sqrt(H)


def assert_spatial(found: kpf.SpatialRank, weight: np.ndarray, gain: float) -> None:
    """Compare with the inverse of the matrix."""
    response = np.linalg.inv(np.eye(len(weight)) - gain * weight)
    values = np.linalg.svd(response, compute_uv=False)
    condition = np.linalg.cond(response)
    tolerance = default_tolerance(np.float64, len(weight)) * condition
    np.testing.assert_allclose(found.singular_values, values, rtol=tolerance)
    assert found.condition_number == pytest.approx(condition, rel=tolerance)
    expected = rank_from_weights(values**2, found.recipe, found.weighting)
    assert found.rank == pytest.approx(expected, rel=tolerance), "the rank is another"


@pytest.mark.parametrize("gain", [0.0, 0.6, 1.0, 1.7, -0.5])
@pytest.mark.parametrize("recipe", RECIPES)
def test_spatial_rank_is_that_of_the_inverse(gain: float, recipe: str) -> None:
    W = gaussian(12, 7)
    for weighting in WEIGHTINGS:
        found = kpf.spatial_rank(W, gain, recipe, weighting=weighting)
        assert_spatial(found, W, gain)
    assert found.spectral_radius == pytest.approx(abs(gain) * np.abs(np.linalg.eigvals(W)).max())


def test_a_transposed_gain_or_a_missing_one_is_seen() -> None:
    W = gaussian(12, 7)
    with pytest.raises(AssertionError):
        assert_spatial(kpf.spatial_rank(W, 1.0), W, 0.7)
    found = kpf.spatial_rank(W, 0.7)
    wrong = replace(found, rank=found.rank * (1 + 1e-6))
    with pytest.raises(AssertionError, match="the rank is another"):
        assert_spatial(wrong, W, 0.7)


def test_closed_forms() -> None:
    assert kpf.spatial_rank(gaussian(9, 7), 0.0).rank == pytest.approx(9)
    # One direction of gain 1 / (1 - g) among H - 1 of gain 1.
    W = np.diag([1.0, 0, 0, 0, 0])
    s = 1 / (1 - 0.9) ** 2
    assert kpf.spatial_rank(W, 0.9).rank == pytest.approx((s + 4) ** 2 / (s**2 + 4))
    assert kpf.spatial_rank(W, 0.9).condition_number == pytest.approx(10)
    singular = kpf.spatial_rank(np.diag([1.0, 1.0, 0, 0, 0]))
    assert singular.rank == 2.0
    assert singular.condition_number == np.inf
    assert singular.singular_values[:3].tolist() == [np.inf, np.inf, 1.0]
    assert "condition number inf" in repr(singular)


def test_random_weights_have_the_published_dimension() -> None:
    H = 400
    for gain in (0.3, 0.6, 0.8):
        ranks = [kpf.spatial_rank(gaussian(H, seed), gain).rank / H for seed in (3, 4, 5)]
        assert np.mean(ranks) == pytest.approx((1 - gain**2) ** 2, abs=0.02)
    # PyTorch's have a third of the variance.
    cell = kpf.VanillaRNN(3, H)
    params = cell.init_params(rng=3)
    found = kpf.spatial_rank(params["weight_hh"], 1.2)
    assert found.rank / H == pytest.approx((1 - 1.2**2 / 3) ** 2, abs=0.03)
    assert found.spectral_radius == pytest.approx(1.2 / np.sqrt(3), rel=0.08)
    scaled = kpf.spatial_rank(cell.init_params(gain=1.2, rng=3)["weight_hh"])
    assert scaled.rank == pytest.approx(found.rank, rel=1e-12)


@pytest.mark.parametrize("case", [*CELL_CASES, *FLOAT32_CASES], ids=str)
def test_temporal_rank_is_that_of_the_features(case: CellCase) -> None:
    traj = case.trajectory()
    hidden = np.concatenate([traj.h0[:, None], traj.states[:, :-1]], axis=1)
    rows = np.concatenate([hidden[..., : case.cell.n_units], traj.inputs], axis=-1)
    flat = rows.reshape(-1, rows.shape[-1]).astype(np.float64)
    for centred in (False, True):
        Gram = np.cov(flat.T, bias=True) if centred else flat.T @ flat
        expected = np.trace(Gram) ** 2 / np.sum(np.square(Gram))
        found = kpf.temporal_rank(traj, centred=centred)
        assert found.value == pytest.approx(expected, rel=1e-9)
        assert 1 <= found.value <= min(flat.shape)
    assert found.lower == found.value == found.upper


def test_temporal_rank_is_the_core_s_without_biases() -> None:
    case = SITE_CASES[1]
    assert not vars(case.cell)["bias"]
    lin = case.linearization()
    (bound,) = kpf.rank_bounds(lin)
    found = kpf.temporal_rank(lin.trajectory)
    assert found.value == pytest.approx(bound.effective_dimension)


def test_white_inputs_of_more_channels_have_a_higher_temporal_rank() -> None:
    ranks = []
    for n_inputs in (3, 10, 30):
        cell = kpf.VanillaRNN(n_inputs, 32)
        inputs = np.random.default_rng(8).standard_normal((16, 20, n_inputs))
        ranks.append(kpf.temporal_rank(kpf.simulate(cell, cell.init_params(rng=3), inputs)).value)
    assert ranks == sorted(ranks)
    assert ranks[0] < 8
    assert ranks[2] > 20


def test_arguments() -> None:
    with pytest.raises(InputError, match=r"weight must be square, \(H, H\); got \(3, 4\)"):
        kpf.spatial_rank(np.ones((3, 4)))
    with pytest.raises(InputTypeError, match="gain must be a real number"):
        kpf.spatial_rank(np.eye(3), "large")
    with pytest.raises(InputError, match="recipe must be one of"):
        kpf.spatial_rank(np.eye(3), 0.5, "participation")
    with pytest.raises(InputTypeError, match="trajectory must be a Trajectory"):
        kpf.temporal_rank(np.ones((2, 3, 4)))
    with pytest.raises(InputTypeError, match="centred must be True or False"):
        kpf.temporal_rank(SITE_CASES[0].trajectory(), centred=1)


def test_a_response_without_any_finite_part_has_all_directions():
    found = kpf.spatial_rank(np.eye(4))
    assert found.rank == 4
    assert np.isinf(found.condition_number)
    assert np.isinf(found.singular_values).all()


def test_a_gain_that_overflows_is_refused():
    with pytest.raises(ValueError, match=r"gain times weight overflows; got gain=1e\+308"):
        kpf.spatial_rank(10 * np.eye(3), gain=1e308)


def test_activity_whose_squares_vanish_has_the_rank_of_its_multiple():
    cell = kpf.VanillaRNN(2, 5, bias=False)
    params = cell.init_params(rng=3)
    inputs = np.random.default_rng(5).standard_normal((2, 6, 2))
    small, large = (
        kpf.temporal_rank(kpf.simulate(cell, params, scale * inputs)).value
        for scale in (1e-200, 1e-9)
    )
    assert small == pytest.approx(large, rel=1e-9)
