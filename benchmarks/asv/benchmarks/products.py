"""Time of block products, and what they take of memory by the library's own account."""

from __future__ import annotations

import numpy as np

import kpflow_numerics as kpf

SIZES = {"S": (10, 30, 64), "M": (20, 90, 128)}
CELLS = {"vanilla-rnn": kpf.VanillaRNN, "gru": kpf.GRU, "lstm": kpf.LSTM}
OPERATORS = {"P": kpf.Propagator, "K": kpf.ParameterOperator, "NTK": kpf.TangentKernel}


def linearization(kind: str, sizes: tuple[int, int, int], dtype: str) -> kpf.Linearization:
    """Return the linearisation of a fresh network on random inputs."""
    n_trials, n_steps, n_units = sizes
    cell = CELLS[kind](n_inputs=3, n_units=n_units)
    params = {name: array.astype(dtype) for name, array in cell.init_params(rng=7).items()}
    inputs = np.random.default_rng(7).standard_normal((n_trials, n_steps, 3))
    return kpf.linearize(kpf.simulate(cell, params, inputs))


class Products:
    """A product of an operator with a block."""

    param_names = ("operator", "cell", "size", "dtype", "columns")
    params = ([*OPERATORS], [*CELLS], [*SIZES], ["float32", "float64"], [1, 32])

    def setup(self, operator: str, cell: str, size: str, dtype: str, columns: int) -> None:
        lin = linearization(cell, SIZES[size], dtype)
        self.operator = OPERATORS[operator](lin)
        self.block = np.ones((*self.operator.dims, columns), dtype)
        self.operator.apply(self.block)

    def time_product(self, *_: object) -> None:
        self.operator.apply(self.block)

    def track_memory_bytes(self, *parameters: object) -> float:
        return self.operator.product_cost(parameters[-1]).memory_bytes

    track_memory_bytes.unit = "bytes"


class PeakMemory:
    """Peak of a whole process that linearises and multiplies a block of 32."""

    param_names = ("cell", "size")
    params = ([*CELLS], [*SIZES])

    def peakmem_product(self, cell: str, size: str) -> None:
        lin = linearization(cell, SIZES[size], "float32")
        kpf.TangentKernel(lin).apply(np.ones((*lin.dims, 32), "float32"))
