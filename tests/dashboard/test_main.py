"""`python -m dashboard` says what is wrong before it starts."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dashboard.__main__ import port_is_free

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "dashboard", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=os.environ, check=False)


@pytest.fixture
def taken_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_named_with_the_way_out(taken_port, tmp_path):
    result = run("--port", str(taken_port), "--storage", f"sqlite:///{tmp_path / 'a.db'}")
    assert result.returncode == 1
    assert f"port {taken_port} is in use" in result.stderr
    assert f"make run PORT={taken_port + 1}" in result.stderr


def test_a_free_port_is_free(taken_port):
    assert not port_is_free(taken_port)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert port_is_free(port)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--port", "0"], 2, "expected a whole number from 1 to 65535, found 0"),
        (["--storage", "sqlite:////nowhere/at/all.db"], 1, "found no folder /nowhere/at"),
        (["--storage", "my runs"], 1, "expected an address such as sqlite:///my.db"),
    ],
)
def test_wrong_arguments_end_with_one_clear_line(arguments, code, message):
    port = [] if "--port" in arguments else ["--port", "18555"]
    result = run(*arguments, *port)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
