.DEFAULT_GOAL := help
.PHONY: help demo test lint types bench docs clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := plot,torch-files,xarray,test,lint
JOBS ?= 2

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/installed: pyproject.toml setup.cfg
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=/path/to/python")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	@touch $@

demo: $(VENV)/installed ## Train a GRU on Memory-Pro, analyse it and write a report (about three minutes)
	$(BIN)/kpflow run memory-pro

test: $(VENV)/installed ## Run the tests, the docstrings' and the README's examples
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(VENV)/installed ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed ## Check types
	$(BIN)/mypy

bench: $(VENV)/installed ## Measure products against matrix multiplications, and error against time
	$(BIN)/python benchmarks/products.py
	$(BIN)/python benchmarks/time_to_accuracy.py --quick

docs: $(VENV)/installed ## Build the documentation into docs/_build/html
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean: ## Delete what the other targets made, but never runs/
	rm -rf $(VENV) docs/_build docs/generated build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
