"""The measurements of ``time_to_accuracy.py``, its two metrics and its tables."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

TOLERANCES = (1e-2, 1e-3, 1e-5)
REPORTED_SPEED_UPS = (13_500, 9_000, 60)
QUANTITIES = ("trace", "norm", "participation ratio", "alignment")
BLOCK_COLUMNS = 64
BLOCKS_TIMED = 4

KERNEL, PAIR = "direct: n products", "direct: n products of both"
SMALL_TRACE, SMALL_NORM = "unit vectors, smaller side: S", "unit vectors, smaller side: S, S*"
SMALL_PAIR = "unit vectors, smaller side: S, S*, P*"
BASELINES = {
    "trace": (KERNEL, SMALL_TRACE),
    "norm": (KERNEL, SMALL_NORM),
    "participation ratio": (KERNEL, SMALL_NORM),
    "alignment": (PAIR, SMALL_PAIR),
}


@dataclass(frozen=True)
class Record:
    """One measurement.

    Attributes
    ----------
    quantity, method, kind : str
        What was measured; kind is "estimator", "bounds", "exact" or "baseline".
    setting : float
        Budget of products, or the width that bounds were asked for.
    seed : int
    seconds : float
        Of a baseline those of the whole, from the share of its columns that was timed.
    error : float
        Distance from the truth, as a share of it; NaN where only the time was measured.
    half_width : float
        Half the distance of certain bounds, as a share of their middle; otherwise NaN.
    peak_bytes : float
        Peak memory of a process that did nothing else; NaN in measurements of time.
    """

    quantity: str
    method: str
    kind: str
    setting: float
    seed: int
    seconds: float
    error: float = math.nan
    half_width: float = math.nan
    peak_bytes: float = math.nan


def median_curve(records: list[Record]) -> list[tuple[float, float, float, float]]:
    """Return median seconds, median error and its quartiles, from the least setting to the best."""
    curve = []
    tightening = records[0].kind == "bounds"
    for setting in sorted({record.setting for record in records}, reverse=tightening):
        own = [record for record in records if record.setting == setting]
        errors = [r.half_width if r.kind == "bounds" else r.error for r in own]
        low, middle, high = np.percentile(errors, [25, 50, 75])
        curve.append((float(np.median([r.seconds for r in own])), middle, low, high))
    return curve


def honest_time(records: list[Record], tolerance: float) -> float:
    """Return the median time from which on the median error stays below a tolerance."""
    found = math.inf
    for seconds, error, *_ in reversed(median_curve(records)):
        if error > tolerance:
            break
        found = seconds
    return found


def optimistic_time(records: list[Record], tolerance: float) -> float:
    """Return the median over the reruns of the first crossing by whichever method was first."""
    best: dict[int, dict[str, float]] = {}
    for record in sorted(records, key=lambda record: record.setting):
        firsts = best.setdefault(record.seed, {})
        if record.error <= tolerance:
            firsts.setdefault(record.method, record.seconds)
    return float(np.median([min(firsts.values(), default=math.inf) for firsts in best.values()]))


def baseline_seconds(records: list[Record], name: str) -> float:
    return float(np.median([r.seconds for r in records if r.method == name]))


def report(records: list[Record]) -> str:
    """Return the tables of all quantities."""
    lines = []
    for quantity in QUANTITIES:
        own = [r for r in records if r.quantity == quantity]
        if not own:
            continue
        direct, smaller = (baseline_seconds(records, name) for name in BASELINES[quantity])
        lines += [
            f"{quantity}: {BASELINES[quantity][0]} {direct:.1f} s (extrapolated from "
            f"{BLOCKS_TIMED * BLOCK_COLUMNS} columns a round)",
            f"  {'method':27s}"
            + "".join(f"{100 * (1 - t):11g} %      " for t in TOLERANCES)
            + "  peak memory",
            f"  {BASELINES[quantity][1]:45s} {cell(smaller, direct)}",
        ]
        names = list(dict.fromkeys(r.method for r in own))
        for name in names:
            lines.append("  " + row(name, [r for r in own if r.method == name], direct))
        sampled = [r for r in own if r.kind == "estimator" and not math.isnan(r.error)]
        crossings = [optimistic_time(sampled, tolerance) for tolerance in TOLERANCES]
        lines.append(f"  {'optimistic: best of each':27s}" + row_cells(crossings, direct))
        if quantity == "trace":
            reported = "".join(f"{f'({speed:,}x)':>19s}" for speed in REPORTED_SPEED_UPS)
            lines.append(f"  {'published, at full size':27s}" + reported)
        lines.append("")
    return "\n".join(lines)


def row(name: str, records: list[Record], direct: float) -> str:
    timed = [r for r in records if not math.isnan(r.error)]
    peaks = [r.peak_bytes for r in records if not math.isnan(r.peak_bytes)]
    memory = f"{peaks[0] / 2**30:8.2f} GiB" if peaks else ""
    if timed and timed[0].kind == "exact":
        seconds = float(np.median([r.seconds for r in timed]))
        worst = max(r.error for r in timed)
        where = row_cells([seconds] * len(TOLERANCES), direct)
        return f"{name:27s}{where}{memory}   rounding error {worst:.0e}"
    return f"{name:27s}" + row_cells([honest_time(timed, t) for t in TOLERANCES], direct) + memory


def row_cells(times: Iterable[float], direct: float) -> str:
    return "".join(f"{cell(seconds, direct):>19s}" for seconds in times)


def cell(seconds: float, direct: float) -> str:
    if math.isinf(seconds):
        return "not reached"
    ratio = direct / seconds
    return f"{seconds:.3g} s ({ratio:,.0f}x)" if ratio >= 10 else f"{seconds:.3g} s ({ratio:.1f}x)"
