# The stamp's name carries a digest of what an installation depends on, so `setup` does
# nothing while that is unchanged, whatever the dates of the files.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
KEY := $(shell cat requirements.lock pyproject.toml scripts/setup.sh | cksum | cut -d' ' -f1)
STAMP := $(VENV)/.installed-$(KEY)
PEERS := .venv-bench
PEERS_STAMP := $(PEERS)/.installed-$(shell cat pyproject.toml scripts/bench.sh | cksum | cut -d' ' -f1)
WORKERS ?= 2
ARGS ?=
WHY ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test golden lint format bench soak lock wheel clean

help: ## what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## prepare .venv from the lock file (PYTHON=… picks the interpreter)

$(STAMP):
	@PYTHON='$(PYTHON)' sh scripts/setup.sh
	@rm -f $(VENV)/.installed-*
	@touch $@

demo: setup ## run the main sweep; prints a table and the path of the report
	@$(BIN)/rnnjax demo $(ARGS)

test: setup ## run the tests (ARGS='-k lstm', ARGS=--all, WORKERS=0: one process)
	@echo "test: pytest"
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

golden: setup ## record the golden runs anew (WHY='what changed their numbers')
	@test -n '$(WHY)' || { echo "golden: say why: make golden WHY='…'" >&2; exit 2; }
	@$(BIN)/python -m pytest -q tests/test_golden.py --all --renew-golden '$(WHY)'

lint: setup ## check format, style and types
	@echo "lint: ruff format"
	@$(BIN)/ruff format --check .
	@echo "lint: ruff check"
	@$(BIN)/ruff check .
	@echo "lint: pyright"
	@$(BIN)/pyright

format: setup ## rewrite the code in the house format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

$(PEERS_STAMP): | $(STAMP)
	@sh scripts/bench.sh
	@rm -f $(PEERS)/.installed-*
	@touch $@

bench: setup $(PEERS_STAMP) ## ratios of speed beside PyTorch and flax, into build/bench
	@$(PEERS)/bin/python -m scripts.bench $(ARGS)

soak: setup ## attack files, disks and processes for half an hour (ARGS='kills disks')
	@$(BIN)/python -m scripts.soak $(ARGS)

lock: ## write requirements.lock anew (UPGRADE=1: newest versions)
	@PYTHON='$(PYTHON)' UPGRADE='$(UPGRADE)' sh scripts/lock.sh

wheel: setup ## build the wheel and the source archive into dist/
	@$(BIN)/python -m build --no-isolation --outdir dist .

clean: ## remove caches and builds; keeps .venv and runs/
	@rm -rf build dist .pytest_cache .ruff_cache .hypothesis *.egg-info
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
