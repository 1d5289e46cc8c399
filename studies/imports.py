"""Reads studies that Optuna made elsewhere, from an SQLite file or a journal, without changing it.

The file is copied first: Optuna would write into it when it opens it. What is read becomes a study here that can be looked at,
compared and exported; there is nothing to train in it.
"""

import contextlib
import dataclasses
import json
import math
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from studies.errors import StoreError
from studies.objectives import Summary, wilson
from studies.search import Choices, Range

OWN_COLUMNS = {"number", "n", "n_lost", "lost_low", "lost_high", "outcome", "state", "chunk", "run_id", "selected"}
"""Of the table of trials: a parameter of that name gets an underscore."""
SUMMARY = "brink:summary"
"""Among a trial's user attributes in Optuna's tables: what its seeds came to, where Brink trained it."""


@dataclass(frozen=True)
class ImportedSearch:
    """What is known of a search that was made elsewhere, with the names of `Search`.

    Attributes
    ----------
    directions : dict of str to str
        minimize or maximize, by objective.
    source : str
        The file's name.
    """

    name: str
    space: dict
    directions: dict
    n_trials: int
    source: str = ""
    sampler: str = "imported"
    pruner: str = "none"
    n_seeds: int = 1
    seconds: None = None
    warm_start: str = ""
    fixed: dict = field(default_factory=dict)
    promise: str = ""

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of what was optimized."""
        return tuple(self.directions)

    def direction(self, objective: str) -> str:
        """Return minimize or maximize."""
        return self.directions[objective]

    def to_json(self) -> str:
        """Return it as JSON."""
        space = {n: list(p.values) if isinstance(p, Choices) else dataclasses.asdict(p) for n, p in self.space.items()}
        return json.dumps(dataclasses.asdict(self) | {"space": space})

    @classmethod
    def from_dict(cls, raw: dict) -> "ImportedSearch":
        """Return what a dict of plain values describes."""
        space = {n: Choices(part) if isinstance(part, list) else Range(**part) for n, part in raw["space"].items()}
        return cls(**raw | {"space": space})


def is_sqlite(path: Path) -> bool:
    """Return whether a file is an SQLite database, by asking SQLite, which changes nothing.

    Never read such a file by other means: closing it would take away the locks that this process's connections hold on it, and
    another process could remove the log from under them (sqlite.org/howtocorrupt.html, section 2.2).
    """
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            connection.execute("PRAGMA schema_version").fetchone()
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):
                return False
            raise
    return True


@contextlib.contextmanager
def _opened(path: Path) -> Iterator:
    """Give Optuna's storage on a copy of a file."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not path.is_file():
        raise StoreError(f"expected a file that Optuna wrote, found none at {path}")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        copy = Path(folder) / "copy"
        storage = None
        try:
            if not is_sqlite(path) or not path.stat().st_size:
                shutil.copyfile(path, copy)
                storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(copy)))
            else:
                with (
                    contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
                    contextlib.closing(sqlite3.connect(copy)) as target,
                ):
                    source.backup(target)  # with what still stands in its write-ahead log
                    tables = {name for (name,) in target.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
                if not {"studies", "trials", "version_info"} <= tables:
                    raise StoreError(f"expected a file that Optuna wrote, found an SQLite file without its tables: {path.name}")
                storage = optuna.storages.RDBStorage(f"sqlite:///{copy}", skip_compatibility_check=True)
                if storage.get_current_version() not in storage.get_all_versions():
                    raise StoreError(
                        f"expected a file that Optuna {optuna.__version__} can read, found one that a newer version made: "
                        f"{path.name}; upgrade Optuna. Nothing was written."
                    )
                if storage.get_current_version() != storage.get_head_version():
                    storage.upgrade()  # the copy
            yield storage
        except StoreError:
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            raise StoreError(
                f"expected a file that Optuna {optuna.__version__} can read, found {path.name}: {text}. Nothing was written."
            ) from error
        finally:
            if hasattr(storage, "engine"):
                storage.remove_session()
                storage.engine.dispose()


def names_in(path: str | Path) -> list[str]:
    """Return the names of the studies in a file that Optuna wrote.

    Raises
    ------
    StoreError
        If it is none, or of a newer version.
    """
    with _opened(Path(path)) as storage:
        return [study.study_name for study in storage.get_all_studies()]


def import_study(store, path: str | Path, study: str | None = None, name: str | None = None) -> str:
    """Copy a study that Optuna made into a store and return its id.

    Trials that had not ended are left out. A value that is missing (the trial failed) or not finite counts as bad as the worst
    finite one, with the outcome failed or diverged, so that it is drawn and counted.

    Parameters
    ----------
    study : str, optional
        Which one, where the file has several.
    name : str, optional
        Another name for it here.

    Raises
    ------
    StoreError, PlanError
        If the file cannot be read or has no such study, or the name is taken; then nothing is written.
    """
    with _opened(Path(path)) as storage:
        found = {each.study_name: each for each in storage.get_all_studies()}
        if study is None and len(found) == 1:
            study = next(iter(found))
        if study not in found:
            known = ", ".join(map(repr, found)) or "none at all"
            raise StoreError(f"expected the name of one of the file's studies ({known}), found {study!r}")
        chosen = found[study]
        ended = [trial for trial in storage.get_all_trials(chosen._study_id) if trial.state.is_finished()]
        attributes = storage.get_study_system_attrs(chosen._study_id)
        directions = [direction.name.lower() for direction in chosen.directions]
    if not ended:
        raise StoreError(f"expected a study with trials that have ended, found none in {study!r}")
    names = attributes.get("study:metric_names") or (["value"] if len(directions) == 1 else [])
    names = names or [f"value_{i}" for i in range(len(directions))]
    objectives: dict[str, str] = {}
    for given, direction in zip(names, directions, strict=True):
        objectives[_free(str(given) or "value", set(objectives))] = direction
    space = _space(ended, {f"{part}{name}" for part in ("", "median_", "spread_") for name in objectives})
    search = ImportedSearch(name or study, space, objectives, len(ended), Path(path).name)
    worst = [_worst([t.values[i] for t in ended if t.values], direction) for i, direction in enumerate(directions)]
    columns = {given: column for given, column in zip(_given(ended), space, strict=True)}
    trials = [
        ({columns[given]: value for given, value in trial.params.items()}, _summary(trial, worst, len(directions)))
        for trial in ended
    ]
    times = [t.timestamp() for trial in ended for t in (trial.datetime_start, trial.datetime_complete) if t]
    return store.add_imported(search, trials, (min(times, default=0.0), max(times, default=0.0)))


def _free(name: str, taken: set = frozenset()) -> str:
    """Return a column name that is not taken."""
    while name in OWN_COLUMNS or name in taken:
        name += "_"
    return name


def _given(trials: list) -> list[str]:
    """Return the names of all parameters, in the order of their first trial."""
    return list(dict.fromkeys(name for trial in trials for name in trial.params))


def _space(trials: list, taken: set) -> dict:
    """Return what the trials' distributions span together."""
    from optuna.distributions import CategoricalDistribution

    space: dict = {}
    for name in _given(trials):
        parts = [trial.distributions[name] for trial in trials if name in trial.distributions]
        values = [trial.params[name] for trial in trials if name in trial.params]
        if any(isinstance(part, CategoricalDistribution) for part in parts):
            choices = [c for part in parts if isinstance(part, CategoricalDistribution) for c in part.choices]
            part = Choices([_hashable(value) for value in [*choices, *values]])
        else:
            low, high = min(part.low for part in parts), max(part.high for part in parts)
            part = Range(low, high, all(part.log for part in parts))
        space[_free(name, taken | set(space))] = part
    return space


def _hashable(value: object) -> object:
    """Return a choice as a plain value; lists and others as their text."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _worst(values: list[float], direction: str) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return (max if direction == "minimize" else min)(finite, default=0.0)


def _summary(trial, worst: list[float], n_objectives: int) -> Summary:
    """Return what one trial came to."""
    ours = trial.user_attrs.get(SUMMARY)
    known = {f.name for f in dataclasses.fields(Summary)}
    if isinstance(ours, dict) and set(ours) <= known and "values" in ours:
        with contextlib.suppress(TypeError):
            return Summary(**{name: tuple(value) if isinstance(value, list) else value for name, value in ours.items()})
    given = trial.values or [math.nan] * n_objectives
    finite = [math.isfinite(value) for value in given]
    state = "pruned" if trial.state.name == "PRUNED" else "complete"
    outcome = "complete" if all(finite) or state == "pruned" else "diverged" if trial.values else "failed"
    values = tuple(value if is_finite else bad for value, is_finite, bad in zip(given, finite, worst, strict=True))
    lost = int(outcome != "complete")
    return Summary(values, values, (0.0,) * n_objectives, 1, lost, *wilson(lost, 1), outcome=outcome, state=state)
