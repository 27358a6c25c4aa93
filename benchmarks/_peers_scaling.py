"""How the cost of a product grows with B, T, H and k: what is measured, and its figure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peers.contract import Problem

BASE = {"B": 20, "T": 90, "H": 128, "k": 32}
AXES = {
    "B": (5, 10, 20, 40, 80),
    "T": (22, 45, 90, 180, 360),
    "H": (32, 64, 128, 256, 512),
    "k": (1, 4, 16, 32, 128),
}
LABELS = {"B": "trials B", "T": "steps T", "H": "units H", "k": "columns k"}
STYLES = {
    "ours": ("kpflow_numerics", "#0072b2", "o"),
    "gemm": ("bare matrix products", "#000000", "x"),
    "jax_by_hand": ("JAX, by hand", "#d55e00", "s"),
    "jax_autodiff": ("JAX, autodiff", "#e69f00", "^"),
    "pytorch_by_hand": ("PyTorch, by hand", "#009e73", "D"),
    "pytorch_autodiff": ("PyTorch, autodiff", "#cc79a7", "v"),
}


def scaling_problems() -> Iterator[tuple[str, Problem, int]]:
    """Yield the axis, the problem and the columns of every point of the figure."""
    for axis, values in AXES.items():
        for value in values:
            dims = BASE | {axis: value}
            yield axis, Problem("vanilla-rnn", dims["B"], dims["T"], dims["H"]), dims["k"]


def draw_scaling(records: list[dict[str, Any]], path: Path) -> None:
    """Draw seconds against each axis, double logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure, panels = plt.subplots(
        1, len(AXES), figsize=(11, 3.2), sharey=True, layout="constrained"
    )
    for panel, axis in zip(panels, AXES, strict=True):
        for name, (label, colour, marker) in STYLES.items():
            points = sorted(
                (record[axis], statistics.median(record["seconds"]))
                for record in records
                if record.get("axis") == axis and record["peer"] == name and record["seconds"]
            )
            if points:
                x, y = zip(*points, strict=True)
                panel.loglog(x, y, color=colour, marker=marker, markersize=4, label=label)
        panel.set_xticks(AXES[axis], [str(value) for value in AXES[axis]])
        panel.minorticks_off()
        panel.set_xlabel(LABELS[axis])
        panel.grid(visible=True, alpha=0.3)
    panels[0].set_ylabel("seconds a product")
    panels[0].legend(fontsize="x-small", frameon=False)
    figure.suptitle(
        "Tangent kernel of a vanilla RNN, float32, about B = 20, T = 90, H = 128, k = 32",
        fontsize="medium",
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)
