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


SMALLER = {
    "range(1, 21)": "[1, 2]",
    "2000": "20",
    "n_trials=200": "n_trials=8",
    "learning_rate=[0.1": "n_iterations=20, learning_rate=[0.1",
}
"""What the examples are trained with here, so that they take a moment."""


def test_the_examples_for_notebooks_run_in_their_order_and_give_what_they_say(tmp_path, monkeypatch, capsys):
    text = (ROOT / "studies" / "README.md").read_text()
    saved, notebook, study = (
        "".join(re.findall(r"^    (.*\n)", text.partition(start)[2].partition(end)[0], re.MULTILINE))
        for start, end in (("From Python:", "In a notebook"), ("In a notebook", "## Which runs"), ("## Studies", "A trial is"))
    )
    for full, less in SMALLER.items():
        assert full in saved + study
        saved, study = saved.replace(full, less), study.replace(full, less)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(saved + study + notebook, found)
    assert len(found["table"]) == 4
    assert found["studies"][["name", "status", "n_trials", "n_done", "n_seeds"]].values.tolist() == [
        ["rates", "finished", 8, 8, 3]
    ]
    assert found["trials"]["number"].tolist() == list(range(8))
    assert found["runs"].groupby("seed").size().to_dict() == {1: 8, 2: 8, 3: 8}
    assert found["curves"]["run_id"].nunique() == 24
    written = capsys.readouterr().out
    assert "\n3 " in written
    assert written.strip().endswith(f"{found['lost'].mean()}")
