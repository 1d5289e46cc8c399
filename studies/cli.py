"""`python -m studies`: train, presets, list, resume, export, without the dashboard.

Exit codes: 0 done, 1 something failed (store, job), 2 the command or a setting is wrong, 130 stopped with Ctrl-C.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from engine import FIELDS, BrinkError, ConfigError, check_name
from studies.errors import PlanError
from studies.export import plain, to_csv, to_json
from studies.jobs import n_cores, run_job
from studies.plans import PRESETS, Plan, parse_values
from studies.store import STORAGE_VARIABLE, Store, default_url, open_store


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m studies", description="Train recurrent networks and keep the results, without the dashboard."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument(
        "--store",
        metavar="URL",
        help="where runs are kept, such as sqlite:///my.db "
        f"(default: ${STORAGE_VARIABLE} or {default_url().replace('%', '%%')})",
    )
    settings = "settings:\n" + "\n".join(f"  {name:16} {field.expected}" for name, field in FIELDS.items())
    train = commands.add_parser(
        "train",
        parents=[store],
        help="train runs and print their results",
        epilog=settings
        + "\n\nwith --json each line is one run: config, seed, outcome, evidence, final_loss, best_loss, accuracy,\n"
        "overflow (null, or its first iteration counted from 1, phase, kind, and the count of iterations), seconds;\n"
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
    presets = commands.add_parser("presets", help="list the presets of the exercise")
    presets.add_argument("--json", action="store_true", help="print JSON")
    listing = commands.add_parser("list", parents=[store], help="list saved jobs")
    listing.add_argument("--json", action="store_true", help="print JSON")
    resume = commands.add_parser("resume", parents=[store], help="go on with a job that was stopped, failed or lost")
    resume.add_argument("job", help="its id, as list prints it")
    resume.add_argument("--workers", type=int, default=n_cores(), help="worker processes (default: %(default)s)")
    export = commands.add_parser("export", parents=[store], help="write saved runs as a table")
    export.add_argument("--job", help="only the runs of this job")
    export.add_argument("--format", choices=("csv", "json"), help="default: by the file's ending, else csv")
    export.add_argument("--output", "-o", metavar="FILE", help="default: standard output")
    return parser


def _plan(arguments: argparse.Namespace) -> Plan:
    """Return the plan that --preset, --set and --seeds describe."""
    axes = {}
    for text in arguments.set:
        name, equals, values = text.partition("=")
        if not equals:
            raise PlanError(f"--set: expected NAME=VALUE, such as learning_rate=0.1,0.5, found {text!r}")
        check_name(name)
        if name in axes:
            raise PlanError(f"--set {name}: expected it once, found it twice; give several values with commas")
        axes[name] = parse_values(name, values)
    if arguments.seeds is not None:
        if "seed" in axes:
            raise PlanError("expected seeds once, found both --seeds and --set seed=")
        axes["seed"] = parse_values("seed", arguments.seeds)
    return Plan.of(arguments.preset, **axes)


def _progress(share: float) -> None:
    print(f"\r{share:6.1%} trained", end="" if share < 1 else "\n", file=sys.stderr, flush=True)


def _check_workers(n_workers: int) -> None:
    if n_workers < 1:
        raise PlanError(f"--workers: expected at least 1, found {n_workers}")


def _work(store: Store, job_id: str, n_workers: int) -> int:
    status = run_job(store, job_id, n_workers, _progress if sys.stderr.isatty() else None)
    if status == "stopped":
        print(f"stopped; go on with: python -m studies resume {job_id}", file=sys.stderr)
        return 130
    return 0


def _print_runs(store: Store, job_id: str, as_json: bool) -> None:
    if as_json:
        for record in store.results(job_id):
            print(json.dumps(plain(record), allow_nan=False))
        return
    table = store.runs(job_id)
    if table.empty:  # stopped before there was anything
        return
    varied = [name for name in store.job(job_id).plan.varied if name != "seed"]
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
    shown = table[columns].rename(columns={"overflow_iteration": "overflow at"})
    print(
        shown.fillna({"overflow_kind": ""}).astype({"overflow at": object}).fillna({"overflow at": ""}).to_string(index=False)
    )


def _train(arguments: argparse.Namespace) -> int:
    plan = _plan(arguments)
    _check_workers(arguments.workers)
    store = open_store(arguments.store)
    job_id = store.add_job(plan, arguments.name)
    code = _work(store, job_id, arguments.workers)
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
        settings = ", ".join(f"{k}={v}" for k, v in preset.settings.items()) or "the defaults"
        print(f"{name:28} {settings:40} {preset.note}")
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


def _values(values: list) -> str:
    return ",".join(map(str, values)) if len(values) <= 4 else f"{values[0]}..{values[-1]} ({len(values)})"


def _resume(arguments: argparse.Namespace) -> int:
    _check_workers(arguments.workers)
    store = open_store(arguments.store)
    store.wait_again(arguments.job)
    code = _work(store, arguments.job, arguments.workers)
    _print_runs(store, arguments.job, as_json=False)
    return code


def _export(arguments: argparse.Namespace) -> int:
    store = open_store(arguments.store)
    if arguments.job:
        store.job(arguments.job)
    table = store.runs(arguments.job)
    by_ending = "json" if (arguments.output or "").endswith(".json") else "csv"
    data = {"csv": to_csv, "json": to_json}[arguments.format or by_ending](table)
    if arguments.output:
        try:
            Path(arguments.output).write_bytes(data)
        except OSError as error:
            print(f"error: expected a file that can be written, found {error}", file=sys.stderr)
            return 1
        print(f"{len(table)} runs written to {arguments.output}", file=sys.stderr)
    else:
        sys.stdout.buffer.write(data + b"\n" * (not data.endswith(b"\n")))
    return 0


COMMANDS = {"train": _train, "presets": _presets, "list": _list, "resume": _resume, "export": _export}


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
