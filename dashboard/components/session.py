"""What every page needs: the store, and texts that are shown as they are."""

import streamlit as st

from engine import BrinkError
from studies import Store, open_store

_MARKUP = str.maketrans({character: "\\" + character for character in "\\`*_{}[]<>()#+-.!|~$:^="})


def literal(text: str) -> str:
    """Return text so that Markdown shows it as it is."""
    return text.translate(_MARKUP).replace("\n", " ")


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
