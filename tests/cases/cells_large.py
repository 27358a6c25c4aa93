"""Cases of cells with more rows or units than a kernel takes at a time, so that blocks must fit."""

from __future__ import annotations

from dataclasses import replace

from tests.cases.cells import BIASED_CELLS, CellCase

LARGE_CASES: tuple[CellCase, ...] = tuple(
    CellCase(replace(cell, n_units=5), n_trials=7, n_steps=55) for cell in BIASED_CELLS
)
WIDE_CASES: tuple[CellCase, ...] = tuple(
    CellCase(replace(cell, n_units=21), n_trials=7, n_steps=5) for cell in BIASED_CELLS
)
"""More units than fill a vector of the processor, so that products run in tiles of vectors."""
