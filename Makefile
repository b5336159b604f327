# make train      set up and train on the embedded data (the two commands of the README)
# make test       set up and run the tests
# make test-slow  run the tests that start real processes for minutes
# make install    only set up .venv
# make lint       check the style
# make clean      remove .venv

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: install train test test-slow lint clean

install: $(VENV)/installed

$(VENV)/installed: requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); \
	sys.exit(None if ok else "tfcyclegan needs Python 3.11 to 3.13, and $(PYTHON) is " \
	+ sys.version.split()[0] + ": try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/test-installed: $(VENV)/installed requirements-test.txt
	$(PIP) -r requirements-test.txt
	@touch $@

train: $(VENV)/installed
	$(BIN)/python train.py

test: $(VENV)/test-installed
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/test-installed
	$(BIN)/python -m pytest -n 2 -m slow

lint: $(VENV)/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV)
