# make train        set up and train on the embedded data (the two commands of the README)
# make test         set up and run the tests
# make test-slow    run the tests that start real processes for minutes
# make test-addons  make models with the real tensorflow-addons, in .venv-addons, and import them
# make install      only set up .venv
# make lint         check the style
# make clean        remove .venv and .venv-addons

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

# tensorflow-addons needs an old TensorFlow, which needs Python 3.11 or older.
ADDONS_PYTHON ?= $(shell for python in python3.11 python3.10 python3.9; do \
	$$python -c "" 2>/dev/null && echo $$python && break; done)
ADDONS := .venv-addons

.PHONY: install train test test-slow test-addons golden-addons lint clean

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

# Each run makes other models than the golden ones: the seed is the time.
test-addons: $(VENV)/test-installed $(ADDONS)/installed
	rm -rf $(ADDONS)/models
	$(ADDONS)/bin/python tests/golden/addons_models.py --to $(ADDONS)/models \
	--seed $$(date +%s) --filters 4 --blocks 2
	TFCYCLEGAN_ADDONS=$(ADDONS)/models $(BIN)/python -m pytest \
	tests/interop/test_addons.py tests/interop/test_hdf5.py tests/interop/test_tf_checkpoint.py

golden-addons: $(ADDONS)/installed
	$(ADDONS)/bin/python tests/golden/addons_models.py

$(ADDONS)/installed: requirements-addons.txt
	@test -n "$(ADDONS_PYTHON)" || { echo "tensorflow-addons needs Python 3.9 to 3.11, which \
	was not found: make ADDONS_PYTHON=python3.11 test-addons"; exit 2; }
	$(ADDONS_PYTHON) -m venv $(ADDONS)
	$(ADDONS)/bin/python -m pip --disable-pip-version-check install --quiet \
	-r requirements-addons.txt
	@touch $@

lint: $(VENV)/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) $(ADDONS)
