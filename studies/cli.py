"""`python -m studies`: trains, searches, lists, explains, exports; studies in `cli_studies.py`, maps in `cli_maps.py`.

Exit codes: 0 done, 1 something failed (store, job, no such run), 2 the command or a setting is wrong, 3 verify found a
difference, 130 stopped with Ctrl-C.
"""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from engine import FIELDS, BrinkError, ConfigError
from studies import cli_maps, cli_studies
from studies.cli_maps import print_map
from studies.cli_studies import check_workers, find_job, parse_settings, print_trials, show, work
from studies.errors import PlanError, StoreError
from studies.export import FORMATS, Origin, curves_to_csv, plain
from studies.export import export as exported
from studies.jobs import n_cores
from studies.maps import cells_table
from studies.plans import PRESETS, Plan, describe, parse_values, spell_value
from studies.store import STORAGE_VARIABLE, Store, default_url, open_store
from studies.store_runs import SHORTEST_ID
from studies.verify import verify

if TYPE_CHECKING:
    import pandas as pd

DIFFERENT = 3
"""Exit code of a verify that did not find the same bits."""
EVENTS = "tensorboard"
"""The format that is no file."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m studies", description="Train recurrent networks and keep the results, without the dashboard."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument(
        "--store",
        metavar="URL",
        help="where runs are kept, such as my.db or sqlite:///my.db "
        f"(default: ${STORAGE_VARIABLE} or {default_url().replace('%', '%%')})",
    )
    train = commands.add_parser(
        "train",
        parents=[store],
        help="train runs and print their results",
        epilog=_settings()
        + "\n\nwith --json each line is one run: id, config, seed, status, outcome, reason, evidence, final_loss,\n"
        "best_loss, accuracy, overflow (null, or its first iteration counted from 1, phase, kind, and the count of\n"
        "iterations), n_parameters, fingerprint (of loss curve and final weights), seconds;\n"
        'NaN and infinities are the strings "NaN", "Infinity", "-Infinity".',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.add_argument("--preset", default="classic", help="where to start from (default: classic; see presets)")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE[,VALUE...]",
        help="a setting, with one or several values; may be repeated",
    )
    train.add_argument("--seeds", metavar="LIST", help="seeds, such as 1-20 or 1,2,5 (default: 1)")
    train.add_argument("--name", default="", help="a name for the job")
    train.add_argument("--workers", type=int, default=n_cores(), help="worker processes (default: %(default)s)")
    train.add_argument("--json", action="store_true", help="print one JSON object for each run, one a line")
    cli_studies.add_parsers(commands, store)
    cli_maps.add_parsers(commands, store)
    presets = commands.add_parser("presets", help="list the presets of the exercise")
    presets.add_argument("--json", action="store_true", help="print JSON")
    listing = commands.add_parser("list", parents=[store], help="list saved jobs")
    listing.add_argument("--json", action="store_true", help="print JSON")
    resume = commands.add_parser("resume", parents=[store], help="go on with a job that was stopped, failed, lost or paused")
    resume.add_argument("job", help="its id, as list prints it, or the name of a study or map")
    resume.add_argument("--workers", type=int, default=n_cores(), help="worker processes (default: %(default)s)")
    again = commands.add_parser(
        "verify",
        parents=[store],
        help="train a saved run again and compare the bits",
        epilog=f"exit code: 0 identical, {DIFFERENT} different, 1 no such run",
    )
    again.add_argument("run", help=f"its id, or the first {SHORTEST_ID} or more characters of it")
    script = commands.add_parser(
        "script", parents=[store], help="write a saved run as a script that trains it again with nothing but NumPy"
    )
    script.add_argument("run", help=f"its id, or the first {SHORTEST_ID} or more characters of it")
    script.add_argument("--output", "-o", metavar="FILE", help="default: standard output")
    explain = commands.add_parser(
        "explain",
        parents=[store],
        help="say why saved runs ended as they did, and where they overflowed first",
        description="Runs that overflowed are trained again, bit for bit, up to their first overflow.",
    )
    explain.add_argument("run", nargs="*", help=f"an id, or the first {SHORTEST_ID} or more characters of it")
    explain.add_argument("--job", help="all runs of this job")
    explain.add_argument("--json", action="store_true", help="print one JSON object for each run, one a line")
    export = commands.add_parser("export", parents=[store], help="write runs, a study's trials or a map's runs as a table")
    export.add_argument("--job", help="only the runs of this job")
    export.add_argument("--study", help="the trials of this study, by its id or name")
    export.add_argument("--map", help="the trained runs of this map, by its id or name")
    export.add_argument(
        "--format",
        choices=[*FORMATS, EVENTS],
        help="default: by the file's ending, else csv; csv, json, parquet and xlsx lose nothing; md has all columns, tex mean "
        "and spread over seeds for booktabs; tensorboard is a log folder with the runs' curves and hyperparameters",
    )
    export.add_argument(
        "--curves", action="store_true", help="with the runs' curves; beside a CSV file as a second one, ..._curves.csv"
    )
    export.add_argument("--output", "-o", metavar="FILE", help="default: standard output; for tensorboard a new folder")
    return parser


def _settings() -> str:
    """Return all settings with what is expected of them and which others give them a meaning."""
    lines = ["settings:"]
    for name, field in FIELDS.items():
        belongs = f" ({field.needs[0]} {' or '.join(field.needs[1])})" if field.needs else ""
        lines.append(f"  {name:16} {field.expected}{belongs}")
    return "\n".join(lines)


def _plan(arguments: argparse.Namespace) -> Plan:
    """Return the plan that --preset, --set and --seeds describe."""
    axes = parse_settings("--set", arguments.set)
    if arguments.seeds is not None:
        if "seed" in axes:
            raise PlanError("expected seeds once, found both --seeds and --set seed=")
        axes["seed"] = parse_values("seed", arguments.seeds)
    return Plan.of(arguments.preset, **axes)


def _print_runs(store: Store, job_id: str, as_json: bool) -> None:
    if as_json:
        for record in store.results(job_id):
            print(json.dumps(plain(record), allow_nan=False))
        return
    table = store.runs(job_id)
    if table.empty:  # stopped before there was anything
        return
    plan = store.job(job_id).plan
    varied = [name for name in plan.varied if name != "seed"]
    columns = [
        *varied,
        "seed",
        "outcome",
        "final_loss",
        "best_loss",
        "accuracy",
        "overflow_iteration",
        "overflow_kind",
        "seconds",
    ]
    shown = table[columns].astype({name: object for name in [*varied, "overflow_iteration"]})
    for name in varied:  # a setting that is off is "none", one that means nothing is empty
        missing = "none" if FIELDS[name].optional else ""
        shown[name] = [missing if gone else spell_value(v) for v, gone in zip(shown[name], shown[name].isna(), strict=True)]
    shown = shown.fillna({"overflow_iteration": "", "overflow_kind": ""})
    print(shown.rename(columns={"overflow_iteration": "overflow at"}).to_string(index=False))
    if plan.n_runs == 1:
        (run_id,) = table["id"]
        print("", *(example["line"] for example in store.run(run_id)["examples"]), sep="\n")


def _train(arguments: argparse.Namespace) -> int:
    plan = _plan(arguments)
    check_workers(arguments.workers)
    store = open_store(arguments.store)
    job_id = store.add_job(plan, arguments.name)
    code = work(store, job_id, arguments.workers)
    _print_runs(store, job_id, arguments.json)
    return code


def _presets(arguments: argparse.Namespace) -> int:
    if arguments.json:
        print(
            json.dumps(
                {name: {"title": p.title, "note": p.note, "settings": p.settings} for name, p in PRESETS.items()}, indent=1
            )
        )
        return 0
    for name, preset in PRESETS.items():
        settings = ", ".join(f"{k}={_values(v)}" for k, v in preset.settings.items()) or "the defaults"
        print(f"{name:28} {preset.note:84} {settings}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    jobs = open_store(arguments.store).jobs(most=1000)
    if arguments.json:
        print(
            json.dumps(
                [{"id": j.id, "name": j.name, "status": j.status, "runs": j.n_runs, "plan": j.plan.axes} for j in jobs],
                indent=1,
            )
        )
        return 0
    for job in jobs:
        what = ", ".join(f"{name}={_values(values)}" for name, values in job.plan.axes.items()) or "classic"
        print(f"{job.id}  {job.status:9} {job.n_runs:6} runs  {job.name or what}")
    if not jobs:
        print("no jobs yet; train some with: python -m studies train --preset classic", file=sys.stderr)
    return 0


def _values(values: object) -> str:
    values = values if isinstance(values, list) else [values]
    words = [spell_value(value) for value in values]
    return ",".join(words) if len(words) <= 4 else f"{words[0]}..{words[-1]} ({len(words)})"


def _resume(arguments: argparse.Namespace) -> int:
    check_workers(arguments.workers)
    store = open_store(arguments.store)
    job = store.job(find_job(store, arguments.job))
    if job.status in ("pausing", "paused"):
        store.request_pause(job.id, False)
        print("its process goes on", file=sys.stderr)
        return 0
    store.wait_again(job.id)
    code = work(store, job.id, arguments.workers)
    if job.kind == "search":
        print_trials(store, store.study_of_job(job.id).id, as_json=False)
    elif job.kind == "map":
        print_map(store, store.map_of_job(job.id).id, as_json=False)
    else:
        _print_runs(store, job.id, as_json=False)
    return code


def _verify(arguments: argparse.Namespace) -> int:
    store = open_store(arguments.store)
    verdict = verify(store.run(store.find_run(arguments.run)), show())
    print(verdict.sentence)
    return 0 if verdict.identical else DIFFERENT


def _script(arguments: argparse.Namespace) -> int:
    from studies.script import numpy_script

    store = open_store(arguments.store)
    text = numpy_script(store.run(store.find_run(arguments.run)))
    if not arguments.output:
        print(text, end="")
        return 0
    try:
        Path(arguments.output).write_text(text, "utf-8")
    except OSError as error:
        raise StoreError(f"expected a file that can be written, found {error}") from None
    print(f"run it with: python {arguments.output}", file=sys.stderr)
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from studies.diagnosis import advice, as_dict, explain_overflow, trail_table  # loads pandas

    store = open_store(arguments.store)
    if bool(arguments.run) == bool(arguments.job):
        raise PlanError("expected ids of runs, or --job and the id of a job")
    if arguments.job:
        store.job(arguments.job)
    ids = list(store.runs(arguments.job)["id"]) if arguments.job else [store.find_run(run) for run in arguments.run]
    for number, run_id in enumerate(ids):
        run, problem = store.run(run_id), ""
        found, box = advice(run), None
        if run["overflow_count"]:
            try:
                box = explain_overflow(run)
            except ConfigError as error:
                problem = str(error)
        if arguments.json:
            record = {
                "id": run_id,
                "outcome": run["outcome"],
                "reason": run["reason"],
                "cause": found.cause,
                "tries": found.tries,
            }
            print(json.dumps(plain(record | {"black_box": box and as_dict(box), "problem": problem}), allow_nan=False))
            continue
        print(*[""] * bool(number), f"{run_id}  {describe(run['config'])}", f"{run['outcome']}: {run['reason']}", sep="\n")
        print(f"Why: {found.cause}")
        for changes in found.tries:
            print(f"Try: {describe(changes, [name for name, value in changes.items() if value is not None])}")
        if box:
            print(f"First: {box.sentence}", trail_table(box).to_string(index=False, float_format="{:.4g}".format), sep="\n")
        print(f"Problem: {problem}\n" * bool(problem), end="")
    return 0


def _table(store: Store, arguments: argparse.Namespace) -> tuple["pd.DataFrame", Origin, dict[str, str]]:
    """Return the table that is asked for, where it comes from, and whether its objectives are minimized or maximized."""
    if arguments.study:
        study = store.study(arguments.study)
        directions = {name: study.search.direction(name) for name in study.search.objectives}
        return store.trials_table(study.id), Origin.of_study(study), directions
    if arguments.map:
        record = store.map_record(arguments.map)
        return cells_table(record.map, store.cells(record.id)), Origin.of_map(record), {}
    name = store.job(arguments.job).name if arguments.job else ""
    return store.runs(arguments.job), Origin("runs", name, filter=f"job {arguments.job}" if arguments.job else ""), {}


def _check_export(arguments: argparse.Namespace, kind: str) -> None:
    """Refuse what does not go together."""
    given = [f"--{name}" for name in ("job", "study", "map") if getattr(arguments, name)]
    if len(given) > 1:
        raise PlanError(f"expected --job, --study or --map, found {' and '.join(given)}")
    asked = EVENTS if kind == EVENTS else "--curves" if arguments.curves else ""
    if asked and (arguments.study or arguments.map):
        raise PlanError(f"expected runs, all or with --job, beside {asked}, found {given[0]}")
    if kind == EVENTS:
        if not arguments.output:
            raise PlanError("expected --output and a new folder for tensorboard, found none")
        return
    if arguments.curves and kind == "csv" and not arguments.output:
        raise PlanError("expected --output beside --curves and csv, which make two files, found none")
    if not arguments.output and FORMATS[kind].is_binary and sys.stdout.isatty():
        raise PlanError(f"expected --output for {FORMATS[kind].title}, which a terminal cannot show, found none")


def _export(arguments: argparse.Namespace) -> int:
    ending = Path(arguments.output or "").suffix.removeprefix(".").lower()
    kind = arguments.format or (ending if ending in FORMATS else "csv")
    _check_export(arguments, kind)
    store = open_store(arguments.store)
    table, origin, directions = _table(store, arguments)
    curves = store.curves(table["id"]) if arguments.curves or kind == EVENTS else None
    if not arguments.output:
        sys.stdout.buffer.write(exported(kind, table, origin, curves, directions))
        return 0
    try:
        paths = _write(kind, Path(arguments.output), table, origin, curves, directions)
    except OSError as error:
        print(f"error: expected a {'folder' if kind == EVENTS else 'file'} that can be written, found {error}", file=sys.stderr)
        return 1
    what, words = "trials" if arguments.study else "runs", " and ".join(map(str, paths))
    hint = f"; look at them with: tensorboard --logdir {shlex.quote(words)}" if kind == EVENTS else ""
    print(f"{len(table)} {what} written to {words}{hint}", file=sys.stderr)
    return 0


def _write(
    kind: str, path: Path, table: "pd.DataFrame", origin: Origin, curves: "pd.DataFrame | None", directions: dict
) -> list:
    """Write a table to a file, two files or a folder, and return their paths."""
    if kind == EVENTS:
        from studies.export_tensorboard import write_event_files  # loads a library that few commands need

        write_event_files(table, curves, path, origin)
        return [path]
    beside = curves is not None and kind == "csv"
    files = {path: exported(kind, table, origin, None if beside else curves, directions)}
    if beside:
        files[path.with_name(f"{path.stem}_curves.csv")] = curves_to_csv(curves, origin.of(table))
    for place, content in files.items():
        place.write_bytes(content)
    return list(files)


COMMANDS = {
    "train": _train,
    "presets": _presets,
    "list": _list,
    "resume": _resume,
    "verify": _verify,
    "script": _script,
    "explain": _explain,
    "export": _export,
    **cli_studies.COMMANDS,
    **cli_maps.COMMANDS,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        code = COMMANDS[parsed.command](parsed)
        sys.stdout.flush()  # here, where a reader that has gone is understood
        return code
    except (ConfigError, PlanError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrinkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # before training began, which answers Ctrl-C itself
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone, as with `| head`
        return 0
