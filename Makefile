# Needs Python 3.11 and make; everything else is installed into .venv at pinned versions.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_ARGS ?=

.PHONY: demo test test-fast check format constraints clean

demo: $(STAMP)  ## Three phantom hospitals train together on this machine; leaves reports in demo-out
	rm -rf demo-out
	$(BIN)/fedward demo --out demo-out

test: $(STAMP)  ## The whole suite, slow tests included
	$(BIN)/pytest $(PYTEST_ARGS)

test-fast: $(STAMP)  ## What a change is tried with
	$(BIN)/pytest -m "not slow" $(PYTEST_ARGS)

check: $(STAMP)  ## Format, lint, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

constraints: $(STAMP)  ## Write down what is installed now
	( echo '# Exact versions that `make` installs; regenerate with `make constraints`.'; \
	  $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//' ) > constraints.tmp
	mv constraints.tmp constraints.txt

clean:
	rm -rf $(VENV) demo-out
