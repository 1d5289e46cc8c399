"""Why a saved run learned or did not: trains it again under observation, and puts what was seen into tables."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from engine import (
    QUANTILES,
    TASKS,
    Advice,
    BlackBox,
    ConfigError,
    Diagnosis,
    RunConfig,
    advise,
    black_box,
    diagnose,
    fitting,
    rough_seconds,
)
from studies.verify import Verdict, compare

SECONDS_PER_STEP = 3e-5
"""About what the calls of one time step of one layer of a lone run take, forwards and backwards."""


@dataclass(frozen=True)
class Examination:
    """What training a run again under observation showed.

    Attributes
    ----------
    run : dict
        As `Store.run` returns it.
    diagnosis : Diagnosis
    black_box : BlackBox or None
        Of a run that overflowed.
    verdict : Verdict
        Whether the bits were the same.
    problem : str
        Why there is no black box although the run overflowed.
    """

    run: dict
    diagnosis: Diagnosis
    black_box: BlackBox | None
    verdict: Verdict
    problem: str = ""


def config_of(run: dict) -> RunConfig:
    """Return the config of a saved run."""
    return RunConfig.from_dict(fitting(run["config"]))


def advice(run: dict) -> Advice:
    """Return what probably made a saved run end as it did, and what to try."""
    first = run["overflow_iteration"]
    first = None if first is None or first != first else int(first)
    return advise(config_of(run), run["outcome"], run["evidence"], overflow_iteration=first, iterations=int(run["iterations"]))


def seconds_alone(config: RunConfig, n_iterations: int) -> float:
    """Return about how long some iterations of a lone run take: what it spends on calls and on sums."""
    n_calls = TASKS[config.task].n_steps(config) * config.n_layers
    return n_iterations * (SECONDS_PER_STEP * n_calls + rough_seconds(config) / config.n_iterations)


def seconds_to_explain(run: dict) -> float:
    """Return about how long `explain_overflow` takes: a lone run until it overflows."""
    return seconds_alone(config_of(run), int(run["overflow_iteration"]))


def explain_overflow(run: dict, show: Callable[[float], None] = lambda share: None) -> BlackBox:
    """Return the black box of a saved run that overflowed.

    Raises
    ------
    ConfigError
        If training it again does not overflow at the same iteration.
    """
    with threadpool_limits(1):
        return black_box(config_of(run), int(run["overflow_iteration"]), show)


def examine(run: dict, show: Callable[[float], None] = lambda share: None) -> Examination:
    """Train a run again, alone, with one BLAS thread and full recording.

    Parameters
    ----------
    run : dict
        As `Store.run` returns it; of at least one iteration.
    show : callable
        Is told the share that is done, from 0 to 1.
    """
    overflowed = bool(run["overflow_count"])
    event = int(run["overflow_iteration"]) if overflowed else None
    n_iterations = int(run["iterations"])
    share = event / (event + n_iterations) if event else 0.0
    box, problem = None, ""
    if event:
        try:
            box = explain_overflow(run, lambda done: show(share * done))
        except ConfigError as error:
            problem = str(error)
    with threadpool_limits(1):
        diagnosis = diagnose(config_of(run), n_iterations, event, lambda done: show(share + (1 - share) * done))
    return Examination(run, diagnosis, box, compare(run, diagnosis.result), problem)


def _long(array: np.ndarray, names: dict[str, list]) -> pd.DataFrame:
    """Return an array as a long table: a column for each axis, with the values it has there, and `value`."""
    index = pd.MultiIndex.from_product(list(names.values()), names=list(names))
    return pd.DataFrame({"value": np.asarray(array, np.float64).ravel()}, index=index).reset_index()


def _count(n: int) -> list[int]:
    return list(range(1, n + 1))


def error_table(diagnosis: Diagnosis) -> pd.DataFrame:
    """Return the norms of dL/dh_t: iteration, layer, step, value."""
    _, n_layers, n_steps = diagnosis.error_norms.shape
    names = {"iteration": diagnosis.iterations.tolist(), "layer": _count(n_layers), "step": _count(n_steps)}
    return _long(diagnosis.error_norms, names)


def spectrum_table(diagnosis: Diagnosis) -> pd.DataFrame:
    """Return spectral radius and largest singular value: iteration, layer, gate, measure, value."""
    names = {
        "iteration": diagnosis.iterations.tolist(),
        "layer": _count(diagnosis.radius.shape[1]),
        "gate": list(diagnosis.gates),
    }
    parts = [
        _long(diagnosis.radius, names).assign(measure="spectral radius"),
        _long(diagnosis.singular, names).assign(measure="singular value"),
    ]
    return pd.concat(parts, ignore_index=True)


def fitted_line(table: pd.DataFrame, factor: float) -> pd.DataFrame:
    """Return the straight line (on a logarithmic axis) through norms by step: step, value; nothing without a factor."""
    known = table[np.isfinite(table["value"]) & (table["value"] > 0)]
    if len(known) < 2 or not factor > 0:
        return pd.DataFrame({"step": [], "value": []}, dtype=float)
    ends = known["step"].agg(["min", "max"]).to_numpy(float)
    middle, height = known["step"].mean(), np.log(known["value"]).mean()
    with np.errstate(over="ignore"):
        return pd.DataFrame({"step": ends, "value": np.exp(height + (middle - ends) * np.log(factor))})


def factor_table(diagnosis: Diagnosis) -> pd.DataFrame:
    """Return by how much dL/dh_t changes per step back in time: iteration, layer, value."""
    names = {"iteration": diagnosis.iterations.tolist(), "layer": _count(diagnosis.factors.shape[1])}
    return _long(diagnosis.factors, names)


def health_table(diagnosis: Diagnosis) -> pd.DataFrame:
    """Return shares of saturated and dead units, where there are any: iteration, layer, unit (which kind), measure, value."""
    names = {"iteration": diagnosis.iterations.tolist(), "layer": _count(diagnosis.low.shape[1])}
    units = names | {"unit": list(diagnosis.units)}
    low = "answers 0" if diagnosis.config.activation == "relu" else "at its lower end"
    parts = [
        _long(diagnosis.low, units).assign(measure=low),
        _long(diagnosis.high, units).assign(measure="at its upper end"),
        _long(diagnosis.dead, names).assign(measure="dead", unit=diagnosis.units[0]),
    ]
    return pd.concat([part for part in parts if part["value"].notna().any()] or [parts[0].iloc[:0]], ignore_index=True)


def update_table(diagnosis: Diagnosis) -> pd.DataFrame:
    """Return the length of each parameter's step by its own length: iteration, parameter, value."""
    return _long(diagnosis.update_ratio, {"iteration": diagnosis.iterations.tolist(), "parameter": list(diagnosis.parameters)})


def distribution_table(diagnosis: Diagnosis) -> pd.DataFrame:
    """Return quantiles of weights, biases and gradients: iteration, kind, quantile, value."""
    parts = [
        _long(values, {"iteration": diagnosis.iterations.tolist(), "quantile": list(QUANTILES)}).assign(kind=kind)
        for kind, values in diagnosis.quantiles.items()
    ]
    return pd.concat(parts, ignore_index=True)


def histogram_table(diagnosis: Diagnosis, place: int) -> pd.DataFrame:
    """Return how weights, biases and gradients are spread at one of the iterations: kind, start, end, count."""
    parts = []
    for kind, (counts, edges) in diagnosis.histograms.items():
        table = {"start": edges[place, :-1], "end": edges[place, 1:], "count": counts[place]}
        parts.append(pd.DataFrame(table).assign(kind=kind))
    return pd.concat(parts, ignore_index=True).dropna()


def states_table(diagnosis: Diagnosis, place: int) -> pd.DataFrame:
    """Return the hidden states of the worked example at one of the iterations: layer, step, unit, value."""
    _, n_layers, n_steps, size = diagnosis.states.shape
    return _long(diagnosis.states[place], {"layer": _count(n_layers), "step": _count(n_steps), "unit": _count(size)})


def example_table(diagnosis: Diagnosis, place: int) -> pd.DataFrame:
    """Return what the worked example asks and what the network answers: step, inputs, target, answer, one row a step."""
    n_steps, n_answers = len(diagnosis.inputs), len(diagnosis.targets)
    table = pd.DataFrame(diagnosis.inputs.astype(float), columns=[f"input {i}" for i in _count(diagnosis.inputs.shape[1])])
    table.insert(0, "step", _count(n_steps))
    last = slice(n_steps - n_answers, n_steps)
    for i in range(diagnosis.targets.shape[1]):
        suffix = f" {i + 1}" if diagnosis.targets.shape[1] > 1 else ""
        for name, values in (("target", diagnosis.targets), ("answer", diagnosis.answers[place])):
            column = np.full(n_steps, np.nan)
            column[last] = values[:, i]
            table[f"{name}{suffix}"] = column
    return table


def loss_table(diagnosis: Diagnosis) -> pd.DataFrame:
    """Return the loss of the iterations that were looked at: iteration, loss."""
    return pd.DataFrame({"iteration": diagnosis.iterations, "loss": diagnosis.loss})


def trail_table(box: BlackBox) -> pd.DataFrame:
    """Return the iterations before an overflow and itself, one row each."""
    return pd.DataFrame(box.trail)


def as_dict(box: BlackBox) -> dict:
    """Return a black box for JSON, with its sentence."""
    return asdict(box) | {"sentence": box.sentence}
