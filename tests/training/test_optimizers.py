"""Optimisers: PyTorch's numbers, state that is explicit, and the registry."""

from __future__ import annotations

import numpy as np
import pytest

from kpflow_numerics.testing import default_tolerance
from kpflow_numerics.training import (
    OPTIMIZERS,
    SGD,
    Adam,
    Momentum,
    clip_gradient_norm,
    optimizer_from_config,
)
from kpflow_numerics.training.gradient_norm import gradient_norm

RULES = {
    "sgd": SGD(0.1),
    "momentum": Momentum(0.1),
    "nesterov": Momentum(0.03, momentum=0.75, nesterov=True),
    "adam": Adam(0.01),
    "adam with all settings": Adam(0.05, beta1=0.8, beta2=0.95, epsilon=1e-3),
}

# What five steps of torch.optim.SGD and torch.optim.Adam of PyTorch 2.13.0 make of PARAMS with
# the gradients of `gradients(step)`, in float64: SGD(lr=0.1), SGD(lr=0.1, momentum=0.9),
# SGD(lr=0.03, momentum=0.75, nesterov=True), Adam(lr=0.01), Adam(lr=0.05, betas=(0.8, 0.95),
# eps=1e-3); then SGD(lr=0.1) and Adam(lr=0.01) after clip_grad_norm_ with 1.0 and 2.5.
PARAMS = {"w": np.array([[0.5, -1.25, 2.0], [0.125, 3.0, -0.75]]), "b": np.array([1.5, -0.25])}
PYTORCH = {
    "sgd": (
        [[0.05, -1.0216666666666665, 1.99], [1.125, 3.05, -0.7555]],
        [0.5866666666666669, -0.062499999999999986],
    ),
    "momentum": (
        [[-0.451093, -0.5107066666666666, 1.9737118], [2.75382, 3.123305, -0.75976411]],
        [-1.4571733333333332, 0.14628875000000002],
    ),
    "nesterov": (
        [
            [0.17966503906250006, -1.050408203125, 1.9921185546875],
            [0.9131445312499998, 3.0361376953125, -0.7536255175781249],
        ],
        [0.7016328124999999, -0.11652709960937502],
    ),
    "adam": (
        [
            [0.4514916913764645, -1.205985391634062, 1.9500000249999876],
            [0.17499999974999986, 3.0143494520393994, -0.794933601673638],
        ],
        [1.4559853911625686, -0.20149169263446012],
    ),
    "adam with all settings": (
        [
            [0.2526133175527481, -1.035941216213837, 1.7619047619047616],
            [0.3748750624687657, 3.066939091666223, -0.9329592671826701],
        ],
        [1.285708678239491, -0.00324102652690475],
    ),
}
PYTORCH_CLIPPED = {
    "sgd": (
        1.0,
        [
            [0.3397638918770772, -1.1823884748752769, 1.9966639706764375],
            [0.45860293235624916, 3.0121358237514, -0.7520066969525874],
        ],
        [1.2295538995011075, -0.18323495494878217],
    ),
    "adam": (
        2.5,
        [
            [0.45288004533750265, -1.2024980053913523, 1.9501305087451801],
            [0.1748695253868415, 3.010581378046866, -0.7939895028524494],
        ],
        [1.4524980045754472, -0.20288004708486812],
    ),
}
PYTORCH_NORMS = [
    4.6212580538204096,
    2.9871250392308655,
    2.662704431379662,
    2.6463476717922005,
    2.7516631334522037,
]


def gradients(step):
    return {
        "w": np.array(
            [[0.3 * step, -1.0 / step, 0.02], [-2.0, 0.5 * (-1) ** step, 1e-3 * step**2]]
        ),
        "b": np.array([4.0 / step, -0.125 * step]),
    }


def cast(params, dtype):
    return {name: array.astype(dtype) for name, array in params.items()}


def run(rule, dtype="float64", n_steps=5, max_norm=None):
    params = cast(PARAMS, dtype)
    state, norms = rule.init_state(params), []
    for step in range(1, n_steps + 1):
        found = cast(gradients(step), dtype)
        if max_norm is not None:
            found, norm = clip_gradient_norm(found, max_norm)
            norms.append(norm)
        params, state = rule.update(params, found, state)
    return params, state, norms


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", RULES)
def test_five_steps_are_those_of_pytorch(case, dtype):
    params, state, _ = run(RULES[case], dtype)
    for found, expected in zip((params["w"], params["b"]), PYTORCH[case], strict=True):
        assert found.dtype == dtype
        tolerance = default_tolerance(dtype)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    assert {array.dtype for name, array in state.items() if name != "step"} <= {np.dtype(dtype)}


@pytest.mark.parametrize("case", PYTORCH_CLIPPED)
def test_five_clipped_steps_are_those_of_pytorch(case):
    max_norm, *expected = PYTORCH_CLIPPED[case]
    params, _, norms = run(RULES[case], max_norm=max_norm)
    tolerance = default_tolerance("float64")
    np.testing.assert_allclose(norms, PYTORCH_NORMS, rtol=tolerance)
    for found, wanted in zip((params["w"], params["b"]), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def test_the_comparison_sees_another_setting():
    params, _, _ = run(Adam(0.01, epsilon=1e-6))
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            params["w"], PYTORCH["adam"][0], rtol=default_tolerance("float64")
        )


def test_the_first_step_of_adam_has_the_length_of_the_learning_rate():
    # m / sqrt(v) is the sign of the gradient, whatever its size.
    params = {"w": np.zeros(3)}
    rule = Adam(0.25)
    moved, _ = rule.update(params, {"w": np.array([1e3, -1.0, 1e-3])}, rule.init_state(params))
    np.testing.assert_allclose(moved["w"], [-0.25, 0.25, -0.25], rtol=2 * rule.epsilon / 1e-3)


@pytest.mark.parametrize("case", RULES)
def test_update_changes_nothing_that_it_is_given(case):
    rule = RULES[case]
    params, found = {name: array.copy() for name, array in PARAMS.items()}, gradients(2)
    state = run(rule, n_steps=2)[1]
    kept = {name: array.copy() for name, array in state.items()}
    first = rule.update(params, found, state)
    second = rule.update(params, found, state)
    for name, array in PARAMS.items():
        np.testing.assert_array_equal(params[name], array)
        np.testing.assert_array_equal(found[name], gradients(2)[name])
        np.testing.assert_array_equal(first[0][name], second[0][name])
        assert not np.shares_memory(first[0][name], params[name])
    assert set(first[1]) == set(state)
    for name, array in kept.items():
        np.testing.assert_array_equal(state[name], array)


@pytest.mark.parametrize("case", RULES)
def test_parameters_without_axes_stay_arrays(case):
    rule = RULES[case]
    params = {"leak": np.array(0.5)}
    state = rule.init_state(params)
    for _ in range(2):
        clipped, _ = clip_gradient_norm({"leak": np.array(3.0)}, 1.0)
        params, state = rule.update(params, clipped, state)
    for array in (*params.values(), *state.values(), *clipped.values()):
        assert isinstance(array, np.ndarray)


@pytest.mark.parametrize("case", RULES)
def test_a_stored_state_is_accepted_in_any_order(case):
    rule = RULES[case]
    _, state, _ = run(rule)
    stored = dict(reversed([(name, array.tolist()) for name, array in state.items()]))
    checked = rule.check_state(stored, PARAMS)
    assert set(checked) == set(state)
    for name, array in state.items():
        assert checked[name].dtype == array.dtype
        np.testing.assert_array_equal(checked[name], array)


def test_a_state_of_another_optimiser_is_refused():
    _, state, _ = run(Momentum(0.1))
    with pytest.raises(ValueError, match=r"optimizer_state does not belong to Adam.*velocity/b"):
        Adam().check_state(state, PARAMS)
    with pytest.raises(ValueError, match="expected none"):
        SGD(0.1).check_state(state, PARAMS)


def test_a_state_of_other_shapes_or_values_is_refused():
    rule = Momentum(0.1)
    _, state, _ = run(rule)
    with pytest.raises(ValueError, match=r"optimizer_state\['velocity/b'\] must have shape \(2,\)"):
        rule.check_state(state | {"velocity/b": np.ones(3)}, PARAMS)
    with pytest.raises(ValueError, match=r"optimizer_state\['velocity/b'\] must be finite"):
        rule.check_state(state | {"velocity/b": np.full(2, np.inf)}, PARAMS)
    with pytest.raises(TypeError, match="optimizer_state must map names to arrays; got list"):
        rule.check_state([], PARAMS)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: SGD(0.0), ValueError, "learning_rate must be finite and greater than 0; got 0.0"),
        (lambda: Adam(-1e-3), ValueError, "learning_rate must be finite and greater than 0"),
        (lambda: Adam(float("nan")), ValueError, "learning_rate must be finite"),
        (lambda: Momentum("0.1"), TypeError, "learning_rate must be a real number; got '0.1'"),
        (lambda: Momentum(0.1, momentum=1.0), ValueError, "momentum must be .*less than 1"),
        (lambda: Momentum(0.1, momentum=-0.1), ValueError, "momentum must be .*at least 0"),
        (lambda: Momentum(0.1, nesterov=1), TypeError, "nesterov must be True or False; got 1"),
        (lambda: Adam(beta1=1.0), ValueError, "beta1 must be .*less than 1; got 1.0"),
        (lambda: Adam(beta2=-0.5), ValueError, "beta2 must be .*at least 0.*got -0.5"),
        (lambda: Adam(epsilon=0.0), ValueError, "epsilon must be finite and greater than 0"),
    ],
)
def test_settings_out_of_range_are_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_settings_are_held_as_plain_floats():
    rule = Adam(np.float32(0.5), beta1=0)
    assert type(rule.learning_rate) is float
    assert type(rule.beta1) is float


@pytest.mark.parametrize("case", RULES)
def test_every_rule_comes_back_from_its_name_and_settings(case):
    rule = RULES[case]
    assert optimizer_from_config(rule.name, rule.to_dict()) == rule
    assert OPTIMIZERS[rule.name] is type(rule)


def test_defaults_are_pytorchs():
    assert optimizer_from_config("adam") == Adam(1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8)


@pytest.mark.parametrize(
    ("name", "options", "error", "match"),
    [
        ("adm", None, ValueError, "optimizer must be one of 'sgd', 'momentum', 'adam'.*Did you"),
        ("adam", {"beta_1": 0.5}, ValueError, "has no option 'beta_1'.*Did you mean 'beta1'"),
        (
            "adam",
            [0.1],
            TypeError,
            "options of optimizer 'adam' must map names to values; got list",
        ),
        ("sgd", {}, ValueError, "optimizer 'sgd' needs a learning_rate, which has no default"),
        ("momentum", {"momentum": 0.5}, ValueError, "needs a learning_rate"),
    ],
)
def test_unknown_names_and_settings_are_refused(name, options, error, match):
    with pytest.raises(error, match=match):
        optimizer_from_config(name, options)


def test_norm_is_that_of_all_gradients_together_and_does_not_overflow():
    assert gradient_norm({"a": np.array([3.0])}, {"b": np.array([[4.0], [12.0]])}) == 13.0
    large = np.full(4, 1e30, np.float32)
    tolerance = default_tolerance("float32")
    assert abs(gradient_norm({"a": large}) / 2e30 - 1) < tolerance


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clipping_leaves_short_gradients_and_shortens_long_ones(dtype):
    found = cast(gradients(3), dtype)
    norm = gradient_norm(found)
    loose, reported = clip_gradient_norm(found, 2 * norm)
    tight, _ = clip_gradient_norm(found, norm / 3, norm)
    assert reported == norm
    for name, array in found.items():
        np.testing.assert_array_equal(loose[name], array)
        assert tight[name].dtype == dtype
    assert abs(gradient_norm(tight) / (norm / 3) - 1) < default_tolerance(dtype) + 1e-6 / norm
    with pytest.raises(ValueError, match="max_norm must be finite and greater than 0; got 0"):
        clip_gradient_norm(found, 0)
