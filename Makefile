# Each target sets up what it needs first, so a fresh checkout takes one command.
# PYTHON chooses the interpreter for .venv, ZOOKEEPER_HOME another ZooKeeper than the system's.

VENV := .venv/bin
CODE := core plugins examples tests
EXAMPLES := $(wildcard examples/plugins/*/src)

SEED := 1
TASKS := 1000000
chaos: MINUTES := 10
soak: MINUTES := 40
soak: RUN := build/soak/$(shell date +%Y%m%d-%H%M%S)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format typecheck bench chaos soak clean

help:  ## Show these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## Make .venv, and install Java and ZooKeeper if they are missing
	@.ci/setup

demo: setup  ## Show the platform at work on this machine
	$(VENV)/python -m masterworker.dev.demo

# Most tests wait for a session to end somewhere: three at a time keep two cores busy.
test: lint typecheck  ## Run every check: lint, types, and the whole test suite
	$(VENV)/pytest --numprocesses 3 --dist loadfile

lint: setup  ## Check style and formatting
	$(VENV)/ruff check $(CODE)
	$(VENV)/ruff format --check $(CODE)

format: setup  ## Put the code into its format
	$(VENV)/ruff check --fix $(CODE)
	$(VENV)/ruff format $(CODE)

typecheck: setup  ## Check the types
	MYPYPATH=$(subst $() ,:,$(EXAMPLES)) $(VENV)/mypy core/masterworker plugins/masterworker_executors tests $(EXAMPLES)

bench: setup  ## Measure the throughput
	$(VENV)/python tests/benchmarks/throughput.py

soak: setup  ## Run a million tasks (TASKS=, MINUTES=40), and judge whether anything grew
	$(VENV)/python -m tests.soak --minutes $(MINUTES) --tasks $(TASKS) --run $(RUN)

chaos: setup  ## Run a fault campaign and judge it (SEED=1 MINUTES=10)
	$(VENV)/python -m tests.chaos --seed $(SEED) --minutes $(MINUTES)

clean:  ## Remove .venv and everything generated
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
