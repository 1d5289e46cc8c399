"""Results of runs as people see them: outcome, charts, worked examples."""

import html
from collections.abc import Callable
from functools import partial

import pandas as pd
import streamlit as st

from dashboard.charts.curves import READING, curve_chart
from dashboard.charts.outcomes import LOOKS, word
from dashboard.components.chart_view import draw, heading, job_name
from dashboard.components.diagnosis import advice_lines
from dashboard.components.session import literal
from engine import FIELDS, TASKS, RunConfig
from studies.export_tables import Origin, file_name
from studies.plans import describe
from studies.script import numpy_script
from studies.verify import verify

MOST_NAMES = 4
"""Of runs or jobs, which a file of a chart spells out."""
TITLES = {"loss": "loss", "accuracy": "answers right", "gradient_norm": "gradient norm"}


def outcome_badge(outcome: str, text: str = "") -> None:
    """Show an outcome in its colour, with its symbol and word."""
    st.badge(text or word(outcome), color=LOOKS[outcome].theme)


def event_sentence(run: dict) -> str:
    """Return where a run first overflowed and how often, or nothing."""
    if not run["overflow_count"]:
        return ""
    first = f"{run['overflow_kind']} at iteration {run['overflow_iteration']:,}, in the {run['overflow_phase']} pass"
    return f". First {first}; it happened in {int(run['overflow_count']):,} of {run['iterations']:,.0f} iterations."


def outcome_counts(runs: pd.DataFrame) -> None:
    """Show how many runs ended how; of a single one also why."""
    counts = runs["outcome"].value_counts()
    with st.container(horizontal=True, gap="small", width="content", vertical_alignment="center"):
        if len(runs) == 1 and "reason" in runs and isinstance(runs["reason"].iloc[0], str):
            outcome_badge(runs["outcome"].iloc[0])
            st.markdown(literal(runs["reason"].iloc[0]) + event_sentence(runs.iloc[0].to_dict()), width="content")
            return
        for outcome in (name for name in LOOKS if name in counts.index):
            outcome_badge(outcome, f"{word(outcome)} {counts[outcome]}")


def varied(runs: pd.DataFrame) -> list[str]:
    """Return the settings in which runs differ, without those that only follow from another."""
    follows = {name for name, field in FIELDS.items() if field.needs}
    return [name for name in FIELDS if name in runs and runs[name].nunique(dropna=name in follows) > 1]


def labelled(runs: pd.DataFrame) -> pd.DataFrame:
    """Return runs with run_id and a label for each: its name, or the settings in which these runs differ."""
    names = varied(runs)
    texts = [
        row["name"] or describe(row, names or None) for row in runs.astype(object).where(runs.notna(), None).to_dict("records")
    ]
    return runs.assign(run_id=runs["id"], label=texts)


def color_choice(runs: pd.DataFrame, key: str) -> str:
    """Let people say what colours mean, where there is a choice, and return it: "outcome" or a setting."""
    names = [*(name for name in varied(runs) if name != "seed"), "outcome"]
    names += ["seed"] if runs["seed"].nunique() > 1 else []
    if len(names) == 1:
        return names[0]
    return st.segmented_control(
        "Colour by",
        names,
        default=names[0],
        required=True,
        key=key,
        format_func=lambda n: FIELDS[n].label if n in FIELDS else n,
    )


def _colored(runs: pd.DataFrame, by: str) -> pd.DataFrame:
    texts = runs[by].map(lambda value: "none" if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value))
    return runs.assign(color=texts)


def curve_charts(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    color_by: str,
    baseline: float | None,
    key: str,
    below_loss: Callable[[], None] = lambda: None,
) -> None:
    """Show loss, large, whatever should stand `below_loss`, then accuracy and gradient norm."""
    runs, title = _colored(runs, color_by), FIELDS[color_by].label if color_by in FIELDS else color_by
    _chart(curves, runs, "loss", title, f"{key}_loss", log=True, baseline=baseline, height=400)
    below_loss()
    left, right = st.columns(2)
    with left:
        _chart(curves, runs, "accuracy", title, f"{key}_accuracy", legend=False, height=260)
    with right:
        _chart(curves, runs, "gradient_norm", title, f"{key}_gradient", log=True, legend=False, height=260)


def _chart(curves: pd.DataFrame, runs: pd.DataFrame, field: str, color_title: str, key: str, **options) -> None:
    row = heading(TITLES[field].capitalize(), READING[field])
    chart = curve_chart(curves, runs, field, TITLES[field], color_title=color_title, **options)
    alt = f"{TITLES[field]} over the iterations, {len(runs)} runs"
    draw(row, chart, TITLES[field], partial(origin_of, runs), key=key, alt=alt)


def origin_of(runs: pd.DataFrame) -> Origin:
    """Return where the curves of runs come from: their own names, or those of their jobs, and the settings that all share."""
    names = [name for name in runs["name"].unique() if name]
    if not names and "job_id" in runs:  # runs that are being trained have none yet
        names = [job_name(job_id) for job_id in runs["job_id"].dropna().unique()[: MOST_NAMES + 1]]
    names = list(filter(None, names))
    name = ", ".join(names[:MOST_NAMES]) + (" and others" if len(names) > MOST_NAMES else "")
    first = runs.astype(object).where(runs.notna(), None).iloc[0].to_dict()
    same = [name for name in FIELDS if name in runs and name not in {*varied(runs), "seed"}]
    return Origin("runs", name, describe(first, same)).of(runs)


def common_baseline(runs: pd.DataFrame) -> float | None:
    """Return the loss of the best constant answer, where it is the same for all runs."""
    asked = runs[["task", "bits", "length", "loss"]].drop_duplicates().astype(object)
    rows = asked.where(asked.notna(), None).to_dict("records")
    baselines = {TASKS[row["task"]].baseline(RunConfig(**row)) for row in rows}
    return baselines.pop() if len(baselines) == 1 else None


def worked_examples(examples: list[dict]) -> None:
    """Show answers to held-out questions as the tasks' sources print them, wrong ones marked."""
    marked = "wrong bits are underlined" if "a_bits" in examples[0] else "wrong ones are underlined"
    st.markdown(f"**Worked examples**, held-out samples after the last iteration; {marked}")
    blocks = "".join(_example(example) for example in examples)
    style = (
        "<style>.ex{display:flex;flex-wrap:wrap;gap:.6rem}"
        ".ex pre{margin:0;padding:.55rem .8rem;border:1px solid #8A8F9855;border-radius:6px;font-size:.86rem;line-height:1.45}"
        ".ex u{color:#D55E00;font-weight:700;text-decoration-thickness:2px}</style>"
    )
    st.html(f'{style}<div class="ex">{blocks}</div>')


def _example(example: dict) -> str:
    """Return a worked example as HTML: additions bit by bit, others in one line."""
    if "a_bits" not in example:
        line = html.escape(example["line"])
        return f"<pre>{line} ✓</pre>" if example["right"] else f"<pre><u>{line}</u> ✗</pre>"
    answer = "".join(
        bit if bit == true else f"<u>{bit}</u>" for bit, true in zip(example["answer_bits"], example["true_bits"], strict=True)
    )
    right = example["answer_bits"] == example["true_bits"]
    verdict = "✓" if right else f"✗ (is {example['a'] + example['b']})"
    lines = (
        f"  {example['a_bits']}",
        f"+ {example['b_bits']}",
        f"= {answer}  predicted",
        f"  {example['true_bits']}  true",
        html.escape(f"{example['a']} + {example['b']} = {example['answer']} {verdict}"),
    )
    return "<pre>" + "\n".join(lines) + "</pre>"


def run_details(run: dict, judged: bool = True, train: Callable[[RunConfig], None] | None = None) -> None:
    """Show one run closely: if it is to be `judged` outcome, reason, why and what to `train` instead; numbers, examples."""
    if judged:
        with st.container(horizontal=True, vertical_alignment="center"):
            outcome_badge(run["outcome"])
            st.markdown(literal(run["reason"]) + event_sentence(run), width="content")
        advice_lines(run, train)
    if run["status"] in ("stopped", "pruned"):
        st.markdown(f"{run['status'].capitalize()} after {run['iterations']:,} iterations, before its last.")
    evidence = run["evidence"]
    numbers = {
        "answers right": f"{run['accuracy']:.1%}",
        "final loss": f"{run['final_loss']:.4g}",
        "best loss": f"{run['best_loss']:.4g}",
        "loss at start": f"{evidence['start_loss']:.4g}",
        "constant answer": f"{evidence['baseline']:.4g}",
    }
    if run["n_parameters"]:
        numbers["parameters"] = f"{run['n_parameters']:,}"
    with st.container(horizontal=True):
        for name, value in numbers.items():
            st.metric(name, value, width="content")
    worked_examples(run["examples"])
    _verification(run)


def _script(run: dict) -> bytes:
    return numpy_script(run).encode()


def _verification(run: dict) -> None:
    """Let people train the run again and see whether the bits are the same, here or with NumPy alone."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "As a NumPy script",
            partial(_script, run),
            file_name("run", run["id"][:6], "py"),
            "text/x-python",
            on_click="ignore",
            key=f"script_{run['id']}",
            icon=":material/code:",
            help="A file of some hundred lines that trains this run with nothing but NumPy and compares the loss curve.",
        )
        asked = st.button(
            "Re-run and verify",
            key=f"verify_{run['id']}",
            icon=":material/fingerprint:",
            help="Trains this run again, alone, and compares loss curve and final weights bit for bit.",
        )
        if asked:
            bar = st.progress(0.0, "Training again …")
            verdict = verify(run, lambda share: bar.progress(share, "Training again …"))
            bar.empty()
            (st.success if verdict.identical else st.warning)(literal(verdict.sentence))
        elif run["fingerprint"]:
            st.caption(f"Fingerprint of loss curve and final weights: `{run['fingerprint']}`")
