# make run [PORT=8501] [STORAGE=sqlite:///my.db]   the dashboard
# make test                                       every test, in a real browser too
# make test-torch                                 the engine against PyTorch, which this installs (200 MB)
# make bench                                      the benchmarks, as tables
# make screenshots                                the README's pictures, from the running app

PYTHON ?= python3
PORT ?= 8501
STORAGE ?=
PIP = .venv/bin/python -m pip --disable-pip-version-check install --quiet
export PIP_NO_INPUT = 1

.PHONY: run test test-torch lint bench screenshots clean

run: .venv/installed
	@.venv/bin/python -m dashboard --port $(PORT) $(if $(STORAGE),--storage "$(STORAGE)")

test: .venv/installed-for-tests lint
	.venv/bin/python tests/browser/find.py
	.venv/bin/python -m pytest --ignore tests/browser --numprocesses auto --maxprocesses 4 --dist worksteal
	.venv/bin/python -m pytest tests/browser

test-torch: .venv/installed-for-torch
	.venv/bin/python -m pytest -m torch

lint: .venv/installed-for-tests
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

bench: .venv/installed-for-tests
	.venv/bin/python benchmarks/population.py
	.venv/bin/python benchmarks/store.py
	.venv/bin/python benchmarks/forensics.py
	.venv/bin/python benchmarks/outcomes.py
	.venv/bin/python benchmarks/studies.py
	.venv/bin/python benchmarks/peers.py
	.venv/bin/python benchmarks/large_study.py
	.venv/bin/python benchmarks/maps.py

screenshots: .venv/installed-for-tests
	.venv/bin/python tests/browser/find.py
	.venv/bin/python tests/browser/screenshots.py

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Brink needs Python 3.11 or newer, found " + sys.version.split()[0] + "; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	@touch $@

.venv/installed-for-tests: .venv/installed tests/requirements.txt
	$(PIP) -r tests/requirements.txt
	$(PIP) --no-deps --upgrade --target .venv/optuna4 optuna==4.9.0  # makes the files that are imported in a test
	@touch $@

.venv/installed-for-torch: .venv/installed-for-tests tests/requirements-torch.txt
	$(PIP) -r tests/requirements-torch.txt
	@touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis
