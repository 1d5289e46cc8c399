"""How outcomes look, everywhere the same: a colour that colour-blind people tell apart, a symbol, a word.

Colours after Okabe & Ito (2008), "Color Universal Design"; the two neutral ones are for trials that were run elsewhere.
"""

from typing import NamedTuple


class Look(NamedTuple):
    """Colour, symbol for texts, shape for charts, name of the theme's colour."""

    color: str
    symbol: str
    shape: str
    theme: str


LOOKS = {
    "solved": Look("#009E73", "✓", "circle", "green"),
    "learning": Look("#56B4E9", "↘", "triangle-down", "blue"),
    "stalled": Look("#8A8F98", "–", "M-1,-0.3H1V0.3H-1Z", "gray"),
    "unstable": Look("#CC79A7", "≈", "square", "violet"),
    "diverged": Look("#E69F00", "↗", "diamond", "orange"),
    "overflow": Look("#D55E00", "∞", "cross", "red"),
    "training": Look("#0072B2", "…", "circle", "primary"),
    "complete": Look("#5F7F9F", "•", "circle", "gray"),
    "failed": Look("#80695A", "✕", "triangle-up", "gray"),
}
CATEGORIES = ["#4477AA", "#AA3377", "#228833", "#CCBB44", "#66CCEE", "#EE6677", "#999999"]
"""Colours of settings, Paul Tol's bright scheme (2021): readable in light and dark, and not those of outcomes."""


def word(outcome: str) -> str:
    """Return an outcome with its symbol."""
    return f"{LOOKS[outcome].symbol} {outcome}" if outcome in LOOKS else outcome
