"""Tables of trials, the Pareto front, importances; studies that get more trials."""

import itertools
import statistics
import time

import numpy as np
import pandas as pd
import pytest

from studies import PlanError
from studies.analysis import LEAST_TRIALS, best_so_far, curve_density, importances, on_the_front, surface
from studies.jobs import run_job
from studies.search import Choices, Range, Search

SPACE = {"learning_rate": Range(0.01, 1000, log=True), "activation": Choices(["sigmoid", "relu"])}


@pytest.fixture
def study(store):
    """A study of 10 trials with three seeds each, some of which diverge or overflow."""
    search = Search(
        name="s",
        space=SPACE,
        fixed={"n_iterations": 60, "hidden_size": 4},
        n_trials=10,
        n_seeds=3,
        batch=4,
        objectives=("final_loss", "accuracy"),
    )
    run_job(store, store.study(store.add_study(search)).job.id, 1)
    return store.study("s")


def test_a_trial_is_one_row_with_what_its_seeds_came_to(store, study):
    table, runs = store.trials_table(study.id), store.runs(study.job.id)
    assert table["number"].tolist() == list(range(10))
    assert len(runs) == 30
    for row in table.itertuples():
        mine = runs[runs["number"] // 3 == row.number]
        assert mine["seed"].tolist() == [1, 2, 3]
        assert set(mine["learning_rate"]) == {row.learning_rate}
        assert set(mine["activation"]) == {row.activation}
        assert row.run_id == mine["id"].iloc[0]
        assert row.n_lost == mine["outcome"].isin(["diverged", "overflow"]).sum()
        assert row.lost_low <= row.n_lost / 3 <= row.lost_high
        capped = [min(loss, 10.0) for loss in mine["final_loss"]]  # the baseline is 1 but for 1e-5
        assert row.final_loss == pytest.approx(statistics.fmean(capped), rel=1e-4)
        assert row.median_final_loss == pytest.approx(statistics.median(capped), rel=1e-4)
        assert row.spread_accuracy == pytest.approx(statistics.stdev(mine["accuracy"]))
        assert row.outcome in statistics.multimode(mine["outcome"])
    assert table["n_lost"].sum() > 0


def test_a_study_without_a_finished_trial_is_an_empty_table(store):
    study = store.study(store.add_study(Search(name="s", space=SPACE)))
    table = store.trials_table(study.id)
    assert table.empty
    assert {"number", "learning_rate", "final_loss", "outcome", "run_id"} <= set(table)


def test_the_best_so_far_follows_the_objectives_direction():
    values = pd.Series([3.0, 5.0, 1.0, 2.0])
    assert best_so_far(values, "minimize").tolist() == [3, 3, 1, 1]
    assert best_so_far(values, "maximize").tolist() == [3, 5, 5, 5]


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_no_other_trial_beats(seed):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"accuracy": rng.integers(0, 6, 40) / 5, "cost": rng.integers(1, 8, 40) * 10.0})  # many are equal

    def beats(a, b):
        better = (a.accuracy >= b.accuracy, a.cost <= b.cost)
        return all(better) and (a.accuracy > b.accuracy or a.cost < b.cost)

    rows = list(table.itertuples())
    expected = [not any(beats(other, row) for other in rows) for row in rows]
    assert on_the_front(table, {"accuracy": "maximize", "cost": "minimize"}).tolist() == expected


def test_what_decides_is_found(store):
    """The loss is a parabola over the learning rate's logarithm and knows nothing of the activation."""
    study = store.study(store.add_study(Search(name="s", space=SPACE, n_trials=99)))
    rates, words = np.geomspace(0.01, 1000, 30), ["sigmoid", "relu"]
    rows = [(rate, word, np.log10(rate) ** 2) for rate, word in itertools.product(rates, words)]
    table = pd.DataFrame(rows, columns=["learning_rate", "activation", "final_loss"]).assign(state="complete")
    shares = importances(table, study, "final_loss")
    assert shares.index.tolist() == ["learning_rate", "activation"]
    assert shares["learning_rate"] > 0.9
    assert shares.sum() == pytest.approx(1)
    pruned = table.assign(state="pruned", final_loss=table["activation"].map({"sigmoid": 9.0, "relu": 0.0}))
    assert importances(pd.concat([table, pruned]), study, "final_loss").equals(shares)
    assert importances(table.head(LEAST_TRIALS - 1), study, "final_loss").empty
    assert importances(table.assign(final_loss=1.0), study, "final_loss").empty
    one = table[table["learning_rate"] == rates[0]]
    assert importances(pd.concat([one] * 10).assign(final_loss=range(20)), study, "final_loss").index.tolist() == ["activation"]


def test_an_extended_study_keeps_its_trials_and_gets_the_new_ones(store, study):
    before = store.trials(study.id)
    job_id = store.extend_study(study.id, 7)
    assert store.job(job_id).status == "stopped"
    store.wait_again(job_id)
    run_job(store, job_id, 1)
    trials, runs = store.trials(study.id), store.runs(job_id)
    assert trials[:10] == before
    assert [trial.number for trial in trials] == list(range(17))
    assert runs["number"].tolist() == list(range(51))
    assert (store.job(job_id).status, store.job(job_id).n_runs, store.job(job_id).progress) == ("finished", 51, 1)


def test_a_study_cannot_be_extended_past_its_space_or_by_nothing(store):
    search = Search(
        name="grid", space={"hidden_size": Range(2, 5)}, sampler="grid", points=4, n_trials=2, fixed={"n_iterations": 5}
    )
    study_id = store.add_study(search)
    run_job(store, store.study(study_id).job.id, 1)
    for wrong in (0, -1, 3):
        with pytest.raises(PlanError, match="n_trials: expected"):
            store.extend_study(study_id, wrong)
    store.wait_again(store.extend_study(study_id, 2))
    run_job(store, store.study(study_id).job.id, 1)
    assert [trial.params for trial in store.trials(study_id)] == [{"hidden_size": n} for n in (2, 3, 4, 5)]


def plane(n=200, seed=0) -> pd.DataFrame:
    """Return points of z = 2 + 3 x - y over a linear x and the logarithm of y, and a word."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"x": rng.uniform(-5, 5, n), "y": 10 ** rng.uniform(-3, 3, n), "word": rng.choice(["a", "b"], n)})
    return table.assign(loss=2 + 3 * table["x"] - np.log(table["y"]))


@pytest.mark.parametrize("n", [200, 5000])
def test_the_ground_between_trials_is_the_plane_they_lie_on(n):
    trials = plane(n)
    cells = surface(trials, "x", "y", "loss", ("linear", "log"))
    middle_x, middle_y = (cells["x"] + cells["x2"]) / 2, np.sqrt(cells["y"] * cells["y2"])
    assert len(cells) > 1200  # of 40 x 40; the rest lies outside of the trials
    assert cells["value"].to_numpy() == pytest.approx((2 + 3 * middle_x - np.log(middle_y)).to_numpy())
    assert cells["x"].min() >= trials["x"].min() - 1e-9
    assert cells["x2"].max() <= trials["x"].max() + 1e-9
    assert (cells["x2"] - cells["x"]).to_numpy() == pytest.approx(float(np.ptp(trials["x"]) / 40))


def test_the_logarithm_of_an_objective_is_interpolated_where_asked():
    trials = plane().assign(loss=np.exp(plane()["loss"]))
    cells = surface(trials, "x", "y", "loss", ("linear", "log"), log_value=True, n=20)
    middle_x, middle_y = (cells["x"] + cells["x2"]) / 2, np.sqrt(cells["y"] * cells["y2"])
    assert np.log(cells["value"]).to_numpy() == pytest.approx((2 + 3 * middle_x - np.log(middle_y)).to_numpy())


def test_a_cell_along_words_is_the_median_of_its_trials():
    trials = plane()
    cells = surface(trials, "word", "x", "loss", ("words", "linear"))
    assert cells["x2"].isna().all()
    for cell in cells.itertuples():
        inside = trials[(trials["word"] == cell.x) & trials["x"].between(cell.y, cell.y2)]
        assert cell.value == pytest.approx(statistics.median(inside["loss"]))
    trials["flag"] = pd.Series([True, None] * 100, dtype=object)
    both = surface(trials, "word", "flag", "loss", ("words", "words")).set_index(["x", "y"])["value"]
    assert len(both) == 4
    assert both[("a", True)] == pytest.approx(trials[(trials["word"] == "a") & trials["flag"].notna()]["loss"].median())


@pytest.mark.parametrize(
    "trials", [plane(0), plane(1), plane(2), plane(9).assign(y=1.0), plane(9).assign(y=1.0, x=1.0), plane(9).assign(x=np.nan)]
)
def test_trials_on_a_line_have_no_ground(trials):
    cells = surface(trials, "x", "y", "loss", ("linear", "linear"))
    assert cells.empty
    assert cells.columns.tolist() == ["x", "x2", "y", "y2", "value"]


def test_equal_trials_count_once_with_their_median():
    corners = pd.DataFrame({"x": [0, 0, 1, 1] * 3, "y": [0, 1, 0, 1] * 3, "loss": [1.0] * 4 + [2.0] * 4 + [9.0] * 4})
    cells = surface(corners, "x", "y", "loss", ("linear", "linear"), n=4)
    assert len(cells) == 16
    assert cells["value"].to_numpy() == pytest.approx(2.0)


def curves_of(losses: dict[str, list[float]], step=10) -> pd.DataFrame:
    rows = [(name, step * (i + 1), loss) for name, values in losses.items() for i, loss in enumerate(values)]
    return pd.DataFrame(rows, columns=["run_id", "iteration", "loss"])


def test_every_curve_is_in_one_cell_of_a_density_at_each_iteration():
    rng = np.random.default_rng(0)
    curves = curves_of({f"r{i}": list(10 ** rng.uniform(-4, 1, 100 - i % 50)) for i in range(200)})
    curves.loc[rng.random(len(curves)) < 0.1, "loss"] = np.inf
    curves.loc[rng.random(len(curves)) < 0.1, "loss"] = np.nan
    for n_x in (100, 80, 7):
        cells = curve_density(curves, n_x=n_x)
        ends = cells[["iteration", "iteration2", "n"]].drop_duplicates()
        assert len(ends) == n_x
        for column in ends.itertuples():
            inside = curves[(curves["iteration"] > column.iteration) & (curves["iteration"] <= column.iteration2)]
            mine = cells[cells["iteration"] == column.iteration]
            assert column.n == inside["run_id"].nunique()
            assert mine["share"].sum() == pytest.approx(1)
            lost = inside.assign(lost=~np.isfinite(inside["loss"])).groupby("run_id")["lost"].mean().mean()
            assert mine[mine["loss"].isna()]["share"].sum() == pytest.approx(lost)


def test_a_density_is_numpy_s_histogram():
    rng = np.random.default_rng(1)
    curves = curves_of({f"r{i}": list(10 ** rng.uniform(-3, 0, 50)) for i in range(300)})
    cells = curve_density(curves, n_y=30)
    heights = np.logspace(np.log10(cells["loss"].min()), np.log10(cells["loss2"].max()), 31)
    expected, *_ = np.histogram2d(curves["iteration"], curves["loss"], [np.arange(5, 510, 10), heights])
    found = np.zeros_like(expected)
    for cell in cells.itertuples():
        found[round(cell.iteration2 / 10) - 1, np.argmin(abs(heights - cell.loss))] += cell.share * cell.n
    assert found == pytest.approx(expected)


def test_losses_beside_the_scale_stand_in_the_band_or_at_its_foot():
    cells = curve_density(curves_of({"a": [1.0], "b": [1.0], "c": [1.0], "d": [1e6], "e": [1e-9], "f": [0.0], "g": [np.nan]}))
    assert cells[cells["loss"].isna()]["share"].sum() == pytest.approx(2 / 7)
    foot = cells[cells["loss"] == cells["loss"].min()]
    assert foot["share"].sum() == pytest.approx(2 / 7)
    assert foot["loss"].item() == pytest.approx(1e-4)
    assert curve_density(curves_of({})).empty


def test_ten_thousand_curves_are_quick():
    n, points = 10_000, 100
    losses = np.exp(np.random.default_rng(0).normal(size=n * points))
    ids = np.repeat([f"{i:032x}" for i in range(n)], points)
    curves = pd.DataFrame({"run_id": ids, "iteration": np.tile(np.arange(points) * 10 + 10, n), "loss": losses})
    times = []
    for _ in range(3):
        start = time.perf_counter()
        cells = curve_density(curves)
        times.append(time.perf_counter() - start)
    assert len(cells) < 5000
    assert min(times) < 1.5  # a fifth of it on an idle machine
