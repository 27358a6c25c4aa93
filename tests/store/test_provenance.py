"""Where a run was made."""

from __future__ import annotations

import subprocess
from datetime import datetime

import h5py
import numba
import numpy as np
import scipy

import kpflow_numerics as kpf
from kpflow_numerics.store import collect_provenance


def git(folder, *arguments):
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@b", *arguments],
        check=True,
        capture_output=True,
    )


def test_versions_and_machine(tmp_path):
    found = collect_provenance(tmp_path)
    assert found["kpflow_numerics"] == kpf.__version__
    assert found["numpy"] == np.__version__
    assert found["scipy"] == scipy.__version__
    assert found["numba"] == numba.__version__
    assert found["h5py"] == h5py.__version__
    assert found["threads"] == numba.get_num_threads()
    assert datetime.fromisoformat(found["created"]).tzinfo is not None


def test_the_commit_of_the_working_directory(tmp_path):
    git(tmp_path, "init", "-q")
    assert "git_commit" not in collect_provenance(tmp_path)
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "first")
    found = collect_provenance(tmp_path)
    assert len(found["git_commit"]) == 40
    assert found["git_state"] == "clean"
    (tmp_path / "a").write_text("2")
    assert collect_provenance(tmp_path)["git_state"] == "modified"


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git_commit" not in collect_provenance()
