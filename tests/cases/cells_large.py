"""Cases of cells with more rows than a kernel takes at a time, so that its blocks must fit."""

from __future__ import annotations

from dataclasses import replace

from tests.cases.cells import BIASED_CELLS, CellCase

LARGE_CASES: tuple[CellCase, ...] = tuple(
    CellCase(replace(cell, n_units=5), n_trials=7, n_steps=55) for cell in BIASED_CELLS
)
