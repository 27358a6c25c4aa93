"""What the benchmarks share: peak memory, and a measurement in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import kpflow_numerics as kpf


def peak_memory() -> float:
    """Return the peak resident bytes of this process."""
    # Linux's ru_maxrss starts at what the parent of the process held; the high-water mark does not.
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="ascii").splitlines()
        return 1024.0 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def measured_alone(script: str, arguments: list[str]) -> Any:
    """Run a script in a process of its own and return the JSON of its last line."""
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def warm_kernels() -> None:
    """Compile, or load, every kernel that a GRU's operators use."""
    cell = kpf.GRU(n_inputs=3, n_units=8)
    inputs = np.random.default_rng(7).standard_normal((2, 5, 3))
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=7), inputs))
    K, P, NTK = kpf.ParameterOperator(lin), kpf.Propagator(lin), kpf.TangentKernel(lin)
    for method in ("exact", "bounds", "dense"):
        kpf.trace(NTK, method)
    kpf.effective_rank(K)
    kpf.effective_rank(P)
    kpf.eigenvalues(K)
    kpf.top_eigenpairs(kpf.PropagatorGram(lin), 2)
    kpf.alignment(K, kpf.PropagatorGram(lin), "exact")
    kpf.alignment(NTK, kpf.PropagatorGram(lin), "hutchinson", n_matvecs=20)


def machine() -> str:
    """Return what the numbers were measured on, for the head of a table."""
    model = "unknown processor"
    path = Path("/proc/cpuinfo")
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        model = f"{len(names)} cores of {names[0]}" if names else model
    return f"{model}, NumPy {np.__version__}"
