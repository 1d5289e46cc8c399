"""Runs and their curves as a log folder of TensorBoard: scalars, the HParams page, and texts that say where it comes from.

Every run is a folder of its own, with the tags curve/... (by iteration, at the time when it was trained) and result/... (the
columns of the table). TensorBoard keeps numbers with single precision: what is larger than 3.4e38 is infinite there. NaN and
infinities are written as they are. What tells the runs apart are the hyperparameters. Runs whose outcome is overflow or
diverged have the status FAILURE, others that were stopped or pruned UNKNOWN, the rest SUCCESS.

The messages and the checksum are tensorboardX's; it computes the latter a hundred times as fast where crc32c is installed.
"""

import functools
import io
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from tensorboardX.proto.api_pb2 import (
    DATA_TYPE_BOOL,
    DATA_TYPE_FLOAT64,
    DATA_TYPE_STRING,
    DATASET_TRAINING,
    DATASET_VALIDATION,
    STATUS_FAILURE,
    STATUS_SUCCESS,
    STATUS_UNKNOWN,
    Experiment,
    Interval,
    MetricInfo,
    MetricName,
)
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import text

from engine import FIELDS
from studies.export_tables import ExportError, Origin, plain_columns, varying
from studies.plans import describe

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

METRICS = {
    "final_loss": DATASET_TRAINING,
    "best_loss": DATASET_TRAINING,
    "accuracy": DATASET_VALIDATION,
    "overflow_iteration": DATASET_TRAINING,
}
"""Columns that are metrics, and of which samples; a run without a value has no such scalar."""
MOST_DISCRETE = 12
"""Numbers of a hyperparameter that are told apart by TensorBoard's filter; with more it has a lowest and a highest."""
LONGEST_NAME, SHORTEST_ID = 100, 8
"""Characters of a folder's name before the id; and of the id, if these tell all runs apart."""
_TYPES = {"bool": DATA_TYPE_BOOL, "int": DATA_TYPE_FLOAT64, "float": DATA_TYPE_FLOAT64, "choice": DATA_TYPE_STRING}
_VALUES = {DATA_TYPE_BOOL: "bool_value", DATA_TYPE_FLOAT64: "number_value", DATA_TYPE_STRING: "string_value"}
_UNSAFE = re.compile(r"[^A-Za-z0-9 .,+_-]")


def write_event_files(runs: "pd.DataFrame", curves: "pd.DataFrame", folder: Path, origin: Origin) -> None:
    """Write a log folder for `tensorboard --logdir`: one folder for each run, and one file about all of them.

    Parameters
    ----------
    runs : DataFrame
        As `Store.runs` returns them.
    curves : DataFrame
        Of these runs, as `Store.curves` returns them.
    folder : Path
        Made if there is none; otherwise it has to be empty.

    Raises
    ------
    ExportError
        If the folder is not empty, or no folder.
    OSError
        If it cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        found = f"{len(list(folder.iterdir()))} files and folders in it" if folder.is_dir() else "a file of this name"
        raise ExportError(f"{folder}: expected an empty folder or none, found {found}; give another name")
    for path, content in _files(runs, curves, origin):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def tensorboard_zip(runs: "pd.DataFrame", curves: "pd.DataFrame", origin: Origin) -> bytes:
    """Return what `write_event_files` writes as a ZIP file with everything in its folder "brink"."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path, content in _files(runs, curves, origin):
            archive.writestr(f"brink/{path}", content)
    return file.getvalue()


def _files(runs: "pd.DataFrame", curves: "pd.DataFrame", origin: Origin) -> Iterator[tuple[str, bytes]]:
    """Yield the paths of files in the log folder, and what is in them."""
    columns = plain_columns(runs)
    settings = {name: columns[name] for name in FIELDS}
    varied, times = varying(settings), [time.timestamp() for time in runs["created_at"]]
    shown, first = varied or list(FIELDS), min(times, default=0.0)
    yield _file("", first, _about({name: settings[name] for name in shown}, first, origin.of(runs)))
    points, places = curves[curves.columns[1:]].to_numpy(float), curves.groupby("run_id", sort=False).indices
    tags = [f"curve/{name}" for name in curves.columns[2:]]
    rows = zip(zip(*columns.values(), strict=True), _names(settings, varied, columns["id"]), times, strict=True)
    for values, name, ended in rows:
        run = dict(zip(columns, values, strict=True))
        started, own = ended - float(run["seconds"]), points[places.get(run["id"], [])]
        yield _file(f"{name}/", started, _events(run, shown, tags, own, started, ended))


def _file(folder: str, time: float, events: Iterable[Event]) -> tuple[str, bytes]:
    """Return path and content of a file of events: each with its length in front, and checksums of both."""
    records = []
    for event in chain([Event(wall_time=time, file_version="brain.Event:2")], events):
        data = event.SerializeToString()
        records += [_head(len(data)), data, struct.pack("<I", masked_crc32c(data))]
    return f"{folder}events.out.tfevents.{time:010.0f}.brink", b"".join(records)


@functools.cache
def _head(length: int) -> bytes:
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", masked_crc32c(packed))


def _names(settings: dict[str, list], varied: list[str], ids: list[str]) -> list[str]:
    """Return names for folders that every file system accepts: what tells runs apart, and their ids, short if that will do."""
    length = SHORTEST_ID if len({run_id[:SHORTEST_ID] for run_id in ids}) == len(ids) else None
    names = []
    for run_id, *values in zip(ids, *(settings[name] for name in varied), strict=True):
        words = describe(dict(zip(varied, values, strict=True)), varied).replace(" · ", ", ")[:LONGEST_NAME]
        names.append(_UNSAFE.sub("_", ", ".join(filter(None, [words, run_id[:length]]))))
    return names


def _about(settings: dict[str, list], time: float, origin: Origin) -> Iterator[Event]:
    """Yield which hyperparameters and metrics there are, and where the runs come from."""
    experiment = Experiment(name=origin.name, time_created_secs=time)
    for name, values in settings.items():
        found = sorted({value for value in values if value is not None})
        info = experiment.hparam_infos.add(name=name, display_name=FIELDS[name].label, type=_TYPES[FIELDS[name].kind])
        if info.type == DATA_TYPE_FLOAT64 and len(found) > MOST_DISCRETE:
            info.domain_interval.CopyFrom(Interval(min_value=found[0], max_value=found[-1]))
        else:
            info.domain_discrete.extend(found)
    for name, samples in METRICS.items():
        tag = MetricName(tag=f"result/{name}")
        experiment.metric_infos.append(MetricInfo(name=tag, display_name=name.replace("_", " "), dataset_type=samples))
    yield Event(wall_time=time, summary=_hparams("experiment", experiment=experiment))
    yield Event(wall_time=time, summary=text("origin", _literal(origin.lines())))


def _events(
    run: dict, shown: list[str], tags: list[str], points: "np.ndarray", started: float, ended: float
) -> Iterator[Event]:
    """Yield one run's hyperparameters, texts, curves, results and status; the event of a point is used for all of them."""
    info = SessionStartInfo(start_time_secs=started)
    for name in shown:
        if run[name] is not None:
            setattr(info.hparams[name], _VALUES[_TYPES[FIELDS[name].kind]], run[name])
    yield Event(wall_time=started, summary=_hparams("session_start_info", session_start_info=info))
    facts = {name: run[name] for name in ("id", "name", "note", "status", "outcome", "reason")}
    facts |= {"settings": describe(run, list(FIELDS))}
    yield Event(wall_time=started, summary=text("run", _literal(f"{name}: {fact}" for name, fact in facts.items())))
    event = Event(summary=Summary(value=[Summary.Value(tag=tag) for tag in tags]))
    scalars, share = list(event.summary.value), (ended - started) / max(run["iterations"], 1)
    for iteration, *values in points.tolist():
        event.step, event.wall_time = int(iteration), started + share * iteration
        for scalar, value in zip(scalars, values, strict=True):
            scalar.simple_value = value
        yield event
    results = {f"result/{name}": run[name] for name in METRICS if run[name] is not None}
    scalars = [Summary.Value(tag=tag, simple_value=float(value)) for tag, value in results.items()]
    yield Event(wall_time=ended, step=run["iterations"], summary=Summary(value=scalars))
    failed, finished = run["outcome"] in ("overflow", "diverged"), run["status"] == "finished"
    status = STATUS_FAILURE if failed else STATUS_SUCCESS if finished else STATUS_UNKNOWN
    end = SessionEndInfo(status=status, end_time_secs=ended)
    yield Event(wall_time=ended, step=run["iterations"], summary=_hparams("session_end_info", session_end_info=end))


def _hparams(tag: str, **data) -> Summary:
    content = HParamsPluginData(**data).SerializeToString()
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="hparams", content=content))
    return Summary(value=[Summary.Value(tag=f"_hparams_/{tag}", metadata=metadata)])


def _literal(lines: Iterable[str]) -> str:
    """Return lines as a block of code, the part of Markdown in which no sign has a meaning."""
    return "".join(f"    {' '.join(line.split())}\n" for line in lines)
