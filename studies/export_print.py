"""Tables for people: Markdown with all digits, and LaTeX with what a paper shows of them."""

import math
import re
import statistics
from typing import TYPE_CHECKING

from engine import FIELDS
from studies.export_tables import NUMBERS, Origin, file_name, plain_columns, spelled, varying
from studies.objectives import OBJECTIVES

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("final_loss", "best_loss", "accuracy")
"""Of runs; they are objectives too, which say whether less or more is better."""
_MARKDOWN = str.maketrans({sign: "\\" + sign for sign in "\\`*_{}[]<>|~$&#!"})
_LATEX = str.maketrans(
    {sign: "\\" + sign for sign in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", '"': "''", "±": r"$\pm$", "·": r"$\cdot$", "[": "{[}"}
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def to_markdown(table: "pd.DataFrame", origin: Origin) -> bytes:
    """Return a table as Markdown with pipes, all digits of numbers, and below where it comes from."""
    columns = plain_columns(table)
    cells = [[_markdown(cell) for cell in column] for column in columns.values()]
    aligned = ["---:" if all(map(_is_number, column)) else "---" for column in columns.values()]
    lines = [[_markdown(name) for name in columns], aligned, *zip(*cells, strict=True)]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    facts = "\n".join(f"- {_markdown(line)}" for line in origin.of(table).lines())
    return f"{text}\n\n{facts}\n".encode()


def _is_number(cell: object) -> bool:
    return cell is None or cell in NUMBERS or (isinstance(cell, int | float) and not isinstance(cell, bool))


def _markdown(cell: object) -> str:
    """Return a cell that Markdown shows as it is, in one line."""
    if not isinstance(cell, str):
        return "" if cell is None else str(cell)
    lines = cell.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "<br>".join(_CONTROL.sub(" ", line).translate(_MARKDOWN) for line in lines)


def to_latex(table: "pd.DataFrame", origin: Origin, aggregate: bool = True, directions: dict[str, str] | None = None) -> bytes:
    r"""Return a table for LaTeX with `booktabs`, below comments that say where it comes from; the best numbers are bold.

    Parameters
    ----------
    aggregate : bool
        One line for each combination of settings, with mean ± standard deviation over its seeds and only the settings that
        vary; trials have these numbers already. Otherwise every row and every column.
    directions : dict of str to str, optional
        Whether to minimize or maximize a column; of those in `OBJECTIVES` it is known.
    """
    origin = origin.of(table)
    known = {name: objective.direction for name, objective in OBJECTIVES.items()} | (directions or {})
    heading, rows = _summary(table, known) if aggregate else _whole(table, known)
    n_texts = sum(1 for _, is_metric in heading if not is_metric)
    lines = [r"% \usepackage{booktabs}", *(f"% {_CONTROL.sub(' ', line)}" for line in origin.lines())]
    has_spread = any(r"\pm" in cell for row in rows for cell in row)
    lines += [r"\begin{table}", r"  \centering", rf"  \caption{{{_caption(origin, has_spread)}}}"]
    lines += [rf"  \label{{tab:{file_name(origin.what, origin.name, '')[:-1]}}}"]
    lines += [rf"  \begin{{tabular}}{{{'l' * n_texts}{'r' * (len(heading) - n_texts)}}}", r"    \toprule"]
    lines += [_line([_title(name) for name, _ in heading]), r"    \midrule", *map(_line, rows), r"    \bottomrule"]
    return "\n".join([*lines, r"  \end{tabular}", r"\end{table}", ""]).encode()


def _line(cells: list[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"


def _caption(origin: Origin, has_spread: bool) -> str:
    spread = "mean ± standard deviation over seeds" if has_spread else ""
    seeds = f"seeds {origin.seeds}" if origin.seeds else ""
    first = ": ".join(filter(None, [origin.what.capitalize(), origin.name]))
    return _latex("; ".join(filter(None, [first, origin.settings, origin.filter, spread, seeds, "best in bold"]))) + "."


def _latex(text: str) -> str:
    return _CONTROL.sub(" ", text).translate(_LATEX)


def _title(name: str) -> str:
    return _latex(FIELDS[name].label if name in FIELDS else name.replace("_", " "))


def _metrics(table: "pd.DataFrame") -> list[str]:
    """Return the columns that say how good something was: objectives of trials, which have a spread beside them, or losses."""
    return [name for name in table if f"spread_{name}" in table] or [name for name in METRICS if name in table]


def _summary(table: "pd.DataFrame", directions: dict[str, str]) -> tuple[list, list]:
    """Return heading and lines: settings that vary, number of seeds, and of each metric mean and spread."""
    metrics, columns = _metrics(table), list(table)
    is_trials = any(f"spread_{name}" in table for name in metrics)
    settings = columns[columns.index("number") + 1 : columns.index(metrics[0])] if is_trials else list(FIELDS)
    cells = plain_columns(table[[name for name in settings if name in table and name != "seed"]])
    names = varying(cells)
    keys = list(zip(*([spelled(cell) for cell in cells[name]] for name in names), strict=True)) or [()] * len(table)
    places = [[place] for place in range(len(table))] if is_trials else list(_grouped(keys).values())
    counts = [int(table["n"].iloc[place]) for (place,) in places] if is_trials else [len(group) for group in places]
    numbers = []
    for name in metrics:
        values = table[name].tolist()
        spreads = table[f"spread_{name}"].tolist() if is_trials else []
        pairs = [_mean_and_spread([values[place] for place in group]) for group in places]
        if is_trials:
            pairs = [
                (mean, spreads[place] if n > 1 else None) for (mean, _), (place,), n in zip(pairs, places, counts, strict=True)
            ]
        numbers.append(_marked(pairs, directions.get(name)))
    heading = [*((name, False) for name in names), ("n", True), *((name, True) for name in metrics)]
    texts = [[_latex(part) for part in keys[group[0]]] for group in places]
    lines = zip(texts, map(str, counts), *numbers, strict=True)
    return heading, [[*settings, *rest] for settings, *rest in lines]


def _grouped(keys: list[tuple]) -> dict[tuple, list[int]]:
    groups = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    return groups


def _mean_and_spread(values: list[float]) -> tuple[float, float | None]:
    """Return mean and standard deviation; with one value, or one that is not finite, there is no deviation."""
    if not all(map(math.isfinite, values)):
        return sum(values), None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _whole(table: "pd.DataFrame", directions: dict[str, str]) -> tuple[list, list]:
    """Return heading and lines: all columns of all rows."""
    metrics, columns = _metrics(table), plain_columns(table)
    order = [*(name for name in columns if name not in metrics), *metrics]
    cells = [
        _marked([(value, None) for value in table[name].tolist()], directions.get(name))
        if name in metrics
        else [_latex("" if cell is None else str(cell)) for cell in columns[name]]
        for name in order
    ]
    return [(name, name in metrics) for name in order], [list(line) for line in zip(*cells, strict=True)]


def _marked(pairs: list[tuple[float, float | None]], direction: str | None) -> list[str]:
    """Return means with their spreads, the best of those that are finite in bold, equal ones all."""
    finite = [mean for mean, _ in pairs if math.isfinite(mean)]
    best = (min if direction == "minimize" else max)(finite) if finite and direction else None
    texts = [_math(mean) + (rf" \pm {_math(spread, 2)}" if spread is not None else "") for mean, spread in pairs]
    return [rf"$\mathbf{{{text}}}$" if mean == best else f"${text}$" for text, (mean, _) in zip(texts, pairs, strict=True)]


def _math(number: float, digits: int = 4) -> str:
    if not math.isfinite(number):
        return r"\mathrm{NaN}" if math.isnan(number) else r"\infty" if number > 0 else r"-\infty"
    mantissa, _, power = f"{number:.{digits}g}".partition("e")
    return rf"{mantissa} \times 10^{{{int(power)}}}" if power else mantissa
