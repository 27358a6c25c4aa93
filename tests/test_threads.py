"""How many threads kernels run on."""

from __future__ import annotations

import numba
import pytest

from kpflow_numerics._threads import (
    _WORTH_SHARING,
    kernel_threads,
    map_in_threads,
    n_threads,
    share_rows,
)

needs_two = pytest.mark.skipif(n_threads() < 2, reason="needs two threads")


@needs_two
def test_small_work_runs_on_one_thread_and_large_work_on_all() -> None:
    allowed = n_threads()
    with kernel_threads(_WORTH_SHARING - 1):
        assert n_threads() == 1
        assert share_rows(7) == 7
    assert n_threads() == allowed
    with kernel_threads(_WORTH_SHARING):
        assert n_threads() == allowed


@needs_two
def test_the_limit_of_a_user_is_kept() -> None:
    allowed = n_threads()
    numba.set_num_threads(1)
    try:
        with kernel_threads(_WORTH_SHARING):
            assert n_threads() == 1
        assert n_threads() == 1
    finally:
        numba.set_num_threads(allowed)


def test_the_limit_is_restored_after_an_error() -> None:
    allowed = n_threads()
    with pytest.raises(KeyError, match="inside"), kernel_threads(1.0):
        raise KeyError("inside")
    assert n_threads() == allowed


@pytest.mark.parametrize("n_rows", [1, 2, 7, 64])
def test_shares_cover_all_rows(n_rows: int) -> None:
    share = share_rows(n_rows)
    assert share * n_threads() >= n_rows > (share - 1) * n_threads()


def test_results_of_threads_keep_their_order() -> None:
    assert map_in_threads(lambda item: item * item, range(9)) == [i * i for i in range(9)]
