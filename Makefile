# `make demo` and `make test` need only Python >= 3.10, make and a package index.

# BOOTSTRAP creates the virtual environment, PYTHON is the interpreter in it
BOOTSTRAP ?= python3
VENV ?= .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt

DEMO_ARGS ?= --demo --out results/demo
ATTACK_ARGS ?=
TEST_JOBS ?= 2
PYTEST_ARGS ?=
COVERAGE := --cov=sb3_ordergrad --cov-report=term-missing:skip-covered

.DEFAULT_GOAL := help
.PHONY: help install demo suite-demo test pytest attack bench docs lint type format clean

help:
	@echo "make demo    train OrderPPO and PPO on a risky MuJoCo task, print the table (minutes)"
	@echo "make suite-demo   one task of the risk suite with three methods (minutes)"
	@echo "make test    lint, types, tests and their line coverage"
	@echo "make attack  random configurations, kills and crash points for longer than the tests do"
	@echo "make bench   speed of the estimator, of training and of the import"
	@echo "make docs    the documentation: open site/index.html"
	@echo "make lint | type | pytest | format | install | clean"
	@echo "Every target first creates $(VENV) and installs the pinned packages, once."

install: $(INSTALLED)

# torch is installed first: its pin then picks the build that the package index offers
$(INSTALLED): setup.py constraints.txt sb3_ordergrad/version.txt
	@$(BOOTSTRAP) -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "Python >= 3.10 is needed, $(BOOTSTRAP) is " + sys.version.split()[0] + "; name another with: make BOOTSTRAP=python3.11 ...")'
	$(BOOTSTRAP) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e ".[tests,plots,zoo,dask,box2d,docs]"
	@touch $@

demo: $(INSTALLED)
	$(PYTHON) -m sb3_ordergrad.compare $(DEMO_ARGS)

suite-demo: $(INSTALLED)
	OMP_NUM_THREADS=1 $(PYTHON) benchmarks/suite.py --demo

test: COVERAGE += --cov-fail-under=95
test: lint type pytest

# One thread for each worker, so that workers do not compete for the cores
pytest: $(INSTALLED)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(TEST_JOBS) --dist worksteal --durations=10 $(COVERAGE) $(PYTEST_ARGS)

attack: $(INSTALLED)
	OMP_NUM_THREADS=1 $(PYTHON) tests/robustness/attack.py $(ATTACK_ARGS)

bench: $(INSTALLED)
	$(PYTHON) benchmarks/lstatistics_speed.py
	$(PYTHON) benchmarks/training_overhead.py
	$(PYTHON) benchmarks/order_sac_update.py
	$(PYTHON) benchmarks/remac_update.py
	$(PYTHON) benchmarks/reppo_update.py
	$(PYTHON) benchmarks/import_time.py

# A warning (a broken link or anchor, a page outside the navigation) is an error; --quiet would hide it from --strict
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict
	@echo "Open site/index.html"

lint: $(INSTALLED)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m black --check --quiet . || $(PYTHON) -m black --check --diff .

type: $(INSTALLED)
	$(PYTHON) -m mypy sb3_ordergrad

format: $(INSTALLED)
	$(PYTHON) -m ruff check --select I --fix .
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m black .

# Keeps the virtual environment and the results
clean:
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find sb3_ordergrad tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
