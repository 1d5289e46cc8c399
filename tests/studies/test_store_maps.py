"""Maps in a store: written, found, filled block by block, taken over from a parent, renamed, deleted."""

import dataclasses
import threading

import numpy as np
import pytest

from engine import OUTCOMES, ConfigError
from studies import JobError, Plan, StoreError, open_store
from studies.errors import NameTakenError, PlanError
from studies.maps import CELL, Axis, Map

STD = Axis("weight_init_std", 0.01, 100, log=True)
RATE = Axis("learning_rate", 0.001, 100, log=True)
WORDS = Axis("activation", values=("sigmoid", "tanh", "relu"))
NO_MAP = "f" * 32


def plane(name="edge", **changes):
    usual = {"x": STD, "y": RATE, "size": 4, "fixed": {"n_iterations": 10, "hidden_size": 2}}
    return Map(**{"name": name} | usual | changes)


def fake(numbers, seed=0):
    """Return cells as different as cells can be, each with its own losses."""
    rng, n = np.random.default_rng(seed), len(numbers)
    cells = np.zeros(n, CELL)
    cells["outcome"] = rng.integers(1, len(OUTCOMES) + 1, n)
    cells["final_loss"] = np.asarray(numbers) + 0.1
    cells["best_loss"] = rng.choice([np.nan, np.inf, 5e-324, 1 / 3], n)
    cells["accuracy"] = rng.random(n)
    for name in ("solved_at", "overflow_at", "iterations"):
        cells[name] = rng.integers(0, 2**31, n)
    cells["fingerprint"] = [f"{number:016x}".encode() for number in rng.integers(0, 2**62, n)]
    return cells


@pytest.fixture
def fill(store):
    """Write a map and blocks of its cells, as a driver that is still at work; return its id, its token and its cells."""

    def write(made, *blocks, parent=None):
        map_id = store.add_map(made, parent)
        record, cells = store.map_record(map_id), np.zeros(made.n_runs, CELL)
        token = store.claim(record.job.id)
        for number, block in enumerate(blocks):
            numbers = np.asarray(list(block), np.int32)
            cells[numbers] = fake(numbers, number)
            store.save_cells(record, token, numbers, cells[numbers])
        return map_id, token, cells.reshape(made.shape)

    return write


@pytest.fixture
def counts(sql):
    """Count the rows of all tables that maps have to do with."""
    return lambda store: {
        name: sql(store, f"SELECT count(*) FROM {name}")[0][0] for name in ("lab_job", "lab_map", "lab_map_block")
    }


# Written and found


def test_a_new_map_waits_with_a_job_of_its_own_and_no_cell(store):
    made = plane(n_seeds=3, facet="optimizer", facet_values=("sgd", "adam"))
    record = store.map_record(store.add_map(made))
    assert (record.name, record.map, record.parent_id, record.n_done, record.n_blocks) == ("edge", made, None, 0, 0)
    job = record.job
    assert (job.kind, job.name, job.status, job.is_live, job.progress) == ("map", "edge", "waiting", True, 0)
    assert (job.n_runs, job.n_iterations, job.n_saved) == (96, 960, 0)
    assert job.plan == Plan.of_config(made.config(0))
    assert record.created_at == job.created_at
    cells = store.cells(record.id)
    assert (cells.shape, cells.dtype, cells.tobytes().strip(b"\0")) == ((2, 4, 4, 3), CELL, b"")


def test_the_job_of_a_map_counts_the_most_iterations_that_any_cell_makes(store):
    record = store.map_record(store.add_map(plane(x=Axis("n_iterations", 10, 50), fixed={})))
    assert record.job.n_iterations == 40 * 16


def test_a_map_is_found_by_its_id_by_its_name_and_by_its_job_and_in_another_connection(store, fill):
    map_id, _, cells = fill(plane(), [3, 1])
    store.add_map(plane("other"))
    record = store.map_record(map_id)
    assert record == store.map_record("edge") == store.map_of_job(record.job.id)
    other = open_store(store.url)
    assert other.map_record(map_id) == record
    for name in (map_id, "edge"):
        assert other.cells(name).tobytes() == cells.tobytes()


def test_maps_are_listed_newest_first_and_stand_beside_other_jobs(store):
    job_id = store.add_job(Plan({}), "edge")
    names = ["a", "b", "c"]
    ids = [store.add_map(plane(name)) for name in names]
    assert [record.id for record in store.maps()] == ids[::-1]
    assert [record.map.name for record in store.maps()] == names[::-1]
    assert [job.id for job in store.jobs()] == [job_id]
    assert [job.name for job in store.jobs(kind="map")] == names[::-1]


def test_a_map_that_does_not_exist_is_named(store):
    store.add_map(plane())
    asks = (store.map_record, store.cells, store.delete_map, lambda name: store.rename_map(name, "new"))
    for ask in (*asks, lambda name: store.add_map(plane("child"), name)):
        with pytest.raises(JobError, match=f"expected the id or name of a map, found '{NO_MAP}'; it may have been deleted"):
            ask(NO_MAP)
    for job_id in (NO_MAP, store.add_job(Plan({}))):
        with pytest.raises(JobError, match=f"expected the id of a map's job, found '{job_id}'"):
            store.map_of_job(job_id)
    assert [record.name for record in store.maps()] == ["edge"]


def test_a_name_that_another_map_has_is_refused_and_nothing_is_written(store, counts):
    first = store.add_map(plane())
    with pytest.raises(NameTakenError, match="name: expected a new one, found 'edge', which another map has"):
        store.add_map(plane(size=5), first)
    assert counts(store) == {"lab_job": 1, "lab_map": 1, "lab_map_block": 0}


def test_of_many_maps_of_one_name_at_the_same_time_exactly_one_is_written(store, counts):
    made, refused, gate = [], [], threading.Barrier(5)

    def add():
        gate.wait()
        try:
            made.append(store.add_map(plane()))
        except NameTakenError:
            refused.append(1)

    threads = [threading.Thread(target=add) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 4)
    assert counts(store) == {"lab_job": 1, "lab_map": 1, "lab_map_block": 0}


@pytest.mark.parametrize("name", ['it\'s "x"; DROP TABLE lab_map;--', "a\nb\tc", "🧠<b>=1+1</b>", "x" * 100_000])
def test_a_map_s_name_is_stored_literally(name, store):
    record = store.map_record(store.add_map(plane(name)))
    assert record.name == record.map.name == record.job.name == name


@pytest.mark.parametrize("name", ["x" * 100_001, "\udcff"])
def test_a_name_that_cannot_be_kept_is_refused(name, store, counts):
    with pytest.raises(StoreError, match=r"^name: expected"):
        store.add_map(plane(name))
    map_id = store.add_map(plane())
    with pytest.raises(StoreError, match=r"^name: expected"):
        store.rename_map(map_id, name)
    assert store.map_record(map_id).name == "edge"
    assert counts(store)["lab_map"] == 1


@pytest.mark.parametrize("when", ["listed", "asked for"])
def test_a_map_that_is_deleted_in_the_moment_it_is_read_is_left_out_or_named(when, store, monkeypatch):
    kept, doomed = store.add_map(plane("kept")), store.add_map(plane("doomed"))
    other, job = open_store(store.url), store.job

    def too_late(job_id):
        if len(other.maps()) == 2:
            other.delete_map(doomed)
        return job(job_id)

    monkeypatch.setattr(store, "job", too_late)
    if when == "listed":
        assert [record.id for record in store.maps()] == [kept]
    else:
        with pytest.raises(JobError, match="it may have been deleted"):
            store.map_record(doomed)


LARGE = {"task": "copy_memory", "length": 1000, "cell": "lstm", "n_layers": 4, "hidden_size": 512, "batch_size": 1024}


def test_a_map_that_a_larger_machine_made_is_listed_read_renamed_and_deleted_here_but_not_made_here(store, monkeypatch):
    monkeypatch.setattr("engine.memory.memory", lambda: 2**50)
    made = plane(fixed=LARGE)
    map_id = store.add_map(made)
    monkeypatch.setattr("engine.memory.memory", lambda: 2**33)
    (record,) = store.maps()
    assert record.map == store.map_record("edge").map == made
    assert store.cells(map_id).shape == (1, 4, 4, 1)
    store.rename_map(map_id, "large")
    assert store.map_record("large").map.fixed == made.fixed
    refusals = (
        lambda: record.map.zoomed("closer", (0, 2), (0, 2)),
        lambda: dataclasses.replace(record.map, size=8),
        lambda: plane(fixed=LARGE),
    )
    for make in refusals:
        with pytest.raises(ConfigError, match=r"expected a run that fits in 4\.0 GB"):
            make()
    store.delete_map(map_id)
    assert store.maps() == []


# Cells


def test_cells_come_back_to_the_last_bit_at_their_places(store, fill, sql):
    made = plane(n_seeds=2, facet="optimizer", facet_values=("sgd", "adam"))
    order = np.random.default_rng(1).permutation(made.n_runs)
    map_id, _, cells = fill(made, order[:20], order[20:21], order[21:50])
    record, read = store.map_record(map_id), store.cells(map_id)
    assert (record.n_done, record.n_blocks) == (50, 3)
    assert read.tobytes() == cells.tobytes()
    assert np.isnan(read["best_loss"]).any()
    assert set(np.flatnonzero(read["outcome"].ravel() == 0)) == set(order[50:])
    facet, y, x, seed = np.unravel_index(order[7], made.shape)
    assert read[facet, y, x, seed]["final_loss"] == made.number(facet, y, x, seed) + 0.1
    assert sql(store, "SELECT number, n_runs FROM lab_map_block ORDER BY number") == [(0, 20), (1, 1), (2, 29)]


def test_cells_of_one_map_are_not_those_of_another(store, fill):
    first, _, cells = fill(plane("first"), range(5))
    second, _, _ = fill(plane("second"), range(9), [12])
    assert store.cells(first).tobytes() == cells.tobytes()
    assert [(store.map_record(name).n_done, store.map_record(name).n_blocks) for name in (first, second)] == [(5, 1), (10, 2)]


def test_only_new_blocks_are_read_into_cells_that_were_read_before(store, fill, sql):
    map_id, token, cells = fill(plane(), [3, 4], [5])
    read, record = store.cells(map_id), store.map_record(map_id)
    numbers = np.array([0, 15], np.int32)
    store.save_cells(record, token, numbers, fake(numbers))
    whole = store.cells(map_id)
    assert whole.tobytes() != cells.tobytes() == read.tobytes()
    sql(store, "UPDATE lab_map_block SET cells = CAST('damaged' AS BLOB) WHERE number < 2")  # whoever reads them will know
    with pytest.raises(ValueError, match="pickled"):
        store.cells(map_id)
    assert store.cells(map_id, read, record.n_blocks) is read
    assert read.tobytes() == whole.tobytes()
    assert store.cells(map_id, read, 3).tobytes() == whole.tobytes()


def test_only_the_process_that_has_the_job_writes_cells(store, fill, sql):
    map_id, stale, cells = fill(plane(), [1])
    record = store.map_record(map_id)
    sql(store, "UPDATE lab_job SET heartbeat_at = 0")
    store.wait_again(record.job.id)
    fresh, numbers = store.claim(record.job.id), np.array([2], np.int32)
    for token in (stale, "foreign", None):
        with pytest.raises(JobError, match="was deleted or taken over by another process"):
            store.save_cells(record, token, numbers, fake(numbers))
    assert store.cells(map_id).tobytes() == cells.tobytes()
    store.save_cells(record, fresh, numbers, fake(numbers))
    assert store.map_record(map_id).n_done == 2
    store.delete_map(map_id)
    with pytest.raises(JobError, match="was deleted or taken over by another process"):
        store.save_cells(record, fresh, numbers, fake(numbers))


# Taken over from a parent


def by_identity(parent, cells, made):
    """Return what a map can take over from another one, found by comparing every run with every other."""
    known = {parent.config(number).identity: cells.reshape(-1)[number] for number in range(parent.n_runs)}
    expected = np.zeros(made.n_runs, CELL)
    for number in range(made.n_runs):
        expected[number] = known.get(made.config(number).identity, expected[number])
    return expected.reshape(made.shape)


FACETS = {"facet": "optimizer", "facet_values": ("sgd", "adam")}
CHILDREN = {
    "zoom": (plane(size=8), {}, ((2, 6), (0, 4)), 16),
    "crooked zoom": (plane(size=8), {}, ((1, 7), (3, 6)), 2),
    "window, no finer": (plane(size=8), {"size": 4}, ((2, 6), (0, 4)), 16),
    "finer": (plane(), {"size": 8}, None, 16),
    "three times as fine": (plane(), {"size": 12}, None, 16),
    "half as fine again": (plane(), {"size": 6}, None, 4),
    "coarser": (plane(size=8), {"size": 4}, None, 16),
    "same": (plane(), {}, None, 16),
    "more seeds": (plane(n_seeds=2), {"n_seeds": 3}, None, 32),
    "fewer seeds": (plane(n_seeds=3), {"n_seeds": 1}, None, 16),
    "more seeds, closer": (plane(n_seeds=2), {"n_seeds": 3}, ((0, 2), (2, 4)), 8),
    "facets": (plane(**FACETS, n_seeds=2), {"size": 8}, ((0, 2), (0, 2)), 16),
    "words": (plane(x=WORDS), {"size": 8}, ((1, 3), (0, 4)), 8),
    "more words": (
        plane(x=WORDS),
        {"x": Axis("activation", values=("relu", "softplus", "sigmoid"))},
        None,
        8,
    ),
    "linear": (plane(x=Axis("weight_init_std", 0, 10)), {"size": 8}, ((1, 3), (1, 3)), 4),
    "other fixed": (plane(), {"fixed": {"n_iterations": 11, "hidden_size": 2}}, None, 0),
    "other range": (plane(), {"x": Axis("weight_init_std", 0.02, 100, log=True)}, None, 0),
    "another setting": (plane(), {"x": Axis("forget_bias", 1, 100, log=True), "fixed": {"cell": "lstm"}}, None, 0),
}


@pytest.mark.parametrize("kind", CHILDREN)
def test_a_map_takes_over_exactly_the_runs_that_are_the_same_in_its_parent(kind, store, fill):
    parent, changes, window, n = CHILDREN[kind]
    map_id, _, cells = fill(parent, range(parent.n_runs))
    made = parent.zoomed("child", *window) if window else parent
    made = dataclasses.replace(made, **{"name": "child"} | changes)
    record = store.map_record(store.add_map(made, map_id))
    assert (record.n_done, record.n_blocks, record.parent_id) == (n, int(n > 0), map_id)
    assert store.cells(record.id).tobytes() == by_identity(parent, cells, made).tobytes()
    assert record.job.status == "waiting"


@pytest.mark.parametrize("values", [("sgd",), ("adam", "sgd"), ("sgd", "adam", "momentum")])
def test_a_map_with_other_facets_takes_nothing_over(values, store, fill):
    map_id, _, _ = fill(plane(**FACETS), range(32))
    record = store.map_record(store.add_map(plane("child", facet="optimizer", facet_values=values), map_id))
    assert (record.n_done, record.n_blocks, record.parent_id) == (0, 0, map_id)


def test_a_map_takes_over_what_its_parent_has_so_far(store, fill):
    parent = plane(n_seeds=2)
    map_id, token, cells = fill(parent, [1, 2, 31], [7])
    child = store.add_map(plane("child", n_seeds=2, size=8), map_id)
    assert store.map_record(child).n_done == 4
    expected = by_identity(parent, cells, plane(n_seeds=2, size=8))
    numbers = np.array([9], np.int32)
    store.save_cells(store.map_record(map_id), token, numbers, fake(numbers))
    assert store.cells(child).tobytes() == expected.tobytes()  # what comes later does not come over


def test_a_parent_may_be_named_and_what_it_took_over_itself_is_taken_over(store, fill):
    map_id, _, cells = fill(plane(), [5, 6])
    child, _, _ = fill(plane("child", size=8), [0, 63], parent="edge")
    assert (store.map_record(child).parent_id, store.map_record(child).n_blocks) == (map_id, 2)
    grandchild = store.add_map(plane("grandchild", size=16), "child")
    assert (store.map_record(grandchild).parent_id, store.map_record(grandchild).n_done) == (child, 4)
    mine, theirs = store.cells(grandchild), store.cells(child)
    assert mine[:, ::2, ::2].tobytes() == theirs.tobytes()
    assert theirs[:, ::2, ::2]["outcome"].ravel()[[5, 6]].tolist() == cells["outcome"].ravel()[[5, 6]].tolist()


def test_a_parent_that_is_deleted_leaves_its_children(store, fill, counts):
    map_id, _, _ = fill(plane(), range(16))
    child = store.add_map(plane("child", size=8), map_id)
    record, before = store.map_record(child), store.cells(child)
    store.delete_map(map_id)
    assert store.maps() == [record]
    assert record.parent_id == map_id
    assert store.cells(child).tobytes() == before.tobytes()
    assert counts(store) == {"lab_job": 1, "lab_map": 1, "lab_map_block": 1}


def test_a_child_that_is_deleted_leaves_its_parent(store, fill):
    map_id, _, cells = fill(plane(), range(16))
    store.delete_map(store.add_map(plane("child"), map_id))
    assert [record.id for record in store.maps()] == [map_id]
    assert store.cells(map_id).tobytes() == cells.tobytes()


# Renamed and deleted


def test_a_renamed_map_has_its_new_name_everywhere_and_all_else_as_before(store, fill):
    map_id, token, cells = fill(plane(), range(5))
    store.add_map(plane("other"))
    before = store.map_record(map_id)
    store.rename_map("edge", "new")
    after = store.map_record("new")
    assert (after.name, after.map.name, after.job.name) == ("new", "new", "new")
    job, made = (dataclasses.replace(part, name="edge") for part in (after.job, after.map))
    assert dataclasses.replace(after, name="edge", job=job, map=made) == before
    assert store.cells(map_id).tobytes() == cells.tobytes()
    assert [record.name for record in store.maps()] == ["other", "new"]
    with pytest.raises(JobError, match="found 'edge'"):
        store.map_record("edge")
    store.save_cells(before, token, np.array([9], np.int32), fake([9]))  # a driver at work goes on
    assert store.map_record("new").n_done == 6
    store.add_map(plane("edge"))


def test_a_map_may_keep_its_name_but_not_take_another_s_or_none(store):
    map_id, _ = store.add_map(plane()), store.add_map(plane("other"))
    before = store.maps()
    store.rename_map(map_id, "edge")
    with pytest.raises(NameTakenError, match="name: expected a new one, found 'other', which another map has"):
        store.rename_map(map_id, "other")
    for empty in ("", "  "):
        with pytest.raises(PlanError, match="name: expected some text, found none"):
            store.rename_map(map_id, empty)
    assert store.maps() == before


@pytest.mark.parametrize("by", ["delete_map", "delete_map by name", "delete_job"])
def test_a_deleted_map_takes_its_job_and_its_cells_with_it_and_nothing_else(by, store, fill, counts, save, results):
    save(results)
    kept, _, cells = fill(plane("kept"), range(3), [5])
    doomed, _, _ = fill(plane("doomed"), range(7), [8])
    assert counts(store) == {"lab_job": 3, "lab_map": 2, "lab_map_block": 4}
    job_id = store.map_record(doomed).job.id
    delete = {"delete_map": store.delete_map, "delete_map by name": store.delete_map, "delete_job": store.delete_job}[by]
    delete({"delete_map": doomed, "delete_map by name": "doomed", "delete_job": job_id}[by])
    assert counts(store) == {"lab_job": 2, "lab_map": 1, "lab_map_block": 2}
    assert [record.id for record in store.maps()] == [kept]
    assert store.cells(kept).tobytes() == cells.tobytes()
    assert len(store.runs()) == len(results)
    with pytest.raises(JobError, match="expected the id of a saved job"):
        store.job(job_id)
    store.add_map(plane("doomed"))
