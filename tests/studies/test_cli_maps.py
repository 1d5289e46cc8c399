"""`python -m studies map` and `maps`, `export --map`, `resume` of a map, and the table of a map's runs."""

import collections
import dataclasses
import io
import json
import math
import re
import statistics
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine import CURVES, FIELDS, OUTCOMES, RunConfig, train
from studies import Plan, cli_studies
from studies.cli_maps import parse_axis, summarize
from studies.edges import box_dimension
from studies.export import parse_csv, parse_json, to_csv, to_json
from studies.maps import CELL, TEMPLATES, Axis, Map, cell_of, cells_table
from studies.search import template

STD = Axis("weight_init_std", 0.01, 100, log=True)
RATE = Axis("learning_rate", 0.001, 100, log=True)
SHORT = {"n_iterations": 20, "hidden_size": 3}
QUICK = ["--set", "n_iterations=20", "--set", "hidden_size=3", "--workers", "1"]
NUMBERS = ["final_loss", "best_loss", "accuracy"]


@pytest.fixture(autouse=True)
def _own_store(store, monkeypatch):
    monkeypatch.setenv("BRINK_STORAGE", store.url)


@pytest.fixture
def exported(run):
    """Export a map's runs, and read the table with pandas alone."""

    def read(name):
        code, out, err = run("export", "--map", name)
        assert (code, err) == (0, "")
        above = int(out.splitlines()[0].split()[-1]) - 1
        table = pd.read_csv(io.StringIO(out), dtype=str, keep_default_na=False, skiprows=above)
        words = ["outcome", "fingerprint", "optimizer"]
        return table.apply(lambda column: column if column.name in words else [float(text or "nan") for text in column])

    return read


def told(table):
    """Return a table's rows as text, whatever the types of its columns."""
    return [tuple(map(str, row)) for row in table.itertuples(index=False)]


# Making maps


def test_every_cell_is_the_run_that_its_settings_make_alone(run, exported, store):
    axes = ["--x", "weight_init_std=0.1:10:log", "--y", "learning_rate=1:3"]
    code, out, err = run("map", "edge", *axes, "--size", "3", "--set", "activation=relu", *QUICK)
    assert (code, err) == (0, "")
    assert out.startswith("cells   9 of 9\nended   ")
    table = exported("edge")
    assert list(table) == ["learning_rate", "weight_init_std", "seed", *CELL.names]
    assert table["weight_init_std"].tolist() == pytest.approx([0.1 * 100 ** (i / 3) for i in range(3)] * 3)
    assert table["learning_rate"].tolist() == pytest.approx([1] * 3 + [5 / 3] * 3 + [7 / 3] * 3)
    overflows = 0
    for row in table.to_dict("records"):
        assert row["seed"] == 1
        settings = {name: row[name] for name in ("learning_rate", "weight_init_std")}
        (result,) = train([RunConfig(activation="relu", **SHORT, **settings)])
        assert (row["outcome"], row["iterations"]) == (result.outcome, result.iterations)
        assert row["fingerprint"] == result.fingerprint[:16]
        for name in ("final_loss", "best_loss"):
            assert np.array_equal(row[name], getattr(result, name), equal_nan=True)
        assert np.array_equal(row["accuracy"], float(np.float32(result.accuracy)), equal_nan=True)
        first = result.overflow.iteration if result.overflow else math.nan
        assert np.array_equal(row["overflow_at"], first, equal_nan=True)
        overflows += result.overflow is not None
    assert 0 < overflows < 9


def test_a_cell_s_settings_typed_into_train_give_the_same_bits(run, exported):
    run("map", "edge", "--size", "2", *QUICK)
    row = exported("edge").to_dict("records")[3]
    typed = [word for name in ("weight_init_std", "learning_rate") for word in ("--set", f"{name}={row[name]}")]
    alone = json.loads(run("train", "--json", *QUICK, *typed)[1])
    assert (row["final_loss"], row["fingerprint"]) == (alone["final_loss"], alone["fingerprint"][:16])


def test_a_map_without_axes_has_those_of_help_and_64_cells_a_side(run, store, monkeypatch):
    monkeypatch.setattr("studies.cli_studies.run_job", lambda *arguments: "finished")
    assert run("map", "edge") == (0, "cells   0 of 4,096\n", "")
    assert store.map_record("edge").map == Map(name="edge", x=STD, y=RATE)
    text = " ".join(run("map", "--help")[1].split())
    assert "weight_init_std=0.01:100:log" in text
    assert "learning_rate=0.001:100:log" in text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["--size", "5", "--seeds", "3"], {"size": 5, "n_seeds": 3}),
        (["--set", "bias=on", "--set", "clip_norm=none"], {"fixed": {"bias": True, "clip_norm": None}}),
        (["--preset", "hidden_32", "--set", "dtype=float32"], {"fixed": {"hidden_size": 32, "dtype": "float32"}}),
        (["--preset", "hidden_32", "--set", "hidden_size=2"], {"fixed": {"hidden_size": 2}}),
        (["--preset", "tanh", "--set", "cell=lstm"], {"fixed": {"cell": "lstm"}}),
        (["--preset", "learning_rate_1"], {"fixed": {}}),
        (["--facet", "cell=rnn,lstm"], {"facet": "cell", "facet_values": ("rnn", "lstm")}),
        (["--facet", "seed=1"], "seed: expected no value; n_seeds says with how many seeds"),
        (
            ["--preset", "bit_count", "--facet", "optimizer=sgd,adam"],
            {"facet": "optimizer", "facet_values": ("sgd", "adam"), "fixed": Plan.of("bit_count").axes},
        ),
    ],
)
def test_options_make_the_map_that_they_describe(line, expected, run, store, monkeypatch):
    monkeypatch.setattr("studies.cli_studies.run_job", lambda *arguments: "finished")
    code, _, err = run("map", "edge", *line)
    if isinstance(expected, str):
        assert (code, expected in err, store.maps()) == (2, True, [])
        return
    fixed = {name: value[0] if isinstance(value, list) else value for name, value in expected.get("fixed", {}).items()}
    fixed = {name: value for name, value in fixed.items() if name not in ("learning_rate", "weight_init_std", "optimizer")}
    assert store.map_record("edge").map == Map(name="edge", x=STD, y=RATE, **expected | {"fixed": fixed})


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("learning_rate=0.001:100:log", RATE),
        ("momentum=0:0.9", Axis("momentum", 0, 0.9)),
        ("hidden_size= 2 : 64 :log", Axis("hidden_size", 2, 64, log=True)),
        ("hidden_size=2-4,8", Axis("hidden_size", values=(2, 3, 4, 8))),
        ("activation=sigmoid, tanh", Axis("activation", values=("sigmoid", "tanh"))),
        ("clip_norm=none,1,0.5", Axis("clip_norm", values=(None, 1.0, 0.5))),
        ("bias=on,off", Axis("bias", values=(True, False))),
    ],
)
def test_an_axis_is_a_range_or_a_list_of_values(text, axis):
    assert parse_axis("--x", text) == axis


def test_a_preset_of_several_cells_needs_them_as_facets_and_its_seeds_do_not_count(run, store, monkeypatch):
    monkeypatch.setattr("studies.cli_studies.run_job", lambda *arguments: "finished")
    axes = ["--preset", "long_memory", "--x", "hidden_size=2-9", "--size", "4"]
    code, _, err = run("map", "edge", *axes)
    assert code == 2
    assert "cell: expected one value for all cells, found 3; give one with --set, or several with --facet" in err
    assert run("map", "edge", *axes, "--facet", "cell=rnn,gru")[0] == 0
    made = store.map_record("edge").map
    assert (made.n_seeds, made.facet_values, made.fixed["length"]) == (1, ("rnn", "gru"), 100)


def test_a_map_is_made_from_its_json_with_another_name_and_other_counts(run, store, tmp_path, monkeypatch):
    made = Map(name="words", x=Axis("activation", values=("sigmoid", "relu")), y=RATE, size=3, fixed=SHORT)
    path = tmp_path / "map.json"
    path.write_text(made.to_json())
    assert run("map", "--file", str(path), "--workers", "1")[0] == 0
    assert store.map_record("words").map == made
    assert run("map", "more", "--file", str(path), "--size", "2", "--seeds", "2", "--workers", "1")[0] == 0
    assert store.map_record("more").map == dataclasses.replace(made, name="more", size=2, n_seeds=2)
    listed = [json.loads(line)["map"] for line in run("maps", "--json")[1].splitlines()]
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(listed[1])))
    assert run("map", "again", "--file", "-", "--workers", "1")[0] == 0
    assert store.map_record("again").map == dataclasses.replace(made, name="again")


# What came of a map


def test_the_summary_of_real_runs_says_what_the_exported_ones_say(run, exported):
    line = ["--size", "4", "--seeds", "2", "--facet", "optimizer=sgd,adam", "--set", "bits=2", "--set", "n_iterations=300"]
    line += ["--x", "hidden_size=2:10", "--y", "learning_rate=0.01:10:log", "--workers", "1"]
    code, out, _ = run("map", "edge", *line, "--json")
    summary = json.loads(out, parse_constant=pytest.fail)
    assert (code, summary["name"], summary["status"], summary["cells"]) == (0, "edge", "finished", 16)
    assert [facet["facet"] for facet in summary["facets"]] == ["sgd", "adam"]
    for facet in summary["facets"]:
        runs = exported("edge").query(f"optimizer == '{facet['facet']}'")
        cells = [part for _, part in runs.groupby(["learning_rate", "hidden_size"])]
        good = [part["outcome"].isin(["solved", "learning"]).mean() for part in cells]
        assert facet["learns"] == statistics.fmean(share >= 0.5 for share in good)
        assert (facet["trained"], sum(facet["outcomes"].values())) == (16, 16)
        best = min(
            (part for part, share in zip(cells, good, strict=True) if share >= 0.5), key=lambda p: p["final_loss"].median()
        )
        assert facet["best"] == {
            "hidden_size": best["hidden_size"].iloc[0],
            "learning_rate": best["learning_rate"].iloc[0],
            "final_loss": best["final_loss"].median(),
        }
        assert facet["dimension"]["problem"].startswith("The map has 4 cells along its shorter side")
    assert 0 < summary["facets"][1]["learns"] < 1


CODES = arrays.arrays(np.uint8, st.tuples(*[st.integers(1, 3)] * 3, st.integers(1, 4)), elements=st.integers(0, len(OUTCOMES)))


@settings(deadline=None, max_examples=30)
@given(CODES, st.randoms())
def test_a_summary_counts_as_a_loop_over_the_cells_does(codes, random):
    n_facets, ny, nx, n_seeds = codes.shape
    cells = np.zeros(codes.shape, CELL)
    cells["outcome"] = codes
    cells["final_loss"] = np.reshape(
        [random.choice([0.5, 1.5, math.nan, random.random()]) for _ in range(codes.size)], codes.shape
    )
    x, y = Axis("hidden_size", values=range(1, nx + 1)), Axis("bits", values=range(2, ny + 2))
    facets = {"facet": "activation", "facet_values": ("sigmoid", "tanh", "relu")[:n_facets]}
    made = Map(name="a", x=x, y=y, n_seeds=n_seeds, **facets)
    for number, facet in enumerate(summarize(made, cells)):
        counts, shares, losses = collections.Counter(), [], {}
        for i, row in enumerate(cells[number]):
            for j, seeds in enumerate(row):
                names = [["", *OUTCOMES][code] for code in seeds["outcome"]]
                if "" in names:
                    continue
                counts[max(OUTCOMES, key=lambda name: (names.count(name), -list(OUTCOMES).index(name)))] += 1
                shares.append(sum(name in ("solved", "learning") for name in names) / len(names))
                if shares[-1] >= 0.5 and not np.isnan(seeds["final_loss"]).any():
                    losses[j + 1, i + 2] = statistics.median(seeds["final_loss"].tolist())
        assert (facet["trained"], facet["outcomes"]) == (len(shares), counts)
        assert facet["learns"] == (statistics.fmean(share >= 0.5 for share in shares) if shares else None)
        assert (facet["best"] is None) == (not losses)
        if best := facet["best"]:
            assert best["final_loss"] == losses[best["hidden_size"], best["bits"]] == min(losses.values())


def planted(store, made, good):
    """Add a map whose cells learn where it says so, with losses that rise along x."""
    store.add_map(made)
    record, cells = store.map_record(made.name), np.zeros(made.n_runs, CELL)
    cells["outcome"] = np.where(good.ravel(), 1, 6)
    cells["final_loss"] = np.arange(made.n_runs) / 100 + 0.25
    token = store.claim(record.job.id)
    store.save_cells(record, token, np.arange(made.n_runs), cells)
    store.end_job(record.job.id, token, "stopped")


def test_the_edge_s_dimension_is_printed_where_the_map_tells_one(run, store):
    good = np.add.outer(np.arange(64), np.arange(64)) > 63
    planted(store, Map(name="line", x=STD, y=RATE, fixed=SHORT), good)
    code, out, err = run("resume", "line", "--workers", "1")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:3] == ["cells   4,096 of 4,096", "ended   solved 2,016 (49.2%), overflow 2,080 (50.8%)", "learns  49.2%"]
    number = 64 + 63  # the first row has no good cell, the second one
    std, rate = (axis.at(place, 64) for axis, place in ((STD, number % 64), (RATE, number // 64)))
    assert lines[3] == f"best    final_loss {number / 100 + 0.25:.4g} at weight_init_std={std} learning_rate={rate}"
    found = box_dimension(good)
    numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", lines[4].replace("95 %", ""))]
    assert lines[4].startswith("edge    box-counting dimension ")
    assert numbers == pytest.approx([found.value, found.low, found.high, found.fit_from, found.fit_to], abs=0.005)
    assert numbers[1] <= 1 <= numbers[2]


# Zooms


def test_a_zoom_has_the_corners_of_its_window_and_the_same_size(run, exported, store):
    run("map", "whole", "--size", "4", *QUICK)
    code, _, err = run("map", "part", "--zoom-of", "whole", "--window", "1:3,2:4", "--workers", "1")
    assert (code, err) == (0, "4 of 16 runs are taken over from 'whole'\n")
    whole, part = exported("whole"), exported("part")
    for name, first in (("weight_init_std", 1), ("learning_rate", 2)):
        outer, inner = sorted(set(whole[name])), sorted(set(part[name]))
        assert (len(inner), inner[::2]) == (4, outer[first : first + 2])
        factors = np.array(inner[1:]) / inner[:-1]
        assert factors == pytest.approx((outer[1] / outer[0]) ** 0.5)
    both = whole.merge(part, on=["weight_init_std", "learning_rate"])
    assert len(both) == 4
    assert (both["fingerprint_x"] == both["fingerprint_y"]).all()
    assert store.map_record("part").parent_id == store.map_record("whole").id


def test_a_refined_map_takes_over_cells_and_equals_one_that_is_trained_afresh(run, exported, store):
    run("map", "coarse", "--size", "2", *QUICK)
    assert run("map", "fine", "--refine-of", "coarse", "--workers", "1")[2] == "4 of 16 runs are taken over from 'coarse'\n"
    run("map", "afresh", "--size", "4", *QUICK)
    assert told(exported("fine")) == told(exported("afresh"))
    identity = store.map_record("coarse").id
    code, _, err = run("map", "six", "--refine-of", identity, "--size", "6", "--seeds", "2", "--workers", "1")
    assert (code, err) == (0, "4 of 72 runs are taken over from 'coarse'\n")
    assert store.map_record("six").map.shape == (1, 6, 6, 2)


def test_a_map_whose_cells_run_into_each_other_is_trained_with_a_note(run, store):
    axes = ["--x", "weight_init_std=1:1.0000005", "--size", "4", "--set", "dtype=float32", "--set", "n_iterations=2"]
    code, _, err = run("map", "edge", *axes, "--workers", "1")
    assert (code, store.map_record("edge").n_done) == (0, 16)
    assert err.startswith("note: weight_init_std: neighbouring cells differ by less than four steps of float32")


# Stopping, listing


def stopped_map(run, store, monkeypatch):
    """Stop a map as soon as a third of it is trained; return what was printed."""
    monkeypatch.setattr("studies.driver.SLICE_SECONDS", 1e-6)

    def stopping(share):
        if store.maps()[0].n_done:
            store.request_stop(store.maps()[0].job.id)

    with monkeypatch.context() as patch:
        patch.setattr(cli_studies, "show", lambda: stopping)
        return run("map", "edge", "--x", "hidden_size=2,3,4", "--size", "3", *QUICK[:2], "--workers", "1")


def test_a_stopped_map_keeps_what_there_is_and_goes_on_by_its_name_with_the_same_bits(run, exported, store, monkeypatch):
    code, out, err = stopped_map(run, store, monkeypatch)
    record = store.map_record("edge")
    assert (code, err) == (130, f"stopped; go on with: python -m studies resume {record.job.id}\n")
    assert (record.job.status, record.n_done) == ("stopped", 3)
    assert out.startswith("cells   3 of 9\nended   ")
    part = exported("edge")
    assert len(part) == 3
    assert set(part["hidden_size"]) < {2, 3, 4}
    code, out, err = run("resume", "edge", "--workers", "1")
    assert (code, err, out.splitlines()[0]) == (0, "", "cells   9 of 9")
    run("map", "whole", "--x", "hidden_size=2,3,4", "--size", "3", *QUICK[:2], "--workers", "1")
    assert told(exported("edge")) == told(exported("whole"))
    assert set(told(part)) <= set(told(exported("whole")))
    for text in (record.id, record.job.id, "edge"):
        assert "found one that is finished" in run("resume", text)[2]


def test_maps_are_listed_newest_first_for_people_and_as_json(run, store):
    assert run("maps") == (0, "", "no maps yet; make one with: python -m studies map edge\n")
    run("map", "edge", "--size", "2", "--seeds", "2", *QUICK)
    run(
        "map",
        "words 🧠",
        "--x",
        "activation=sigmoid,relu",
        "--size",
        "4",
        "--y",
        "momentum=0:0.9",
        "--set",
        "optimizer=momentum",
        *QUICK,
    )
    whole = store.map_record("edge")
    store.add_map(whole.map.zoomed("zoom", (0, 1), (1, 2)), whole.id)
    ids = [record.id for record in store.maps()]
    code, out, err = run("maps")
    assert (code, err) == (0, "")
    edge = ["finished", "2x2", "8", "of", "8", "runs", "weight_init_std=0.01:100:log", "learning_rate=0.001:100:log", "edge"]
    zoom = ["waiting", "2x2", "2", "of", "8", "runs", "weight_init_std=0.01:1:log", "learning_rate=0.3162:100:log", "zoom"]
    words = ["finished", "2x4", "8", "of", "8", "runs", "activation=sigmoid,relu", "momentum=0:0.9", "words", "🧠"]
    lines = [line.split() for line in out.splitlines()]
    assert lines == [[ids[0], *zoom], [ids[1], *words], [ids[2], *edge]]
    records = [json.loads(line) for line in run("maps", "--json")[1].splitlines()]
    assert [(r["id"], r["status"], r["done"], r["runs"]) for r in records] == [
        (ids[0], "waiting", 2, 8),
        (ids[1], "finished", 8, 8),
        (ids[2], "finished", 8, 8),
    ]
    assert [record["parent"] for record in records] == [ids[2], None, None]
    assert [Map.from_json(json.dumps(record["map"])) for record in records] == [record.map for record in store.maps()]
    assert run("list")[1] == ""


def test_pause_stop_and_resume_ask_for_more_where_a_study_and_a_map_share_a_name(run, store):
    store.add_study(template("cells", name="same"))
    map_id = store.add_map(Map(name="same", x=STD, y=RATE, size=2))
    for command in ("pause", "stop", "resume"):
        code, _, err = run(command, "same")
        assert (code, err) == (1, "error: expected a name that is a study's or a map's, found both with 'same'; give the id\n")
    assert run("stop", map_id)[0] == 0
    assert store.map_record("same").job.status == "stopping"


# Export


def test_export_writes_a_map_s_runs_to_a_file_of_either_kind(run, store, tmp_path, exported):
    run("map", "edge", "--size", "2", *QUICK)
    record = store.map_record("edge")
    table = cells_table(record.map, store.cells(record.id))
    for name, write, read in (("edge.csv", to_csv, parse_csv), ("edge.json", to_json, parse_json)):
        path = tmp_path / name
        assert run("export", "--map", record.id, "-o", str(path)) == (0, "", f"4 runs written to {path}\n")
        found = read(path.read_bytes())
        assert found.table.dtypes.equals(table.dtypes)
        assert path.read_bytes() == write(table, found.origin)
        assert (found.origin.what, found.origin.name, found.origin.seeds, found.origin.rows) == (
            "runs of a map",
            "edge",
            "1",
            4,
        )
    records = json.loads((tmp_path / "edge.json").read_bytes())["rows"]
    assert pd.DataFrame(records)[["fingerprint", "final_loss"]].equals(exported("edge")[["fingerprint", "final_loss"]])


BAD = [
    (["map"], "expected a name for the map, found none"),
    (["map", " "], "name: expected some text, found none"),
    (["map", "a", "--x", "learning_rate"], "--x: expected SETTING=LOW:HIGH, SETTING=LOW:HIGH:log or SETTING=VALUE,VALUE"),
    (["map", "a", "--y", "learning_rat=1:2"], "did you mean 'learning_rate'?"),
    (["map", "a", "--y", "learning_rate=1:2:lin"], "--y learning_rate: expected LOW:HIGH or LOW:HIGH:log, found '1:2:lin'"),
    (["map", "a", "--y", "learning_rate=1:2:log:log"], "expected LOW:HIGH or LOW:HIGH:log, found '1:2:log:log'"),
    (["map", "a", "--y", "learning_rate=1:x"], "learning_rate: expected a number above 0 up to 1,000,000, found 'x'"),
    (["map", "a", "--y", "learning_rate=2:1"], "learning_rate: expected low below high, found 2.0 and 1.0"),
    (["map", "a", "--x", "weight_init_std=0:1:log"], "weight_init_std: expected a range above 0 for log"),
    (["map", "a", "--x", "activation=tanh:relu"], "activation: expected a list of values on an axis, found a range"),
    (["map", "a", "--x", "seed=1,2"], "seed: expected another setting on an axis; n_seeds says with how many seeds"),
    (["map", "a", "--x", "learning_rate=1:2"], "expected different settings on the axes, found learning_rate, learning_rate"),
    (["map", "a", "--x", "momentum=0:0.9"], "momentum: expected none because optimizer 'sgd' has no use for it"),
    (["map", "a", "--set", "momentum=0.5"], "momentum: expected none because optimizer 'sgd' has no use for it"),
    (["map", "a", "--set", "learning_rate=1"], "--set learning_rate: expected another setting, found one on an axis"),
    (["map", "a", "--set", "bias"], "--set: expected NAME=VALUE, such as learning_rate=0.1,0.5, found 'bias'"),
    (["map", "a", "--set", "bias=on,off"], "bias: expected one value for all cells, found 2"),
    (["map", "a", "--facet", "bias"], "--facet: expected NAME=VALUE, such as learning_rate=0.1,0.5, found 'bias'"),
    (["map", "a", "--set", "seed=2"], "seed: expected no value; n_seeds says with how many seeds each cell is trained"),
    (["map", "a", "--preset", "std10"], "did you mean 'std_10'?"),
    (["map", "a", "--size", "1"], "size: expected a whole number from 2 to 512, found 1"),
    (["map", "a", "--seeds", "0"], "n_seeds: expected a whole number from 1 to 100, found 0"),
    (["map", "a", "--size", "512", "--seeds", "8"], "expected at most 2,000,000 runs, found 2,097,152"),
    (["map", "a", "--workers", "0"], "--workers: expected at least 1, found 0"),
    (["map", "taken"], "name: expected a new one, found 'taken', which another map has"),
    (["map", "--file", "no such file.json"], "expected a file with a map as JSON, found none: "),
    (["map", "--file", "."], "expected a file with a map as JSON, found none: "),
    (["map", "--file", "README.md"], "expected a map as JSON, found text that is none: "),
    (["map", "--file", "a.json", "--refine-of", "taken"], "--refine-of: not allowed with argument --file"),
    (["map", "--file", "a.json", "--x", "bits=2:4"], "expected --file or --x, found both; that map has its settings already"),
    (["map", "a", "--refine-of", "taken", "--set", "bits=2"], "expected --refine-of or --set, found both"),
    (["map", "a", "--zoom-of", "taken"], "expected --zoom-of and --window together, found --zoom-of alone"),
    (["map", "a", "--window", "0:1,0:1"], "expected --zoom-of and --window together, found --window alone"),
    (["map", "a", "--zoom-of", "taken", "--window", "0:1"], "--window: expected X0:X1,Y0:Y1, cells such as 16:32,0:16"),
    (["map", "a", "--zoom-of", "taken", "--window", "0:1,0:1:2"], "--window: expected X0:X1,Y0:Y1, cells such as 16:32,0:16"),
    (["map", "a", "--zoom-of", "taken", "--window", "0:1,2:2"], "y: expected a rectangle inside 2 cells, found 2 to 2"),
    (["map", "--refine-of", "taken"], "expected a name for the map, found none"),
    (["map", "a", "--refine-of", "taken", "--size", "513"], "size: expected a whole number from 2 to 512, found 513"),
    (["export", "--map", "taken", "--job", "x"], "expected --job, --study or --map, found --job and --map"),
    (["export", "--map", "taken", "--study", "x"], "expected --job, --study or --map, found --study and --map"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_a_wrong_command_line_is_refused_and_nothing_is_written(line, message, run, store, sql):
    store.add_map(Map(name="taken", x=STD, y=RATE, size=2))
    code, out, err = run(*line)
    assert (code, out) == (2, "")
    assert message in err
    assert sql(store, "SELECT name FROM lab_map") == sql(store, "SELECT name FROM lab_job") == [("taken",)]


@pytest.mark.parametrize(
    "line",
    [
        ["map", "a", "--refine-of", "none"],
        ["map", "a", "--zoom-of", "none", "--window", "0:1,0:1"],
        ["export", "--map", "none"],
    ],
)
def test_a_map_that_is_not_there_is_exit_code_1(line, run):
    message = "error: expected the id or name of a map, found 'none'; it may have been deleted\n"
    assert run(*line) == (1, "", message)


# The table of a map's runs


WORDS = Axis("activation", values=("relu", "sigmoid"))
TABLES = {
    "numbers": Map(name="a", x=STD, y=RATE, size=3, fixed=SHORT),
    "seeds and facets": Map(
        name="a", x=STD, y=RATE, size=2, n_seeds=3, facet="optimizer", facet_values=("adam", "sgd"), fixed=SHORT
    ),
    "words": Map(name="a", x=WORDS, y=Axis("clip_norm", values=(None, 0.5)), n_seeds=2, fixed=SHORT),
    "off or not": Map(
        name="a",
        x=Axis("bias", values=(True, False)),
        y=Axis("hidden_size", 2, 5),
        size=3,
        facet="projection_size",
        facet_values=(None, 2),
        fixed={"n_iterations": 20, "cell": "lstm"},
    ),
    "words that some cells have no use for": Map(
        name="a",
        x=WORDS,
        y=Axis("hidden_size", values=(2, 3)),
        facet="cell",
        facet_values=("rnn", "gru"),
        fixed={"n_iterations": 20},
    ),
}


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("name", TABLES)
def test_the_table_has_a_row_for_each_trained_run_as_a_loop_over_them_makes(name, share):
    made = TABLES[name]
    numbers = [n for n in range(made.n_runs) if np.random.default_rng(n).random() < share]
    results = train([made.config(number) for number in numbers]) if numbers else []
    cells = np.zeros(made.n_runs, CELL)
    for number, result in zip(numbers, results, strict=True):
        cells[number] = cell_of(result)
    rows = []
    for number, result in zip(numbers, results, strict=True):
        facet, y, x, _ = np.unravel_index(number, made.shape)
        settings = {made.facet: made.facet_values[facet]} if made.facet else {}
        settings |= {axis.setting: axis.at(int(place), axis.size(made.size)) for axis, place in ((made.y, y), (made.x, x))}
        for key, value in settings.items():
            assert getattr(result.config, key) == value or not FIELDS[key].applies(result.config.to_dict())
        right = [int(curve[0]) for curve in result.curves if curve[CURVES.index("accuracy")] >= 0.99]
        rows.append(
            settings
            | {"seed": result.config.seed, "outcome": result.outcome}
            | {"final_loss": result.final_loss, "best_loss": result.best_loss, "accuracy": float(np.float32(result.accuracy))}
            | {"solved_at": right[0] if right else None, "overflow_at": result.overflow and result.overflow.iteration}
            | {"iterations": result.iterations, "fingerprint": result.fingerprint[:16]}
        )
    table = cells_table(made, cells.reshape(made.shape))
    columns = [*([made.facet] if made.facet else []), made.y.setting, made.x.setting, "seed", *CELL.names]
    assert list(table) == columns
    records = [{k: None if pd.isna(v) and k not in NUMBERS else v for k, v in row.items()} for row in table.to_dict("records")]
    assert [list(map(repr, row.values())) for row in records] == [list(map(repr, row.values())) for row in rows]
    assert [table[column].dtype for column in ("solved_at", "overflow_at")] == [pd.Int64Dtype()] * 2
    assert json.loads(to_json(table)) == json.loads(json.dumps(rows).replace("NaN", '"NaN"').replace("Infinity", '"Infinity"'))


def test_numbers_of_cells_that_are_not_finite_are_exported_literally():
    made, values = TABLES["numbers"], [math.nan, math.inf, -math.inf, 5e-324, 0.1 + 0.2, 1e308, 0.0, -1.5, 2.0]
    cells = np.zeros(made.shape, CELL)
    cells["outcome"], cells["fingerprint"] = 1, b"0000000000000012"
    cells["final_loss"] = np.reshape(values, made.shape)
    cells["overflow_at"].flat[:] = range(9)
    table = cells_table(made, cells)
    texts = pd.read_csv(io.BytesIO(to_csv(table)), dtype=str, keep_default_na=False, encoding="utf-8-sig")
    assert texts["final_loss"].tolist()[:4] == ["NaN", "Infinity", "-Infinity", "5e-324"]
    assert [*map(repr, texts["final_loss"].astype(float))] == [*map(repr, values)]
    assert texts["overflow_at"].tolist() == ["", *map(str, range(1, 9))]
    assert set(texts["fingerprint"]) == {"0000000000000012"}
    assert [record["final_loss"] for record in json.loads(to_json(table))][:3] == ["NaN", "Infinity", "-Infinity"]


def test_a_template_is_trained_with_other_cells_and_under_its_own_name(run):
    code, out, _ = run("map", "--template", "relu", "--size", "2", "--workers", "1", "--json")
    assert (code, json.loads(out)["name"], json.loads(out)["cells"]) == (0, TEMPLATES["relu"]["name"], 4)
