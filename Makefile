# Every target does its own set-up: a virtual environment in .venv with the package and its development tools.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Arguments for pytest, such as ARGS="tests/losses -x", or for the training benchmark, such as ARGS="--dataset beauty".
ARGS ?=

.PHONY: demo test lint bench clean

# The stamp names the interpreter: another one starts with a new environment.
READY := $(VENV)/.ready-$(notdir $(PYTHON))

$(READY): setup.py
	test -e $@ || rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --progress-bar off --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/fenrec-demo

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/prepare.py
	$(BIN)/python benchmarks/training.py $(ARGS)
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/topk.py
	$(BIN)/python benchmarks/serving.py

clean:
	rm -rf $(VENV) demo-run
