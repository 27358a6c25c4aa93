"""The suite that keeps the history of the products can be run."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

SUITE = Path(__file__).resolve().parents[1] / "benchmarks" / "asv"


def load(name: str) -> ModuleType:
    path = SUITE / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"asv_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_configuration_names_what_is_there() -> None:
    settings = json.loads((SUITE / "asv.conf.json").read_text(encoding="utf-8"))
    assert (SUITE / settings["benchmark_dir"] / "__init__.py").exists()
    assert (SUITE / settings["repo"] / "pyproject.toml").exists()


@pytest.mark.parametrize("cell", ["vanilla-rnn", "gru", "lstm"])
def test_products_run(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("products")
    monkeypatch.setattr(module, "SIZES", {"S": (2, 5, 4)})
    for operator in module.OPERATORS:
        for columns in module.Products.params[-1]:
            benchmark = module.Products()
            benchmark.setup(operator, cell, "S", "float32", columns)
            benchmark.time_product(operator, cell, "S", "float32", columns)
            assert benchmark.track_memory_bytes(operator, cell, "S", "float32", columns) > 0
    module.PeakMemory().peakmem_product(cell, "S")


def test_start_up_runs() -> None:
    module = load("start_up")
    for program in module.PROGRAMS:
        module.StartUp().time_process(program)
