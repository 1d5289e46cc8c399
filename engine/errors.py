"""The family of errors that Brink raises on purpose.

BrinkError                  anything a user can mend; the message says what was expected, what was found, what to do
├── ConfigError             a setting that cannot be trained (also a ValueError)
└── (studies.errors)        storage and jobs
"""


class BrinkError(Exception):
    """Base of every error that is raised for the user to read."""


class ConfigError(BrinkError, ValueError):
    """A setting of a run is unknown, of the wrong type or out of its range."""
