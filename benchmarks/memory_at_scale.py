"""Peak memory and time of one product of the tangent kernel on a large problem.

By default 100 trials of 500 steps of 1,024 units, n = 51.2 million, in float32: each cell in a
process of its own, whose peak is of everything: Python, the network, its linearisation, and the
product.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from _measuring import machine, measured_alone, peak_memory

import kpflow_numerics as kpf

CELLS = {"vanilla-rnn": kpf.VanillaRNN, "gru": kpf.GRU, "lstm": kpf.LSTM}


def measure(kind: str, sizes: list[int], dtype: str) -> dict[str, float]:
    """Return peak bytes and seconds of a product in this process."""
    n_trials, n_steps, n_units = sizes
    rng = np.random.default_rng(7)
    cell = CELLS[kind](n_inputs=3, n_units=n_units)
    params = {name: array.astype(dtype) for name, array in cell.init_params(rng=7).items()}
    inputs = rng.standard_normal((n_trials, n_steps, 3)).astype(dtype)
    start = time.perf_counter()
    lin = kpf.linearize(kpf.simulate(cell, params, inputs))
    linearized = time.perf_counter()
    NTK = kpf.TangentKernel(lin)
    block = rng.standard_normal(lin.dims, dtype=dtype)
    begun = time.perf_counter()
    product = NTK.apply(block)
    done = time.perf_counter()
    if not np.isfinite(product).all():
        raise FloatingPointError("the product is not finite")
    return {
        "n": float(block.size),
        "peak_bytes": peak_memory(),
        "linearization_bytes": float(lin.memory_bytes),
        "product_bytes": NTK.product_cost(1).memory_bytes,
        "linearize_seconds": linearized - start,
        "product_seconds": done - begun,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs=3, default=[100, 500, 1024], metavar="N")
    parser.add_argument("--cells", nargs="+", default=["vanilla-rnn", "gru"], choices=[*CELLS])
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--here", action="store_true", help="measure this process, print JSON")
    given = parser.parse_args()
    if given.here:
        print(json.dumps(measure(given.cells[0], given.sizes, given.dtype)))
        return
    print(f"{machine()}; (B, T, H) = {tuple(given.sizes)}, {given.dtype}")
    print("cell                  n  peak [GiB]  linearization  product  linearize [s]  product [s]")
    for kind in given.cells:
        sizes = [str(size) for size in given.sizes]
        arguments = ["--here", "--cells", kind, "--dtype", given.dtype, "--sizes", *sizes]
        found = measured_alone(__file__, arguments)
        peak, held, taken = (
            found[name] / 2**30 for name in ("peak_bytes", "linearization_bytes", "product_bytes")
        )
        print(
            f"{kind:12s} {found['n']:10,.0f}  {peak:10.2f}  {held:13.2f}  {taken:7.2f}"
            f"  {found['linearize_seconds']:13.1f}  {found['product_seconds']:11.1f}"
        )


if __name__ == "__main__":
    main()
