"""What starting costs, in modules and machine code rather than in seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kpflow_numerics

PACKAGE = Path(kpflow_numerics.__file__).parent
HEAVY = ("numpy", "scipy", "numba", "h5py", "matplotlib", "tqdm", "autograd", "safetensors")
PRODUCT = """
import numpy as np
import kpflow_numerics as kpf
cell = kpf.VanillaRNN(n_inputs=2, n_units=4)
lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 2))))
found = kpf.TangentKernel(lin).apply(np.ones(lin.dims))
assert np.isfinite(found).all()
print(kpf.__file__)
"""
COUNT = """
from numba.core.registry import CPUDispatcher
import sys
import kpflow_numerics.kernels as kernels
{program}
kernel_modules = [m for n, m in sys.modules.items() if n.startswith(kernels.__name__ + ".")]
found = {{f for m in kernel_modules for f in vars(m).values() if isinstance(f, CPUDispatcher)}}
counts = [len(f.signatures) for f in found]
print(max(counts), sum(counts))
"""


def run_python(code: str, *flags: str) -> str:
    command = [sys.executable, "-W", "error", *flags, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def heavy_modules(code: str) -> set[str]:
    """Return the dear packages that a program has loaded at its end."""
    report = f"\nimport sys; print('HEAVY', *(n for n in {HEAVY!r} if n in sys.modules))"
    return set(run_python(code + report).split("HEAVY")[1].split())


HELP = """
import contextlib
from kpflow_numerics.cli import main
with contextlib.suppress(SystemExit):
    main({arguments!r})
"""


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_loads_nothing_dear(arguments: list[str]) -> None:
    assert heavy_modules(HELP.format(arguments=arguments)) == set()


def test_importing_the_package_loads_nothing_dear() -> None:
    assert heavy_modules("import kpflow_numerics") == set()


def test_products_load_neither_files_nor_figures() -> None:
    assert heavy_modules(PRODUCT) <= {"numpy", "scipy", "numba"}


def test_a_dear_import_is_found() -> None:
    assert "h5py" in heavy_modules("import h5py")


def test_kernels_have_few_signatures() -> None:
    # Products of both precisions and any shapes, and of one cell only those kernels that it needs.
    program = PRODUCT + PRODUCT.replace("np.ones((2, 5, 2))", "np.ones((3, 7, 2))")
    most, total = map(int, run_python(COUNT.format(program=program)).split()[-2:])
    assert most == 1
    assert 1 <= total <= 16


@pytest.fixture
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a copy of the package that its owner cannot write to."""
    folder = tmp_path_factory.mktemp("installation")
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def unprivileged() -> list[str]:
    """Return a prefix that takes from root the right to write where permissions forbid it."""
    if os.name != "posix":
        pytest.skip("needs the permissions of POSIX")
    if os.geteuid() != 0:
        return []
    prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    if shutil.which("setpriv") is None or subprocess.run([*prefix, "true"]).returncode != 0:
        pytest.skip("root writes everywhere, and setpriv cannot stop it here")
    return prefix


def without_rights(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code on the copy, without a home or any place in the installation to write to."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")}
    home = str(folder / "no-home")
    settings = {"HOME": home, "XDG_CACHE_HOME": f"{home}/cache", "PYTHONPATH": str(folder)}
    return subprocess.run(
        [*unprivileged(), sys.executable, "-P", "-W", "error", "-c", code],
        cwd=folder,
        env={**kept, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_read_only_installation_without_a_home_works(read_only: Path) -> None:
    wrote = without_rights(read_only, f"open({str(read_only / PACKAGE.name / 'new')!r}, 'w')")
    assert "PermissionError" in wrote.stderr, "the installation can be written to"
    done = without_rights(read_only, PRODUCT)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(read_only)
    done = without_rights(read_only, HELP.format(arguments=["--help"]))
    assert done.returncode == 0, done.stderr
    assert "kpflow" in done.stdout


def test_numba_alone_refuses_there(read_only: Path) -> None:
    (read_only / PACKAGE.name).chmod(0o755)
    jit = read_only / PACKAGE.name / "_jit.py"
    jit.chmod(0o644)
    jit.write_text(jit.read_text().replace("except RuntimeError:", "except ZeroDivisionError:"))
    jit.chmod(0o444)
    (read_only / PACKAGE.name).chmod(0o555)
    done = without_rights(read_only, PRODUCT)
    assert "no locator available" in done.stderr
