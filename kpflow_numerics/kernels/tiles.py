"""Matrix products in tiles that OpenBLAS multiplies without packing them.

OpenBLAS copies both factors of a product into packed panels first, except where rows times columns
times inner length is at most a million: there its kernels for small matrices read the factors as
they are. The steps of a trajectory are products of a few million, for which packing costs as much
as multiplying; in tiles of rows below the limit they run at up to twice the rate. A BLAS without
such kernels loses little.
"""

from __future__ import annotations

from .._jit import jit

SMALL_PRODUCT = 1_000_000
_LEAST_ROWS = 16


@jit
def tile_rows(n_rows: int, n_inner: int, n_columns: int) -> int:
    """Return how many rows of the left factor to multiply at a time: a multiple of 16, or all."""
    fitting = SMALL_PRODUCT // (n_inner * n_columns)
    if fitting >= n_rows or fitting < _LEAST_ROWS:
        return n_rows
    return fitting // _LEAST_ROWS * _LEAST_ROWS
