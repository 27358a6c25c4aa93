"""Control of threads: of kernels that are parallel themselves, and of the BLAS around them."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import numba
import threadpoolctl

Item = TypeVar("Item")
Result = TypeVar("Result")

# Multiplications of a kernel that two threads finish sooner than one: some twenty microseconds.
_WORTH_SHARING = 1e6


@functools.cache
def _blas_libraries() -> list[threadpoolctl.LibController]:
    # numba's np.dot calls the BLAS that scipy links to, which is loaded with this module.
    import scipy.linalg.blas  # noqa: F401

    loaded = threadpoolctl.ThreadpoolController().lib_controllers
    return [library for library in loaded if library.user_api == "blas"]


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Run the body with every BLAS on one thread, and restore the limits after it."""
    # Two microseconds; threadpoolctl's own context, which reads more of each library, takes twenty.
    threaded = [
        (library, n_before)
        for library in _blas_libraries()
        if (n_before := library.num_threads) not in (1, None)
    ]
    for library, _ in threaded:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, n_before in threaded:
            library.set_num_threads(n_before)


@functools.cache
def _launched() -> tuple[int, str]:
    """Return the process that the threads of the kernels belong to, and Numba's layer of them."""
    n_threads()
    return os.getpid(), numba.threading_layer()


class _Turns:
    """The one lock of all Python threads that come to a kernel, anew in a forked process.

    A thread that held it when the process was forked is not there to let go of it.
    """

    def __init__(self) -> None:
        self.renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.lock = threading.RLock()


_TURNS = _Turns()


def _turn() -> AbstractContextManager[Any]:
    """Return what a Python thread holds while it is in a kernel.

    Numba's own layer, which serves where there is no OpenMP, ends the process where two threads are
    in kernels at once.
    """
    _, layer = _launched()
    return _TURNS.lock if layer == "workqueue" else nullcontext()


def _check_process() -> None:
    """Refuse a process forked after the threads began, which GNU OpenMP would end in a kernel."""
    process, layer = _launched()
    if layer == "omp" and process != os.getpid() and os.uname().sysname == "Linux":
        raise RuntimeError(
            "this process was forked from one that had used kernels already, whose threads (GNU "
            'OpenMP) a fork cannot use. Start workers with multiprocessing.get_context("spawn") or '
            '"forkserver", or set NUMBA_THREADING_LAYER=workqueue before Python starts.'
        )


@contextmanager
def kernel_threads(n_multiplications: float) -> Iterator[None]:
    """Run parallel kernels in the body, with every BLAS on one thread.

    Work too small to share runs on one thread alone: a second one would save microseconds, and
    on a busy machine the kernel waits many milliseconds for its turn. Which threads run depends on
    the size of the work only, so that equal calls give equal bits.

    Raises
    ------
    RuntimeError
        In a process that was forked from one whose threads it cannot use.
    """
    _check_process()
    allowed = n_threads()
    with _turn(), single_threaded_blas():
        if n_multiplications >= _WORTH_SHARING:
            yield
            return
        numba.set_num_threads(1)
        try:
            yield
        finally:
            numba.set_num_threads(allowed)


def n_threads() -> int:
    """Return the number of threads that the parallel kernels use."""
    return int(numba.get_num_threads())


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return ``[function(item) for item in items]``, made on several threads.

    Each has the BLAS on one thread, which holds its speed on a busy machine where a threaded BLAS
    loses it. The function must spend its time in NumPy and call no parallel kernel.
    """
    pieces = list(items)
    with single_threaded_blas():
        if len(pieces) == 1:
            return [function(pieces[0])]
        with ThreadPoolExecutor(n_threads()) as pool:
            return list(pool.map(function, pieces))


def share_rows(n_rows: int) -> int:
    """Return how many of `n_rows` equal pieces of work (trials, rows) each thread takes."""
    return -(-n_rows // n_threads())
