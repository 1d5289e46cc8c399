"""What every page needs: the store, and texts that are shown as they are."""

import functools
import itertools
from collections.abc import Callable

import streamlit as st

from engine import BrinkError
from studies import JobError, Store, open_store
from studies.errors import MissingRunError

_MARKUP = str.maketrans({character: "\\" + character for character in "\\`*_{}[]<>()#+-.!|~$:^="})


def literal(text: str) -> str:
    """Return text so that Markdown shows it as it is."""
    return text.translate(_MARKUP).replace("\n", " ")


def free_name(name: str, taken: set[str]) -> str:
    """Return the first that is free of a name, "name 2", "name 3" ..."""
    return name if name not in taken else next(new for n in itertools.count(2) if (new := f"{name} {n}") not in taken)


def draws_what_is_there(draw: Callable[..., None]) -> Callable[..., None]:
    """Draw the whole page again where what is shown is deleted elsewhere in the middle of the drawing: a run, job or study."""

    @functools.wraps(draw)
    def drawn(*arguments) -> None:
        try:
            draw(*arguments)
        except (JobError, MissingRunError):
            st.rerun()

    return drawn


def given(key: str, options: list | None = None) -> dict:
    """Return the key of a widget whose state is set by code, and that state as its default too; of one with options, its place.

    A browser that begins the next run of the page before it has seen the first one to its end sends the default of what it
    has not been told yet, such as the least step of a slider.
    """
    value = st.session_state[key]
    if options is None:
        return {"key": key, "value": value}
    return {"key": key, "options": options, "index": options.index(value) if value in options else 0}


def keep_state(keys: list[str]) -> None:
    """Give widgets back what Streamlit forgot because they were not drawn in the run before.

    Those that were drawn are left alone: setting their state would overwrite what somebody is typing.
    """
    kept = st.session_state.setdefault("kept_state", {})
    for key in keys:
        if key in st.session_state:
            kept[key] = st.session_state[key]
        elif key in kept:
            st.session_state[key] = kept[key]


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
