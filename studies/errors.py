"""Errors of storage and jobs; their family starts in `engine.errors`.

BrinkError
├── ConfigError         a setting that cannot be trained
├── PlanError           a list of runs that makes no sense (too many, empty, unknown preset)
│   └── NameTakenError  another study or map has that name
├── StoreError          the store cannot be opened, read or written
│   └── MissingRunError a run that is not in the store, perhaps not any more
├── ExportError         a table that a kind of file cannot hold
└── JobError            a job does not exist or is not in the state asked for
"""

from engine import BrinkError


class PlanError(BrinkError, ValueError):
    """The runs asked for do not make sense together."""


class NameTakenError(PlanError):
    """Another study or map has that name."""


class StoreError(BrinkError):
    """The store cannot be opened, read or written; nothing was changed."""


class MissingRunError(StoreError):
    """There is no run with this id, or there is no more."""


class JobError(BrinkError):
    """A job does not exist, is not in the state asked for, or was taken over by another process."""
