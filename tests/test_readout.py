"""The readout, its adjoint and its gradient."""

from __future__ import annotations

import numpy as np
import pytest

from kpflow_numerics.readout import pull_back_output_error, readout_gradient
from kpflow_numerics.testing import default_tolerance, taylor_test
from kpflow_numerics.training import apply_readout, check_readout, init_readout

B, T, H, N, O = 3, 5, 4, 8, 2  # noqa: E741


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture
def readout(dtype):
    return init_readout(H, O, rng=11, dtype=dtype)


def states(dtype, seed=12):
    return np.random.default_rng(seed).standard_normal((B, T, N)).astype(dtype)


def test_draws_are_uniform_in_the_bound_of_pytorch_and_the_same_in_both_precisions():
    wide = init_readout(400, 30, rng=13)
    bound = 1 / np.sqrt(400)
    values = np.concatenate([wide["weight"].ravel(), wide["bias"]])
    assert np.abs(values).max() <= bound
    # A uniform number has the variance bound^2 / 3, and its square that of 4/45 bound^4.
    spread = 5 * bound**2 * np.sqrt(4 / 45 / values.size)
    assert abs((values**2).mean() - bound**2 / 3) < spread
    narrow = init_readout(400, 30, rng=13, dtype="float32")
    for name, array in wide.items():
        assert narrow[name].dtype == np.float32
        np.testing.assert_array_equal(narrow[name], array.astype(np.float32))


def test_outputs_are_those_of_each_state_by_itself(readout, dtype):
    hidden = states(dtype)[..., :H]
    outputs = apply_readout(readout, hidden)
    assert outputs.dtype == dtype
    for b in range(B):
        for t in range(T):
            expected = readout["weight"] @ hidden[b, t] + readout["bias"]
            np.testing.assert_allclose(
                outputs[b, t], expected, rtol=0, atol=default_tolerance(dtype, H)
            )


@pytest.mark.parametrize("n_state", [H, N])
def test_pull_back_is_the_adjoint_of_the_readout(readout, dtype, n_state):
    generator = np.random.default_rng(14)
    v = generator.standard_normal((B, T, n_state)).astype(dtype)
    error = generator.standard_normal((B, T, O)).astype(dtype)
    pulled = pull_back_output_error(readout, error, n_state)
    assert pulled.dtype == dtype
    forward = v[..., :H] @ readout["weight"].T
    scale = np.linalg.norm(forward) * np.linalg.norm(error)
    assert abs((forward * error).sum() - (v * pulled).sum()) <= 50 * np.finfo(dtype).eps * scale
    assert not pulled[..., H:].any()


@pytest.mark.parametrize("n_state", [H, N])
def test_readout_gradient_is_the_adjoint_of_a_change_of_the_readout(dtype, n_state):
    generator = np.random.default_rng(15)
    hidden = states(dtype)[..., :n_state][..., :H]
    error = generator.standard_normal((B, T, O)).astype(dtype)
    change = init_readout(H, O, rng=16, dtype=dtype)
    found = readout_gradient(change, hidden, error)
    forward = apply_readout(change, hidden)
    pairing = sum((found[name] * change[name]).sum() for name in change)
    scale = np.linalg.norm(forward) * np.linalg.norm(error)
    assert abs((forward * error).sum() - pairing) <= 50 * np.finfo(dtype).eps * scale
    assert {name: array.shape for name, array in found.items()} == {"weight": (O, H), "bias": (O,)}


def test_readout_is_linear_in_the_states():
    readout = init_readout(H, O, rng=11)
    hidden = states("float64")[..., :H]
    result = taylor_test(
        lambda h: apply_readout(readout, h),
        lambda v: v @ readout["weight"].T,
        hidden,
        states("float64", seed=17)[..., :H],
    )
    assert result.passed
    assert result.exact.all()


def test_accepts_lists_and_casts_to_one_precision():
    readout = check_readout({"bias": [1, 2], "weight": np.ones((2, 3), np.float32)}, 3)
    assert list(readout) == ["weight", "bias"]
    assert {array.dtype for array in readout.values()} == {np.dtype(np.float64)}
    cast = check_readout(readout, 3, 2, dtype="float32")
    assert {array.dtype for array in cast.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("readout", "error", "match"),
    [
        ([1, 2], TypeError, "readout must map 'weight' and 'bias' to arrays; got list"),
        (
            {"bias": np.ones(2)},
            ValueError,
            r"readout lacks 'weight'; it takes weight \(O, 3\)",
        ),
        (
            {"weight": np.ones((2, 3)), "biass": np.ones(2)},
            ValueError,
            "readout has an entry 'biass'.*Did you mean 'bias'",
        ),
        (
            {"weight": np.ones((2, 4)), "bias": np.ones(2)},
            ValueError,
            r"readout\['weight'\] must have shape \(O, 3\); got \(2, 4\)",
        ),
        (
            {"weight": np.ones((2, 3)), "bias": np.ones(3)},
            ValueError,
            r"readout\['bias'\] must have shape \(2,\); got \(3,\)",
        ),
        (
            {"weight": np.full((2, 3), np.nan), "bias": np.ones(2)},
            ValueError,
            "must be finite; 6 of its 6",
        ),
        (
            {"weight": np.full((2, 3), 1j), "bias": np.ones(2)},
            TypeError,
            r"readout\['weight'\] must be real",
        ),
    ],
)
def test_refuses_what_is_no_readout(readout, error, match):
    with pytest.raises(error, match=match):
        check_readout(readout, 3)


def test_refuses_another_number_of_outputs():
    with pytest.raises(ValueError, match=r"must have shape \(2, 4\); got \(3, 4\)"):
        check_readout(init_readout(4, 3), 4, 2)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [((0, 2), "n_units must be at least 1"), ((3, 0), "n_outputs must be at least 1")],
)
def test_refuses_sizes_that_are_not_positive(arguments, match):
    with pytest.raises(ValueError, match=match):
        init_readout(*arguments)


def test_a_readout_without_bias_adds_nothing_and_has_no_gradient_for_one():
    readout = init_readout(H, O, rng=11)
    alone = check_readout({"weight": readout["weight"].tolist()}, H, O)
    assert list(alone) == ["weight"]
    hidden, error = states("float64")[..., :H], states("float64", seed=19)[..., :O]
    silent = {**alone, "bias": np.zeros(O)}
    np.testing.assert_array_equal(apply_readout(alone, hidden), apply_readout(silent, hidden))
    found, wanted = (readout_gradient(each, hidden, error) for each in (alone, silent))
    assert list(found) == ["weight"]
    np.testing.assert_array_equal(found["weight"], wanted["weight"])
