"""A study as one file that another installation reads without loss.

An archive is a zip file with four members: `manifest.json` (what it is, who wrote it, the others' sizes and checksums),
`study.json` (the rows of study, job, chunks and trials), `runs.json` (the rows of the runs, with their worked examples and the
shapes of their curves) and `curves.bin` (all curves one after the other, float64, lowest byte first). Ids are not in it: an
import gives new ones, and writes Optuna's study again through the same function that the store uses. JSON here has NaN and
Infinity.

Whatever an archive says is checked before anything is written: it may be damaged, or made to do harm. The state of the sampler
cmaes is a pickle, which Optuna reads when the study goes on, and which could run any code: it is first read with stand-ins for
the few classes that such a state has, and refused for any other.
"""

import dataclasses
import datetime
import hashlib
import importlib.metadata
import io
import json
import math
import pickle
import platform
import uuid
import zipfile
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa

from engine import CURVES, ENGINE_VERSION, BrinkError, RunConfig, fitting
from studies.errors import NameTakenError, StoreError
from studies.imports import SUMMARY, ImportedSearch
from studies.plans import Plan
from studies.schema import CHUNKS, JOBS, RUNS, STUDIES, TRIALS, ExactFloat
from studies.schema import CURVES as CURVE_ROWS
from studies.search import Choices, Range, Search
from studies.store_jobs import LIVE
from studies.store_runs import check_text, pack_array, unpack_array
from studies.store_studies import optuna_tables, read_search, read_summary, write_optuna

FORMAT, VERSION = "brink-study", 1
MANIFEST, STUDY, RUN_ROWS, VALUES = "manifest.json", "study.json", "runs.json", "curves.bin"
MEMBERS = (STUDY, RUN_ROWS, VALUES)
LARGEST_MANIFEST, LARGEST = 100_000, 2**30
"""Bytes of the manifest, and of all members together, unpacked."""
FLOAT = np.dtype("<f8")
PACKAGES = ("numpy", "optuna", "cmaes", "scipy", "sqlalchemy")
LARGEST_NUMBER = 2**63
_HERE_ONLY = {"id", "job_id", "study_id", "run_id", "optuna_id"}
_OF_A_PROCESS = {"token", "process", "live", "stop_requested", "pause_requested", "n_workers"}
_LEFT_OUT = _HERE_ONLY | _OF_A_PROCESS
"""Columns that mean nothing elsewhere."""
_HARMFUL = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)


class _Content(NamedTuple):
    """What an archive holds, checked."""

    search: Search | ImportedSearch
    job: dict
    study: dict
    chunks: list[dict]
    trials: list[dict]
    runs: list[dict]
    examples: list[str]
    curves: list[np.ndarray]


def export_archive(store, study_id: str) -> bytes:
    """Return a study with all its trials, runs and curves as an archive; it may be in training.

    Parameters
    ----------
    store : Store
    study_id : str
        Its id or name.

    Raises
    ------
    JobError
        If there is no such study.
    """
    study = store.study(study_id)
    mine, its_runs = {"study_id": study.id}, RUNS.c.job_id == study.job.id
    with store.reading() as connection:  # sees one state of the store
        one = {"study": (STUDIES, STUDIES.c.id == study.id), "job": (JOBS, JOBS.c.id == study.job.id)}
        rows = {
            name: _row(table, connection.execute(sa.select(table).where(which)).one()) for name, (table, which) in one.items()
        }
        for name, table in (("chunks", CHUNKS), ("trials", TRIALS)):
            query = sa.select(table).filter_by(**mine).order_by(table.c.number)
            rows[name] = [_row(table, row) for row in connection.execute(query)]
        query = sa.select(RUNS, CURVE_ROWS.c.curves, CURVE_ROWS.c.examples).join(CURVE_ROWS).where(its_runs)
        runs = connection.execute(query.order_by(RUNS.c.number)).all()
    curves = [unpack_array(row.curves) for row in runs]
    its_own = [{"examples": row.examples, "shape": curve.shape} for row, curve in zip(runs, curves, strict=True)]
    members = {
        STUDY: json.dumps(rows).encode(),
        RUN_ROWS: json.dumps([_row(RUNS, row) | own for row, own in zip(runs, its_own, strict=True)]).encode(),
        VALUES: b"".join(curve.astype(FLOAT).tobytes() for curve in curves),
    }
    if (size := sum(map(len, members.values()))) > LARGEST:
        raise StoreError(f"expected a study of at most {LARGEST:,} bytes, found {size:,}; export its tables instead")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, json.dumps(_manifest(study.name, members), indent=1))
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def _row(table: sa.Table, row: sa.Row) -> dict:
    """Return a row's values by column, without those that mean nothing elsewhere."""
    return {column.name: getattr(row, column.name) for column in table.c if column.name not in _LEFT_OUT}


def _manifest(name: str, members: dict[str, bytes]) -> dict:
    """Return what an archive says of itself."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": name,
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "engine_version": ENGINE_VERSION,
        "python": platform.python_version(),
        "packages": {package: importlib.metadata.version(package) for package in PACKAGES},
        "members": {name: {"bytes": len(data), "sha256": _checksum(data)} for name, data in members.items()},
    }


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_manifest(data: bytes) -> dict:
    """Return what an archive says of itself: name, created_at, engine_version, packages; nothing else is read.

    Raises
    ------
    StoreError
        If it is none, or of a newer version.
    """
    with _opened(data) as archive:
        return _read_manifest(archive)


def import_archive(store, data: bytes, name: str | None = None) -> str:
    """Write the study of an archive into a store and return its new id; one that was in training is stopped here.

    Parameters
    ----------
    store : Store
    data : bytes
        What `export_archive` returned, there or elsewhere.
    name : str, optional
        Another name for it here.

    Raises
    ------
    StoreError
        If the archive is damaged, of a newer version, or none at all; then nothing is written.
    NameTakenError
        If another study has the name; then nothing is written.
    """
    content = _checked(_members(data))
    search = content.search if name is None else dataclasses.replace(content.search, name=name)
    check_text("name", search.name)
    ids = SimpleNamespace(id=uuid.uuid4().hex, job_id=uuid.uuid4().hex, name=search.name, optuna_id=0)
    with store.reading() as connection:
        if connection.scalar(sa.select(STUDIES.c.id).where(STUDIES.c.name == search.name)):
            raise NameTakenError(f"name: expected a new one, found {search.name!r}, which another study has; give another")
    if isinstance(search, Search):
        ids.optuna_id = _make_optuna(store, search)
    try:
        with store.writing() as connection:
            _write(connection, ids, search, content)
    except BaseException as error:
        _forget_optuna(store, ids)
        if isinstance(error, _HARMFUL) and not isinstance(error, BrinkError):
            raise StoreError(f"expected an archive that this version can read, found {error}. Nothing was written.") from error
        raise
    return ids.id


def _make_optuna(store, search: Search) -> int:
    """Make an empty study in Optuna's tables, as `Store.add_study` does, and return its number."""
    import optuna

    storage = store.optuna_storage()
    try:
        directions = [search.direction(objective) for objective in search.objectives]
        return optuna.create_study(storage=storage, study_name=search.name, directions=directions)._study_id
    except optuna.exceptions.DuplicatedStudyError:
        raise NameTakenError(
            f"name: expected a new one, found {search.name!r}, which a study of Optuna in this store has; give another"
        ) from None
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _forget_optuna(store, ids) -> None:
    """Delete the study that Optuna was given, with nothing in it yet."""
    if not ids.optuna_id:
        return
    tables = optuna_tables()
    with store.writing() as connection:
        for table in ("study_directions", "study_user_attributes", "study_system_attributes", "studies"):
            connection.execute(tables[table].delete().where(tables[table].c.study_id == ids.optuna_id))


def _write(connection: sa.Connection, ids, search, content: _Content) -> None:
    """Insert all rows, with new ids."""
    taken = sa.select(STUDIES.c.id).where(STUDIES.c.name == search.name)
    if connection.scalar(taken):  # another process was faster
        raise NameTakenError(f"name: expected a new one, found {search.name!r}, which another study has; give another")
    status = "stopped" if content.job["status"] in LIVE else content.job["status"]
    job = content.job | {"id": ids.job_id, "name": search.name, "status": status}
    study = content.study | {"id": ids.id, "job_id": ids.job_id, "name": search.name, "optuna_id": ids.optuna_id}
    connection.execute(JOBS.insert().values(**job))
    connection.execute(STUDIES.insert().values(**study | {"search": search.to_json()}))
    for table, rows in ((CHUNKS, content.chunks), (TRIALS, content.trials)):
        if rows:
            connection.execute(table.insert(), [row | {"study_id": ids.id} for row in rows])
    run_ids = {number: uuid.uuid4().hex for number in _run_numbers(search, content.trials)}  # some runs may have been deleted
    if content.runs:
        runs = [run | {"id": run_ids[run["number"]], "job_id": ids.job_id} for run in content.runs]
        connection.execute(RUNS.insert(), runs)
        parts = zip(runs, content.curves, content.examples, strict=True)
        rows = [{"run_id": run["id"], "curves": pack_array(curves), "examples": text} for run, curves, text in parts]
        connection.execute(CURVE_ROWS.insert(), rows)
    if ids.optuna_id:
        _write_optuna_s_trials(connection, ids, search, content, run_ids)


def _write_optuna_s_trials(connection: sa.Connection, ids, search: Search, content: _Content, run_ids: dict[int, str]) -> None:
    """Write finished trials into Optuna's tables, chunk by chunk, as they were written when they were trained."""
    from studies.sampling import Proposal, distributions

    known, n = distributions(search), search.n_seeds
    for chunk in content.chunks:
        rows = [row for row in content.trials if row["chunk"] == chunk["number"] and row["summary"] is not None]
        if not rows:
            continue
        summaries = [read_summary(row["summary"]) for row in rows]
        proposals = [
            Proposal(row["number"], json.loads(row["params"]), json.loads(row["notes"]), summary.pruned_at)
            for row, summary in zip(rows, summaries, strict=True)
        ]
        values = [summary.pruned_at[-1:] or summary.values for summary in summaries]
        extra = [
            {"brink:runs": [run_ids[n * row["number"] + i] for i in range(n)], SUMMARY: json.loads(row["summary"])}
            for row in rows
        ]
        write_optuna(connection, ids, proposals, values, extra, known)


def _opened(data: bytes) -> zipfile.ZipFile:
    """Open an archive whose members have the names and sizes that they may have."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, *_HARMFUL, OSError, NotImplementedError) as error:
        raise StoreError(
            f"expected an archive of a study, found another kind of file ({error}). Nothing was written."
        ) from None
    found = archive.infolist()
    if sorted(member.filename for member in found) != sorted((MANIFEST, *MEMBERS)):
        names = ", ".join(repr(member.filename[:50]) for member in found[:10])
        raise StoreError(f"expected an archive with {', '.join((MANIFEST, *MEMBERS))}, found {names}. Nothing was written.")
    if archive.getinfo(MANIFEST).file_size > LARGEST_MANIFEST or sum(member.file_size for member in found) > LARGEST:
        raise StoreError(f"expected an archive of at most {LARGEST:,} bytes unpacked, found a larger one. Nothing was written.")
    return archive


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a member; no more than the size that was checked is ever unpacked."""
    try:
        return archive.read(name)
    except Exception as error:  # zlib.error, BadZipFile, a password, an unknown method: a wrong zip file fails in many ways
        raise StoreError(f"expected a whole archive, found it damaged: {name}: {error}. Nothing was written.") from None


def _parsed(name: str, data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"expected an archive with JSON in {name}, found {error}. Nothing was written.") from None


def _read_manifest(archive: zipfile.ZipFile) -> dict:
    """Return the manifest of an archive of this format and no newer version."""
    manifest = _parsed(MANIFEST, _read(archive, MANIFEST))
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"expected an archive of format {FORMAT!r}, found another. Nothing was written.")
    version = manifest.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise StoreError(f"expected the number of the archive's version, found {str(version)[:50]!r}. Nothing was written.")
    if version > VERSION:
        raise StoreError(
            f"the archive was made by a newer version of Brink: expected at most version {VERSION}, found {version}; upgrade "
            "Brink. Nothing was written."
        )
    return manifest


def _members(data: bytes) -> dict[str, bytes]:
    """Return the members of an archive, as they were written."""
    with _opened(data) as archive:
        listed = _read_manifest(archive).get("members")
        members = {name: _read(archive, name) for name in MEMBERS}
    expected = {name: {"bytes": len(part), "sha256": _checksum(part)} for name, part in members.items()}
    if listed != expected:
        raise StoreError("expected the members that the archive's manifest lists, found others. Nothing was written.")
    return members


def _checked(members: dict[str, bytes]) -> _Content:
    """Return the content of an archive, every value of which is one that this version could have written."""
    try:
        rows, runs = _parsed(STUDY, members[STUDY]), _parsed(RUN_ROWS, members[RUN_ROWS])
        _expect(isinstance(rows, dict) and set(rows) == {"study", "job", "chunks", "trials"}, "the tables of a study")
        study, job = _checked_row(STUDIES, rows["study"]), _checked_row(JOBS, rows["job"])
        chunks = [_checked_row(CHUNKS, row) for row in rows["chunks"]]
        trials = [_checked_row(TRIALS, row) for row in rows["trials"]]
        examples = [run.pop("examples") for run in runs]
        _expect(all(isinstance(json.loads(text), list) for text in examples), "lists of examples")
        shapes = [run.pop("shape") for run in runs]
        runs = [_checked_row(RUNS, run) for run in runs]
        search = read_search(study["search"])
        _check_study(search, study, job, chunks, trials)
        _check_runs(search, runs, trials)
        return _Content(search, job, study, chunks, trials, runs, examples, _curves(members[VALUES], shapes))
    except StoreError:
        raise
    except (*_HARMFUL, BrinkError) as error:
        text = f"{type(error).__name__}: {str(error)[:200]}"
        raise StoreError(f"expected an archive that this version can read, found {text}. Nothing was written.") from error


def _expect(right: bool, what: str) -> None:
    if not right:
        raise StoreError(f"expected {what} in the archive, found something else. Nothing was written.")


def _checked_row(table: sa.Table, row: dict) -> dict:
    """Return a row that has just the columns of its table, with values of their types."""
    columns = {column.name: column for column in table.c if column.name not in _LEFT_OUT}
    _expect(isinstance(row, dict) and set(row) == set(columns), f"rows with {', '.join(columns)}")
    return {name: _checked_value(column, row[name]) for name, column in columns.items()}


def _checked_value(column: sa.Column, value: object) -> object:
    """Return a value that a column can hold, as it would have been read from there."""
    where = f"{column.table.name}.{column.name}"
    if value is None:
        _expect(bool(column.nullable), f"a value of {where}")
    elif isinstance(column.type, sa.Float | ExactFloat):
        _expect(isinstance(value, float | int) and not isinstance(value, bool), f"a number as {where}")
        return float(value)
    elif isinstance(column.type, sa.Integer):
        _expect(isinstance(value, int) and not isinstance(value, bool), f"a whole number as {where}")
        _expect(-LARGEST_NUMBER <= value < LARGEST_NUMBER, f"a number of 64 bits as {where}")
    elif isinstance(column.type, sa.String):
        _expect(isinstance(value, str), f"text as {where}")
        _expect(len(value) <= (column.type.length or LARGEST), f"at most {column.type.length} characters as {where}")
        value.encode()  # half a surrogate pair fails
    else:
        raise TypeError(f"{where} is of a type that archives do not hold")
    return value


def _check_study(search, study: dict, job: dict, chunks: list[dict], trials: list[dict]) -> None:
    """Check what study, job, chunks and trials say of each other."""
    made_here = isinstance(search, Search)
    if not made_here:
        _check_imported(search)
    _expect(search.name == study["name"] == job["name"], "one name of the study")
    _expect(job["kind"] == ("search" if made_here else "import"), "the job of a study")
    _expect(job["status"] in (*LIVE, "finished", "stopped", "failed"), "a status")
    _expect(job["n_runs"] >= 0 and job["n_iterations"] > 0 and job["iterations_done"] >= 0, "a job that can be done")
    Plan.from_json(job["plan"])
    queue, prior = json.loads(study["queue"]), json.loads(study["prior"])
    _expect(isinstance(queue, list) and not (queue and not made_here), "a queue of trials")
    _expect(all(search.holds(values) for values in queue), "a queue of trials within the study's space")
    _expect(isinstance(prior, list), "earlier trials")
    _expect(all(search.holds(values) and _numbers(them) for values, them in prior), "earlier trials within the space")
    _expect([chunk["number"] for chunk in chunks] == [*range(len(chunks))], "chunks without gaps")
    states = [chunk["state"] for chunk in chunks]
    _expect(set(states[:-1]) <= {"done"} and set(states) <= {"done", "open"}, "chunks that are done, but perhaps the last")
    for row, part in [*((chunk, "attributes") for chunk in chunks), *((trial, "notes") for trial in trials)]:
        notes = json.loads(row[part])
        _expect(isinstance(notes, dict), f"{part} of a chunk or trial")
        _check_notes(notes)
    _expect([trial["number"] for trial in trials] == [*range(len(trials))], "trials without gaps")
    places = [number for number, chunk in enumerate(chunks) for _ in range(min(chunk["n_trials"], len(trials) + 1))]
    _expect([trial["chunk"] for trial in trials] == places, "trials in their chunks")
    for trial in trials:
        params, summary = json.loads(trial["params"]), read_summary(trial["summary"])
        _expect(isinstance(params, dict) and set(params) <= set(search.space), "values of what was searched")
        _expect((summary is None) == (states[trial["chunk"]] == "open"), "what the trials of a chunk that is done came to")
        _expect(summary is None or len(summary.values) == len(search.objectives), "a value for each objective")
        _expect(summary is None or (_numbers(summary.values) and _numbers(summary.pruned_at)), "numbers that trials came to")
        _expect(not made_here or search.holds(params), "trials within the study's space")


def _numbers(values: object) -> bool:
    return isinstance(values, list | tuple) and all(_is_number(value) for value in values)


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def _check_imported(search: ImportedSearch) -> None:
    """Check a search that was made with Optuna, which has no checks of its own."""
    texts = (search.name, search.source, search.sampler, search.pruner, search.warm_start, search.promise, *search.directions)
    _expect(all(isinstance(text, str) for text in texts), "texts of an imported study")
    _expect(set(search.directions.values()) <= {"minimize", "maximize"} and bool(search.directions), "directions")
    _expect(search.fixed == {} and search.seconds is None and search.n_seeds == 1, "an imported study")
    _expect(isinstance(search.n_trials, int) and search.n_trials >= 0, "a number of trials")
    for part in search.space.values():
        is_range = isinstance(part, Range) and _is_number(part.low) and _is_number(part.high)
        plain = isinstance(part, Choices) and all(isinstance(v, str | int | float | None) for v in part.values)
        _expect(is_range or plain, "the space of an imported study")


def _check_notes(notes: dict) -> None:
    """Refuse a state of CMA-ES that is more than numbers; Optuna keeps it as a pickle in parts of hexadecimal digits."""
    parts = [name for name in notes if "optimizer" in name]
    if not parts:
        return
    _expect(set(parts) == {f"cma:optimizer:{i}" for i in range(len(parts))}, "the parts of a state of CMA-ES")
    packed = bytes.fromhex("".join(notes[f"cma:optimizer:{i}"] for i in range(len(parts))))
    try:
        state = _StandIns(io.BytesIO(packed)).load()
    except Exception as error:  # what a wrong pickle raises is anything
        raise StoreError(
            f"expected the state of CMA-ES in the archive, found a pickle that could do harm ({str(error)[:100]}). "
            "Nothing was written."
        ) from None
    _expect(isinstance(state, _State), "the state of CMA-ES")


class _StandIns(pickle.Unpickler):
    """Reads a pickle without any class but the stand-ins below (Python's documentation of pickle, "Restricting Globals")."""

    def find_class(self, module, name):
        """Return a stand-in, or refuse."""
        core = "numpy.core.multiarray" if module == "numpy._core.multiarray" else module
        return _STAND_INS[core, name]


class _State:
    """In the place of an optimizer: takes what plain numbers and arrays describe, and no arguments."""

    def __new__(cls):
        return super().__new__(cls)

    def __setstate__(self, state):
        if not isinstance(state, dict) or not all(isinstance(name, str) and _is_plain(v) for name, v in state.items()):
            raise ValueError("the state of an optimizer that is not plain")


class _Type:
    """In the place of a NumPy type: a number of 64 bits."""

    def __new__(cls, name, align, copy):  # not __init__, which a pickle can go around
        if name not in ("f8", "i8"):
            raise ValueError(f"numbers of type {name!r}")
        return super().__new__(cls)

    def __setstate__(self, state):
        if state != (3, "<", None, None, None, -1, -1, 0):
            raise ValueError("numbers of another type")


class _Array:
    """In the place of an array: as many bytes as its shape needs."""

    def __setstate__(self, state):
        _, shape, kind, _, data = state
        if not isinstance(kind, _Type) or not isinstance(data, bytes) or len(data) != 8 * math.prod(shape):
            raise ValueError("an array that is not whole")
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("an array of a strange shape")


class _Scalar:
    """In the place of one number."""

    def __new__(cls, kind, data):
        if not isinstance(kind, _Type) or not isinstance(data, bytes) or len(data) != 8:
            raise ValueError("a number that is not whole")
        return super().__new__(cls)


def _empty_array(kind, shape, code) -> _Array:
    if kind is not _Array or shape != (0,) or code != b"b":
        raise ValueError("an array that is not empty at first")
    return _Array()


def _is_plain(value: object) -> bool:
    items = value if type(value) in (list, tuple) else [value]
    return all(item is None or type(item) in (bool, int, float, str, _Array, _Scalar) for item in items)


_STAND_INS = {
    ("cmaes._cma", "CMA"): _State,
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy.core.multiarray", "scalar"): _Scalar,
}


def _run_numbers(search, trials: list[dict]) -> list[int]:
    """Return the numbers of the runs of all finished trials; those of an imported study have none."""
    ended = [trial["number"] for trial in trials if trial["summary"] is not None] if isinstance(search, Search) else []
    return [number * search.n_seeds + i for number in ended for i in range(search.n_seeds)]


def _check_runs(search, runs: list[dict], trials: list[dict]) -> None:
    """Check that every run belongs to a finished trial, and has a config that this version knows."""
    numbers = [run["number"] for run in runs]
    _expect(numbers == sorted(set(numbers)) and set(numbers) <= set(_run_numbers(search, trials)), "runs of the trials")
    for run in runs:
        RunConfig.from_dict(fitting(json.loads(run["config"])))
        _expect(isinstance(json.loads(run["evidence"]), dict), "a run's evidence")


def _curves(data: bytes, shapes: list) -> list[np.ndarray]:
    """Return the curves of the runs."""
    _expect(len(data) % FLOAT.itemsize == 0, "curves of float64")
    values, curves, start = np.frombuffer(data, FLOAT).astype(np.float64), [], 0
    for shape in shapes:
        whole = isinstance(shape, list) and len(shape) == 2 and all(isinstance(n, int) and n >= 0 for n in shape)
        _expect(whole and shape[1] == len(CURVES), "the shape of a run's curves")
        size = shape[0] * shape[1]
        _expect(start + size <= len(values), "as many numbers as the curves have")
        curves.append(values[start : start + size].reshape(shape))
        start += size
    _expect(start == len(values), "as many numbers as the curves have")
    return curves
