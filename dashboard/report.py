"""A study as one HTML file to be sent or attached: what was searched, how, what came out, every trial; it works offline."""

import contextlib
import datetime
import gzip
import json
from functools import cached_property

import pandas as pd

from dashboard.charts import studies as charts
from dashboard.charts import trials as more
from dashboard.charts.curves import curve_chart
from dashboard.charts.marks import HANDS, QUIET, scale_of, thinned, title
from dashboard.charts.outcomes import LOOKS, word
from dashboard.components.results import common_baseline
from dashboard.components.study_data import BAND_RUNS, DENSITY_RUNS, best_trial, label_of
from dashboard.report_page import Figures, Html, data_link, html_table, joined, page, tag
from engine import FIELDS, OUTCOMES, BrinkError
from studies import Store, analysis
from studies.export import to_csv
from studies.export_tables import Origin, file_name
from studies.objectives import OBJECTIVES, UNSOLVED, WORST, wilson
from studies.plans import spell_value
from studies.pruning import PRUNERS
from studies.search import SAMPLERS, Choices
from studies.store_studies import Study

MOST_ROWS, BEST_ROWS = 300, 100
"""Up to so many trials all stand in the table; of more, so many of the best."""
BEST = 10
"""Trials that are told on top."""
MOST_NAMED, MOST_SETTINGS = 6, 12
"""Settings that are named in a sentence, and that get charts of their own, those that decide most."""
LARGEST_FILE = 1_400_000
"""Bytes of a table that is kept as it is: browsers save links of two million characters; larger ones are compressed."""
LARGEST_COPY = 6_000_000
"""Bytes of a compressed table that the page holds."""
SMALL, WIDE = 250, 720
"""Width in pixels of a chart that stands beside many others, and of all of one or two."""
ELSEWHERE = {"complete": "ended, elsewhere", "failed": "ended with an error, elsewhere", "diverged": "its value was not finite"}
"""What outcomes mean of trials that Brink did not make."""
READING = charts.READING | more.READING
READING["parallel"] = (
    READING["parallel"].replace("Faded lines are not selected, dashed ones", "Dashed lines").partition(" Click")[0]
)
READING["curves"] = (
    "Loss by outcome: the line is the median of the runs, the band their middle 80 %; where there are few, each line is a run. "
    "The dashed line is the best constant answer. Marks on the rail at the top are runs that overflowed (at the iteration "
    "where that first happened), diverged or left the scale: none is hidden."
)


def study_report(store: Store, study_id: str) -> str:
    """Return a study as an HTML page that needs nothing else.

    Parameters
    ----------
    study_id : str
        Its id or name.

    Returns
    -------
    str
        With all trials inside, as CSV; it makes no request and runs no script but its own.

    Raises
    ------
    JobError
        If there is no such study.
    """
    return _Report(store, store.study(study_id)).html()


class _Report:
    """What is told about one study, part by part."""

    def __init__(self, store: Store, study: Study):
        self.store, self.study, self.search = store, study, study.search
        self.is_ours = study.job.kind == "search"
        self.table = store.trials_table(study.id)
        self.n = len(self.table)
        self.objectives = {name: self.search.direction(name) for name in self.search.objectives}
        self.figures = Figures()

    @cached_property
    def best(self) -> pd.DataFrame:
        """Trials that were trained to their end, best first; of two objectives those that no other one beats."""
        whole = self.table[self.table["state"] == "complete"]
        (first, direction), *others = self.objectives.items()
        if others and len(whole):
            whole = whole[analysis.on_the_front(whole, self.objectives)]
        return whole.sort_values(first, ascending=direction == "minimize", kind="stable")

    @cached_property
    def shares(self) -> dict[str, pd.Series]:
        """How much each setting decides, by objective."""
        return {name: analysis.importances(self.table, self.study, name) for name in self.objectives}

    @cached_property
    def settings(self) -> list[str]:
        """Searched settings, those that decide most first."""
        first = next(iter(self.shares.values()))
        return [*first.index, *(name for name in self.search.space if name not in first.index)]

    def html(self) -> str:
        """Return the page."""
        sections = {"How it was made": self.method()}
        if self.n:
            sections = {
                "Outcomes": self.outcomes(),
                "Best trials": self.best_trials(),
                "Course of the search": self.course(),
                "What decides": self.deciding(),
                "Settings together": self.together(),
                "Learning curves": self.curves(),
                "Distribution": self.distribution(),
                **sections,
                "Trials": self.trials(),
            }
        kept = {name: parts for name, parts in sections.items() if parts}
        links = [tag("li", tag("a", name, href=f"#{_anchor(name)}")) for name in kept]
        parts = [tag("section", tag("h2", name, id=_anchor(name)), content) for name, content in kept.items()]
        return page(
            f"{self.study.name} – study report",
            [
                tag("header", self.head(), tag("nav", tag("ul", links), aria_label="Contents")),
                tag("main", parts),
                tag("footer", tag("p", self.made_by(), class_="small")),
            ],
            self.figures,
        )

    def head(self) -> list[Html]:
        """Return what stands on top: title, what it is, what came out, in sentences and numbers."""
        parts = [
            tag("p", "Study report · Brink", class_="kind"),
            tag("h1", self.study.name),
            tag("p", self.aim(), class_="lead"),
        ]
        if sentence := self.finding():
            parts.append(tag("p", sentence))
        if self.study.note.strip():
            parts.append(tag("p", self.study.note.strip(), class_="note"))
        if self.study.tags:
            parts.append(tag("p", f"Tags: {self.study.tags}", class_="small"))
        facts = [tag("div", tag("dt", name), tag("dd", *fact)) for name, fact in self.facts().items()]
        parts.append(tag("dl", facts, class_="facts"))
        if self.n:
            hint = (
                "Point at marks to read their numbers. Ctrl and the wheel zoom, Shift and dragging move, a double click resets."
            )
            parts.append(tag("p", hint, class_="scripts small"))
        return parts

    def aim(self) -> str:
        """Return what the study is, in two sentences."""
        search, study = self.search, self.study
        names = [label_of(name) for name in search.space]
        what = _listed(names) if 1 <= len(names) <= MOST_NAMED else f"{len(names) or 'no'} settings"
        ends = {"minimize": "lowest", "maximize": "highest"}
        goal = _listed([f"the {ends[direction]} {title(name)}" for name, direction in self.objectives.items()])
        if not self.is_ours:
            made = f"{_counted(self.n, 'trial')}, made with Optuna and imported from {search.source}"
            return f"A search for values of {what} that give {goal}. {made}."
        config = search.config(search.first(), 1)
        alike = [f"{name} {getattr(config, name)}" for name in ("task", "cell") if name not in search.space]
        network = f"recurrent networks ({', '.join(alike)})" if alike else "recurrent networks"
        size = f"{self.n:,} of {_counted(study.n_trials, 'trial')}" if self.is_open else _counted(self.n, "trial")
        seeds = f"each trained with {search.n_seeds} seeds" if search.n_seeds > 1 else "each trained once"
        ended = "; it had not ended when this was written" if self.is_open else ""
        sampler = SAMPLERS[search.sampler].partition(":")[0]
        return f"A search for values of {what} that give {network} {goal}. Sampler: {sampler}; {size}, {seeds}{ended}."

    @property
    def is_open(self) -> bool:
        """Whether trials are missing."""
        return self.study.job.status != "finished"

    def finding(self) -> str:
        """Return what came out, in sentences; nothing where nothing did."""
        if self.table.empty:
            return "No trial is done yet."
        lost, runs = int(self.table["n_lost"].sum()), int(self.table["n"].sum())
        low, high = map(_percent, wilson(lost, runs))
        what = "diverged or overflowed" if self.is_ours else "failed, diverged or overflowed"
        told = f"{lost:,} of {_counted(runs, 'run' if self.is_ours else 'trial')} {what} ({_percent(lost / runs)}; "
        told += f"95 % interval {low} to {high})" + ("; all of them count, in every number and chart." if lost else ".")
        best = self.best
        if best.empty:
            return f"No trial was trained to its end. {told}"
        if len(self.objectives) > 1:
            return f"No other trial beats {len(best):,} of the {self.n:,} trials in both objectives. {told}"
        (objective,) = self.objectives
        row = best.iloc[0]
        spread = f" (standard deviation over seeds {row[f'spread_{objective}']:.2g})" if row["n"] > 1 else ""
        where = ", ".join(f"{label_of(name)} {_cell(row[name])}" for name in self.settings[:MOST_NAMED])
        best = f"The best trial, number {row['number']}, came to a {title(objective)} of {row[objective]:.4g}{spread}"
        return f"{best}{' with ' * bool(where)}{where}. {told}"

    def facts(self) -> dict[str, list]:
        """Return the numbers that stand on top."""
        study, table, facts = self.study, self.table, {}
        facts["Trials"] = [f"{self.n:,}", _under(f"of {study.n_trials:,}" if self.is_open else self._runs())]
        if len(table):
            for name in self.objectives:
                best = best_trial(study, table, name)
                if best is not None:
                    facts[f"Best {title(name)}"] = [f"{best[name]:.4g}", _under(f"trial {best['number']}")]
            lost, runs = int(table["n_lost"].sum()), int(table["n"].sum())
            what = "Diverged or overflowed" if self.is_ours else "Failed, diverged or overflowed"
            facts[what] = [_percent(lost / runs), _under(f"{lost:,} of {runs:,} {'runs' if self.is_ours else 'trials'}")]
        if study.seconds:
            facts["Training" if self.is_ours else "Took"] = [_duration(study.seconds), _under(self.day())]
        return facts

    def _runs(self) -> str:
        n = self.n * self.search.n_seeds
        return _counted(n, "run") if self.is_ours else "imported"

    def day(self) -> str:
        """Return the day of the first trial."""
        times = [chunk.asked_at for chunk in self.store.chunks(self.study.id)]
        return _time(min(times, default=self.study.created_at))[:10]

    def outcomes(self) -> list[Html]:
        """Return how trials ended."""
        counts, n = self.table["outcome"].value_counts(), self.n
        names = [*(name for name in LOOKS if name in counts.index), *(name for name in counts.index if name not in LOOKS)]
        spans = [tag("span", style=f"flex:{counts[name]};background:{_color(name)}", title=name) for name in names]
        told = ", ".join(f"{name} {_percent(counts[name] / n)}" for name in names)
        bar = tag("div", spans, class_="shares", role="img", aria_label=f"Shares of outcomes: {told}")
        rows, meanings = [], OUTCOMES if self.is_ours else OUTCOMES | ELSEWHERE
        for name in names:
            some = self.table[self.table["outcome"] == name]
            pruned = int((some["state"] == "pruned").sum())
            row = [_outcome(name), meanings.get(name, "not told"), f"{counts[name]:,}", _percent(counts[name] / n)]
            rows.append([*row, f"{pruned:,}", f"{some['n_lost'].sum():,} of {some['n'].sum():,}"])
        head = ["Outcome", "Meaning", "Trials", "Share", "Of these pruned", "Runs lost"]
        kept = [0, 1, 2, 3]
        kept += [4] if (self.table["state"] == "pruned").any() else []
        kept += [5] if self.search.n_seeds > 1 else []
        note = "A trial counts as what most of its seeds came to; runs are lost that diverged or overflowed. "
        note = note if self.search.n_seeds > 1 else ""
        note += "Diverged and overflowed trials are results like any others: they have a place in all that follows."
        shown = html_table(
            f"How {_counted(n, 'trial')} ended",
            [head[i] for i in kept],
            [[row[i] for i in kept] for row in rows],
            range(2, len(kept)),
        )
        return [bar, shown, tag("p", note, class_="small")]

    def best_trials(self) -> list[Html]:
        """Return the best trials, with their spread over seeds."""
        best = self.best
        if best.empty:
            return [tag("p", "No trial was trained to its end, so none can be called the best.")]
        several = len(self.objectives) > 1
        pruned = (self.table["state"] == "pruned").any()
        caption = "The best of the trials that were not pruned" if pruned else "The best trials"
        caption = "Trials that no other one beats in both objectives" if several else caption
        shown = best.head(MOST_ROWS if several else BEST)
        parts = [self._table(shown, f"{caption} ({len(shown):,} of {self.n:,} trials)", with_state=False)]
        if self.search.n_seeds > 1:
            note = "Values are means over the seeds, ± their standard deviation; to be best of many is partly luck."
            parts.append(tag("p", note, class_="small"))
        elif self.is_ours:
            note = "Each was trained with one seed: how much of its value is luck cannot be told. More seeds would tell."
            parts.append(tag("p", note, class_="small"))
        if (best["n_lost"] == best["n"]).all():
            note = "All of them diverged or overflowed; what that costs is told under “How it was made”."
            parts.append(tag("p", note))
        return parts

    def _table(self, trials: pd.DataFrame, caption: str, with_state: bool) -> Html:
        """Return trials as a table."""
        seeds = self.search.n_seeds > 1
        columns = [("Trial", trials["number"], True), ("Outcome", map(_outcome, trials["outcome"]), False)]
        if (self.table["state"] == "pruned").any() and with_state:
            columns.append(("State", trials["state"], False))
        for name in self.objectives:
            both = zip(trials[name], trials[f"spread_{name}"], strict=True)
            cells = [f"{value:.4g} ± {width:.2g}" if seeds else f"{value:.4g}" for value, width in both]
            columns.append((title(name), cells, True))
        if seeds:
            cells = [f"{lost} of {n}" for lost, n in zip(trials["n_lost"], trials["n"], strict=True)]
            columns.append(("Seeds lost", cells, True))
        for name in self.search.space:
            columns.append((label_of(name), map(_cell, trials[name].astype(object)), scale_of(self.table[name]) != "words"))
        head, cells, right = zip(*columns, strict=True)
        return html_table(caption, head, zip(*cells, strict=True), [place for place, is_right in enumerate(right) if is_right])

    def trials(self) -> list[Html]:
        """Return the table of trials, and all of them as a file."""
        n = self.n
        if n <= MOST_ROWS:
            shown, caption = self.table, f"All {_counted(n, 'trial')}, in the order in which they were asked"
        else:
            rest = self.table[~self.table["number"].isin(self.best["number"])]
            first, direction = next(iter(self.objectives.items()))
            rest = rest.sort_values(["state", first], ascending=[True, direction == "minimize"], kind="stable")
            shown = pd.concat([self.best, rest]).head(BEST_ROWS)
            caption = f"The best {BEST_ROWS} of {n:,} trials; the file has all of them"
        return [self.files(), self._table(shown, caption, with_state=True)]

    def files(self) -> Html:
        """Return links to files that the page holds."""
        origin = Origin.of_study(self.study)
        name, n = file_name("trials", self.study.name, "csv"), self.n
        data, mime = to_csv(self.table.drop(columns="chunk"), origin), "text/csv"
        text = f"All {n:,} trials as CSV" if n > 1 else "The trial as CSV"
        if len(data) > LARGEST_FILE:
            data, name, mime, text = gzip.compress(data, mtime=0), name + ".gz", "application/gzip", f"{text}, compressed"
        if len(data) > LARGEST_COPY:
            return tag("p", "All trials are too many for this page: python -m studies export --study writes them to a file.")
        note = "with every digit, medians and spreads over seeds, and the ids of runs"
        return tag("p", data_link(f"{text} ({_size(len(data))})", data, name, mime), f", {note}.", class_="file")

    def course(self) -> list[Html]:
        """Return values by trial, and both objectives against each other."""
        table, figures, n = self.table, [], self.n
        planned = None if self.search.seconds else self.study.n_trials
        for name, direction in self.objectives.items():
            best = analysis.best_so_far(table[name].where(table["state"] == "complete"), direction).ffill()
            text = f"Scatter plot: {title(name)} by trial number, {_counted(n, 'trial')}, and the best so far"
            plots = [(charts.history_chart(table, name, best, planned), text)]
            what = f"History of {title(name)}"
            figures.append(self.figures.figure(what, _told(_reading("history"), self._cost(name), self._drawn()), plots))
        if len(self.objectives) > 1:
            front = analysis.on_the_front(table, self.objectives)
            chart = charts.pareto_chart(table, tuple(self.objectives), front)
            text = f"Scatter plot: {' against '.join(map(title, self.objectives))}; {front.sum()} trials are beaten by none"
            figures.append(self.figures.figure("Both objectives", _told(_reading("pareto"), self._drawn()), [(chart, text)]))
        return figures

    def _drawn(self) -> str:
        """Return what is said about trials without a mark."""
        drawn, n = len(thinned(self.table)), self.n
        return "" if drawn == n else f"{drawn:,} of {n:,} trials are drawn, first those that diverged or overflowed."

    def _cost(self, name: str) -> str:
        """Return what divergence costs in an objective."""
        return OBJECTIVES[name].note if self.is_ours else ""

    def deciding(self) -> list[Html]:
        """Return how much each setting decides, and the objectives and outcomes over each."""
        if not self.settings:
            return []
        figures, table = [], self.table
        names, left = self.settings[:MOST_SETTINGS], len(self.settings) - MOST_SETTINGS
        note = f"Of {len(self.settings)} settings the {MOST_SETTINGS} that decide most are drawn." if left > 0 else ""
        ranked = {name: shares for name, shares in self.shares.items() if len(shares) > 1}
        for name, shares in ranked.items():
            text = "Bar chart: " + ", ".join(f"{label_of(setting)} {share:.0%}" for setting, share in shares.items())
            what = f"What decides {title(name)}"
            figures.append(self.figures.figure(what, _reading("importance"), [(charts.importance_chart(shares), text)]))
        for objective in self.objectives:
            plots = [
                (
                    charts.slice_chart(table, name, objective, label_of(name), height=190),
                    f"Scatter plot: {title(objective)} by {label_of(name)}",
                )
                for name in names
            ]
            caption = _told(_reading("slice"), note, self._drawn(), *(self._lacking(name) for name in names))
            figures.append(self.figures.figure(f"{title(objective).capitalize()} by setting", caption, plots, _width(plots)))
        plots = [
            (
                more.outcomes_chart(table, name, label_of(name), height=190),
                f"Stacked bars: shares of outcomes by {label_of(name)}",
            )
            for name in names
        ]
        caption = _told(_reading("outcomes"), "Colours are those of the table of outcomes.", note)
        figures.append(self.figures.figure("Outcomes by setting", caption, plots, _width(plots)))
        return figures

    def _lacking(self, name: str) -> str:
        told = charts.absent_caption(self.table, name)
        return told.replace("the setting", label_of(name))

    def together(self) -> list[Html]:
        """Return two settings as a surface, and all as parallel lines; nothing where there are not two."""
        if len(self.settings) < 2:
            return []
        table, (objective, direction) = self.table, next(iter(self.objectives.items()))
        minimize, labels = direction == "minimize", {name: label_of(name) for name in self.settings}
        x, y = self.settings[:2]
        scales = scale_of(table[x]), scale_of(table[y])
        cells = analysis.surface(table, x, y, objective, scales, scale_of(table[objective]) == "log")
        chart = more.pair_chart(table, x, y, objective, labels, "objective", cells, minimize)
        text = f"{title(objective)} over {labels[x]} and {labels[y]}: ground and one mark for each trial"
        caption = _told(_reading("pair"), self._drawn(), self._lacking(x), self._lacking(y))
        figures = [self.figures.figure(f"{labels[x]} and {labels[y]}", caption, [(chart, text)])]
        settings = list(self.search.space) if len(self.settings) <= MOST_SETTINGS else self.settings[:MOST_SETTINGS]
        chart = more.parallel_chart(table, settings, objective, labels, minimize)
        told = more.parallel_caption(table, settings, objective, minimize).replace("selected ones, ", "")
        text = f"Parallel axes: {', '.join(labels[name] for name in settings)} and {title(objective)}, one line for each trial"
        figures.append(self.figures.figure("All settings together", _told(_reading("parallel"), told), [(chart, text)]))
        return figures

    def curves(self) -> list[Html]:
        """Return the loss of runs over the iterations; nothing where there are no runs."""
        ids = list(self.store.run_ids(self.study.job.id).values()) if self.is_ours else []
        if not ids:
            return []
        cells = analysis.curve_density(self.store.curves(_some(ids, DENSITY_RUNS)))
        some = _some(ids, BAND_RUNS)
        runs = self.store.runs(run_ids=some)
        runs = runs.assign(run_id=runs["id"], label="run " + runs["number"].astype(str), color=runs["outcome"])
        chart = curve_chart(self.store.curves(some), runs, "loss", "loss", log=True, baseline=common_baseline(runs))
        note = "" if len(some) == len(ids) else f"{len(some):,} of the {len(ids):,} runs, spread evenly over all."
        text = f"Line chart: loss of {_counted(len(some), 'run')} over the iterations, by outcome"
        figures = [self.figures.figure("Learning curves by outcome", _told(READING["curves"], note), [(chart, text)])]
        if len(cells):
            text = f"Density of the losses of {_counted(min(len(ids), DENSITY_RUNS), 'run')} over the iterations"
            plots = [(more.density_chart(cells), text)]
            figures.append(self.figures.figure("Learning curves as a density", _reading("density"), plots))
        return figures

    def distribution(self) -> list[Html]:
        """Return how values are spread; nothing where all trials were pruned."""
        if (self.table["state"] == "pruned").all():
            return []
        caption = _told(_reading("distribution"), more.distribution_caption({"": self.table}))
        plots = [
            (
                more.distribution_chart({self.study.name: self.table}, name, height=260),
                f"Empirical distribution function of {title(name)}",
            )
            for name in self.objectives
        ]
        what = f"Distribution of {' and '.join(map(title, self.objectives))}"
        return [self.figures.figure(what, caption, plots, _width(plots))]

    def method(self) -> list[Html]:
        """Return what was searched, by what, at what cost, and how to make it again."""
        rows = []
        for name, part in self.search.space.items():
            if isinstance(part, Choices):
                rows.append([_named(name), "one of " + ", ".join(map(spell_value, part.values)), "without an order"])
                continue
            spread = "evenly over powers of ten" if part.log else f"in steps of {part.step:g}" if part.step else "evenly"
            rows.append([_named(name), f"{part.low:g} to {part.high:g}", spread])
        parts = [html_table("What was searched", ["Setting", "Values", "Spread"], rows)] if rows else []
        if self.is_ours:
            parts.append(self.fixed())
        rows = [[name, fact] for name, fact in self.making().items() if fact]
        parts.append(html_table("How it was searched", ["Part", "What was done"], rows))
        return [*parts, *self.again()]

    def fixed(self) -> Html:
        """Return the settings that all trials share: what was chosen, and what is the default."""
        search, first = self.search, self.search.first()
        others = [{name: value} for name, part in search.space.items() if isinstance(part, Choices) for value in part.values]
        configs = []
        for other in ({}, *others):
            with contextlib.suppress(BrinkError):  # of a large space not every combination goes together
                configs.append(search.config(first | other, 1).to_dict())
        rows = []
        for name, field in FIELDS.items():
            values = {repr(config[name]): config[name] for config in configs}
            if name == "seed" or name in search.space or (values.keys() == {"None"} and not field.optional):
                continue
            told = spell_value(configs[0][name]) if len(values) == 1 else "follows from what was searched"
            rows.append([_named(name), told, "chosen" if name in search.fixed else "default"])
        rows.sort(key=lambda row: row[-1])
        return html_table("The same in all trials", ["Setting", "Value", "Origin"], rows)

    def making(self) -> dict[str, str]:
        """Return facts about sampler, pruner, seeds, objectives, budget, times."""
        search, study = self.search, self.study
        chunks = self.store.chunks(study.id)
        start, end = min((c.asked_at for c in chunks), default=None), max((c.done_at or 0 for c in chunks), default=0)
        facts = {}
        for name, direction in self.objectives.items():
            facts[f"Objective: {title(name)}"] = f"{direction.capitalize()}. {self._cost(name)}".strip()
        if self.is_ours:
            facts["What divergence costs"] = (
                f"A loss counts at most {WORST:g} times the baseline, which is what a constant answer scores. A run without a "
                f"finite loss gets just that, its accuracy is 0, and the iterations to solve are {UNSOLVED} times all. No run "
                "is left out. A trial's value is the mean over its seeds."
            )
            asked = f"Called {search.sampler}, with the seed {search.seed}, asked for {search.batch:,} trials at once."
            facts["Sampler"] = f"{SAMPLERS[search.sampler]} {asked}"
            facts["Pruner"] = f"{search.pruner}. {PRUNERS[search.pruner]}"
            alike = ", the same for all trials, so that they share data and initial noise" if search.n_seeds > 1 else ""
            facts["Seeds of a trial"] = ("1" if search.n_seeds == 1 else f"1 to {search.n_seeds}") + alike
            facts["Budget"] = f"{search.seconds:g} seconds" if search.seconds else _counted(study.n_trials, "trial")
            facts["Learned from"] = f"{search.warm_start}, {_counted(len(study.prior), 'trial')}" if search.warm_start else ""
            facts["Made"] = _time(study.created_at)
        else:
            facts["Sampler"] = "Optuna made the trials elsewhere; what proposed them is not known here."
            facts["Imported"] = f"{_time(study.created_at)} from {search.source}"
        facts["Trained"] = f"{_time(start)} to {_time(end)}, {_duration(study.seconds)} without pauses" if start and end else ""
        facts["State"] = f"{study.job.status}, {self.n:,} of {_counted(study.n_trials, 'trial')} done" if self.is_open else ""
        facts["Study"] = tag("code", study.id)
        return facts

    def again(self) -> list[Html]:
        """Return how to make the same study; nothing for one that was imported."""
        if not self.is_ours:
            return []
        lines = (f" {json.dumps(name)}: {json.dumps(value)}" for name, value in json.loads(self.search.to_json()).items())
        text = "{\n" + ",\n".join(lines) + "\n}"
        mine = self.study.n_trials - self.search.n_trials
        told = self.search.promise + " The same engine version gives the same runs, bit for bit."
        if not self.search.seconds and mine > 0:
            told += f" {_counted(mine, 'trial')} had values that people asked for: these are not made again."
        if self.search.warm_start:
            told += f" It needs a study called {self.search.warm_start!r} in the same store."
        link = data_link(
            "The search as a file", text.encode(), file_name("search", self.study.name, "json"), "application/json"
        )
        return [
            tag("h3", "Make it again"),
            tag("p", told),
            tag("pre", tag("code", f"python -m studies run - <<'END'\n{text}\nEND")),
            tag("p", link, ", for ", tag("code", "python -m studies run FILE"), ".", class_="file small"),
        ]

    def made_by(self) -> str:
        """Return with what and when the page was made."""
        facts = Origin.of_study(self.study).facts()
        return f"Written {facts['date']} by Brink · {facts['versions']}"


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _reading(name: str) -> str:
    """Return how to read a chart that has no page around it."""
    return READING[name].removesuffix(HANDS).replace(" (see the objective's note)", "")


def _width(plots: list) -> int:
    """Return the width of charts that stand side by side."""
    return max(SMALL, WIDE // len(plots))


def _told(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


def _some(ids: list[str], most: int) -> list[str]:
    """Return at most so many runs, spread evenly over all."""
    return ids[:: -(-len(ids) // most)]


def _outcome(name: str) -> Html:
    return tag("span", tag("i", style=f"background:{_color(name)}"), word(name), class_="outcome")


def _color(outcome: str) -> str:
    return LOOKS[outcome].color if outcome in LOOKS else QUIET


def _named(setting: str) -> Html:
    """Return what a setting is called, and its name where that is another word."""
    label = label_of(setting)
    return joined(label) if label == setting else joined(label, " ", tag("code", setting))


def _under(text: str) -> Html:
    return tag("small", text)


def _cell(value: object) -> str:
    value = value.item() if hasattr(value, "item") else value
    if value is None or value != value:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else spell_value(value)


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _percent(share: float) -> str:
    text = f"{100 * share:.1f}"
    return f"{100 * share:.4g} %" if (text == "0.0" and share) or (text == "100.0" and share < 1) else f"{text} %"


def _size(n: int) -> str:
    return f"{n / 1e6:.1f} MB" if n > 1e6 else f"{max(1, round(n / 1e3)):,} kB"


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _duration(seconds: float) -> str:
    name, unit = next((name, unit) for name, unit, least in more.UNITS if seconds >= least)
    return f"{seconds / unit:.3g} " + {"seconds": "s", "minutes": "min", "hours": "h"}.get(name, name)
