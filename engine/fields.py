"""One setting of a run: its type, its range, what to tell people about it, and the checks that follow from that.

Python arguments, the command line and what people type into the dashboard all pass here, so that the same mistake gets the
same message everywhere.
"""

import dataclasses
import difflib
import math
import numbers
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from engine.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Field:
    """A setting.

    Attributes
    ----------
    kind : str
        "int", "float", "bool" or "choice".
    low, high : float
        Smallest and largest value allowed; `above_low` excludes `low` itself.
    choices : tuple of str
        The values of a "choice".
    optional : bool
        Whether None ("off") is allowed.
    needs : tuple of (str, tuple of str)
        Another setting and the values of it that give this one a meaning; with other values it has to be None.
    usual : callable
        `usual(settings)` is what None stands for where the setting has a meaning.
    note : str
        One sentence for people: what it does, what values are usual.
    """

    kind: str
    label: str
    note: str
    low: float = -math.inf
    high: float = math.inf
    above_low: bool = False
    choices: tuple[str, ...] = ()
    short_names: dict[str, str] = dataclasses.field(default_factory=dict)
    optional: bool = False
    needs: tuple[str, tuple[str, ...]] | None = None
    usual: Callable[[dict], object] | None = None

    @property
    def expected(self) -> str:
        """What a value must look like, in words."""
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        if self.kind == "bool":
            return "true or false"
        noun = "a whole number" if self.kind == "int" else "a number"
        low = f"above {self.low:g} up to" if self.above_low else f"from {self.low:,.12g} to"
        return f"{noun} {low} {self.high:,.12g}" + (", or none" if self.optional else "")

    def applies(self, settings: dict) -> bool:
        """Return whether the setting means something beside the others."""
        return self.needs is None or settings[self.needs[0]] in self.needs[1]


def unknown_name(what: str, name: object, known: Iterable[str]) -> ConfigError:
    """Return the error for a name that does not exist: lists the known ones and the nearest."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5) if isinstance(name, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"{what}: expected one of {', '.join(known)}, found {shown(name)}{hint}")


def shown(value: object) -> str:
    """Return a value as error messages quote it: its repr, shortened when long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _wrong(name: str, field: Field, value: object) -> ConfigError:
    return ConfigError(f"{name}: expected {field.expected}, found {shown(value)}")


def _check_choice(name: str, field: Field, value: object) -> str:
    value = field.short_names.get(value, value) if isinstance(value, str) else value
    if not isinstance(value, str) or value not in field.choices:
        raise unknown_name(name, value, field.choices)
    return str(value)  # numpy.str_ is a str, but not the field's own type


def _check_bool(name: str, field: Field, value: object) -> bool:
    if not isinstance(value, bool) and type(value).__name__ != "bool":  # numpy.bool is no subclass of bool
        raise _wrong(name, field, value)
    return bool(value)


def _check_number(convert: Callable, wanted: type) -> Callable:
    def check_number(name: str, field: Field, value: object):
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise _wrong(name, field, value)
        try:
            value = convert(value) + 0  # turns -0.0 into 0.0: equal configs must have one identity
        except OverflowError:  # a whole number beyond every float
            raise _wrong(name, field, value) from None
        inside = (field.low < value if field.above_low else field.low <= value) and value <= field.high
        if not inside:
            raise _wrong(name, field, value)
        return value

    return check_number


_CHECKS: dict[str, Callable] = {
    "choice": _check_choice,
    "bool": _check_bool,
    "int": _check_number(int, numbers.Integral),
    "float": _check_number(float, numbers.Real),
}


def check(name: str, field: Field, value: object) -> object:
    """Return `value` as the field's own Python type, or raise `ConfigError` with the allowed range."""
    if value is None and (field.optional or field.usual):
        return None
    return _CHECKS[field.kind](name, field, value)


def parse(name: str, field: Field, text: str) -> object:
    """Return what a person typed for a setting as a checked value; None for "none" or "usual" where that is allowed."""
    text = text.strip()
    nothing = ("none", "off", "") if field.optional else ("usual", "") if field.usual else ()
    if text.lower() in nothing:
        return None
    if field.kind == "choice":
        return check(name, field, text)
    if field.kind == "bool":
        words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
        return check(name, field, words.get(text.lower(), text))
    try:
        number = int(text) if field.kind == "int" else float(text)
    except ValueError:
        raise _wrong(name, field, text) from None
    return check(name, field, number)
