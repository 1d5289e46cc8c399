"""Both ends of the pipe between `peers.py` and a competitor that runs as a process of its own.

`peers.py` starts `peer_jax.py` or `peer_torch.py` with a task as JSON and the settings of its threads in the environment.
The competitor finds its fastest way, says so in a line of JSON, and then trains once for every line that it is sent.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
"""Cores that this process may use: one in a competitor that is held to one."""
HELD_OUT_PIECES = 8
"""In how many pieces held-out samples go through a network, so that they stay in the cache."""
ANSWERED_RUNS = 4
"""Runs whose losses a competitor tells, for comparison."""


def environment(way: str, n_runs: int) -> dict[str, str]:
    """Return the environment of a competitor that takes one core, all, or one JAX device for each that divides the runs."""
    variables = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    n_devices = max(n for n in range(1, CORES + 1) if n_runs % n == 0)
    flags = {
        "one core": "--xla_cpu_multi_thread_eigen=false",
        "spread": f"--xla_force_host_platform_device_count={n_devices}",
    }
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} if way == "one core" else {}
    return variables | {"XLA_FLAGS": flags.get(way, ""), "JAX_PLATFORMS": "cpu"} | threads


def timed(run: Callable) -> tuple[dict[str, float], object]:
    """Return the seconds of a call, of the processor and on the wall, and what it returned."""
    wall, processor = time.perf_counter(), time.process_time()
    result = run()
    return {"processor": time.process_time() - processor, "wall": time.perf_counter() - wall}, result


class Peer:
    """A competitor in a process of its own, which `peers.py` asks.

    Parameters
    ----------
    module : str
        "jax" or "torch".
    task : dict
        What the competitor needs to know, ready for JSON.
    wait : bool
        Whether to wait until it is ready.
    """

    def __init__(self, module: str, task: dict, wait: bool):
        command = [sys.executable, str(Path(__file__).with_name(f"peer_{module}.py")), json.dumps(task)]
        pin = hasattr(os, "sched_setaffinity") and task["way"] == "one core"
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(task["way"], task["n_runs"]),
            preexec_fn=partial(os.sched_setaffinity, 0, {max(os.sched_getaffinity(0))}) if pin else None,
        )
        self.about = self._answer() if wait else {}

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{Path(self.process.args[1]).name} ended early with status {self.process.wait()}")
        return json.loads(line)

    def ask(self) -> tuple[dict[str, float], np.ndarray]:
        """Let it do the work once; return its seconds and the losses of its first runs."""
        self.about = self.about or self._answer()
        print(file=self.process.stdin, flush=True)
        answer = self._answer()
        return answer["seconds"], np.array(answer["losses"])

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def load(task: dict) -> tuple[dict, np.ndarray, np.ndarray, tuple]:
    """Return weights, x, d and held-out samples of a task's runs."""
    with np.load(task["file"]) as file:
        arrays = {name: file[name] for name in file}
    runs = slice(task["n_runs"])
    weights = {name.removeprefix("weight "): a[runs] for name, a in arrays.items() if name.startswith("weight ")}
    return weights, arrays["x"][runs], arrays["d"][runs], (arrays["held_x"], arrays["held_d"])


def n_points(n_iterations: int) -> int:
    """Return into how many equal windows the mean losses go: the largest number up to 100."""
    return max(n for n in range(1, 101) if n_iterations % n == 0)


def fastest(ways: list, start: Callable, repeats: int = 3):
    """Return the way whose function `start(way)` is fastest at its best, after a call to warm up; they take turns."""
    if len(ways) == 1:
        return ways[0]
    trials, clock = {way: start(way) for way in ways}, "processor" if CORES == 1 else "wall"
    rounds = [{way: timed(run)[0][clock] for way, run in trials.items()} for _ in range(1 + repeats)][1:]
    return min(ways, key=lambda way: min(seconds[way] for seconds in rounds))


def serve(run: Callable, about: str, way: tuple) -> None:
    """Say what one is, then train once for each line on standard input; `run` returns the losses, (runs, points).

    Of the way, a named tuple, only what is not as usual is told.
    """
    unusual = [f"{k}={v}" for k, v in way._asdict().items() if v != type(way)._field_defaults.get(k)]
    print(json.dumps({"about": about, "settings": ", ".join(unusual)}), flush=True)
    for _ in sys.stdin:
        seconds, losses = timed(run)
        print(json.dumps({"seconds": seconds, "losses": losses[:ANSWERED_RUNS].tolist()}), flush=True)
