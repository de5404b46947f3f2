# Each target sets up what it needs first, so a fresh checkout takes one command.
# PYTHON chooses the interpreter, VENV the folder of the virtual environment, and ZOOKEEPER_HOME
# another ZooKeeper than the system's. A VENV that another interpreter made is made anew.

VENV ?= .venv
BIN := $(VENV)/bin
export VENV
CODE := core plugins examples tests
EXAMPLES := $(wildcard examples/plugins/*/src)

SEED := 1
TASKS := 1000000
chaos: MINUTES := 10
soak: MINUTES := 40
soak: RUN := build/soak/$(shell date +%Y%m%d-%H%M%S)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint format typecheck bench chaos soak clean

help:  ## Show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## Make .venv (PYTHON=, VENV=), and install Java and ZooKeeper if they are missing
	@.ci/setup

demo: setup  ## Show the platform at work on this machine
	$(BIN)/python -m masterworker.dev.demo

# Most tests wait for a session to end somewhere: four at a time keep two cores busy. Files run in the
# order of their names: xdist's own order, most tests first, leaves the one minute of chaos to the end.
PYTEST_WORKERS := --numprocesses 4 --dist loadfile --no-loadscope-reorder
test: lint typecheck  ## Run every check: lint, types, and the whole test suite
	$(BIN)/pytest $(PYTEST_WORKERS)

test-all:  ## Run the fast tests on each supported Python that is installed (PYTHONS=)
	@.ci/test-all

lint: setup  ## Check style and formatting
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

format: setup  ## Put the code into its format
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

typecheck: setup  ## Check the types
	MYPYPATH=$(subst $() ,:,$(EXAMPLES)) $(BIN)/mypy core/masterworker plugins/masterworker_executors tests $(EXAMPLES)

bench: setup  ## Measure the throughput
	$(BIN)/python tests/benchmarks/throughput.py

soak: setup  ## Run a million tasks (TASKS=, MINUTES=40), and judge whether anything grew
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --tasks $(TASKS) --run $(RUN)

chaos: setup  ## Run a fault campaign and judge it (SEED=1 MINUTES=10)
	$(BIN)/python -m tests.chaos --seed $(SEED) --minutes $(MINUTES)

clean:  ## Remove the virtual environments and everything generated
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
