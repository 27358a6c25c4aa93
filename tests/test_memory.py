"""What is said of the memory of whole computations holds, by the peaks that NumPy allocates."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.kernels.columns import MOST_COLUMNS
from kpflow_numerics.training import bptt

CELLS = {
    "vanilla": kpf.VanillaRNN(3, 64),
    "leaky": kpf.LeakyRNN(3, 64),
    "current": kpf.LeakyRNN(3, 64, form="current"),
    "gru": kpf.GRU(3, 64),
    "lstm": kpf.LSTM(3, 64),
}
DTYPES = ["float32", "float64"]
# What Python takes beside, and each thread for a few rows: Numba's arrays are traced, too.
BESIDE = 2**19


def peak(function: Callable[[], object]) -> int:
    function()  # what is imported and compiled is not the computation's
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def assert_peak(measured: float, formula: float, least: float = 0.85) -> None:
    """Fail if a formula says too little, or much too much."""
    found = f"took {measured / 2**20:.2f} MiB, formula {formula / 2**20:.2f} MiB"
    assert measured <= 1.08 * formula + BESIDE, found
    assert measured >= least * formula - BESIDE, found


def network(
    cell: kpf.Cell, dtype: str, n_trials: int = 40, n_steps: int = 100
) -> tuple[kpf.Params, np.ndarray]:
    params = {name: array.astype(dtype) for name, array in cell.init_params(rng=3).items()}
    inputs = np.random.default_rng(5).standard_normal((n_trials, n_steps, 3))
    return params, inputs.astype(dtype)


@pytest.fixture(params=["one part", "many parts"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "many parts":
        monkeypatch.setattr(bptt, "_BYTES_AT_A_TIME", 4 * 2**20)
    return


def batch_and_readout(dtype: str, n_trials: int) -> tuple[kpf.tasks.TrialBatch, kpf.Params]:
    readout = {name: array.astype(dtype) for name, array in kpf.init_readout(64, 3, rng=4).items()}
    return kpf.MemoryPro().sample(n_trials, rng=5).astype(dtype), readout


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_gradient_takes_what_is_said(cell: kpf.Cell, dtype: str) -> None:
    params = network(cell, dtype)[0]
    batch, readout = batch_and_readout(dtype, 60)
    formula = kpf.gradient_cost(cell, 60, batch.inputs.shape[1], 3, dtype).memory_bytes
    assert_peak(peak(lambda: kpf.loss_and_gradient(cell, params, readout, batch)), formula)


def test_a_backward_pass_in_one_part_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bptt, "_BYTES_AT_A_TIME", 2**20)
    monkeypatch.setattr(bptt, "_parts", lambda trajectory: [slice(None)])
    batch, readout = batch_and_readout("float64", 24)
    params = network(CELLS["gru"], "float64")[0]
    taken = peak(lambda: kpf.loss_and_gradient(CELLS["gru"], params, readout, batch))
    formula = kpf.gradient_cost(CELLS["gru"], 24, batch.inputs.shape[1], 3, "float64").memory_bytes
    with pytest.raises(AssertionError, match="took"):
        assert_peak(taken, formula)


def test_a_formula_that_says_too_much_is_found() -> None:
    with pytest.raises(AssertionError, match="formula"):
        assert_peak(10 * 2**20, 15 * 2**20)


def test_a_cell_of_ones_own_tells_no_cost() -> None:
    own = kpf.AutogradCell(
        lambda params, x, h: x @ params["w"].T + h, {"w": (4, 3)}, n_inputs=3, n_units=4
    )
    assert kpf.gradient_cost(own, 5, 7) is None


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (("gru", 5, 7), InputTypeError, "cell must be a cell"),
        ((CELLS["gru"], 0, 7), InputError, "n_trials must be"),
        ((CELLS["gru"], 5, 0), InputError, "n_steps must be"),
        ((CELLS["gru"], 5, 7, 0), InputError, "n_outputs must be"),
        ((CELLS["gru"], 5, 7, 3, "int32"), InputTypeError, "dtype must be"),
    ],
)
def test_arguments_of_a_cost_are_checked(
    arguments: tuple[object, ...], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        kpf.gradient_cost(*arguments)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_states_and_derivatives_take_what_is_said(cell: kpf.Cell, dtype: str) -> None:
    params, inputs = network(cell, dtype)
    trajectory = kpf.simulate(cell, params, inputs)
    states = trajectory.states
    copies = (trajectory.inputs, trajectory.h0, *trajectory.params.values())
    held = states.nbytes + sum(array.nbytes for array in copies)
    assert_peak(
        peak(lambda: kpf.simulate(cell, params, inputs)),
        held + max(states.size, 2 * cell.n_parameters * states.itemsize),
    )
    kept = kpf.linearize(trajectory).memory_bytes
    # The trajectory is there, and copies of parts of the features are made by the first product.
    groups = kpf.linearize(trajectory).weight_sites.groups
    shared = sum(g.features.nbytes for g in groups if not g.features.flags.c_contiguous)
    formula = kept - shared - states.nbytes - inputs.nbytes
    taken = peak(lambda: kpf.linearize(dataclasses.replace(trajectory)))
    assert_peak(taken, formula)


@pytest.mark.parametrize(("name", "units"), [("vanilla", 4), ("gru", 7), ("lstm", 15)])
def test_derivatives_are_as_many_as_the_docstring_says(name: str, units: int) -> None:
    cell = CELLS[name]
    params, inputs = network(cell, "float64")
    taken = peak(lambda: kpf.linearize(kpf.simulate(cell, params, inputs)))
    rows = inputs.shape[0] * inputs.shape[1]
    kept = rows * (units * 64 + 3 + 1 + cell.n_state)
    assert_peak(taken, 8.0 * (kept + 2 * cell.n_parameters))


def lin_of(name: str, dtype: str = "float64") -> kpf.Linearization:
    params, inputs = network(CELLS[name], dtype)
    return kpf.linearize(kpf.simulate(CELLS[name], params, inputs))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["vanilla", "gru", "lstm"])
def test_a_compression_takes_what_is_said(name: str, dtype: str) -> None:
    lin = lin_of(name, dtype)
    groups = lin.weight_sites.groups
    m = max(group.features.shape[-1] for group in groups)
    sites = max(len(group.row_blocks) for group in groups)
    n_trials, n_steps, n_state = lin.dims
    ranks = kpf.compress_core(lin, 1e-8).ranks
    kept = lin.dtype.itemsize * sum(ranks)
    cut = 32.0 * m if dtype == "float64" else 8.0 * m + 16.0 * max(ranks)
    formula = n_trials * n_steps * max(cut, 16.0 * sites * n_state + kept)
    assert_peak(peak(lambda: kpf.compress_core(lin, 1e-8)), formula)


@pytest.mark.parametrize("n_tasks", [4, MOST_COLUMNS, MOST_COLUMNS + 1])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["vanilla", "gru", "lstm"])
def test_interference_takes_what_is_said(name: str, dtype: str, n_tasks: int) -> None:
    lin = lin_of(name, dtype)
    errors = np.random.default_rng(5).standard_normal(lin.dims).astype(dtype)
    tasks = np.arange(40) % n_tasks
    entries = n_tasks * (lin.n_parameters + (errors.size if n_tasks > MOST_COLUMNS else 0))
    of_a_product = kpf.Sensitivity(lin).product_cost(n_tasks).memory_bytes
    formula = of_a_product + lin.dtype.itemsize * entries
    assert_peak(peak(lambda: kpf.interference(lin, errors, tasks)), formula)
