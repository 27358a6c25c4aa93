"""Modules of the package are imported as a user's script imports them."""

from __future__ import annotations

import importlib
from pathlib import Path

PACKAGE = "kpflow_numerics"
ROOT = Path(__file__).resolve().parent


def pytest_collect_file(file_path: Path) -> None:
    """Import a module before its doctests are collected.

    pytest would run its file a second time, and put that copy of the module in the place of the
    function of the same name in its package: ``interop.load_network`` for one.
    """
    is_module = file_path.suffix == ".py" and file_path.name != "__main__.py"
    if is_module and file_path.is_relative_to(ROOT / PACKAGE):
        parts = file_path.relative_to(ROOT).with_suffix("").parts
        importlib.import_module(".".join(parts).removesuffix(".__init__"))
