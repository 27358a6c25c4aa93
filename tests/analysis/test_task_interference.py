"""Interference of tasks: a Gram matrix of gradients, its parts, and what it says of the states."""

from __future__ import annotations

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import OWN_CASES, CellCase
from tests.cases.operators import readout_of

RNN = CellCase(kpf.VanillaRNN(2, 4))
IDS = np.array([1, 0, 1])


def close(a: np.ndarray, b: np.ndarray, case: CellCase) -> None:
    scale = np.abs(b).max()
    np.testing.assert_allclose(a, b, rtol=0, atol=default_tolerance(case.dtype, b.size) * scale)


def problem(case: CellCase) -> tuple[kpf.Linearization, np.ndarray, np.ndarray]:
    lin = case.linearization()
    error = np.random.default_rng(71).standard_normal(lin.dims)
    return lin, error, np.arange(lin.dims[0]) % 2 if lin.dims[0] > 1 else np.zeros(1, int)


@pytest.mark.parametrize("case", OWN_CASES, ids=str)
def test_matrix_is_that_of_the_dense_kernel_and_its_parts_add_up(case: CellCase) -> None:
    lin, error, ids = problem(case)
    found = kpf.interference(lin, error, ids)
    columns = np.stack([error * (ids == i)[:, None, None] for i in range(ids.max() + 1)], -1)
    flat = columns.reshape(-1, columns.shape[-1])
    kernel = kpf.TangentKernel(lin).to_dense().astype(np.float64)
    close(found.matrix, flat.T @ kernel @ flat, case)
    close(sum(found.by_parameter.values()), found.matrix, case)
    close(found.contributions.reshape(flat.shape), kernel @ flat, case)
    assert np.array_equal(found.matrix, found.matrix.T)
    assert np.linalg.eigvalsh(found.matrix)[0] > -1e-12 * np.trace(found.matrix)
    close(found.matrix.sum(), error.ravel() @ kernel @ error.ravel(), case)
    given = kpf.interference(lin, columns)
    close(given.matrix, found.matrix, case)


def test_an_error_on_the_wrong_trials_is_seen() -> None:
    lin, error, _ = problem(RNN)
    kernel = kpf.TangentKernel(lin).to_dense()
    own = error * (IDS == 0)[:, None, None]
    expected = own.ravel() @ kernel @ own.ravel()
    assert kpf.interference(lin, error, IDS).matrix[0, 0] == pytest.approx(expected, rel=1e-10)
    wrong = kpf.interference(lin, error, np.roll(IDS, 1)).matrix[0, 0]
    assert wrong != pytest.approx(expected, rel=1e-3)


def test_the_order_of_trials_does_not_matter() -> None:
    trajectory, order = RNN.trajectory(), np.array([2, 0, 1])
    error = np.random.default_rng(72).standard_normal((3, 5, 4))
    moved = kpf.simulate(
        trajectory.cell, RNN.params(), trajectory.inputs[order], trajectory.h0[order]
    )
    first = kpf.interference(kpf.linearize(trajectory), error, IDS)
    second = kpf.interference(kpf.linearize(moved), error[order], IDS[order])
    close(second.matrix, first.matrix, RNN)
    close(second.contribution_cosines, first.contribution_cosines, RNN)


def test_a_step_on_one_task_changes_the_loss_of_the_other_at_that_rate() -> None:
    """Against the loss itself: the difference quotient nears the matrix's entry with the step."""
    batch = kpf.MultiTask(n_context=2, n_stimulus=2, n_memory=2, n_response=2).evaluation_batch(8)
    cell, readout = kpf.GRU(batch.n_inputs, 10), kpf.init_readout(10, batch.n_outputs, rng=73)
    params = cell.init_params(rng=74)

    def losses(weights: dict) -> np.ndarray:
        outputs = kpf.apply_readout(readout, kpf.simulate(cell, weights, batch.inputs).hidden)
        squares = batch.mask[..., None] * (outputs - batch.targets) ** 2
        return np.array([squares[batch.task_ids == i].sum() for i in range(4)])

    trajectory = kpf.simulate(cell, params, batch.inputs)
    lin = kpf.linearize(trajectory)
    residual = kpf.apply_readout(readout, trajectory.hidden) - batch.targets
    error = 2 * (batch.mask[..., None] * residual) @ readout["weight"]
    found = kpf.interference(lin, error, batch.task_ids, names=batch.task_names)
    gradient = kpf.Sensitivity(lin).apply_adjoint(error * (batch.task_ids == 2)[:, None, None])

    def mismatch(step: float) -> float:
        moved = {
            name: params[name] - step * gradient[part].reshape(params[name].shape)
            for name, part in lin.layout.slices.items()
        }
        rate = (losses(moved) - losses(params)) / step
        return float(np.abs(rate + found.matrix[:, 2]).max() / np.abs(found.matrix[:, 2]).max())

    assert mismatch(1e-6) < 1e-4
    assert mismatch(1e-4) == pytest.approx(10 * mismatch(1e-5), rel=0.2)


def test_accumulated_cosines_are_of_the_weighted_sum() -> None:
    lin, error, _ = problem(RNN)
    first, second = kpf.interference(lin, error, IDS), kpf.interference(lin, error[::-1], IDS)
    courses = kpf.accumulated_contribution_cosines([first, second], [1.0, 3.0])
    total = (first.contributions + 3 * second.contributions).reshape(-1, 2)
    expected = total[:, 0] @ total[:, 1] / np.prod(np.linalg.norm(total, axis=0))
    np.testing.assert_allclose(courses[0], first.contribution_cosines, atol=1e-12)
    assert courses[1, 0, 1] == pytest.approx(expected, abs=1e-12)
    unweighted = kpf.accumulated_contribution_cosines([first, second])
    assert abs(unweighted[1, 0, 1] - expected) > 1e-6


def test_integrals_over_unequal_steps_are_trapezoidal() -> None:
    lin, error, _ = problem(RNN)
    results = [kpf.interference(lin, error * shift, IDS) for shift in (1.0, error[::-1], error)]
    times = [2.0, 3.0, 7.0]
    courses = kpf.accumulated_contribution_cosines(results, times=times)
    np.testing.assert_allclose(courses[0], results[0].contribution_cosines, atol=1e-12)
    each = np.stack([result.contributions.reshape(-1, 2) for result in results])
    total = np.trapezoid(each, times, axis=0)
    expected = total[:, 0] @ total[:, 1] / np.prod(np.linalg.norm(total, axis=0))
    assert courses[2, 0, 1] == pytest.approx(expected, abs=1e-12)
    wrong = kpf.accumulated_contribution_cosines(results, times=[2.0, 3.0, 4.0])
    assert abs(wrong[2, 0, 1] - expected) > 1e-4


@pytest.mark.parametrize("case", OWN_CASES, ids=str)
def test_with_a_readout_it_is_the_kernel_of_the_outputs(case: CellCase) -> None:
    lin, _, ids = problem(case)
    readout = readout_of(case.cell.n_units)
    kernel = kpf.OutputKernel(lin, readout, parameters="all")
    error = np.random.default_rng(76).standard_normal(kernel.dims)
    found = kpf.interference(lin, error, ids, readout=readout)
    columns = np.stack([error * (ids == i)[:, None, None] for i in range(ids.max() + 1)], -1)
    flat, matrix = columns.reshape(-1, columns.shape[-1]), kernel.to_dense()
    close(found.matrix, flat.T @ matrix @ flat, case)
    close(found.contributions.reshape(flat.shape), matrix @ flat, case)
    close(sum(found.by_parameter.values()), found.matrix, case)
    own = {"readout/weight", "readout/bias"}
    assert own < set(found.by_parameter)
    by_cell = sum(part for name, part in found.by_parameter.items() if name not in own)
    cell_only = kpf.OutputKernel(lin, readout, parameters="cell").to_dense()
    close(by_cell, flat.T @ cell_only @ flat, case)
    n_units = case.cell.n_units
    pulled = np.zeros((*lin.dims[:2], lin.dims[2]))
    pulled[..., :n_units] = error @ readout["weight"]
    close(by_cell, kpf.interference(lin, pulled, ids).matrix, case)
    assert not np.allclose(by_cell, found.matrix)


def test_a_preconditioner_weighs_the_gradients() -> None:
    lin, error, _ = problem(RNN)
    rng = np.random.default_rng(79)
    shapes = lin.layout.shapes
    M = {name: rng.uniform(0.0, 3.0, shape) for name, shape in shapes.items()}
    found = kpf.interference(lin, error, IDS, preconditioner=M)
    rule = kpf.PreconditionedKernel(lin, M)
    columns = np.stack([error * (i == IDS)[:, None, None] for i in range(2)], -1)
    flat = columns.reshape(-1, 2)
    kernel = rule.to_dense()
    close(found.matrix, flat.T @ kernel @ flat, RNN)
    close(found.contributions.reshape(flat.shape), kernel @ flat, RNN)
    close(sum(found.by_parameter.values()), found.matrix, RNN)
    plain = kpf.interference(lin, error, IDS)
    assert np.abs(found.cosines - plain.cosines).max() > 1e-3
    ones = kpf.interference(lin, error, IDS, preconditioner={n: a * 0 + 1 for n, a in M.items()})
    close(ones.matrix, plain.matrix, RNN)
    with pytest.raises(InputError, match="for each of weight_ih, .*; it has weight_hh"):
        kpf.interference(lin, error, IDS, preconditioner={"weight_hh": M["weight_hh"]})
    with pytest.raises(InputError, match=r"\['weight_hh'\] must not be negative; .* is -1"):
        kpf.interference(lin, error, IDS, preconditioner=M | {"weight_hh": -np.ones((4, 4))})
    with pytest.raises(InputError, match=r"\['weight_hh'\] must have shape \(4, 4\)"):
        kpf.interference(lin, error, IDS, preconditioner=M | {"weight_hh": np.ones(4)})
    with pytest.raises(InputTypeError, match="preconditioner must map"):
        kpf.interference(lin, error, IDS, preconditioner=np.ones(3))


SQUARE = CellCase(kpf.VanillaRNN(4, 4))


def scales_of(lin: kpf.Linearization) -> dict[str, np.ndarray]:
    """Return scales of which no array, square or not, is its own transpose."""
    rng = np.random.default_rng(83)
    return {name: rng.uniform(0.1, 3.0, shape) for name, shape in lin.layout.shapes.items()}


def weighed_matrix(
    lin: kpf.Linearization, error: np.ndarray, M: dict, ids: np.ndarray
) -> np.ndarray:
    """Return ``err_i* S diag(M) S* err_j`` from the dense sensitivity, column by column of S."""
    S = kpf.Sensitivity(lin).to_dense().astype(np.float64)
    gradients = [S.T @ (error * (ids == i)[:, None, None]).ravel() for i in range(ids.max() + 1)]
    entries = [lin.layout.unpack(gradient[:, None]) for gradient in gradients]
    return np.array(
        [
            [
                sum(np.sum(a[name][..., 0] * b[name][..., 0] * M[name]) for name in M)
                for b in entries
            ]
            for a in entries
        ]
    )


@pytest.mark.parametrize("case", [SQUARE, *OWN_CASES], ids=str)
def test_each_scale_weighs_its_own_entry(case: CellCase) -> None:
    lin, error, ids = problem(case)
    M = scales_of(lin)
    found = kpf.interference(lin, error, ids, preconditioner=M)
    close(found.matrix, weighed_matrix(lin, error, M, ids), case)


@pytest.mark.parametrize("name", ["weight_ih", "weight_hh"])
def test_a_square_array_of_scales_that_is_transposed_is_seen(name: str) -> None:
    lin, error, ids = problem(SQUARE)
    M = scales_of(lin)
    turned = M | {name: M[name].T}
    found = kpf.interference(lin, error, ids, preconditioner=turned)
    with pytest.raises(AssertionError):
        close(found.matrix, weighed_matrix(lin, error, M, ids), SQUARE)


def test_the_move_of_adam_is_that_of_all_tasks_together() -> None:
    """Where the moments have settled, a step of Adam moves the outputs as the sum of the tasks."""
    task = kpf.MultiTask(n_context=2, n_stimulus=2, n_memory=2, n_response=2)
    batch, cell = task.evaluation_batch(8), kpf.GRU(task.n_inputs, 8)
    optimizer = kpf.Adam(1e-6, beta1=0.0, beta2=0.999)
    params, readout = cell.init_params(rng=80), kpf.init_readout(8, task.n_outputs, rng=81)
    both = params | {f"readout/{name}": array for name, array in readout.items()}
    state = optimizer.init_state(both)
    found = kpf.loss_and_gradient(cell, params, readout, batch)
    gradients = found.params | {f"readout/{name}": array for name, array in found.readout.items()}
    for _ in range(50):  # Always the same gradient, whose square the second moment is.
        moved, state = optimizer.update(both, gradients, state)
    M = kpf.adam_preconditioner(optimizer, state, readout=True)
    trajectory = kpf.simulate(cell, params, batch.inputs)
    error = kpf.output_error(trajectory, readout, batch.targets, mask=batch.mask)
    lin = kpf.linearize(trajectory)
    result = kpf.interference(lin, error, batch.task_ids, readout=readout, preconditioner=M)
    after = kpf.simulate(cell, {name: moved[name] for name in params}, batch.inputs)
    weights = {name: moved[f"readout/{name}"] for name in readout}
    change = kpf.apply_readout(weights, after.hidden) - kpf.apply_readout(
        readout, trajectory.hidden
    )
    predicted = -1e-6 * result.contributions.sum(axis=-1)
    assert np.abs(change - predicted).max() <= 1e-3 * np.abs(predicted).max()


def test_gradients_of_two_tasks_add_up_to_that_of_training() -> None:
    batch = kpf.MultiTask(n_context=2, n_stimulus=2, n_memory=2, n_response=2).evaluation_batch(8)
    cell, readout = kpf.LSTM(batch.n_inputs, 6), kpf.init_readout(6, batch.n_outputs, rng=77)
    params = cell.init_params(rng=78)
    trajectory = kpf.simulate(cell, params, batch.inputs)
    error = kpf.output_error(trajectory, readout, batch.targets, mask=batch.mask)
    found = kpf.interference(kpf.linearize(trajectory), error, batch.task_ids, readout=readout)
    norm = kpf.loss_and_gradient(cell, params, readout, batch).norm
    assert found.matrix.sum() == pytest.approx(norm**2, rel=1e-10)


def test_similarity_is_of_the_means_and_not_of_the_norms() -> None:
    rng = np.random.default_rng(75)
    states = rng.standard_normal((3, 5, 4))
    a, b = states[1].ravel(), (states[0] + states[2]).ravel() / 2
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    found = kpf.task_similarity(states, IDS)
    assert found[0, 1] == pytest.approx(expected, abs=1e-12)
    scaled = states * np.array([2.0, 5.0, 2.0])[:, None, None]
    np.testing.assert_allclose(kpf.task_similarity(scaled, IDS), found, atol=1e-12)


def test_a_task_without_error_has_no_direction() -> None:
    lin, error, _ = problem(RNN)
    found = kpf.interference(lin, error * (IDS == 1)[:, None, None], IDS, names=("pro", "anti"))
    assert np.isnan(found.cosines[0]).all()
    assert found.cosines[1, 1] == pytest.approx(1.0)
    assert "pro" in str(found)
    assert repr(found) == "InterferenceResult(pro, anti)"


def test_what_cannot_be_used_is_refused() -> None:
    lin, error, _ = problem(RNN)
    with pytest.raises(InputTypeError, match="linearization must be"):
        kpf.interference(None, error, IDS)
    with pytest.raises(InputError, match=r"need task_ids"):
        kpf.interference(lin, error)
    with pytest.raises(InputError, match="errors must have shape"):
        kpf.interference(lin, error[:, 1:], IDS)
    with pytest.raises(InputTypeError, match="task_ids must be integers"):
        kpf.interference(lin, error, [0.0, 1.0, 1.0])
    with pytest.raises(InputError, match="one for each trial"):
        kpf.interference(lin, error, [0, 1])
    with pytest.raises(InputError, match="count from 0"):
        kpf.interference(lin, error, [0, -1, 1])
    with pytest.raises(InputError, match="no trial of task 1"):
        kpf.interference(lin, error, [0, 2, 0])
    with pytest.raises(InputError, match="no trial of task 0, but one of task 1000000000000"):
        kpf.interference(lin, np.zeros(lin.dims), np.full(lin.dims[0], 10**12))
    with pytest.raises(InputTypeError, match="names must be a sequence of 2 names; got 2"):
        kpf.interference(lin, np.zeros((*lin.dims, 2)), names=2)
    with pytest.raises(InputError, match="names must be 2 names"):
        kpf.interference(lin, error, IDS, names=("one",))
    found = kpf.interference(lin, error, IDS)
    with pytest.raises(InputError, match="at least one"):
        kpf.accumulated_contribution_cosines([])
    with pytest.raises(InputTypeError, match="one of them is a float"):
        kpf.accumulated_contribution_cosines([1.0])
    with pytest.raises(InputError, match="same tasks"):
        kpf.accumulated_contribution_cosines([found, kpf.interference(lin, error, [0, 0, 0])])
    with pytest.raises(InputError, match="times must increase"):
        kpf.accumulated_contribution_cosines([found, found], times=[1, 1])
    with pytest.raises(InputError, match="times must have shape"):
        kpf.accumulated_contribution_cosines([found, found], times=[1])
    with pytest.raises(InputError, match="weights or times, not both"):
        kpf.accumulated_contribution_cosines([found], [1.0], times=[1])
    with pytest.raises(InputError, match=r"readout\['weight'\] must have shape"):
        kpf.interference(lin, error, IDS, readout=readout_of(5))
    with pytest.raises(InputError, match="errors must have shape"):
        kpf.interference(lin, error, IDS, readout=readout_of(4))
    with pytest.raises(InputError, match="weights must have shape"):
        kpf.accumulated_contribution_cosines([found], [1.0, 2.0])
