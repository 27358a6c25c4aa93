.DEFAULT_GOAL := help
.PHONY: help demo experiments test lint types bench bench-products docs clean

PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
# The last release that was measured; PyTorch for processors alone where pip can find it.
PEERS_TORCH ?= torch==2.13.*
BIN := $(VENV)/bin
EXTRAS := plot,torch-files,xarray,test,lint
JOBS ?= 2

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/installed: pyproject.toml setup.cfg
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=/path/to/python")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	@touch $@

demo: $(VENV)/installed ## Train a GRU on Memory-Pro, analyse it and write a report (about three minutes)
	$(BIN)/kpflow run memory-pro

experiments: $(VENV)/installed ## Run every example at full size into runs/experiments (hours)
	$(BIN)/python examples/run_experiments.py

test: $(VENV)/installed ## Run the tests, the docstrings' and the README's examples
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(VENV)/installed ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed ## Check types
	$(BIN)/mypy

bench-products: $(VENV)/installed ## Measure products against bare matrix products alone (minutes)
	$(BIN)/python benchmarks/products.py

# The same NumPy, SciPy and Numba as in the other environment: they are what is measured.
$(PEERS)/installed: $(VENV)/installed
	$(PYTHON) -m venv $(PEERS)
	$(BIN)/python -m pip freeze --exclude-editable | grep -E '^(numpy|scipy|numba|llvmlite)==' > $(PEERS)/constraints.txt
	$(PEERS)/bin/python -m pip install --quiet --constraint $(PEERS)/constraints.txt --editable '.[plot]' '$(PEERS_TORCH)' jax
	@touch $@

bench: $(PEERS)/installed ## Measure against PyTorch, JAX and bare products (installs them apart, 2 GB; hours)
	$(PEERS)/bin/python benchmarks/against_peers.py --training --eigen --trained --scaling build/scaling.png
	$(PEERS)/bin/python benchmarks/ranks.py
	$(PEERS)/bin/python benchmarks/time_to_accuracy.py --quick

docs: $(VENV)/installed ## Build the documentation into docs/_build/html
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean: ## Delete what the other targets made, but never runs/
	rm -rf $(VENV) $(PEERS) docs/_build docs/generated build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
