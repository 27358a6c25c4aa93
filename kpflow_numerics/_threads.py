"""Control of the threads of the BLAS around kernels that are parallel themselves."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import threadpoolctl


@functools.cache
def _controller() -> threadpoolctl.ThreadpoolController:
    # numba's np.dot calls the BLAS that scipy links to, which is loaded with this module.
    import scipy.linalg.blas  # noqa: F401

    return threadpoolctl.ThreadpoolController()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Run the body with every BLAS on one thread, and restore the limits after it."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


def n_threads() -> int:
    """Return the number of threads that the parallel kernels use."""
    return int(numba.get_num_threads())
