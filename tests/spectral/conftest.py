import pytest
import threadpoolctl


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small matrices are slower on several threads, most of all on a busy machine."""
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        yield
