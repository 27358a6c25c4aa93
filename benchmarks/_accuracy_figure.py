"""The figure of ``time_to_accuracy.py``: error against time, a panel a quantity."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from _accuracy_report import (
    BASELINES,
    QUANTITIES,
    TOLERANCES,
    Record,
    baseline_seconds,
    median_curve,
)

from kpflow_numerics.plotting import paper_style
from kpflow_numerics.plotting.style import GREY, PAGE_WIDTH, PALETTE

_STYLES = {
    "hutchinson": (PALETTE[0], "o", "-", "Hutchinson (trace: one-sided forward)"),
    "one-sided-forward": (PALETTE[5], "v", "-", "one-sided, forward"),
    "one-sided-reverse": (PALETTE[5], "^", "-", "one-sided, reverse"),
    "hutch++": (PALETTE[1], "s", "-", "Hutch++"),
    "xtrace": (PALETTE[3], "D", "-", "XTrace"),
    "xnystrace": (PALETTE[4], "P", "-", "XNysTrace"),
    "exact, norm by hutch++": (PALETTE[2], "s", "--", "exact parts, norm by Hutch++"),
    "bounds": (PALETTE[6], "*", "-", "certain bounds (half their distance)"),
}
_EXACT_STYLES = {
    "exact, blocks of P*P": ("#000000", "-", "exact, blocks of $P^*P$"),
    "exact, seeds of K": ("#000000", "--", "exact, seeds of $K$"),
}
_FLOOR = 1e-16


def draw(records: list[Record], path: Path) -> None:
    """Write the figure as PDF and PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with paper_style():
        figure, axes = plt.subplots(2, 2, figsize=(PAGE_WIDTH, 5.6))
        for letter, ax, quantity in zip("abcd", axes.flat, QUANTITIES, strict=True):
            own = [r for r in records if r.quantity == quantity and math.isnan(r.peak_bytes)]
            _panel(ax, quantity, own, records)
            ax.set_title(f"({letter}) {quantity} of the NTK", loc="left")
        axes[1, 1].set_title("(d) alignment of the NTK with $PP^*$", loc="left")
        for ax in axes[:, 0]:
            ax.set_ylabel("relative error")
        for ax in axes[1]:
            ax.set_xlabel("seconds")
        handles: dict[str, Any] = {}
        for ax in axes.flat:
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=3)
        figure.tight_layout(rect=(0, 0.035 * math.ceil(len(handles) / 3) + 0.01, 1, 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a date, equal measurements give equal files.
        figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
        figure.savefig(path.with_suffix(".png"), dpi=200, metadata={"Software": None})
        plt.close(figure)


def _panel(ax: Any, quantity: str, records: list[Record], every: list[Record]) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    exact = any(r.kind == "exact" for r in records)
    ax.set_ylim(0.3 * (_FLOOR if exact else TOLERANCES[-1]), 3.0)
    ax.set_xlim(*_time_limits(quantity, records, every))
    for tolerance in TOLERANCES:
        ax.axhline(tolerance, color="#cccccc", linewidth=0.6, zorder=0)
    for name in dict.fromkeys(r.method for r in records):
        own = [r for r in records if r.method == name]
        if own[0].kind == "exact":
            _exact(ax, name, own)
            continue
        colour, marker, line, label = _STYLES[name]
        seconds, middle, low, high = np.maximum(np.array(median_curve(own)).T, _FLOOR)
        ax.plot(seconds, middle, color=colour, marker=marker, linestyle=line, label=label)
        if own[0].kind == "estimator":
            ax.fill_between(seconds, low, high, color=colour, alpha=0.12, linewidth=0)
    direct, smaller = BASELINES[quantity]
    label = "direct: $n$ products"
    ax.axvline(baseline_seconds(every, direct), color=GREY, linewidth=1.4, label=label)
    label = "unit vectors on the smaller side"
    seconds = baseline_seconds(every, smaller)
    ax.axvline(seconds, color=GREY, linewidth=1.1, linestyle=":", label=label)


def _time_limits(quantity: str, records: list[Record], every: list[Record]) -> tuple[float, float]:
    """Return the ends of the time axis, with room beside everything that is drawn.

    Matplotlib's own limits of a logarithmic axis can have no width while the first vertical lines
    are drawn, so that it divides by zero at some times and not at others.
    """
    times = [baseline_seconds(every, name) for name in BASELINES[quantity]]
    times += [r.seconds for r in records]
    return 0.7 * min(times), 1.4 * max(times)


def _exact(ax: Any, name: str, records: list[Record]) -> None:
    colour, line, label = _EXACT_STYLES[name]
    seconds = float(np.median([r.seconds for r in records]))
    error = max(max(r.error for r in records), _FLOOR)
    ax.axvline(seconds, color=colour, linestyle=line, linewidth=1.1, label=label)
    ax.plot(seconds, error, color=colour, marker="o", markerfacecolor="white", zorder=4)
