"""For all tests of the engine."""

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Hold BLAS to one thread as jobs do: several cut large products differently, and fight each other on a busy machine."""
    with threadpool_limits(1):
        yield
