"""The fixture of the shared data, and how modules are imported for their doctests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import find_shared_data


def test_the_folder_is_returned_where_it_exists(tmp_path):
    for in_ci in (False, True):
        assert find_shared_data(tmp_path, in_ci=in_ci) == tmp_path


def test_a_missing_folder_skips_outside_ci(tmp_path):
    with pytest.raises(pytest.skip.Exception, match="which are not at"):
        find_shared_data(tmp_path / "absent", in_ci=False)


def test_a_missing_folder_fails_in_ci(tmp_path):
    with pytest.raises(pytest.fail.Exception, match="CI must have the shared data"):
        find_shared_data(tmp_path / "absent", in_ci=True)


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--noconftest",), 1)])
def test_a_module_named_as_its_function_has_doctests_that_run_alone(options, code):
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *options]
    answer = subprocess.run(
        [*words, "kpflow_numerics/interop/load_network.py"],
        cwd=Path(__file__).resolve().parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == code, answer.stdout
    assert ("'module' object is not callable" in answer.stdout) == bool(options)
