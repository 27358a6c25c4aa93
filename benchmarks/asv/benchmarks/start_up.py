"""Seconds until the library, its command and its first product are there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

PRODUCT = """
import numpy as np
import kpflow_numerics as kpf
cell = kpf.GRU(n_inputs=2, n_units=4)
lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 2))))
kpf.TangentKernel(lin).apply(np.ones(lin.dims))
"""
PROGRAMS = {
    "import": "import kpflow_numerics",
    "import all names": "import kpflow_numerics as k; [getattr(k, name) for name in k.__all__]",
    "help": "from kpflow_numerics.cli import main; main(['--help'])",
    "first product": PRODUCT,
}


class StartUp:
    """A process from its start to its end, the operating system's caches warm."""

    param_names = ("program",)
    params = ([*PROGRAMS],)
    number = 1
    timeout = 300

    def setup(self, program: str) -> None:
        self.time_process(program)

    def time_process(self, program: str) -> None:
        command = [sys.executable, "-c", PROGRAMS[program]]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class FirstProduct:
    """A first product that compiles its kernels, as after an installation."""

    timeout = 300

    def track_cold_seconds(self) -> float:
        with tempfile.TemporaryDirectory() as cache:
            start = time.perf_counter()
            environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
            subprocess.run([sys.executable, "-c", PRODUCT], check=True, env=environment)
            return time.perf_counter() - start

    track_cold_seconds.unit = "seconds"
