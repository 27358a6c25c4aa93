"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from .. import __version__
from .._threads import n_threads

_LIBRARIES = ("numpy", "scipy", "numba", "h5py")


def collect_provenance(directory: Path | None = None) -> dict[str, str | int]:
    """Return versions, platform, threads, date and the commit of the working directory.

    Parameters
    ----------
    directory : Path, optional
        A directory in a git repository; the current one by default.

    Returns
    -------
    dict of str to str or int
        Without ``git_commit`` and ``git_state`` where there is no repository.

    Examples
    --------
    >>> from kpflow_numerics.store import collect_provenance
    >>> sorted(collect_provenance())[:3]
    ['cpu_count', 'created', ...]
    """
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "kpflow_numerics": __version__,
        **{name: version(name) for name in _LIBRARIES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": n_threads(),
        "cpu_count": os.cpu_count() or 0,
        **_git(Path.cwd() if directory is None else directory),
    }


def _git(directory: Path) -> dict[str, str | int]:
    commit = _ask_git(directory, "rev-parse", "HEAD")
    if not commit:
        return {}
    changes = _ask_git(directory, "status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "git_state": "modified" if changes else "clean"}


def _ask_git(directory: Path, *arguments: str) -> str:
    try:
        answer = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            # Never wait for a lock that a commit under way holds.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
