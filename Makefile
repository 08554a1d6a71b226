# Everything a fresh machine with Python 3.10-3.13 and make needs. `make quickstart` and `make test` do all set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests run in two processes: more than the cores of a small machine gains nothing. Files go to them in their order: by
# their number of tests, the notebooks would come last, and one process would wait for the other.
WORKERS ?= 2
# A process that crashed in a test would do so again, and no other one takes its place.
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: quickstart test fast slow coverage test-versions check format notebooks clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# The stamps say which extras are installed; they are older than setup.cfg when that changes.
$(VENV)/.installed: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@ $(VENV)/.installed

quickstart: $(VENV)/.installed  ## train, evaluate, look and export on real digits
	$(BIN)/tfzoo quickstart

test: $(VENV)/.installed-dev  ## the tests
	$(BIN)/python -m pytest $(PARALLEL)

fast: $(VENV)/.installed-dev  ## the quick core of the tests
	$(BIN)/python -m pytest -n $(WORKERS) -m fast

slow: $(VENV)/.installed-dev  ## the tests with long trainings
	$(BIN)/python -m pytest -n $(WORKERS) --runslow

coverage: $(VENV)/.installed-dev  ## the tests with branch coverage
	$(BIN)/python -m pytest $(PARALLEL) --cov=tfzoo --cov=export --cov-branch --cov-report=term-missing:skip-covered

test-versions:  ## the quick core under the oldest versions that are promised
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --editable ".[test]" "tensorflow==2.18.*" "keras==3.6.*" "tensorflow-metadata<1.18"
	.venv-oldest/bin/python -m pytest -n $(WORKERS) -m fast

check: $(VENV)/.installed-dev  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy tfzoo export serving

format: $(VENV)/.installed-dev  ## mend format and lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

notebooks: $(VENV)/.installed-dev  ## write colab/*.ipynb from colab/*.py
	$(BIN)/jupytext --to ipynb colab/*.py

clean:
	rm -rf $(VENV) .venv-oldest .mypy_cache .pytest_cache .ruff_cache *.egg-info
