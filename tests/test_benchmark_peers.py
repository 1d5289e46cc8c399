"""The benchmark against other libraries runs, and says what is missing; Brink's own side needs none of them."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_everybody_who_is_installed_comes_to_the_same_losses():
    command = [sys.executable, "-W", "error", "benchmarks/peers.py", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    missing = [name for name in ("jax", "torch") if not importlib.util.find_spec(name)]
    assert ("pip install -r benchmarks/requirements.txt" in done.stdout) == bool(missing)
    assert re.search(r"Losses in float64 are at most \d(\.\d+)?e[-+]\d+ apart", done.stdout)
    for work in ("addition", "bit_count", "gru"):
        assert re.search(rf"^{work}: ", done.stdout, re.MULTILINE)
    assert len(re.findall(r"^\| Brink \|", done.stdout, re.MULTILINE)) == len(re.findall("physical limit", done.stdout)) >= 5
    assert "NOT MET" not in done.stdout  # sizes this small prove nothing
