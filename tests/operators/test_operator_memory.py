"""No operator makes an array of state Jacobians, ``(B, T, N, N)``."""

from __future__ import annotations

import json
import subprocess
import sys

# Peaks of the whole process see what the kernels allocate, too; tracemalloc does not.
PROGRAM = """
import json, resource, sys
import autograd.numpy as anp
import numpy as np
import kpflow_numerics as kpf

def step(params, x, h):
    return anp.tanh(anp.dot(h, params["w"].T) + x)

def own_cell(n):
    return kpf.AutogradCell(step, {"w": (n, n)}, n_inputs=1, n_units=n)

def peak():
    # Linux's ru_maxrss starts at what the parent of the process held; the high-water mark of the
    # address space does not.
    try:
        lines = open("/proc/self/status").read().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

def both_ways(operator):
    operator.matmat(np.ones((operator.shape[1], 2)))
    operator.rmatmat(np.ones((operator.shape[0], 2)))

def products(cell, n_trials, n_steps):
    inputs = np.ones((n_trials, n_steps, cell.n_inputs))
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), inputs))
    for make in (kpf.ParameterJacobian, kpf.ParameterOperator, kpf.Propagator,
                 kpf.InversePropagator, kpf.PropagatorGram, kpf.Sensitivity, kpf.TangentKernel):
        operator = make(lin)
        both_ways(operator)
    readout = kpf.init_readout(cell.n_units, 3, rng=3)
    for make in (kpf.OutputSensitivity, kpf.OutputKernel):
        for parameters in ("cell", "all"):
            both_ways(make(lin, readout, parameters=parameters))
    return lin

growth = {}
for name, make, n in (
    ("vanilla", lambda n: kpf.VanillaRNN(1, n), 176),
    ("gru", lambda n: kpf.GRU(1, n), 176),
    ("lstm", lambda n: kpf.LSTM(1, n), 88),
    ("own", own_cell, 176),
):
    products(make(8), 2, 3)
    before = peak()
    lin = products(make(n), 6, 50)
    growth[name] = peak() - before
before = peak()
jacobians = lin.state_jacobians()
growth["planted"] = peak() - before
growth["forbidden"] = jacobians.nbytes
print(json.dumps(growth))
"""


def test_memory_stays_that_of_the_blocks() -> None:
    # The first run leaves the kernels compiled on disk: compilation takes memory of its own.
    for _ in range(2):
        answer = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM],
            capture_output=True,
            text=True,
            check=True,
        )
    growth = json.loads(answer.stdout)
    limit = growth.pop("forbidden") / 3
    assert growth.pop("planted") > limit, "the measurement misses what it is there for"
    for name, grown in growth.items():
        assert grown < limit, f"{name}: {grown / 2**20:.0f} MiB, limit {limit / 2**20:.0f} MiB"
