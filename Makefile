# make train        set up .venv, train on the embedded data and export the result
# make test         set up .venv and run the tests
# make test-slow    run the tests that start real processes and take minutes
# make test-browser use the pages in Chromium, which must be installed
# make test-pytorch compare with PyTorch, in .pytorch
# make test-addons  create models with the real tensorflow-addons, in .venv-addons, and import them
# make docs         build the documentation into docs/_build
# make lint         check style, formatting and types
# make install      set up .venv only
# make clean        remove .venv, .pytorch, .venv-addons and docs/_build

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

# tensorflow-addons needs TensorFlow 2.15, which needs Python 3.9 to 3.11.
ADDONS_PYTHON ?= $(shell for python in python3.11 python3.10 python3.9; do \
	$$python -c "" 2>/dev/null && echo $$python && break; done)
ADDONS := .venv-addons
PYTORCH := .pytorch

.PHONY: install train test test-slow test-browser test-pytorch test-addons golden-addons docs lint clean

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
	$(BIN)/python -m pytest -n 2

test-slow: $(VENV)/test-installed
	$(BIN)/python -m pytest -n 2 -m slow

test-browser: $(VENV)/browser-installed
	$(BIN)/python -m pytest -m browser

$(VENV)/browser-installed: $(VENV)/test-installed requirements-browser.txt
	$(PIP) -r requirements-browser.txt
	@touch $@

# Outside .venv, because the package must work without PyTorch.
test-pytorch: $(PYTORCH)/installed
	PYTHONPATH=$(PYTORCH) $(BIN)/python -m pytest -m pytorch

$(PYTORCH)/installed: $(VENV)/test-installed requirements-bench.txt
	rm -rf $(PYTORCH)
	$(PIP) --target $(PYTORCH) -r requirements-bench.txt
	@touch $@

# The seed makes the models differ from the golden ones, and from run to run.
test-addons: $(VENV)/test-installed $(ADDONS)/installed
	rm -rf $(ADDONS)/models
	$(ADDONS)/bin/python tests/golden/addons_models.py --to $(ADDONS)/models \
	--seed $$(date +%s) --filters 4 --blocks 2
	TFCYCLEGAN_ADDONS=$(ADDONS)/models $(BIN)/python -m pytest \
	tests/interop/test_addons.py tests/interop/test_hdf5.py tests/interop/test_tf_checkpoint.py

golden-addons: $(ADDONS)/installed
	$(ADDONS)/bin/python tests/golden/addons_models.py

$(ADDONS)/installed: requirements-addons.txt
	@test -n "$(ADDONS_PYTHON)" || { echo "tensorflow-addons needs Python 3.9 to 3.11, and \
	none is there: make ADDONS_PYTHON=python3.11 test-addons"; exit 2; }
	$(ADDONS_PYTHON) -m venv $(ADDONS)
	$(ADDONS)/bin/python -m pip --disable-pip-version-check install --quiet \
	-r requirements-addons.txt
	@touch $@

lint: $(VENV)/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# In .venv, because the API reference imports the package. `make test` does not install these.
$(VENV)/docs-installed: $(VENV)/installed requirements-docs.txt
	$(PIP) -r requirements-docs.txt
	@touch $@

docs: $(VENV)/docs-installed
	$(BIN)/python -m sphinx -W --keep-going --quiet docs docs/_build
	@echo "docs/_build/index.html"

clean:
	rm -rf $(VENV) $(PYTORCH) $(ADDONS) docs/_build
