"""The tangent kernel of the outputs: its trace, its use, and what it predicts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.operators import output_kernel
from kpflow_numerics.operators._readout_map import PARAMETERS, ReadoutMap
from kpflow_numerics.testing import assert_operator_matches_dense, default_tolerance, dot_test
from tests.cases.cells import EDGE_CASES, FLOAT32_CASES, OWN_CASES, SITE_CASES, CellCase
from tests.cases.operators import dense_network, readout_of

WHOSE = pytest.mark.parametrize("parameters", PARAMETERS)
GRU = CellCase(kpf.GRU(2, 4))


def kernel_of(case: CellCase, parameters: str) -> kpf.OutputKernel:
    readout = readout_of(case.cell.n_units)
    return kpf.OutputKernel(case.linearization(), readout, parameters=parameters)


@pytest.mark.parametrize("case", SITE_CASES + EDGE_CASES + FLOAT32_CASES, ids=str)
@WHOSE
def test_the_trace(case: CellCase, parameters: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = kernel_of(case, parameters)
    truth = np.trace(kernel.to_dense().astype(np.float64))
    tolerance = default_tolerance(case.dtype, kernel.shape[0])
    for rows in (output_kernel.ROWS_AT_A_TIME, 7, 1):
        monkeypatch.setattr(output_kernel, "ROWS_AT_A_TIME", rows)
        assert kernel.exact_trace() == pytest.approx(truth, rel=tolerance)


def test_a_bias_that_is_not_there_is_not_moved() -> None:
    lin, readout = GRU.linearization(), readout_of(4)
    silent = {**readout, "bias": np.zeros_like(readout["bias"])}
    alone = {"weight": readout["weight"]}
    with_one = kpf.OutputKernel(lin, silent, parameters="all")
    without = kpf.OutputKernel(lin, alone, parameters="all")
    n_steps = with_one.shape[0]
    assert with_one.exact_trace() - without.exact_trace() == pytest.approx(n_steps)
    assert without.exact_trace() == pytest.approx(np.trace(without.to_dense()))
    assert list(without.readout) == ["weight"]
    assert "readout/bias" not in without.factor.slices
    assert without.factor.shape[1] == with_one.factor.shape[1] - len(readout["bias"])
    of_the_cell = kpf.OutputKernel(lin, alone, parameters="cell")
    np.testing.assert_array_equal(
        of_the_cell.to_dense(), kpf.OutputKernel(lin, silent, parameters="cell").to_dense()
    )


@pytest.mark.parametrize("fault", ["carry", "rows", "bias", "slots"])
def test_a_wrong_trace_is_seen(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CellCase(kpf.LSTM(2, 4))
    kernel = kernel_of(case, "all")
    truth = np.trace(kernel.to_dense())
    if fault == "carry":
        right = output_kernel.trial_jacobians
        monkeypatch.setattr(
            output_kernel, "trial_jacobians", lambda *a: right(*a).transpose(0, 2, 1)
        )
    elif fault == "rows":
        right = output_kernel._rows_carried_back
        monkeypatch.setattr(
            output_kernel, "_rows_carried_back", lambda A, W, a, b: right(A, W, a, b)[:, 1:]
        )
    elif fault == "bias":
        monkeypatch.setattr(ReadoutMap, "counts", property(lambda self: False))
    else:
        swapped = np.roll(kernel._map.weight, 1, axis=1)
        kernel._map.readout["weight"] = swapped
    assert kernel.exact_trace() != pytest.approx(truth, rel=1e-4)


def without_bias(self: ReadoutMap, outputs: np.ndarray) -> np.ndarray:
    rows = outputs.reshape(len(self.hidden), -1)
    return (self.hidden @ (self.hidden.T @ rows)).reshape(outputs.shape)


def onto_the_memory(self: ReadoutMap, outputs: np.ndarray) -> np.ndarray:
    """Put the errors on an LSTM's c in place of its h."""
    states = np.zeros((*outputs.shape[:2], 8, outputs.shape[-1]))
    states[:, :, 4:] = self.weight.T @ outputs
    return states


@pytest.mark.parametrize(
    ("part", "fault"),
    [("gram", without_bias), ("gram", lambda self, q: 0 * q), ("states", onto_the_memory)],
)
def test_a_fault_in_a_part_is_seen(part: str, fault, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CellCase(kpf.LSTM(2, 4))
    Y = dense_network(case).Y
    assert_operator_matches_dense(kernel_of(case, "all"), Y @ Y.T, rng=85)
    monkeypatch.setattr(ReadoutMap, part, fault)
    with pytest.raises(AssertionError):
        assert_operator_matches_dense(kernel_of(case, "all"), Y @ Y.T, rng=85)


@pytest.mark.parametrize("part", ["moved", "gradient"])
def test_a_factor_whose_weight_is_transposed_is_seen(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CellCase(kpf.GRU(2, 4))
    readout = readout_of(4)
    Y = kpf.OutputSensitivity(case.linearization(), readout, parameters="all")
    assert dot_test(Y, rng=86).passed
    right = getattr(ReadoutMap, part)

    def turned(array: np.ndarray) -> np.ndarray:
        weight = array[:-3].reshape(3, 4, -1).swapaxes(0, 1).reshape(12, -1)
        return np.concatenate([weight, array[-3:]])

    def fault(self: ReadoutMap, array: np.ndarray) -> np.ndarray:
        return right(self, turned(array)) if part == "moved" else turned(right(self, array))

    monkeypatch.setattr(ReadoutMap, part, fault)
    assert not dot_test(Y, rng=86).passed


@WHOSE
def test_numbers_of_the_whole_library(parameters: str) -> None:
    kernel = kernel_of(GRU, parameters)
    matrix = kernel.to_dense()
    values = np.linalg.eigvalsh(matrix)[::-1]
    assert kpf.trace(kernel).method == "exact"
    assert kpf.trace(kernel).value == pytest.approx(values.sum(), rel=1e-12)
    assert kpf.frobenius_norm(kernel).value == pytest.approx(np.linalg.norm(matrix), rel=1e-10)
    rank = values.sum() ** 2 / np.square(values).sum()
    assert kpf.effective_rank(kernel).value == pytest.approx(rank, rel=1e-9)
    found = kpf.top_eigenpairs(kernel, k=5)
    assert found.complete
    np.testing.assert_allclose(found.values, values[:5], rtol=1e-9)
    np.testing.assert_allclose(
        kpf.eigenvalues(kernel).values, values, rtol=0, atol=1e-10 * values[0]
    )
    reduced = kpf.partial_trace(kernel, over=("trial", "time")).matrix
    whole = matrix.reshape(*kernel.dims, *kernel.dims)
    np.testing.assert_allclose(reduced, np.einsum("btobtp->op", whole), rtol=1e-9, atol=1e-12)
    singular = kpf.top_singular_triplets(kernel.factor, k=3).values
    np.testing.assert_allclose(singular, np.sqrt(values[:3]), rtol=1e-9)
    assert kpf.trace(kernel.factor.gram).value == pytest.approx(values.sum(), rel=1e-12)


def test_the_parts_are_aligned_as_their_matrices() -> None:
    cell, both = (kernel_of(GRU, parameters) for parameters in PARAMETERS)
    first, second = cell.to_dense(), both.to_dense()
    expected = np.vdot(first, second) / np.linalg.norm(first) / np.linalg.norm(second)
    assert kpf.alignment(cell, both).value == pytest.approx(expected, rel=1e-9)
    hidden = GRU.trajectory().hidden.reshape(-1, 4)
    ones = np.concatenate([hidden, np.ones((len(hidden), 1))], axis=1)
    np.testing.assert_allclose(second - first, np.kron(ones @ ones.T, np.eye(3)), atol=1e-10)


@pytest.mark.parametrize("cell", [kpf.GRU(3, 7), kpf.LSTM(3, 5)], ids=repr)
def test_the_adjoint_of_the_factor_is_the_gradient_of_training(cell: kpf.GRU) -> None:
    task = kpf.MemoryPro(n_stimulus=3, n_memory=2, n_response=3)
    batch = task.sample(5, rng=81)
    cell = replace(cell, n_inputs=task.n_inputs)
    readout = kpf.init_readout(cell.n_units, task.n_outputs, rng=82)
    params = cell.init_params(rng=83)
    wanted = kpf.loss_and_gradient(cell, params, readout, batch)
    trajectory = kpf.simulate(cell, params, batch.inputs)
    error = kpf.output_error(trajectory, readout, batch.targets, mask=batch.mask)
    Y = kpf.OutputSensitivity(kpf.linearize(trajectory), readout, parameters="all")
    gradient = Y.apply_adjoint(error)
    assert list(Y.slices)[-2:] == ["readout/weight", "readout/bias"]
    for name, part in Y.slices.items():
        kind, _, own = name.rpartition("/")
        expected = wanted.readout[own] if kind else wanted.params[own]
        np.testing.assert_allclose(gradient[part], expected.ravel(), rtol=0, atol=1e-13)


@WHOSE
def test_a_step_of_descent_moves_the_outputs_as_the_kernel_says(parameters: str) -> None:
    case = CellCase(kpf.GRU(2, 6))
    trajectory, readout = case.trajectory(), readout_of(6)
    kernel = kpf.OutputKernel(kpf.linearize(trajectory), readout, parameters=parameters)
    error = np.random.default_rng(84).standard_normal(kernel.dims)
    gradient, slices = kernel.factor.apply_adjoint(error), kernel.factor.slices
    params = case.params() | {f"readout/{name}": array for name, array in readout.items()}

    def outputs(step: float) -> np.ndarray:
        moved = {
            name: array - step * gradient[slices[name]].reshape(array.shape)
            if name in slices
            else array
            for name, array in params.items()
        }
        own = {name: moved[name] for name in case.params()}
        states = kpf.simulate(case.cell, own, trajectory.inputs, trajectory.h0)
        weights = {name: moved[f"readout/{name}"] for name in readout}
        return kpf.apply_readout(weights, states.hidden)

    rate = (outputs(1e-5) - outputs(-1e-5)) / 2e-5
    predicted = -kernel.apply(error)
    np.testing.assert_allclose(rate, predicted, rtol=0, atol=1e-7 * np.abs(predicted).max())
    other = next(each for each in PARAMETERS if each != parameters)
    of_other = kpf.OutputKernel(kernel.linearization, readout, parameters=other).apply(error)
    assert np.abs(rate + of_other).max() > 0.01 * np.abs(rate).max()


def test_products_of_single_precision_stay_single() -> None:
    kernel = kernel_of(GRU.in_float32(), "all")
    assert {array.dtype for array in kernel.readout.values()} == {np.dtype(np.float32)}
    assert kernel.apply(np.ones(kernel.dims)).dtype == np.float32


def test_the_cost_of_the_trace() -> None:
    kernel = kernel_of(GRU, "cell")
    cost = kernel.exact_cost("trace")
    assert cost is not None
    assert cost.flops > 0
    assert cost.memory_bytes > 0
    assert kernel.exact_cost("eigenvalues") is None


def test_flops_are_those_of_the_formulas() -> None:
    lin, readout = GRU.linearization(), readout_of(4)
    once = 2 * 3 * 5 * 4 * 3  # 2 B T H O
    for parameters, count in (("cell", 1), ("all", 2)):
        kernel = kpf.OutputKernel(lin, readout, parameters=parameters)
        inner = kpf.TangentKernel(lin).product_cost(2).flops
        assert kernel.product_cost(2).flops == inner + 2 * 2 * count * once
        inner = kpf.Sensitivity(lin).product_cost(2).flops
        assert kernel.factor.product_cost(2).flops == inner + 2 * count * once


def test_a_cell_without_sites_has_products_and_no_closed_form() -> None:
    kernel = kernel_of(OWN_CASES[0], "all")
    assert kernel.exact_cost("trace") is None
    with pytest.raises(AttributeError, match="no weight sites"):
        kernel.exact_trace()
    values = np.linalg.eigvalsh(kernel.to_dense())
    assert kpf.trace(kernel).value == pytest.approx(values.sum(), rel=1e-9)


def test_what_cannot_be_used_is_refused() -> None:
    lin, readout = GRU.linearization(), readout_of(4)
    with pytest.raises(InputTypeError, match="linearization must be a Linearization"):
        kpf.OutputKernel(GRU.trajectory(), readout, parameters="all")
    with pytest.raises(InputError, match="parameters must be one of 'cell', 'all'; got 'both'"):
        kpf.OutputKernel(lin, readout, parameters="both")
    with pytest.raises(InputError, match=r"readout\['weight'\] must have shape"):
        kpf.OutputSensitivity(lin, readout_of(5), parameters="cell")
    with pytest.raises(InputTypeError, match="readout must map"):
        kpf.OutputKernel(lin, readout["weight"], parameters="cell")
    with pytest.raises(TypeError, match="parameters"):
        kpf.OutputKernel(lin, readout)
