"""Maps on the command line: map, maps."""

import argparse
import dataclasses
import json
import math
import sys
from pathlib import Path

import numpy as np

from engine import OUTCOMES, check_name, parse_value
from studies.cli_studies import check_workers, parse_settings, work
from studies.edges import box_dimension
from studies.errors import PlanError
from studies.export import plain
from studies.jobs import n_cores
from studies.maps import GOOD, TEMPLATES, Axis, Map, middle, share_good
from studies.plans import Plan, parse_values, spell_value
from studies.store import Store, open_store
from studies.store_maps import MapRecord

X, Y = "weight_init_std=0.01:100:log", "learning_rate=0.001:100:log"
"""Axes of a map that names none."""
DESCRIBING = ("x", "y", "facet", "set", "preset")
"""Options that describe a new map; one that is taken from a file or a saved map has all of this already."""
DIMENSION = ("value", "low", "high", "fit_from", "fit_to", "problem")


def add_parsers(commands, store: argparse.ArgumentParser) -> None:
    """Add the commands of this module."""
    made = commands.add_parser(
        "map",
        parents=[store],
        help="train a plane over two settings and say what share of it learns",
        epilog=f"an axis is SETTING=LOW:HIGH, SETTING=LOW:HIGH:log or SETTING=VALUE,VALUE,...\n"
        f"a cell learns if at least half of its seeds end {' or '.join(GOOD)}; with several seeds its outcome is the most\n"
        "frequent one, its loss the median\n\n"
        "with --json one object: id, name, job, status, cells (of a facet), facets: a list of facet (null without one),\n"
        "trained (cells), outcomes (cells), learns (share of the cells), best (its settings and final_loss, or null),\n"
        f"dimension (of the edge, by counting boxes: {', '.join(DIMENSION)})",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("name", nargs="?", help="a new name; may be left out with --file and --template")
    made.add_argument("--x", metavar="AXIS", help=f"the axis to the right (default: {X})")
    made.add_argument("--y", metavar="AXIS", help=f"the axis upwards (default: {Y})")
    made.add_argument("--facet", metavar="SETTING=VALUE,VALUE...", help="a setting of which each value has a plane of its own")
    made.add_argument("--set", action="append", metavar="NAME=VALUE", help="a setting of all cells; may be repeated")
    made.add_argument("--preset", help="where to start from (default: classic; see presets)")
    made.add_argument("--size", type=int, help="cells along an axis of numbers (default: 64, or those of the other map)")
    made.add_argument("--seeds", type=int, help="seeds of each cell (default: 1, or those of the other map)")
    other = made.add_mutually_exclusive_group()
    other.add_argument("--file", help="a map as JSON, as maps --json prints it under map; - reads it from standard input")
    other.add_argument("--template", choices=list(TEMPLATES), help="a map that the dashboard offers")
    other.add_argument("--zoom-of", metavar="MAP", help="enlarge a part of a saved map, by its id or name; needs --window")
    other.add_argument(
        "--refine-of", metavar="MAP", help="cut a saved map finer, by its id or name (default: twice its size); keeps its cells"
    )
    made.add_argument("--window", metavar="X0:X1,Y0:Y1", help="its first cells, counted from 0, and those after the last")
    made.add_argument("--workers", type=int, default=n_cores(), help="worker processes (default: %(default)s)")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    maps = commands.add_parser("maps", parents=[store], help="list maps")
    maps.add_argument("--json", action="store_true", help="print one JSON object for each map, one a line")


def parse_axis(option: str, text: str) -> Axis:
    """Return the axis that SETTING=LOW:HIGH, SETTING=LOW:HIGH:log or SETTING=VALUE,VALUE,... describes.

    Raises
    ------
    ConfigError, PlanError
    """
    name, equals, values = text.partition("=")
    if not equals:
        raise PlanError(f"{option}: expected SETTING=LOW:HIGH, SETTING=LOW:HIGH:log or SETTING=VALUE,VALUE, found {text!r}")
    check_name(name)
    if ":" not in values:
        return Axis(name, values=tuple(parse_values(name, values)))
    low, high, *log = values.split(":")
    if log not in ([], ["log"]):
        raise PlanError(f"{option} {name}: expected LOW:HIGH or LOW:HIGH:log, found {values!r}")
    return Axis(name, parse_value(name, low), parse_value(name, high), log=bool(log))


def _described(arguments: argparse.Namespace) -> Map:
    """Return the map that --x, --y, --facet, --set and --preset describe."""
    axes = [parse_axis("--x", arguments.x or X), parse_axis("--y", arguments.y or Y)]
    facet = parse_settings("--facet", [arguments.facet] if arguments.facet else [])
    fixed = parse_settings("--set", arguments.set or [])
    moved = {axis.setting: list(axis.values) or [axis.low, axis.high] for axis in axes} | facet
    if both := sorted(set(fixed) & set(moved)):
        raise PlanError(f"--set {both[0]}: expected another setting, found one on an axis; take it out of one")
    settings = Plan.of(arguments.preset or "classic", **fixed | moved).axes  # refuses what means nothing beside the others
    settings = {name: values for name, values in settings.items() if name not in moved and (name != "seed" or name in fixed)}
    for name, values in settings.items():
        if len(values) > 1:
            raise PlanError(
                f"{name}: expected one value for all cells, found {len(values)}; give one with --set, or several with --facet"
            )
    names, values = list(facet), next(iter(facet.values()), [])
    return Map(
        name=arguments.name,
        x=axes[0],
        y=axes[1],
        fixed={name: values[0] for name, values in settings.items()},
        facet="".join(names),
        facet_values=tuple(values),
    )


def _read(file: str) -> Map:
    try:
        return Map.from_json(sys.stdin.read() if file == "-" else Path(file).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"expected a file with a map as JSON, found none: {error}") from None


def _zoomed(parent: Map, name: str, window: str) -> Map:
    try:
        x, y = (tuple(int(cell) for cell in side.split(":")) for side in window.split(","))
        (_, _), (_, _) = x, y
    except ValueError:
        raise PlanError(f"--window: expected X0:X1,Y0:Y1, cells such as 16:32,0:16, found {window!r}") from None
    return parent.zoomed(name, x, y)


def _check_options(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if bool(arguments.zoom_of) != bool(arguments.window):
        alone = "--zoom-of" if arguments.zoom_of else "--window"
        raise PlanError(f"expected --zoom-of and --window together, found {alone} alone")
    sources = [
        option
        for option in ("--file", "--template", "--zoom-of", "--refine-of")
        if getattr(arguments, option[2:].replace("-", "_"))
    ]
    described = [f"--{name}" for name in DESCRIBING if getattr(arguments, name)]
    if sources and described:
        raise PlanError(f"expected {sources[0]} or {described[0]}, found both; that map has its settings already")
    if not arguments.name and not arguments.file and not arguments.template:
        raise PlanError("expected a name for the map, found none; such as: python -m studies map edge")


def _map(arguments: argparse.Namespace) -> int:
    _check_options(arguments)
    check_workers(arguments.workers)
    parent = None
    if arguments.zoom_of or arguments.refine_of:
        store = open_store(arguments.store)
        parent = store.map_record(arguments.zoom_of or arguments.refine_of)
        made = _zoomed(parent.map, arguments.name, arguments.window) if arguments.window else parent.map
    elif arguments.template:
        made = Map(**TEMPLATES[arguments.template])
    else:
        made = _read(arguments.file) if arguments.file else _described(arguments)
    size = 2 * made.size if arguments.refine_of and arguments.size is None else arguments.size
    changes = {"name": arguments.name, "size": size, "n_seeds": arguments.seeds}
    made = dataclasses.replace(made, **{name: value for name, value in changes.items() if value is not None})
    if not parent:
        store = open_store(arguments.store)
    record = store.map_record(store.add_map(made, parent and parent.id))
    if record.n_done:
        print(f"{record.n_done:,} of {made.n_runs:,} runs are taken over from {parent.name!r}", file=sys.stderr)
    if doubt := made.doubtful():
        print(f"note: {doubt}", file=sys.stderr)
    code = work(store, record.job.id, arguments.workers)
    print_map(store, record.id, arguments.json)
    return code


def summarize(made: Map, cells: np.ndarray) -> list[dict]:
    """Return what came of a map, a dict for each facet: with the keys that `map --json` prints.

    Parameters
    ----------
    cells : array of `CELL`, shape (facets, ny, nx, seeds)
        Cells of which a seed is not trained yet do not count.
    """
    shares, outcomes, losses = share_good(cells), middle(cells, "outcome"), middle(cells, "final_loss")
    known = ~np.isnan(shares)
    good = known & (shares >= 0.5)
    counts = [np.bincount(outcomes[i][known[i]], minlength=len(OUTCOMES) + 1) for i in range(len(shares))]
    return [
        {
            "facet": made.facet_values[i] if made.facet else None,
            "trained": int(known[i].sum()),
            "outcomes": {name: int(counts[i][place]) for place, name in enumerate(OUTCOMES, 1) if counts[i][place]},
            "learns": float(good[i].sum() / known[i].sum()) if known[i].any() else None,
            "best": _best(made, losses[i], good[i]),
            "dimension": _dimension(good[i], known[i]),
        }
        for i in range(len(shares))
    ]


def _best(made: Map, losses: np.ndarray, good: np.ndarray) -> dict | None:
    """Return settings and loss of the cell with the lowest loss among those that learn."""
    losses = np.where(good & ~np.isnan(losses), losses, math.inf)
    (ny, nx), (y, x) = losses.shape, (int(place) for place in np.unravel_index(losses.argmin(), losses.shape))
    if losses[y, x] == math.inf:
        return None
    return {made.x.setting: made.x.at(x, nx), made.y.setting: made.y.at(y, ny), "final_loss": float(losses[y, x])}


def _dimension(good: np.ndarray, known: np.ndarray) -> dict:
    found = box_dimension(good, known)
    return {name: getattr(found, name) for name in DIMENSION}


def print_map(store: Store, map_id: str, as_json: bool) -> None:
    """Print what came of a map."""
    record = store.map_record(map_id)
    facets = summarize(record.map, store.cells(record.id))
    n_cells = math.prod(record.map.shape[1:3])
    if as_json:
        head = {"id": record.id, "name": record.name, "job": record.job.id, "status": record.job.status, "cells": n_cells}
        print(json.dumps(plain(head | {"facets": facets}), allow_nan=False))
        return
    for number, facet in enumerate(facets):
        print("\n" * bool(number), end="")
        if record.map.facet:
            print(f"{record.map.facet}={spell_value(facet['facet'])}")
        print(*_lines(facet, n_cells), sep="\n")


def _lines(facet: dict, n_cells: int) -> list[str]:
    """Return what came of one facet in words."""
    lines, n, best, edge = [f"cells   {facet['trained']:,} of {n_cells:,}"], facet["trained"], facet["best"], facet["dimension"]
    if n:
        ended = [f"{name} {count:,} ({count / n:.1%})" for name, count in facet["outcomes"].items()]
        lines += [f"ended   {', '.join(ended)}", f"learns  {facet['learns']:.1%}"]
    if best:
        settings = [f"{name}={spell_value(value)}" for name, value in best.items() if name != "final_loss"]
        lines += [f"best    final_loss {best['final_loss']:.4g} at {' '.join(settings)}"]
    if not edge["problem"]:
        interval = f"95 % interval {edge['low']:.2f} to {edge['high']:.2f}"
        boxes = f"boxes of {edge['fit_from']} to {edge['fit_to']} steps"
        lines += [f"edge    box-counting dimension {edge['value']:.2f} ({interval}, {boxes})"]
    return lines


def _maps(arguments: argparse.Namespace) -> int:
    records = open_store(arguments.store).maps()
    for record in records:
        print(json.dumps(_as_dict(record)) if arguments.json else _line(record))
    if not records:
        print("no maps yet; make one with: python -m studies map edge", file=sys.stderr)
    return 0


def _as_dict(record: MapRecord) -> dict:
    head = {"id": record.id, "name": record.name, "job": record.job.id, "status": record.job.status}
    head |= {"runs": record.map.n_runs, "done": record.n_done, "parent": record.parent_id}
    return head | {"map": json.loads(record.map.to_json())}


def _line(record: MapRecord) -> str:
    made = record.map
    (_, ny, nx, _), axes = made.shape, f"{_spell(made.x)} {_spell(made.y)}"
    done = f"{record.n_done:9,} of {made.n_runs:,} runs"
    return f"{record.id}  {record.job.status:9} {f'{nx}x{ny}':>7} {done}  {axes}  {record.name}"


def _spell(axis: Axis) -> str:
    """Return an axis as `map` takes it; of a window its ends, rounded."""
    if axis.values:
        return f"{axis.setting}={','.join(map(spell_value, axis.values))}"
    return f"{axis.setting}={axis.at(0, 1):.4g}:{axis.at(1, 1):.4g}" + ":log" * axis.log


COMMANDS = {"map": _map, "maps": _maps}
