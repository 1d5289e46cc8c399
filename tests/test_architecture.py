"""Who may import whom: dashboard -> studies -> engine, and nothing else, checked on every import statement."""

import ast
import fnmatch
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("engine", "studies", "dashboard")
MAY_IMPORT = {
    "engine": {"engine", "numpy"},
    "studies": {"studies", "engine", "numpy", "pandas", "sqlalchemy", "alembic", "platformdirs", "threadpoolctl", "optuna"}
    | {"scipy", "pyarrow", "xlsxwriter", "tensorboardX"},
    "dashboard": {"dashboard", "studies", "engine", "streamlit", "altair", "pandas", "numpy", "platformdirs"}
    | {"vl_convert", "PIL"},
}
"""What each package may import beside the standard library."""
MAY_NOT_IMPORT = {
    "dashboard/charts": {"streamlit", "studies"},
    "dashboard/views": {"sqlalchemy", "numpy", "math"},
}
"""Charts know neither the page they stand on nor the store; pages neither query nor compute."""
TOP = {"dashboard", "engine", "studies", "tests", "benchmarks", "requirements.txt", "README.md", "CHANGELOG.md", "LICENSE"}
TOP |= {"pyproject.toml", "Makefile", ".gitignore", ".streamlit", ".ci"}


def files(root):
    """Return the Python files of the three packages, by module name."""
    paths = (path for package in PACKAGES for path in sorted((root / package).rglob("*.py")))
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imported(path, module):
    """Return the full names a file imports anywhere: at its top, inside functions, for type checkers."""
    names, package = set(), module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            names |= {f"{source}.{alias.name}" for alias in node.names}
    return names


def tops(names):
    return {name.partition(".")[0] for name in names}


def breaches(root):
    """Return what breaks the rules, as "file imports name" lines."""
    found = []
    for module, path in files(root).items():
        names, place = imported(path, module), path.relative_to(root).as_posix()
        wrong = tops(names) - MAY_IMPORT[place.partition("/")[0]] - set(sys.stdlib_module_names)
        for folder, forbidden in MAY_NOT_IMPORT.items():
            wrong |= tops(names) & forbidden if place.startswith((folder + "/", folder + ".py")) else set()
        found += [f"{place} imports {name}" for name in sorted(wrong)]
    return found


def cycles(root):
    """Return modules that need themselves through others; `from package import module` asks for the module alone."""
    modules = files(root)
    needs = {module: {within(name, modules) for name in imported(path, module)} - {None} for module, path in modules.items()}
    return sorted(module for module in modules if module in reachable(needs, module))


def within(name, modules):
    """Return the module that a full name such as package.module.function stands in, or None."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def reachable(needs, start):
    """Return everything that a module needs, directly or through others."""
    found, waiting = set(), list(needs[start])
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += needs[module]
    return found


def strangers(root):
    """Return what lies at the top of the repository and neither belongs there nor is ignored by git."""
    ignored = [".git", *(line.strip().rstrip("/") for line in (root / ".gitignore").read_text().splitlines())]
    names = {path.name for path in root.iterdir()}
    return {name for name in names - TOP if not any(fnmatch.fnmatch(name, pattern) for pattern in ignored)}


def plant(root, place, text):
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_every_package_imports_only_what_its_layer_may():
    assert set(files(ROOT)) >= {"engine.population", "studies.store", "studies.migrations.env"}
    assert breaches(ROOT) == []


def test_no_module_needs_itself_through_others():
    assert cycles(ROOT) == []


def test_the_repository_s_top_holds_nothing_that_does_not_belong_there():
    assert strangers(ROOT) == set()


@pytest.mark.parametrize(
    ("place", "text", "name"),
    [
        ("engine/bad.py", "import studies.store", "studies"),
        ("engine/cells/bad.py", "def later():\n    import pandas as pd", "pandas"),
        ("engine/bad.py", "try:\n    from scipy import linalg\nexcept ImportError:\n    pass", "scipy"),
        ("studies/bad.py", "from dashboard.charts import curves", "dashboard"),
        ("studies/bad.py", "if TYPE_CHECKING:\n    import streamlit", "streamlit"),
        ("studies/migrations/versions/bad.py", "import altair as alt", "altair"),
        ("dashboard/bad.py", "import torch", "torch"),
        ("dashboard/charts/bad.py", "from studies import Store", "studies"),
        ("dashboard/charts/bad.py", "import streamlit as st", "streamlit"),
        ("dashboard/charts.py", "import streamlit as st", "streamlit"),
        ("dashboard/views/bad.py", "import math", "math"),
        ("dashboard/views/deep/bad.py", "import numpy.linalg as la", "numpy"),
        ("dashboard/views/bad.py", "from sqlalchemy import select", "sqlalchemy"),
    ],
)
def test_a_planted_breach_is_found(place, text, name, tmp_path):
    plant(tmp_path, place, text)
    assert breaches(tmp_path) == [f"{place} imports {name}"]


def test_what_the_layers_may_import_is_no_breach(tmp_path):
    plant(tmp_path, "engine/fine.py", "import math\nimport numpy as np\nfrom engine import cells\nfrom . import tasks")
    plant(tmp_path, "studies/fine.py", "import sqlite3\nfrom engine import train\nfrom studies.store import Store")
    plant(
        tmp_path, "dashboard/views/fine.py", "import streamlit as st\nfrom studies import Store\nfrom dashboard import charts"
    )
    plant(tmp_path, "dashboard/charts/fine.py", "import altair as alt\nimport numpy as np\nfrom engine import CURVES")
    assert breaches(tmp_path) == []


@pytest.mark.parametrize(
    "import_a_from_c", ["import studies.a", "from studies import a", "from . import a", "def f():\n    from studies.a import x"]
)
def test_a_planted_ring_is_found(import_a_from_c, tmp_path):
    plant(tmp_path, "studies/__init__.py", "from studies.b import y")
    plant(tmp_path, "studies/a.py", "from studies.b import y")
    plant(tmp_path, "studies/b.py", "from .c import z")
    plant(tmp_path, "studies/c.py", import_a_from_c)
    plant(tmp_path, "studies/d.py", "import studies.a")
    assert cycles(tmp_path) == ["studies.a", "studies.b", "studies.c"]


def test_a_ring_through_a_package_is_found_and_asking_it_for_a_module_is_none(tmp_path):
    plant(tmp_path, "engine/__init__.py", "from engine.a import x")
    plant(tmp_path, "engine/a.py", "from engine import b")
    plant(tmp_path, "engine/b.py", "x = 1")
    assert cycles(tmp_path) == []
    plant(tmp_path, "engine/b.py", "from engine import x")
    assert cycles(tmp_path) == ["engine", "engine.a", "engine.b"]


def test_a_stranger_at_the_top_is_found(tmp_path):
    plant(tmp_path, ".gitignore", "__pycache__/\n*.db\n.venv/\n")
    for name in ("README.md", "my.db", ".venv", "notes.txt", "__pycache__", ".env"):
        (tmp_path / name).touch()
    assert strangers(tmp_path) == {"notes.txt", ".env"}
