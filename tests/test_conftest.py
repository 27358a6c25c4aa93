"""The fixture of the shared data finds the folder, skips without it, and fails in CI."""

from __future__ import annotations

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
