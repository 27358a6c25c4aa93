"""Products of P, P*, K and the NTK against bare matrix multiplications of the same flops.

Run it with ``make bench-products``. Each product is first checked against its definition (an
inaccurate path is not timed); then products and GEMMs are timed in turn, and medians and ratios
printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

import kpflow_numerics as kpf

SIZES = {"S": (10, 30, 64), "M": (20, 90, 128), "L": (20, 90, 256)}
GATES = {"vanilla-rnn": 1, "gru": 3, "lstm": 4}


def make_linearization(kind: str, size: str, dtype: np.dtype) -> kpf.Linearization:
    n_trials, n_steps, n_units = SIZES[size]
    cell = kpf.cells.CELLS[kind](n_inputs=3, n_units=n_units)
    inputs = np.random.default_rng(7).standard_normal((n_trials, n_steps, 3))
    return kpf.linearize(kpf.simulate(cell, cell.init_params(rng=7, dtype=dtype), inputs))


def gemm(rows: int, inner: int, columns: int, repeats: int, dtype: np.dtype) -> Callable[[], None]:
    """Return a function that multiplies matrices of the given shape `repeats` times."""
    rng = np.random.default_rng(7)
    left = rng.standard_normal((rows, inner)).astype(dtype)
    right = rng.standard_normal((inner, columns)).astype(dtype)
    out = np.empty((rows, columns), dtype)

    def multiply() -> None:
        for _ in range(repeats):
            np.matmul(left, right, out=out)

    return multiply


def accurate(operator: kpf.operators.StructuredOperator, rng: np.random.Generator) -> bool:
    return kpf.testing.dot_test(operator, rng=rng).passed


def interleaved_medians(functions: list[Callable[[], object]], rounds: int) -> list[float]:
    """Return the median time of each function, run in turn."""
    times: list[list[float]] = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(rounds):
        for function, record in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            record.append(time.perf_counter() - start)
    return [statistics.median(record) for record in times]


def measure(kind: str, size: str, dtype: np.dtype, k: int, rounds: int) -> list[str]:
    lin = make_linearization(kind, size, dtype)
    n_trials, n_steps, n_units = SIZES[size]
    rng = np.random.default_rng(11)
    P, K, NTK = kpf.Propagator(lin), kpf.ParameterOperator(lin), kpf.TangentKernel(lin)
    X = rng.standard_normal((P.shape[0], k)).astype(dtype)
    gates = GATES[kind]
    features = n_units + lin.cell.n_inputs + 1
    scan = gemm(n_trials * k, n_units, gates * n_units, n_steps, dtype)
    gram_in = gemm(features, n_trials * n_steps, n_units * k, gates, dtype)
    gram_out = gemm(n_trials * n_steps, features, n_units * k, gates, dtype)
    products: dict[str, tuple[Callable[[], object], list[Callable[[], None]]]] = {
        "P": (lambda: P.matmat(X), [scan]),
        "P*": (lambda: P.rmatmat(X), [scan]),
        "K": (lambda: K.matmat(X), [gram_in, gram_out]),
        "NTK": (lambda: NTK.matmat(X), [scan, scan, gram_in, gram_out]),
    }
    lines = []
    for name, (product, bound) in products.items():
        if not accurate({"P": P, "P*": P.H, "K": K, "NTK": NTK}[name], rng):
            lines.append(f"{kind:12s} {size} {dtype!s:8s} {k:3d} {name:4s} inaccurate, not timed")
            continue
        ours, gemms = interleaved_medians(
            [product, lambda bound=bound: [part() for part in bound]], rounds
        )
        lines.append(
            f"{kind:12s} {size} {dtype!s:8s} {k:3d} {name:4s} {1e3 * ours:9.1f} ms "
            f"{1e3 * gemms:9.1f} ms   {gemms / ours:5.2f}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["S", "M"])
    parser.add_argument("--cells", nargs="+", choices=GATES, default=["vanilla-rnn", "gru"])
    parser.add_argument("--columns", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parsed = parser.parse_args()
    print("cell         size dtype     k product      ours      GEMMs   rate of the GEMMs")
    for kind in parsed.cells:
        for size in parsed.sizes:
            for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
                for k in parsed.columns:
                    for line in measure(kind, size, dtype, k, parsed.rounds):
                        print(line, flush=True)


if __name__ == "__main__":
    main()
