# make setup | test | test-exhaustive | smoke | demo | lint | format | clean. Every target sets up first, which costs nothing when it is done.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
STAMP := .venv/.setup-complete
CACHE := .cache
# Downloads of the examples stay inside the checkout.
export IRNN_TVM_CACHE ?= $(CURDIR)/$(CACHE)/examples

FOLDERS := relay_ops schedules targets tuning_logs examples
SOURCES := irnn_tvm $(FOLDERS) tests benchmarks

.PHONY: help setup test test-exhaustive smoke demo demo-textgenrnn lint format typecheck clean

help:
	@echo "make setup      .venv with pinned packages, and the system tools (QEMU, LLVM, gcc)"
	@echo "make demo       real words through the pretrained model, integer-only, on the host and on an emulated Cortex-M7"
	@echo "make demo-textgenrnn   a pretrained character LSTM, streaming, on the host and on emulated AArch64"
	@echo "make smoke      the shortest way through every stage, under a minute"
	@echo "make test       the tests; of what is compared on every target, a sample"
	@echo "make test-exhaustive   every operator case on every target, which takes longer; CI runs both"
	@echo "make lint       ruff and mypy;   make format   ruff's fixes"
	@echo "make clean      removes caches and build outputs (not .venv)"

setup: $(STAMP)

$(STAMP): pyproject.toml packages/runtime/pyproject.toml constraints.txt .ci/setup
	@.ci/setup
	@touch $@

test: setup
	$(BIN)/python -m pytest

test-exhaustive: setup
	$(BIN)/python -m pytest -m exhaustive

smoke: setup
	$(BIN)/python -m pytest -m smoke

demo: setup
	$(BIN)/irnn-tvm demo

demo-textgenrnn: setup
	$(BIN)/python -m irnn_tvm.examples.textgenrnn.demo

lint: setup typecheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The folders at the top level install as parts of irnn_tvm; mypy knows nothing of that mapping, so that it is shown the
# package as it installs, through links.
typecheck: setup
	@rm -rf $(CACHE)/typecheck && mkdir -p $(CACHE)/typecheck/irnn_tvm
	@ln -s $(addprefix $(CURDIR)/,$(wildcard irnn_tvm/*) $(FOLDERS)) $(CACHE)/typecheck/irnn_tvm/
	MYPYPATH=$(CACHE)/typecheck $(BIN)/mypy --cache-dir $(CACHE)/mypy -p irnn_tvm

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(CACHE) build dist out demo-out *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
