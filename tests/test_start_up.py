"""What starting costs, in modules and machine code rather than in seconds."""

from __future__ import annotations

import json
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
FIRST_USE = """
import json
import numpy as np
import kpflow_numerics as kpf
from kpflow_numerics.kernels import columns
from tests.cases.kernels import all_kernels

def compiled():
    return {name: len(each.signatures) for name, each in all_kernels().items() if each.signatures}

rng = np.random.default_rng(5)
cell = kpf.GRU(n_inputs=3, n_units=16)
params = {name: each.astype(np.float32) for name, each in cell.init_params(rng=5).items()}
for shape in ((4, 6, 3), (3, 7, 3)):
    lin = kpf.linearize(kpf.simulate(cell, params, rng.standard_normal(shape).astype(np.float32)))
    NTK, P = kpf.TangentKernel(lin), kpf.Propagator(lin)
    for k in (32, 1, 4):
        block = rng.standard_normal((NTK.shape[0], k)).astype(np.float32)
        NTK.matmat(block)
        P.matmat(P.rmatmat(block))
print(json.dumps(compiled()))
columns.steps_at_a_time(np.int32(5), 7)
print(json.dumps(compiled()))
"""
# Told by a constant whether the left factor is transposed, it is compiled for each.
COMPILED_TWICE = {"products.multiply"}


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


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, int]]:
    """How many signatures of each kernel a first use compiles, and with a planted one."""
    with pytest.MonkeyPatch.context() as patch:
        # What is read from a cache does not show the functions that it calls.
        patch.setenv("NUMBA_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
        return [json.loads(line) for line in run_python(FIRST_USE).splitlines()]


def compiled_more_than_once(counts: dict[str, int]) -> set[str]:
    return {name for name, count in counts.items() if count > 1}


def test_a_first_use_compiles_one_signature_of_a_kernel(counts: list[dict[str, int]]) -> None:
    first_use, _ = counts
    assert compiled_more_than_once(first_use) == COMPILED_TWICE
    assert all(first_use[name] == 2 for name in COMPILED_TWICE)


def test_a_first_use_compiles_the_kernels_of_its_cell_alone(counts: list[dict[str, int]]) -> None:
    modules = {name.split(".")[0] for name in counts[0]}
    assert modules >= {"columns", "gru", "propagation", "sites"}
    assert not modules & {"current", "low_rank", "lstm", "rate"}


def test_a_planted_second_signature_is_seen(counts: list[dict[str, int]]) -> None:
    _, planted = counts
    assert compiled_more_than_once(planted) == COMPILED_TWICE | {"columns.steps_at_a_time"}


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
