"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def find_shared_data(folder: Path, *, in_ci: bool) -> Path:
    """Return `folder`; without it a test is skipped, except in CI, where it fails."""
    if folder.is_dir():
        return folder
    if in_ci:
        pytest.fail(f"CI must have the shared data beside the repository, at {folder}.")
    pytest.skip(f"needs the networks trained elsewhere, which are not at {folder}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository."""
    return find_shared_data(SHARED_DATA, in_ci=bool(os.environ.get("CI")))
