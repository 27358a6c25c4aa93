import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.operators.base import ScaledOperator
from tests.cases.cells import OWN_CASES
from tests.cases.operators import ALL_CASES


def linearization(cell, n_trials=2, n_steps=5):
    inputs = np.ones((n_trials, n_steps, cell.n_inputs))
    return kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), inputs))


# cell -> (flops of P, flops of K) of one column with B = 2, T = 5, H = 4, I = 3
EXPECTED = {
    "vanilla": (kpf.VanillaRNN(3, 4), 2 * 10 * 16, 4 * 10 * 4 * 8),
    "vanilla without bias": (kpf.VanillaRNN(3, 4, bias=False), 2 * 10 * 16, 4 * 10 * 4 * 7),
    "GRU": (kpf.GRU(3, 4), 2 * 10 * 3 * 16, 4 * 10 * 4 * (4 + 5 + 8 + 8)),
    "LSTM": (kpf.LSTM(3, 4), 2 * 10 * 4 * 16, 4 * 10 * 4 * 4 * 8),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_costs_are_those_of_the_formulas(name):
    cell, of_propagator, of_gram = EXPECTED[name]
    lin = linearization(cell)
    P, K, J = kpf.Propagator(lin), kpf.ParameterOperator(lin), kpf.ParameterJacobian(lin)
    assert P.product_cost().flops == of_propagator
    assert kpf.InversePropagator(lin).product_cost().flops == of_propagator
    assert kpf.PropagatorGram(lin).product_cost().flops == 2 * of_propagator
    assert K.product_cost().flops == of_gram
    assert J.product_cost().flops == of_gram / 2
    assert kpf.Sensitivity(lin).product_cost().flops == of_propagator + of_gram / 2
    assert kpf.TangentKernel(lin).product_cost().flops == 2 * of_propagator + of_gram


@pytest.mark.parametrize("case", ALL_CASES, ids=str)
def test_costs_grow_with_the_columns_and_pass_through_adjoints(case):
    operator = case.build(linearization(kpf.GRU(3, 4)))
    one, seven = operator.product_cost(), operator.product_cost(7)
    assert seven.flops == 7 * one.flops > 0
    # Each adds the workspace of its own kernels, which test_product_memory.py measures.
    assert one.memory_bytes < seven.memory_bytes <= 7 * one.memory_bytes
    for columns, cost in ((1, one), (7, seven)):
        assert cost.memory_bytes >= columns * operator.shape[0] * operator.dtype.itemsize
    assert operator.H.product_cost(7) == seven
    assert ScaledOperator(operator, 2.0).product_cost(7).flops == seven.flops + 7 * max(
        operator.shape
    )


@pytest.mark.parametrize("case", ALL_CASES, ids=str)
def test_a_cell_without_sites_has_no_known_cost(case):
    operator = case.build(linearization(OWN_CASES[0].cell))
    assert operator.product_cost() is None
    assert operator.H.product_cost() is None
    assert ScaledOperator(operator, 2.0).product_cost() is None
