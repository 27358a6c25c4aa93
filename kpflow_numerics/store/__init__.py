"""Runs in HDF5 files."""

from ._disk import StoreError
from .describe import describe_run
from .provenance import collect_provenance
from .run_file import RunFile
from .sweep_grid import GridVariable, SweepGrid
from .toml import to_toml

__all__ = [
    "GridVariable",
    "RunFile",
    "StoreError",
    "SweepGrid",
    "collect_provenance",
    "describe_run",
    "to_toml",
]
