"""The validation passes for every cell, and each planted fault fails the checks that it must."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.analysis import _gradients, _identities, _subject, validation
from kpflow_numerics.cells.base import Cell
from kpflow_numerics.cells.sites import WeightSites
from kpflow_numerics.linearization import GenericLinearization, Linearization, SiteLinearization
from kpflow_numerics.results import Check, ValidationReport
from tests.cases.cells import OWN_CASES, SITE_CASES, CellCase
from tests.cases.operators import OPERATOR_CELL_CASES

ADJOINTS = tuple(f"adjoint of {symbol}" for symbol in ("J", "K", "P", "P^-1", "S", "NTK"))
IDENTITIES = (
    "inverse of P",
    "K",
    "S",
    "P P*",
    "NTK in three factors",
    "NTK in two factors",
)
TAYLOR = ("Taylor slope of A", "Taylor slope of J", "Taylor slope of S")
AUTOGRAD = ("states", "A against autograd", "J against autograd")
GRADIENTS = ("backpropagation", "gradient against autograd", "gradient descent step")
ALL = ADJOINTS + IDENTITIES + TAYLOR + AUTOGRAD + GRADIENTS
OWN = tuple(f"{name} (float32)" for name in (*ADJOINTS, *IDENTITIES, "backpropagation"))


def names(checks: tuple[Check, ...]) -> tuple[str, ...]:
    return tuple(check.name for check in checks)


def squared_loss(trajectory: kpf.Trajectory) -> dict[str, object]:
    """Return the arguments of a loss on three outputs."""
    rng = np.random.default_rng(61)
    B, T = trajectory.n_trials, trajectory.n_steps
    return {
        "targets": rng.standard_normal((B, T, 3)),
        "readout": kpf.init_readout(trajectory.cell.n_units, 3, rng=62),
        "mask": rng.uniform(0.5, 2.0, (B, T)),
    }


@pytest.mark.parametrize("case", OPERATOR_CELL_CASES, ids=str)
def test_every_cell_passes(case: CellCase) -> None:
    trajectory = case.trajectory()
    report = kpf.validate(trajectory, rng=63, **squared_loss(trajectory))
    assert names(report.checks) == (ALL + OWN if case.dtype is np.float32 else ALL)
    assert report.passed, str(report)
    assert report.notes == ()


def cross_entropy(trajectory: kpf.Trajectory) -> dict[str, object]:
    """Return the arguments of a loss on the probabilities of three classes."""
    arguments = squared_loss(trajectory)
    targets = np.abs(np.asarray(arguments["targets"]))
    targets /= targets.sum(axis=2, keepdims=True)
    return arguments | {"targets": targets, "loss": kpf.CrossEntropy()}


@pytest.mark.parametrize("cell", [kpf.GRU(2, 4), kpf.LSTM(2, 4), kpf.VanillaRNN(2, 4)], ids=repr)
def test_the_cross_entropy_passes(cell: Cell) -> None:
    trajectory = CellCase(cell).trajectory()
    report = kpf.validate(trajectory, rng=63, **cross_entropy(trajectory))
    assert names(report.checks) == ALL
    assert report.passed, str(report)


def test_a_wrong_derivative_of_the_cross_entropy_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = kpf.CrossEntropy.value_and_output_error

    def halved(self, outputs, targets, mask):
        value, error = right(self, outputs, targets, mask)
        return value, error / 2

    trajectory = CellCase(kpf.GRU(2, 4)).trajectory()
    monkeypatch.setattr(kpf.CrossEntropy, "value_and_output_error", halved)
    report = kpf.validate(trajectory, rng=63, **cross_entropy(trajectory))
    assert names(report.failed) == ("gradient against autograd",)


def test_only_losses_that_can_be_differentiated_are_taken() -> None:
    class Mine(kpf.MeanSquaredError):
        pass

    trajectory = CellCase(kpf.GRU(2, 4)).trajectory()
    with pytest.raises(InputError, match=r"loss must be MeanSquaredError\(\) or CrossEntropy\(\)"):
        kpf.validate(trajectory, **squared_loss(trajectory), loss=Mine())
    with pytest.raises(InputError, match="loss needs targets and readout"):
        kpf.validate(trajectory, loss=kpf.CrossEntropy())


@pytest.mark.parametrize("case", SITE_CASES + OWN_CASES, ids=str)
def test_a_random_linear_loss_stands_in_for_targets(case: CellCase) -> None:
    report = kpf.validate(case.trajectory(), rng=63)
    assert report.passed, str(report)
    assert report.notes == (validation._LINEAR_NOTE,)


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("gru_memory_pro_64", kpf.GRU(3, 64)),
        ("rnn_memory_pro_64", kpf.VanillaRNN(3, 64)),
        ("lstm_flip_flop_48", kpf.LSTM(3, 48)),
        ("rnn_relu_flip_flop_48", kpf.VanillaRNN(3, 48, activation="relu")),
    ],
)
def test_networks_trained_in_pytorch_pass(shared_data: Path, name: str, cell: Cell) -> None:
    with np.load(shared_data / "pytorch" / f"{name}.npz") as file:
        params = {key: file[f"rnn.{key}_l0"] for key in cell.parameter_shapes}
        readout = {key: file[f"readout.{key}"] for key in ("weight", "bias")}
    with np.load(shared_data / "pytorch" / f"{name}_trajectory.npz") as file:
        inputs, targets = file["inputs"][:4], file["targets"][:4]
    trajectory = kpf.simulate(cell, params, inputs)
    report = kpf.validate(trajectory, targets=targets, readout=readout, rng=64)
    assert report.passed, str(report)
    for check in report.checks:
        exact = check.name in (*ADJOINTS, *IDENTITIES, *AUTOGRAD, *GRADIENTS[:2])
        assert check.error <= 1e-12 or not exact, check


# Planted faults. Each is a cell or a linearisation that is wrong in one way.


class Gains(kpf.GRU):
    """Every derivative a thousandth too large."""

    def weight_sites(self, params, inputs, previous) -> WeightSites:
        sites = super().weight_sites(params, inputs, previous)
        return replace(sites, gains=sites.gains * 1.001)


class StateOnly(kpf.VanillaRNN):
    """State Jacobians with the weights transposed."""

    def weight_sites(self, params, inputs, previous) -> WeightSites:
        sites = super().weight_sites(params, inputs, previous)
        return replace(sites, recurrent_weight=np.ascontiguousarray(sites.recurrent_weight.T))


class ParametersOnly(kpf.VanillaRNN):
    """A parameter Jacobian at the features of another trial."""

    def weight_sites(self, params, inputs, previous) -> WeightSites:
        sites = super().weight_sites(params, inputs, previous)
        (group,) = sites.groups
        features = np.roll(group.features, -1, axis=0)
        return replace(sites, groups=(replace(group, features=features),))


class Relu(kpf.VanillaRNN):
    """State Jacobians of a piecewise linear cell a ten-thousandth too large."""

    def weight_sites(self, params, inputs, previous) -> WeightSites:
        sites = super().weight_sites(params, inputs, previous)
        return replace(sites, recurrent_weight=sites.recurrent_weight * 1.0001)


class States(kpf.LeakyRNN):
    """Another leak in the simulation than in the derivatives."""

    def simulate_states(self, params, inputs, initial):
        other = replace(kpf.LeakyRNN(self.n_inputs, self.n_units), leak=1.01 * self.leak)
        return other.simulate_states(params, inputs, initial)


class StepVjp(kpf.GRU):
    """A product of single steps, which only backpropagation uses."""

    def state_vjp(self, params, inputs, previous, block):
        return super().state_vjp(params, inputs, previous, block) * (1 + 1e-9)


def without_last_trial(block: np.ndarray) -> np.ndarray:
    out = block.copy()
    out[-1] = 0
    return out


class Factors(SiteLinearization):
    """S and the tangent kernel one factor after another, so that a factor's fault is theirs."""

    sensitivity = Linearization.sensitivity
    sensitivity_adjoint = Linearization.sensitivity_adjoint
    tangent_kernel = Linearization.tangent_kernel


class DroppedTrial(Factors):
    def propagate(self, block, *, overwrite=False):
        return without_last_trial(super().propagate(block, overwrite=overwrite))


class DroppedTrialBothWays(Factors):
    def propagate(self, block, *, overwrite=False):
        return without_last_trial(super().propagate(block, overwrite=overwrite))

    def propagate_adjoint(self, block, *, overwrite=False):
        return super().propagate_adjoint(without_last_trial(block))


class ShortAdjointScan(Factors):
    """A backward scan that stops one step early."""

    def propagate_adjoint(self, block, *, overwrite=False):
        out = super().propagate_adjoint(block)
        out[:, 0] = block[:, 0]
        return out


class WrongGram(Factors):
    def param_gram(self, block, *, overwrite=False):
        return super().param_gram(block, overwrite=overwrite) * 1.001


class NoDelay(SiteLinearization):
    """An inverse that reads the same step in the place of the one before."""

    def unpropagate(self, block):
        return block - self.state_jvp(block)


class Unrepeatable(Factors):
    """A backward scan that gives something else each time, as a race between threads does."""

    source = np.random.default_rng(85)

    def propagate_adjoint(self, block, *, overwrite=False):
        noise = self.source.standard_normal(block.shape)
        return super().propagate_adjoint(block) * (1 + 1e-3 * noise)


class ShortScanToParameters(SiteLinearization):
    """A gradient, made in one scan, that leaves out the first step."""

    def sensitivity_adjoint(self, block, *, overwrite=False):
        later = block.copy()
        later[:, 0] = 0
        return super().sensitivity_adjoint(later)


class LowPrecision(Factors):
    """A scan that loses digits in float32 alone."""

    def propagate(self, block, *, overwrite=False):
        out = super().propagate(block, overwrite=overwrite)
        lossy = out.astype(np.float16).astype(np.float32)
        return lossy if self.dtype == np.float32 else out


def linearized_by(kind: type[SiteLinearization]) -> Callable[[pytest.MonkeyPatch], None]:
    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        def linearize(trajectory: kpf.Trajectory) -> kpf.Linearization:
            lin = kpf.linearize(trajectory)
            assert lin.weight_sites is not None
            return kind(trajectory, lin.weight_sites)

        monkeypatch.setattr(validation, "linearize", linearize)
        monkeypatch.setattr(_gradients, "linearize", linearize)

    return plant


def scaled(module: object, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Plant an operator that is larger than it must be by a billionth."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        class Scaled(getattr(module, name)):
            def _apply_block(self, block):
                return super()._apply_block(block) * (1 + 1e-9)

            def _apply_adjoint_block(self, block):
                # The adjoint of a self-adjoint operator is the product above.
                return super()._apply_adjoint_block(block) * (1 + 1e-9 * (not self.self_adjoint))

        monkeypatch.setattr(module, name, Scaled)

    return plant


RIGHT = kpf.GRU(2, 4)


@dataclass(frozen=True)
class Fault:
    """Something wrong, and the checks that must see it: these and no others."""

    seen_by: tuple[str, ...]
    cell: Cell = RIGHT
    plant: Callable[[pytest.MonkeyPatch], None] | None = None
    dtype: type = np.float64


FAULTS = {
    "gains": Fault(
        (*TAYLOR, *AUTOGRAD[1:], "gradient against autograd", "gradient descent step"),
        cell=Gains(2, 4),
    ),
    "state Jacobian": Fault(
        (
            "Taylor slope of A",
            "Taylor slope of S",
            "A against autograd",
            "gradient against autograd",
            "gradient descent step",
        ),
        cell=StateOnly(2, 4),
    ),
    "parameter Jacobian": Fault(
        (
            "Taylor slope of J",
            "Taylor slope of S",
            "J against autograd",
            "gradient against autograd",
            "gradient descent step",
        ),
        cell=ParametersOnly(2, 4),
    ),
    "relu": Fault(
        (
            "Taylor slope of A",
            "Taylor slope of S",
            "A against autograd",
            "gradient against autograd",
            "gradient descent step",
        ),
        cell=Relu(2, 4, activation="relu"),
    ),
    "states": Fault(
        (*TAYLOR, "states", "gradient against autograd", "gradient descent step"),
        cell=States(2, 4),
    ),
    "step product": Fault(("backpropagation",), cell=StepVjp(2, 4)),
    "dropped trial": Fault(
        (
            "adjoint of P",
            "adjoint of S",
            "adjoint of NTK",
            "inverse of P",
            "Taylor slope of S",
            "gradient descent step",
        ),
        plant=linearized_by(DroppedTrial),
    ),
    "dropped trial both ways": Fault(
        (
            "inverse of P",
            "Taylor slope of S",
            "backpropagation",
            "gradient against autograd",
            "gradient descent step",
        ),
        plant=linearized_by(DroppedTrialBothWays),
    ),
    "short adjoint scan": Fault(
        (
            "adjoint of P",
            "adjoint of S",
            "adjoint of NTK",
            "backpropagation",
            "gradient against autograd",
        ),
        plant=linearized_by(ShortAdjointScan),
    ),
    "unrepeatable": Fault(
        (
            "adjoint of P",
            "adjoint of S",
            "adjoint of NTK",
            "P P*",
            "NTK in three factors",
            "NTK in two factors",
            "backpropagation",
            "gradient against autograd",
            "gradient descent step",
        ),
        plant=linearized_by(Unrepeatable),
    ),
    "short scan to parameters": Fault(
        (
            "adjoint of S",
            "NTK in two factors",
            "backpropagation",
            "gradient against autograd",
            "gradient descent step",
        ),
        plant=linearized_by(ShortScanToParameters),
    ),
    "Gram": Fault(
        ("K", "NTK in two factors", "gradient descent step"), plant=linearized_by(WrongGram)
    ),
    "no delay": Fault(("adjoint of P^-1", "inverse of P"), plant=linearized_by(NoDelay)),
    "kernel": Fault(
        ("NTK in three factors", "NTK in two factors"), plant=scaled(_identities, "TangentKernel")
    ),
    "sensitivity": Fault(("S", "NTK in two factors"), plant=scaled(_identities, "Sensitivity")),
    "Gram of P": Fault(("P P*",), plant=scaled(_identities, "PropagatorGram")),
    "gradient": Fault(("backpropagation",), plant=scaled(_subject, "Sensitivity")),
    "single precision": Fault(
        (
            "adjoint of P (float32)",
            "adjoint of S (float32)",
            "adjoint of NTK (float32)",
            "inverse of P (float32)",
        ),
        plant=linearized_by(LowPrecision),
        dtype=np.float32,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_seen_by_the_right_checks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = FAULTS[name]
    trajectory = CellCase(fault.cell, n_trials=4, n_steps=6, dtype=fault.dtype).trajectory()
    if fault.plant is not None:
        fault.plant(monkeypatch)
    report = kpf.validate(trajectory, rng=65, **squared_loss(trajectory))
    assert names(report.failed) == fault.seen_by
    assert not report.passed


def test_every_check_is_seen_to_fail() -> None:
    seen = {name.removesuffix(" (float32)") for fault in FAULTS.values() for name in fault.seen_by}
    assert set(ALL) - seen == {"adjoint of J", "adjoint of K"}


@pytest.mark.parametrize(
    ("method", "seen"), [("param_vjp", "adjoint of J"), ("param_gram", "adjoint of K")]
)
def test_the_last_two_fail_with_their_own_product(
    method: str, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lopsided(SiteLinearization):
        pass

    def product(self, block, **options):
        out = getattr(super(Lopsided, self), method)(block, **options)
        out[0] = 2 * out[0]
        return out

    setattr(Lopsided, method, product)
    linearized_by(Lopsided)(monkeypatch)
    report = kpf.validate(CellCase(kpf.GRU(2, 4)).trajectory(), rng=66)
    assert seen in names(report.failed)


def test_the_same_seed_gives_the_same_report() -> None:
    trajectory = CellCase(kpf.GRU(2, 4)).trajectory()
    first, again, other = (kpf.validate(trajectory, rng=seed) for seed in (67, 67, 68))
    assert first == again
    assert first != other


def test_automatic_differentiation_stays_within_its_memory() -> None:
    trajectory = CellCase(kpf.GRU(2, 4)).trajectory()
    explanations = {}
    for max_memory in (2**28, 7000, 3000):
        report = kpf.validate(trajectory, rng=69, max_memory=max_memory)
        assert report.passed, str(report)
        explanations[max_memory] = report.checks[names(report.checks).index(GRADIENTS[1])]
    assert "3 of 3 trials and the first 5 of 5 steps" in explanations[2**28].explanation
    assert "1 of 3 trials and the first 5 of 5 steps" in explanations[7000].explanation
    assert "1 of 3 trials and the first 2 of 5 steps" in explanations[3000].explanation


def test_chaotic_networks_are_checked_as_far_as_rounding_allows() -> None:
    cell = kpf.VanillaRNN(2, 30)
    inputs = np.random.default_rng(70).standard_normal((3, 80, 2))
    trajectory = kpf.simulate(cell, cell.init_params(gain=12.0, rng=71), inputs)
    for arguments in ({}, squared_loss(trajectory)):
        report = kpf.validate(trajectory, rng=72, **arguments)
        assert report.passed, str(report)
        assert any("the dynamics are chaotic: after" in note for note in report.notes)


def test_a_loss_without_gradient_is_replaced() -> None:
    trajectory = CellCase(kpf.LSTM(2, 4)).trajectory()
    readout = {"weight": np.zeros((3, 4)), "bias": np.zeros(3)}
    report = kpf.validate(trajectory, targets=np.ones((3, 5, 3)), readout=readout, rng=73)
    assert report.passed
    assert report.notes == (validation._ZERO_NOTE,)


def test_cells_whose_step_is_unknown_are_not_compared_with_autograd() -> None:
    class Foreign(Cell):
        """A cell of the user's own that is no AutogradCell: h' = a h + x."""

        kind = "foreign"

        @property
        def parameter_shapes(self):
            return {"a": (1,)}

        def simulate_states(self, params, inputs, initial):
            h, states = initial, []
            for t in range(inputs.shape[1]):
                h = np.sin(params["a"] * h) + inputs[:, t]
                states.append(h)
            return np.stack(states, axis=1)

        def state_jvp(self, params, inputs, previous, block):
            a = params["a"]
            return (a * np.cos(a * previous))[..., None] * block

        state_vjp = state_jvp

        def param_jvp(self, params, inputs, previous, block):
            return (previous * np.cos(params["a"] * previous))[..., None] * block

        def param_vjp(self, params, inputs, previous, block):
            weighted = (previous * np.cos(params["a"] * previous))[..., None] * block
            return weighted.sum(axis=(0, 1))[None]

    inputs = np.random.default_rng(74).standard_normal((2, 5, 3))
    trajectory = kpf.simulate(Foreign(3, 3), {"a": np.array([0.7])}, inputs)
    assert isinstance(kpf.linearize(trajectory), GenericLinearization)
    report = kpf.validate(trajectory, rng=75)
    assert report.passed, str(report)
    assert set(ALL) - set(names(report.checks)) == {*AUTOGRAD, "gradient against autograd"}
    assert validation._NO_STEP_NOTE in report.notes


@pytest.mark.parametrize("ignored", ["state", "parameters", "both"])
def test_steps_that_ignore_their_arguments_pass(ignored: str) -> None:
    steps = {
        "state": lambda params, x, h: anp.tanh(x @ params["w"].T),
        "parameters": lambda params, x, h: anp.sin(h) + anp.sum(x, axis=-1, keepdims=True),
        "both": lambda params, x, h: np.ones_like(h),
    }
    cell = kpf.AutogradCell(steps[ignored], {"w": (3, 2)}, 2, 3)
    inputs = np.random.default_rng(76).standard_normal((2, 5, 2))
    report = kpf.validate(kpf.simulate(cell, cell.init_params(rng=77), inputs), rng=78)
    assert report.passed, str(report)


def test_points_at_a_kink_are_left_out_of_the_local_checks() -> None:
    # Without inputs and biases the first relus stand exactly at zero until the first input.
    cell = kpf.LeakyRNN(2, 6, activation="relu", bias=False)
    inputs = np.random.default_rng(79).standard_normal((3, 9, 2))
    inputs[:, :4] = 0
    trajectory = kpf.simulate(cell, cell.init_params(rng=80), inputs)
    report = kpf.validate(trajectory, rng=81)
    assert report.passed, str(report)
    (check,) = (check for check in report.checks if check.name == "Taylor slope of A")
    assert "from 27 points of the trajectory, without 12 that have a kink" in check.explanation


def test_a_network_exactly_at_its_kinks_has_no_derivative() -> None:
    cell = kpf.VanillaRNN(2, 4, activation="relu")
    params = {name: np.zeros(shape) for name, shape in cell.parameter_shapes.items()}
    params |= {"weight_hh": cell.init_params(rng=82)["weight_hh"]}
    report = kpf.validate(kpf.simulate(cell, params, np.zeros((2, 6, 2))), rng=83)
    assert names(report.failed) == TAYLOR
    assert all("a kink (of relu) exactly here" in check.explanation for check in report.failed)


TRAJECTORY = CellCase(kpf.GRU(2, 4)).trajectory()
LOSS = squared_loss(TRAJECTORY)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"trajectory": np.zeros(3)}, InputTypeError, "must be a Trajectory, as kpf.simulate"),
        ({"targets": None}, InputError, "readout needs targets"),
        ({"readout": None}, InputError, "targets needs readout"),
        ({"targets": None, "readout": None}, InputError, "mask needs targets and readout"),
        ({"targets": np.zeros((3, 5, 2))}, InputError, r"targets must have shape \(3, 5, 3\)"),
        ({"mask": np.zeros((3, 4))}, InputError, r"mask must have shape \(3, 5\); got \(3, 4\)"),
        ({"mask": np.zeros((3, 5))}, InputError, "with at least one positive entry"),
        ({"readout": {"bias": np.ones(3)}}, InputError, "readout lacks 'weight'"),
        ({"rng": None}, InputTypeError, "rng must be an integer seed"),
        ({"max_memory": 0}, InputError, "max_memory must be at least 1; got 0"),
    ],
)
def test_refusals(changes: dict, error: type[Exception], message: str) -> None:
    arguments = {"trajectory": TRAJECTORY, **LOSS, **changes}
    with pytest.raises(error, match=message):
        kpf.validate(**arguments)


def test_the_table() -> None:
    report = kpf.validate(TRAJECTORY, rng=84)
    lines = str(report).splitlines()
    assert lines[0].startswith("GRU(n_inputs=2, n_units=4, bias=True), 3 trials of 5 steps, float6")
    assert lines[0].endswith(f"{len(ALL)} of {len(ALL)} checks passed")
    assert lines[2].split() == ["check", "formula", "error", "threshold"]
    rows = lines[3 : 3 + len(ALL)]
    assert [row.endswith("  passed") for row in rows] == [True] * len(ALL)
    assert len({row.index("passed") for row in rows}) == 1
    assert lines[-1].startswith("Note: without targets and readout")


def test_the_table_gives_reasons() -> None:
    right = Check("K", "K = J J*", 1e-16, 1e-12, True, "Never shown.")
    wrong = Check("S", "S = P J", float("nan"), 1e-12, False, "On a random block.")
    report = ValidationReport((right, wrong), passed=False)
    assert report.failed == (wrong,)
    assert str(report).splitlines() == [
        "1 of 2 checks passed",
        "",
        "check  formula     error  threshold",
        "K      K = J J*  1.0e-16    1.0e-12  passed",
        "S      S = P J       nan    1.0e-12  FAILED",
        "",
        "FAILED S: On a random block.",
    ]
