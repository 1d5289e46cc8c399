"""Studies on the command line: run, extend, try, pause, stop, import, studies."""

import argparse
import contextlib
import dataclasses
import json
import sys
import zipfile
from pathlib import Path

from engine import check_name, parse_value
from studies.errors import JobError, PlanError, StoreError
from studies.jobs import n_cores, run_job
from studies.objectives import OBJECTIVES
from studies.plans import parse_values
from studies.search import PRUNERS, SAMPLERS, TEMPLATES, Search, template
from studies.store import Store, open_store

BEST_SHOWN = 10
"""Trials that are printed at the end of a search."""


def add_parsers(commands, store: argparse.ArgumentParser) -> None:
    """Add the commands of this module."""
    notes = "\n".join(f"  {name:20} {objective.note}" for name, objective in OBJECTIVES.items())
    example = {
        "name": "rates",
        "fixed": {"n_iterations": 2000},
        "space": {"activation": ["sigmoid", "tanh"], "learning_rate": {"low": 0.001, "high": 10, "log": True}},
        "objectives": ["final_loss"],
        "sampler": "tpe",
        "pruner": "none",
        "n_trials": 64,
        "n_seeds": 3,
    }
    search = commands.add_parser(
        "run",
        parents=[store],
        help="make a study, a search by Optuna, and train its trials",
        epilog=f"samplers: {', '.join(SAMPLERS)}\npruners: {', '.join(PRUNERS)}\nobjectives:\n{notes}\n\n"
        "instead of n_trials: seconds; also: batch, points (of a grid), seed, warm_start (a study to learn from)\n"
        "a file holds JSON such as\n" + json.dumps(example),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    search.add_argument("file", nargs="?", help="a search as JSON; - reads it from standard input")
    search.add_argument("--template", choices=list(TEMPLATES), help="a search that is ready to run")
    search.add_argument("--name", help="another name for the study")
    search.add_argument("--trials", type=int, help="another number of trials")
    search.add_argument("--seeds", type=int, help="another number of seeds for each trial")
    search.add_argument("--workers", type=int, default=n_cores(), help="worker processes (default: %(default)s)")
    search.add_argument("--json", action="store_true", help="print one JSON object for each trial, one a line")
    extend = commands.add_parser("extend", parents=[store], help="give a study more trials, and train them")
    extend.add_argument("study", help="its id or name")
    extend.add_argument("trials", type=int, help="how many more")
    extend.add_argument("--workers", type=int, default=n_cores(), help="worker processes (default: %(default)s)")
    tries = commands.add_parser("try", parents=[store], help="let a study train values of your choice next")
    tries.add_argument("study", help="its id or name")
    tries.add_argument("values", nargs="+", metavar="NAME=VALUE", help="one for each searched setting")
    tries.add_argument("--workers", type=int, default=n_cores(), help="worker processes (default: %(default)s)")
    for name, what in (("pause", "let a job's process hold"), ("stop", "let a job's process keep what it has and end")):
        steer = commands.add_parser(name, parents=[store], help=what)
        steer.add_argument("job", help="its id, or the name of a study or map")
    imports = commands.add_parser("import", parents=[store], help="bring a study from an archive, or one that Optuna made")
    imports.add_argument("file", help="an archive, or an SQLite file or journal that Optuna wrote; it is not changed")
    imports.add_argument("--study", help="which one, where the file has several")
    imports.add_argument("--name", help="another name for it")
    pack = commands.add_parser("archive", parents=[store], help="write a study with all its runs as one file that import reads")
    pack.add_argument("study", help="its id or name")
    pack.add_argument("--output", "-o", metavar="FILE", required=True)
    studies = commands.add_parser("studies", parents=[store], help="list studies")
    studies.add_argument("--json", action="store_true", help="print one JSON object for each study, one a line")


def _run(arguments: argparse.Namespace) -> int:
    if (arguments.file is None) == (arguments.template is None):
        raise PlanError("expected a file with a search, or --template and one of " + ", ".join(TEMPLATES))
    if arguments.template:
        raw = json.loads(template(arguments.template).to_json())
    else:
        try:
            raw = json.loads(sys.stdin.read() if arguments.file == "-" else Path(arguments.file).read_text())
        except (OSError, ValueError) as error:
            raise PlanError(f"expected a file with a search as JSON, found none: {error}") from None
    changes = {"name": arguments.name, "n_trials": arguments.trials, "n_seeds": arguments.seeds}
    changes = {name: value for name, value in changes.items() if value is not None}
    search = Search.from_dict(raw | changes if isinstance(raw, dict) else raw)
    check_workers(arguments.workers)
    store = open_store(arguments.store)
    study_id = store.add_study(search)
    code = work(store, store.study(study_id).job.id, arguments.workers)
    print_trials(store, study_id, arguments.json)
    return code


def _extend(arguments: argparse.Namespace) -> int:
    check_workers(arguments.workers)
    store = open_store(arguments.store)
    study = store.study(arguments.study)
    return _go_on(store, store.extend_study(study.id, arguments.trials), arguments.workers)


def _try(arguments: argparse.Namespace) -> int:
    check_workers(arguments.workers)
    store, values = open_store(arguments.store), {}
    study = store.study(arguments.study)
    for text in arguments.values:
        name, equals, value = text.partition("=")
        if not equals:
            raise PlanError(f"expected NAME=VALUE, such as learning_rate=0.1, found {text!r}")
        values[name] = parse_value(name, value)
    return _go_on(store, store.enqueue(study.id, [values]), arguments.workers)


def _go_on(store: Store, job_id: str, n_workers: int) -> int:
    """Train what a study got to do, unless a process is at it."""
    if store.job(job_id).is_live:
        print("its process trains them", file=sys.stderr)
        return 0
    store.wait_again(job_id)
    code = work(store, job_id, n_workers)
    print_trials(store, store.study_of_job(job_id).id, as_json=False)
    return code


def _steer(arguments: argparse.Namespace) -> int:
    store = open_store(arguments.store)
    job = store.job(find_job(store, arguments.job))
    if not job.is_live:
        raise JobError(f"expected a job that is being trained, found one that is {job.status}")
    (store.request_pause if arguments.command == "pause" else store.request_stop)(job.id)
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from studies.archive import import_archive
    from studies.imports import import_study

    store, path = open_store(arguments.store), Path(arguments.file)
    if path.is_file() and zipfile.is_zipfile(path):
        study = store.study(import_archive(store, path.read_bytes(), arguments.name))
    else:
        study = store.study(import_study(store, arguments.file, arguments.study, arguments.name))
    print(f"{study.n_done:,} trials of {study.name!r} imported", file=sys.stderr)
    return 0


def _archive(arguments: argparse.Namespace) -> int:
    from studies.archive import export_archive

    store = open_store(arguments.store)
    study = store.study(arguments.study)
    try:
        Path(arguments.output).write_bytes(export_archive(store, study.id))
    except OSError as error:
        raise StoreError(f"expected a file that can be written, found {error}") from None
    print(f"study {study.name!r} written to {arguments.output}", file=sys.stderr)
    return 0


def print_trials(store: Store, study_id: str, as_json: bool) -> None:
    """Print all trials, or the best as a table."""
    study = store.study(study_id)
    trials = store.trials(study.id)
    if as_json:
        for trial in trials:
            summary = dataclasses.asdict(trial.summary)
            print(json.dumps({"number": trial.number, "params": trial.params, **summary}, allow_nan=False))
        return
    objectives = study.search.objectives
    sign = -1 if study.search.direction(objectives[0]) == "maximize" else 1
    trials = [trial for trial in trials if trial.summary.state == "complete"]
    rows = [["trial", *study.search.space, *objectives, "diverged"]]
    for trial in sorted(trials, key=lambda trial: sign * trial.summary.values[0])[:BEST_SHOWN]:
        numbers = [trial.params.get(name, "") for name in study.search.space]
        numbers = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in numbers]
        numbers += [f"{value:.4g}" for value in trial.summary.values]
        rows.append([str(trial.number), *numbers, f"{trial.summary.n_lost} of {trial.summary.n}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)))
    print(f"the best of {study.n_done:,} trials", file=sys.stderr)


def _studies(arguments: argparse.Namespace) -> int:
    studies = open_store(arguments.store).studies()
    for study in studies:
        status, n_trials = study.job.status, study.n_trials
        if arguments.json:
            record = {"id": study.id, "name": study.name, "job": study.job.id, "status": status, "done": study.n_done}
            print(json.dumps(record | {"search": json.loads(study.search.to_json())}))
        else:
            print(
                f"{study.job.id}  {status:9} {study.n_done:6,} of {n_trials:,} trials  {study.search.sampler:6}  {study.name}"
            )
    if not studies:
        print("no studies yet; make one with: python -m studies run --template quick_look", file=sys.stderr)
    return 0


def _progress(share: float) -> None:
    print(f"\r{share:6.1%} trained", end="" if share < 1 else "\n", file=sys.stderr, flush=True)


def show():
    """Return what to tell about progress: nothing where nobody watches."""
    return _progress if sys.stderr.isatty() else lambda share: None


def check_workers(n_workers: int) -> None:
    """Refuse a number of workers that makes no sense."""
    if n_workers < 1:
        raise PlanError(f"--workers: expected at least 1, found {n_workers}")


def work(store: Store, job_id: str, n_workers: int) -> int:
    """Train a job here; return the exit code."""
    status = run_job(store, job_id, n_workers, show())
    if status == "stopped":
        print(f"stopped; go on with: python -m studies resume {job_id}", file=sys.stderr)
        return 130
    return 0


def find_job(store: Store, text: str) -> str:
    """Return the id of a job, or of the job of the study or map with that id or name."""
    found = []
    for find in (store.study, store.map_record):
        with contextlib.suppress(JobError):
            found.append(find(text).job.id)
    if len(found) > 1:
        raise JobError(f"expected a name that is a study's or a map's, found both with {text!r}; give the id")
    return found[0] if found else store.job(text).id


def parse_settings(option: str, texts: list[str]) -> dict[str, list]:
    """Return the values of settings, each spelled NAME=VALUE or NAME=VALUE,VALUE,..."""
    settings = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals:
            raise PlanError(f"{option}: expected NAME=VALUE, such as learning_rate=0.1,0.5, found {text!r}")
        check_name(name)
        if name in settings:
            raise PlanError(f"{option} {name}: expected it once, found it twice; give several values with commas")
        settings[name] = parse_values(name, values)
    return settings


COMMANDS = {
    "run": _run,
    "extend": _extend,
    "try": _try,
    "pause": _steer,
    "stop": _steer,
    "import": _import,
    "archive": _archive,
    "studies": _studies,
}
