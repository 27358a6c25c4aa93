"""Parameters: their layout in a vector, their first values, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.cells.base import Cell
from tests.cases.cells import CELL_CASES, SITE_CASES, SITE_CELLS, CellCase

CELLS = pytest.mark.parametrize("cell", SITE_CELLS, ids=repr)
SHAPES = {
    "vanilla-rnn": (1, ("bias_ih", "bias_hh")),
    "leaky-rnn": (1, ("bias",)),
    "gru": (3, ("bias_ih", "bias_hh")),
    "lstm": (4, ("bias_ih", "bias_hh")),
}


@CELLS
def test_names_and_shapes_are_those_of_pytorch(cell: Cell) -> None:
    n_gates, biases = SHAPES[cell.kind]
    rows = n_gates * cell.n_units
    expected = {"weight_ih": (rows, cell.n_inputs), "weight_hh": (rows, cell.n_units)}
    if vars(cell)["bias"]:
        expected |= dict.fromkeys(biases, (rows,))
    assert list(cell.parameter_shapes.items()) == list(expected.items())
    assert cell.n_parameters == sum(int(np.prod(shape)) for shape in expected.values())


@pytest.mark.parametrize("case", CELL_CASES, ids=str)
def test_packing_is_concatenation_in_c_order(case: CellCase) -> None:
    layout, params = case.cell.layout, case.params()
    vector = layout.pack(params)
    expected = np.concatenate([params[name].ravel() for name in case.cell.parameter_shapes])
    np.testing.assert_array_equal(vector, expected)
    unpacked = layout.unpack(vector)
    assert list(unpacked) == list(case.cell.parameter_shapes)
    for name, value in unpacked.items():
        np.testing.assert_array_equal(value, params[name])
        assert np.shares_memory(value, vector)
        np.testing.assert_array_equal(vector[layout.slices[name]], params[name].ravel())


@pytest.mark.parametrize("case", CELL_CASES, ids=str)
def test_packing_blocks(case: CellCase) -> None:
    layout = case.cell.layout
    block = np.random.default_rng(59).standard_normal((layout.size, 3))
    np.testing.assert_array_equal(layout.pack(layout.unpack(block)), block)
    for j in range(3):
        column = layout.unpack(np.ascontiguousarray(block[:, j]))
        for name, value in layout.unpack(block).items():
            np.testing.assert_array_equal(value[..., j], column[name])


@CELLS
def test_first_values_are_uniform_and_the_gain_scales_the_recurrent_weights(cell: Cell) -> None:
    bound = 1.0 / np.sqrt(cell.n_units)
    plain, scaled = cell.init_params(rng=61), cell.init_params(gain=2.5, rng=61)
    for name, value in plain.items():
        assert np.abs(value).max() <= bound
        expected = 2.5 * value if name == "weight_hh" else value
        np.testing.assert_array_equal(scaled[name], expected)


@pytest.mark.parametrize("kind", [kpf.VanillaRNN, kpf.LeakyRNN, kpf.GRU, kpf.LSTM])
def test_the_distribution_of_first_values(kind: type[Cell]) -> None:
    params = kind(40, 50).init_params(rng=67)
    for name in ("weight_ih", "weight_hh"):
        values = params[name].ravel() * np.sqrt(50)
        # Five standard deviations of the mean and of the second moment of uniform numbers.
        assert abs(values.mean()) <= 5 * (1 / 3) ** 0.5 / values.size**0.5
        assert abs((values**2).mean() - 1 / 3) <= 5 * (4 / 45) ** 0.5 / values.size**0.5
        assert np.abs(values).max() > 0.99


@CELLS
def test_same_seed_same_bits(cell: Cell) -> None:
    first, second = cell.init_params(rng=71), cell.init_params(rng=np.random.default_rng(71))
    other = cell.init_params(rng=73)
    for name, value in first.items():
        assert value.tobytes() == second[name].tobytes()
        assert value.tobytes() != other[name].tobytes()


@CELLS
def test_single_precision_rounds_the_same_draws(cell: Cell) -> None:
    double, single = cell.init_params(1.3, rng=79), cell.init_params(1.3, rng=79, dtype="float32")
    for name, value in single.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, double[name].astype(np.float32))


def test_zero_gain_disconnects_the_units() -> None:
    assert not kpf.GRU(2, 3).init_params(gain=0.0, rng=83)["weight_hh"].any()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"gain": -1.0}, ValueError, "gain must be finite and at least 0; got -1.0"),
        ({"gain": np.nan}, ValueError, "gain must be finite"),
        ({"gain": "2"}, TypeError, "gain must be a real number; got '2'"),
        ({"rng": -3}, ValueError, "rng must be a seed of at least 0; got -3"),
        ({"rng": "seed"}, TypeError, "rng must be an integer seed"),
        ({"dtype": "int32"}, TypeError, "dtype must be float32 or float64; got int32"),
    ],
)
def test_init_params_refuses(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        kpf.GRU(2, 3).init_params(**arguments)


def altered(change) -> dict[str, object]:
    params: dict[str, object] = dict(kpf.GRU(2, 3).init_params(rng=89))
    change(params)
    return params


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda p: p.pop("bias_hh"), ValueError, "params lacks 'bias_hh'; GRU.*takes weight_ih"),
        (lambda p: p.update(weigth_hh=1.0), ValueError, "Did you mean 'weight_hh'"),
        (
            lambda p: p.update(weight_hh=np.ones((3, 9))),
            ValueError,
            r"params\['weight_hh'\] must have shape \(9, 3\); got \(3, 9\)",
        ),
        (
            lambda p: p["bias_ih"].__setitem__(2, np.nan),
            ValueError,
            r"params\['bias_ih'\] must be finite; 1 of its 9 entries",
        ),
        (
            lambda p: p.update(bias_ih=np.ones(9, complex)),
            TypeError,
            r"params\['bias_ih'\] must be real; got dtype complex128",
        ),
    ],
)
def test_check_params_refuses(change, error, message) -> None:
    with pytest.raises(error, match=message):
        kpf.GRU(2, 3).check_params(altered(change))


def test_check_params_wants_a_mapping() -> None:
    with pytest.raises(TypeError, match="params must map parameter names to arrays; got ndarray"):
        kpf.GRU(2, 3).check_params(np.ones(5))  # type: ignore[arg-type]


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
def test_parameters_of_another_cell_are_refused(case: CellCase) -> None:
    other = next(c for c in SITE_CELLS if c.parameter_shapes != case.cell.parameter_shapes)
    with pytest.raises(ValueError, match=r"params (lacks|has an entry)|must have shape"):
        case.cell.check_params(other.init_params(rng=97))


def test_mixed_precision_becomes_double() -> None:
    cell = kpf.VanillaRNN(2, 3, bias=False)
    params = cell.init_params(rng=101, dtype="float32")
    params["weight_ih"] = params["weight_ih"].astype(np.float64)
    assert {value.dtype for value in cell.check_params(params).values()} == {np.dtype(np.float64)}
