"""The registry of cell cases: every cell and setting, at sizes that tell the axes apart.

The plain twin of each cell's step is ``kpflow_numerics.analysis.reference_steps.reference_step``,
which runs on NumPy, complex and autograd arrays alike and shares nothing with the kernels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import autograd.numpy as anp
import numpy as np

import kpflow_numerics as kpf
from kpflow_numerics.cells.base import Cell


@dataclass(frozen=True)
class CellCase:
    """A cell, and the sizes and precision to run it at; ``h0`` is never zero."""

    cell: Cell
    n_trials: int = 3
    n_steps: int = 5
    dtype: type = np.float64
    seed: int = 23

    def __str__(self) -> str:
        settings = [f"{key}={value}" for key, value in vars(self.cell).items() if key != "step"]
        sizes = f"B={self.n_trials},T={self.n_steps},{np.dtype(self.dtype)}"
        return f"{self.cell.kind}({','.join(settings[:6])};{sizes})"

    def in_float32(self) -> CellCase:
        return replace(self, dtype=np.float32)

    def params(self) -> dict[str, np.ndarray]:
        return self.cell.init_params(gain=1.4, rng=self.seed, dtype=self.dtype)

    def trajectory(self) -> kpf.Trajectory:
        rng = np.random.default_rng(self.seed + 1)
        inputs = rng.standard_normal((self.n_trials, self.n_steps, self.cell.n_inputs))
        h0 = 0.5 * rng.standard_normal((self.n_trials, self.cell.n_state))
        return kpf.simulate(self.cell, self.params(), inputs, h0)

    def linearization(self) -> kpf.Linearization:
        return kpf.linearize(self.trajectory())


def softplus_step(params, x, h):
    """A user's own step, as AutogradCell takes it."""
    a = anp.dot(h, params["weight_hh"].T) + anp.dot(x, params["weight_ih"].T) + params["shift"]
    return 0.7 * h + 0.3 * anp.log1p(anp.exp(a))


def own_cell(n_inputs: int, n_units: int) -> Cell:
    shapes = {
        "weight_ih": (n_units, n_inputs),
        "weight_hh": (n_units, n_units),
        "shift": (n_units,),
    }
    return kpf.AutogradCell(softplus_step, shapes, n_inputs=n_inputs, n_units=n_units)


SITE_CELLS: tuple[Cell, ...] = (
    kpf.VanillaRNN(2, 4),
    kpf.VanillaRNN(2, 4, activation="relu", bias=False),
    kpf.LeakyRNN(2, 4, form="rate", leak=0.3),
    kpf.LeakyRNN(2, 4, form="rate", leak=0.3, activation="relu", bias=False),
    kpf.LeakyRNN(2, 4, form="current", leak=0.3),
    kpf.LeakyRNN(2, 4, form="current", leak=0.3, activation="relu", bias=False),
    kpf.GRU(2, 4),
    kpf.GRU(2, 4, bias=False),
    kpf.LSTM(2, 4),
    kpf.LSTM(2, 4, bias=False),
)
BIASED_CELLS: tuple[Cell, ...] = tuple(cell for cell in SITE_CELLS if vars(cell)["bias"])


def edges(cell: Cell) -> tuple[CellCase, ...]:
    """Return the cases of one step, one trial and one unit."""
    return (
        CellCase(cell, n_steps=1),
        CellCase(cell, n_trials=1),
        CellCase(replace(cell, n_units=1)),
    )


SITE_CASES: tuple[CellCase, ...] = tuple(CellCase(cell) for cell in SITE_CELLS)
EDGE_CASES: tuple[CellCase, ...] = tuple(case for cell in BIASED_CELLS for case in edges(cell))
FLOAT32_CASES: tuple[CellCase, ...] = tuple(CellCase(cell).in_float32() for cell in BIASED_CELLS)
LOW_RANK_CELLS: tuple[Cell, ...] = (
    kpf.LowRankRNN(2, 4, rank=2, leak=0.7),
    kpf.LowRankRNN(2, 4, rank=1, activation="relu", bias=False),
    kpf.LowRankRNN(2, 4, rank=3, form="current", leak=0.3),
    kpf.LowRankRNN(2, 4, rank=1, form="current", leak=0.3, activation="relu", bias=False),
)
LOW_RANK_CASES: tuple[CellCase, ...] = (
    *(CellCase(cell) for cell in LOW_RANK_CELLS),
    CellCase(LOW_RANK_CELLS[0], n_steps=1),
    CellCase(LOW_RANK_CELLS[2], n_trials=1),
    CellCase(replace(LOW_RANK_CELLS[0], n_units=1, rank=1)),
)
"""A cell without weight sites, whose K has closed forms of its own."""

OWN_CASES: tuple[CellCase, ...] = (
    CellCase(own_cell(2, 4)),
    CellCase(own_cell(2, 4), n_steps=1),
    CellCase(own_cell(2, 1), n_trials=1),
)
CELL_CASES: tuple[CellCase, ...] = SITE_CASES + EDGE_CASES + LOW_RANK_CASES + OWN_CASES
"""Every case in float64."""
