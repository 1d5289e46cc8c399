"""The README and the package READMEs name what there is."""

import re
import subprocess
from pathlib import Path

import pytest

from engine import ACTIVATIONS, CELLS, CURVES, FIELDS, INIT_SCHEMES, OPTIMIZERS, OUTCOMES, TASKS
from studies import PRESETS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
ENGINE = (ROOT / "engine" / "README.md").read_text()


@pytest.mark.parametrize("name", [*PRESETS, *OUTCOMES, *CELLS, *TASKS, *ACTIVATIONS])
def test_the_readme_names_every_preset_outcome_cell_task_and_activation(name):
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", [*FIELDS, *INIT_SCHEMES, *OPTIMIZERS, *CURVES])
def test_the_engine_readme_names_every_setting_scheme_optimizer_and_curve(name):
    assert f"`{name}`" in ENGINE


@pytest.mark.parametrize("page", [path.stem for path in (ROOT / "dashboard" / "views").glob("*.py")])
def test_the_readme_names_every_page(page):
    assert f"**{page.capitalize()}**" in README


def test_the_readme_gives_a_reason_for_every_dependency():
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            assert f"`{re.split('[<>=]', line)[0]}`" in README


@pytest.mark.parametrize("document", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("[a-z]*/README.md")), ids=str)
def test_links_and_pictures_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        assert target.startswith("http") or (document.parent / target).exists(), target


@pytest.mark.parametrize("target", ["run", "test", "bench", "screenshots"])
def test_make_knows_the_commands_of_the_readme(target):
    assert f"make {target}" in README
    result = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
