"""What every page needs: the store, and a server that does not collect garbage it cannot free."""

import gc

import streamlit as st

from engine import BrinkError
from studies import Store, open_store

_MARKUP = str.maketrans({character: "\\" + character for character in "\\`*_{}[]<>()#+-.!|~$:^="})


def literal(text: str) -> str:
    """Return text so that Markdown shows it as it is."""
    return text.translate(_MARKUP).replace("\n", " ")


@st.cache_resource(show_spinner=False)
def warm_up() -> bool:
    """Load what charts and tables need, once, and keep it out of every later garbage collection.

    Streamlit collects after each script run; with pandas and Altair loaded that cost 70 of 97 ms of a poll.
    """
    import altair
    import pandas

    gc.collect()
    gc.freeze()
    return bool(altair and pandas)


@st.cache_resource(show_spinner=False)
def _open() -> Store:
    return open_store()


def the_store() -> Store:
    """Return the store, or show why it cannot be opened and end the page."""
    try:
        return _open()
    except BrinkError as error:
        st.error(literal(str(error)))
        st.stop()
