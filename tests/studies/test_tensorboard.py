"""Log folders, read back by TensorBoard itself."""

import io
import json
import math
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from google.protobuf import json_format
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, get_experiment, list_session_groups, metadata
from tensorboard.plugins.hparams.backend_context import Context

from engine import CURVES, RunConfig, train
from studies import Plan, open_store
from studies.export_tables import ExportError, Origin
from studies.export_tensorboard import LONGEST_NAME, MOST_DISCRETE, tensorboard_zip, write_event_files

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "html5lib's sanitizer is deprecated", DeprecationWarning)
    from tensorboard.plugin_util import markdown_to_safe_html

HOSTILE = "../../<script>alert(1)</script>\\:*?\n# *a* `b` \0 你好"
ORIGIN = Origin("runs", HOSTILE, filter="seed at least 1")
ODD = [math.nan, math.inf, -math.inf, 1e300, -1e300, 1e-300, -0.0, 0.1]
VARIED = ["activation", "learning_rate", "clip_norm", "bias", "seed"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Runs of a real store and their curves: fine ones, an overflow, one that was stopped, one with odd numbers."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('events') / 'brink.db'}")
    short = RunConfig(n_iterations=40, learning_rate=0.5)
    changes = [
        *({"learning_rate": rate, "seed": seed} for rate in (0.1, 0.5) for seed in (1, 2)),
        {"activation": "relu", "learning_rate": 1.0, "clip_norm": 1e10},
        {"cell": "rnn", "bias": True},
        {"seed": 7},
    ]
    trained = train([short.replace(**change) for change in changes])
    assert trained[4].outcome == "overflow"
    trained[5] = replace(trained[5], status="stopped", outcome="learning")
    odd = trained[6].curves.copy()
    odd[: len(ODD), 1:] = np.array(ODD)[:, None]
    trained[6] = replace(trained[6], curves=odd, outcome="diverged", final_loss=math.nan, best_loss=-math.inf, accuracy=1 / 3)
    job_id = store.add_job(Plan.of(seed=range(len(trained))), HOSTILE)
    store.save_results(job_id, store.claim(job_id), enumerate(trained))
    store.name_run(store.runs()["id"][0], HOSTILE, HOSTILE[::-1])
    runs = store.runs().assign(seconds=[float(number) for number in range(1, 8)])
    return runs, store.curves(runs["id"])


@pytest.fixture(scope="module")
def folder(saved, tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs") / "new" / "folder"
    write_event_files(*saved, folder, ORIGIN)
    return folder


def folder_of(folder, run):
    (found,) = (path for path in folder.iterdir() if path.name.endswith(run["id"][:8]))
    return found


def accumulated(folder):
    accumulator = EventAccumulator(str(folder))
    return accumulator.Reload()


@pytest.fixture(scope="module")
def hparams(folder):
    """Return a function that asks the plugin of the HParams page as that page does."""
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder)).Reload()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(folder))))

    def ask(handler, **request):
        found = handler.Handler(RequestContext(), context, "", request["request"]).run()
        return json.loads(json_format.MessageToJson(found), parse_constant=pytest.fail)

    return ask


def test_every_curve_comes_back_as_stored_in_single_precision_by_iteration(saved, folder):
    runs, curves = saved
    for _, run in runs.iterrows():
        own = curves[curves["run_id"] == run["id"]]
        accumulator = accumulated(folder_of(folder, run))
        assert {tag for tag in accumulator.Tags()["scalars"] if tag.startswith("curve/")} == {f"curve/{n}" for n in CURVES[1:]}
        for name in CURVES[1:]:
            found = accumulator.Scalars(f"curve/{name}")
            with np.errstate(over="ignore", under="ignore"):
                expected = own[name].to_numpy().astype(np.float32)
            assert np.array([point.value for point in found], np.float32).tobytes() == expected.tobytes()
            assert [point.step for point in found] == own["iteration"].tolist()
            times = np.array([point.wall_time for point in found]) - (run["created_at"].timestamp() - run["seconds"])
            assert times == pytest.approx(own["iteration"] / run["iterations"] * run["seconds"], abs=1e-5)


def test_the_plugin_finds_hyperparameters_metrics_times_and_status_of_every_run(saved, folder, hparams):
    runs, _ = saved
    request = api_pb2.ListSessionGroupsRequest(allowed_statuses=range(4), slice_size=100)
    groups = hparams(list_session_groups, request=request)["sessionGroups"]
    found = {group["name"]: group for group in groups}
    assert len(found) == len(runs)
    statuses = ["SUCCESS"] * 4 + ["FAILURE", "UNKNOWN", "FAILURE"]
    for (_, run), status in zip(runs.iterrows(), statuses, strict=True):
        group = found[folder_of(folder, run).name]
        assert group["hparams"] == {name: run[name] for name in VARIED if not pd.isna(run[name])}
        (session,) = group["sessions"]
        assert session.get("status", "STATUS_UNKNOWN") == f"STATUS_{status}"
        assert session["endTimeSecs"] == pytest.approx(run["created_at"].timestamp(), abs=1e-5)
        assert session["endTimeSecs"] - session["startTimeSecs"] == pytest.approx(run["seconds"], abs=1e-5)
        metrics = {value["name"]["tag"]: float(value.get("value", 0)) for value in session["metricValues"]}
        expected = {f"result/{name}": float(np.float32(run[name])) for name in ("final_loss", "best_loss", "accuracy")}
        if not pd.isna(run["overflow_iteration"]):
            expected["result/overflow_iteration"] = run["overflow_iteration"]
        assert metrics == pytest.approx(expected, rel=0, nan_ok=True)
        assert {value["trainingStep"] for value in session["metricValues"]} == {run["iterations"]}


def test_the_experiment_says_which_values_the_hyperparameters_have(hparams):
    found = hparams(get_experiment, request=api_pb2.GetExperimentRequest())
    values = {info["name"]: (info["type"].removeprefix("DATA_TYPE_"), info["domainDiscrete"]) for info in found["hparamInfos"]}
    assert values == {
        "activation": ("STRING", ["relu", "sigmoid"]),
        "bias": ("BOOL", [False, True]),
        "clip_norm": ("FLOAT64", [1e10]),
        "learning_rate": ("FLOAT64", [0.1, 0.5, 1.0]),
        "seed": ("FLOAT64", [1.0, 2.0, 7.0]),
    }
    assert [info["displayName"] for info in found["metricInfos"]] == [
        *("final loss", "best loss", "accuracy", "overflow iteration")
    ]


def test_texts_say_where_the_runs_come_from_and_are_never_markup(saved, folder):
    runs, _ = saved
    for place, tag, parts in (
        (folder, "origin", [*(" ".join(line.split()) for line in ORIGIN.of(runs).lines()), "rows: 7", "seeds: 1, 2, 7"]),
        (folder_of(folder, runs.iloc[0]), "run", [runs["id"][0], " ".join(HOSTILE.split()), "clip norm none", "outcome: "]),
    ):
        accumulator = accumulated(place)
        assert accumulator.PluginTagToContent("text").keys() == {f"{tag}/text_summary"}
        (event,) = accumulator.Tensors(f"{tag}/text_summary")
        (text,) = event.tensor_proto.string_val
        assert all(part.encode() in text for part in parts)
        shown = markdown_to_safe_html(text.replace(b"\0", b""))
        assert shown.startswith("<pre><code>")
        assert shown.count("<") == 4
        assert "&lt;script&gt;" in shown


def test_a_zip_file_holds_the_same_files(saved, folder):
    with zipfile.ZipFile(io.BytesIO(tensorboard_zip(*saved, ORIGIN))) as archive:
        zipped = {name: archive.read(name) for name in archive.namelist()}
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert zipped == {f"brink/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in files}
    assert len(files) == len(saved[0]) + 1


def test_folders_are_named_by_what_tells_the_runs_apart(saved, folder):
    runs, _ = saved
    assert folder_of(folder, runs.iloc[2]).name == (
        f"sigmoid, biases false, learning rate 0.5, clip norm none, seed 1, {runs['id'][2][:8]}"
    )


def test_names_are_unique_short_and_safe_on_every_file_system(saved, tmp_path):
    runs, curves = saved
    many = pd.concat([runs] * 3, ignore_index=True)
    many["id"] = ["a" * 12 + f"{number:03}" for number in range(20)] + ["../" + "b" * 12]
    many["activation"] = ["x" * 300, "con", "../..\\:*?\0"] * 7
    many["learning_rate"] = np.arange(1.0, 22)
    write_event_files(many, curves, tmp_path, ORIGIN)
    names = [path.name for path in tmp_path.iterdir() if path.is_dir()]
    assert len({name.lower() for name in names}) == len(many)
    assert all(name.isascii() and not set(name) & set('/\\:*?"<>|') for name in names)
    assert all(name[-1].isalnum() and len(name) <= LONGEST_NAME + 20 for name in names)


def test_many_numbers_are_an_interval_and_runs_without_points_have_results(saved, tmp_path):
    runs, curves = saved
    many = pd.concat([runs] * 2, ignore_index=True).assign(learning_rate=np.arange(1.0, 15))
    many["id"] = [f"{number:08}" for number in range(len(many))]
    assert len(many) > MOST_DISCRETE
    write_event_files(many, curves.iloc[:0], tmp_path, ORIGIN)
    content = accumulated(tmp_path).PluginTagToContent("hparams")["_hparams_/experiment"]
    infos = {info.name: info for info in metadata.parse_experiment_plugin_data(content).hparam_infos}
    assert infos["learning_rate"].domain_interval == api_pb2.Interval(min_value=1, max_value=14)
    assert list(infos["seed"].domain_discrete) == [1, 2, 7]
    tags = accumulated(folder_of(tmp_path, many.iloc[0])).Tags()["scalars"]
    assert set(tags) == {"result/final_loss", "result/best_loss", "result/accuracy"}


def test_one_run_has_all_its_settings_and_no_run_is_no_error(saved, tmp_path):
    runs, curves = saved
    write_event_files(runs.iloc[:1], curves, tmp_path / "one", ORIGIN)
    (place,) = (path for path in (tmp_path / "one").iterdir() if path.is_dir())
    assert place.name == runs["id"][0][:8]
    write_event_files(runs.iloc[:0], curves.iloc[:0], tmp_path / "none", ORIGIN)
    assert accumulated(tmp_path / "none").Tags()["tensors"] == ["origin/text_summary"]


def test_nothing_is_written_where_something_is(saved, tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ExportError, match="expected an empty folder or none, found 1 files and folders in it"):
        write_event_files(*saved, tmp_path, ORIGIN)
    with pytest.raises(ExportError, match="expected an empty folder or none, found a file of this name"):
        write_event_files(*saved, tmp_path / "notes.txt", ORIGIN)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
