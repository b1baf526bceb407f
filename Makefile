# One command runs a cluster (make up), one runs what CI runs (make test).
# PYTHON=/path/to/python3.13 chooses the interpreter; DIR=folder chooses where `make up` keeps its data.

VENV := .venv
BIN := $(VENV)/bin
# Most tests wait, for processes and for disks: three at a time keep two cores busy.
SIDE_BY_SIDE := -n 3 --dist loadscope --no-loadscope-reorder
STAMP := $(VENV)/installed
DIR ?= ./data
# Every role is a Python that starts: a third quicker when its modules are compiled once and not each time.
export PYTHONDONTWRITEBYTECODE :=
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup up down lint types test test-fast test-long compatibility test-clients bench clean

help:
	@echo 'make up         a cluster under $(DIR), in the foreground until Ctrl-C'
	@echo 'make test       lint, types and tests: what CI runs'
	@echo 'make test-fast  only the tests that start no processes'
	@echo 'make test-long  the tests that take minutes each'
	@echo 'make test-clients  clients that people use, a browser among them (chromium, chromedriver)'
	@echo 'make bench      figures of a cluster on this machine, beside the limits of the machine'
	@echo 'make compatibility  writes docs/compatibility.md from the tests of the S3 dialect'
	@echo 'make setup      the environment in $(VENV)'

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 13))' 2>/dev/null \
	  || { python=$$(sh .ci/find-python) && "$$python" -m venv --clear $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

up: setup
	@exec $(BIN)/trilith up "$(DIR)" $(ARGS)

down: setup
	$(BIN)/trilith down "$(DIR)"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

test: lint types
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m 'not long and (quick or not clients)' $(ARGS)

test-fast: setup
	$(BIN)/python -m pytest -m 'not long and not probe and not clients' $(ARGS)

test-long: setup
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m long $(ARGS)

test-clients: setup
	@sh tests/clients/install.sh
	$(BIN)/python -m pytest -m clients $(ARGS)

compatibility: setup
	$(BIN)/python -m tests.compatibility

bench: setup
	$(BIN)/python -P -m chaos bench $(ARGS)

clean:
	rm -rf $(VENV) .clients build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
