"""The smaller sister of a product of the tangent kernel at n = 51 million."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs Linux's account of a process's memory"
)
SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "memory_at_scale.py"


def measured(cell: str, *sizes: int) -> dict[str, float]:
    arguments = ["--here", "--cells", cell, "--sizes", *map(str, sizes)]
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("cell", ["vanilla-rnn", "gru"])
def test_the_whole_process_holds_the_linearization_and_a_product(cell: str) -> None:
    small, large = measured(cell, 4, 12, 16), measured(cell, 40, 200, 256)
    assert large["n"] == 40 * 200 * 256
    block = 4.0 * large["n"]
    rise = large["peak_bytes"] - small["peak_bytes"]
    formula = large["linearization_bytes"] + large["product_bytes"] + block
    assert 0.8 * formula < rise < 1.15 * formula + 8 * 2**20
    # An array (B, T, N, N) would be 64 times all of it.
    assert rise < 0.05 * block * 256
