"""Stores for the dashboard's tests: an empty one, and one with every kind of run."""

import pytest
from streamlit.testing.v1 import AppTest

from engine import ACTIVATIONS
from studies import Plan, open_store
from studies.jobs import run_job

PLANS = {
    "classic": Plan.of("classic", n_iterations=300, seed=[1, 2]),
    "relu": Plan.of("relu", n_iterations=60, seed=[1, 2]),
    "dies": Plan.of("classic", activation="softplus", n_iterations=50, seed=[2]),
    "diverges": Plan.of("classic", learning_rate=100.0, n_iterations=300, seed=[1]),
}


@pytest.fixture(scope="session")
def filled_url(tmp_path_factory):
    """A store with a few jobs and runs of several outcomes; tests must not change it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('filled') / 'brink.db'}"
    store = open_store(url)
    for name, plan in PLANS.items():
        run_job(store, store.add_job(plan, "" if name == "classic" else name), 1)
    assert set(ACTIVATIONS) >= {"softplus", "relu"}
    return url


@pytest.fixture
def empty_url(tmp_path):
    """A store without any run."""
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    open_store(url)
    return url


@pytest.fixture
def open_app(monkeypatch):
    """Return a function that opens a page on a store, at an address."""

    def open_app(url: str, page: str = "experiment", **address) -> AppTest:
        monkeypatch.setenv("BRINK_STORAGE", url)
        test = AppTest.from_file("../../dashboard/app.py", default_timeout=60)
        for name, value in address.items():
            test.query_params[name] = value
        if page != "experiment":
            test.switch_page(f"views/{page}.py")
        test.run()
        assert not test.exception
        return test

    return open_app


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    """Keep every test away from the user's folders and from other tests' cached store."""
    import streamlit as st

    for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    st.cache_resource.clear()
    st.cache_data.clear()
