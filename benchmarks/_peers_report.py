"""Tables of the comparison with the peers: ratios, memory, and the targets reached or missed."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Record = dict[str, Any]
Table = list[list[str]]

AUTODIFF = ("pytorch_autodiff", "jax_autodiff")
COLUMNS = ("gemm", "pytorch_autodiff", "jax_autodiff", "pytorch_by_hand", "jax_by_hand")
HEADERS = ("GEMM", "torch autodiff", "JAX autodiff", "torch by hand", "JAX by hand")
SIZE_NAMES = {(10, 30, 64): "S", (20, 90, 128): "M", (20, 90, 256): "L"}


SHOWN_BY_TARGET = ("NTK", "NTK, trained", "eigenpairs", "training")


@dataclass(frozen=True)
class Case:
    """What the contenders of one comparison did."""

    cell: str
    dtype: str
    dims: tuple[int, int, int]
    product: str
    k: int
    by_peer: dict[str, Record]

    @property
    def size(self) -> str:
        return SIZE_NAMES.get(self.dims, str(self.dims))

    def seconds(self, peer: str) -> float | None:
        record = self.by_peer.get(peer, {})
        return statistics.median(record["seconds"]) if record.get("seconds") else None

    def ratio(self, *peers: str, of: str = "ours") -> float | None:
        """Return the seconds of the best of `peers` over the library's, if both were timed."""
        ours = self.seconds(of)
        found = [seconds for peer in peers if (seconds := self.seconds(peer)) is not None]
        return min(found) / ours if found and ours else None


def cases(records: Iterable[Record]) -> list[Case]:
    """Gather the records of each comparison; those of the scaling figure are left out."""
    gathered: dict[tuple[Any, ...], dict[str, Record]] = {}
    for record in records:
        if "axis" in record:
            continue
        dims = (record["B"], record["T"], record["H"])
        key = (record["cell"], record["dtype"], dims, record["product"], record["k"])
        gathered.setdefault(key, {})[record["peer"]] = record
    return [Case(*key, by_peer) for key, by_peer in gathered.items()]


@dataclass(frozen=True)
class Target:
    """A ratio to reach, the cases it is about, and how to find it in one."""

    what: str
    against: str
    least: float
    about: Callable[[Case], bool]
    ratio: Callable[[Case], float | None]


def _block(product: tuple[str, ...], size: tuple[str, ...], k: int) -> Callable[[Case], bool]:
    return lambda case: case.product in product and case.size in size and case.k == k


def _of_vanilla(case: Case) -> bool:
    return case.cell == "vanilla-rnn" and _block(("NTK",), ("L",), 32)(case)


def _best_peer(case: Case) -> float | None:
    return case.ratio(*_peers(case))


def _peers(case: Case) -> list[str]:
    return [name for name in case.by_peer if name not in ("ours", "ours_compressed", "gemm")]


TARGETS = (
    Target(
        "P, P*, K, block of 32, L",
        "GEMM",
        0.6,
        _block(("P", "P*", "K"), ("L",), 32),
        lambda case: case.ratio("gemm"),
    ),
    Target(
        "NTK, block of 32, L",
        "GEMM",
        0.6,
        _block(("NTK",), ("L",), 32),
        lambda case: case.ratio("gemm"),
    ),
    Target(
        "NTK, block of 32, L",
        "best autodiff",
        1.6,
        _block(("NTK",), ("L",), 32),
        lambda case: case.ratio(*AUTODIFF),
    ),
    Target(
        "NTK, block of 32, L, RNN",
        "JAX by hand",
        1.2,
        _of_vanilla,
        lambda case: case.ratio("jax_by_hand"),
    ),
    Target(
        "NTK, block of 32, trained, core compressed at 1e-8",
        "best of all",
        2.0,
        lambda case: case.product == "NTK, trained" and case.dims[2] == 256,
        lambda case: case.ratio(*_peers(case), of="ours_compressed"),
    ),
    Target(
        "NTK, one column, S and M",
        "best autodiff",
        2.0,
        _block(("NTK",), ("S", "M"), 1),
        lambda case: case.ratio(*AUTODIFF),
    ),
    Target(
        "NTK, one column, S and M",
        "JAX by hand",
        1.0,
        _block(("NTK",), ("S", "M"), 1),
        lambda case: case.ratio("jax_by_hand"),
    ),
    Target(
        "20 eigenpairs of the NTK, L, float64",
        "eigsh on the best peer",
        3.0,
        _block(("eigenpairs",), ("L",), 20),
        _best_peer,
    ),
    Target(
        "training step, batch 500, L, float32",
        "best of PyTorch and JAX",
        1.0,
        lambda case: (
            case.product == "training"
            and case.dims == (500, 90, 256)
            and case.dtype == "float32"
            and case.cell in ("vanilla-rnn", "gru")
        ),
        lambda case: case.ratio(*AUTODIFF),
    ),
)


def target_table(found: list[Case]) -> Table:
    """Return a row for each target: every case, and whether the worst reaches the ratio."""
    rows = [["product", "against", "to reach", "measured", "verdict"]]
    for target in TARGETS:
        measured = [
            (case, ratio)
            for case in found
            if target.about(case) and (ratio := target.ratio(case)) is not None
        ]
        row = [target.what, target.against, f"{target.least:g}"]
        if not measured:
            rows.append([*row, "", "not measured"])
            continue
        reached = sum(ratio >= target.least for _, ratio in measured)
        verdict = "reached" if reached == len(measured) else f"missed in {len(measured) - reached}"
        values = ", ".join(_named_ratio(case, ratio, target.least) for case, ratio in measured)
        rows.append([*row, values, f"{verdict} of {len(measured)}" if "m" in verdict else verdict])
    return rows


def _named_ratio(case: Case, ratio: float, least: float) -> str:
    product = "" if case.product in SHOWN_BY_TARGET else f"{case.product} "
    missed = "" if ratio >= least else " (missed)"
    return f"{case.cell} {product}{case.size} {case.dtype} {ratio:.2f}{missed}"


def ratio_table(found: list[Case]) -> Table:
    """Return a row for each product: the library's time, and each contender's over it."""
    rows = [["cell", "size", "dtype", "k", "product", "ours [ms]", *HEADERS]]
    for case in found:
        ours = case.seconds("ours")
        if case.product in ("training", "eigenpairs") or ours is None:
            continue
        row = [case.cell, case.size, case.dtype, str(case.k), case.product, f"{1e3 * ours:.2f}"]
        rows.append([*row, *(_ratio_cell(case, peer) for peer in COLUMNS)])
    return rows


def _ratio_cell(case: Case, peer: str) -> str:
    ratio = case.ratio(peer)
    if ratio is not None:
        return f"{ratio:.2f}"
    failure = case.by_peer.get(peer, {}).get("failure", "")
    return "inaccurate" if failure.startswith("inaccurate") else "failed" if failure else ""


def other_table(found: list[Case]) -> Table:
    """Return the times of training steps and of eigenpairs."""
    rows = [["what", "cell", "dims", "dtype", "contender", "seconds", "over ours", "note"]]
    for case in found:
        if case.product not in ("training", "eigenpairs"):
            continue
        for peer, record in case.by_peer.items():
            seconds, ratio = case.seconds(peer), case.ratio(peer)
            note = record.get("failure", "")
            if "largest_residual" in record:
                certified = "certified complete" if record["certified"] else "no certificate"
                note = f"residual {record['largest_residual']:.0e}, {certified}"
            row = [case.product, case.cell, str(case.dims), case.dtype, peer]
            times = ["" if value is None else f"{value:.2f}" for value in (seconds, ratio)]
            rows.append([*row, *times, note])
    return rows if len(rows) > 1 else []


def memory_table(found: list[Case]) -> Table:
    """Return the rise of the peak memory by block products of the NTK, in MiB."""
    rows = [["cell", "size", "dtype", "k", "ours", *HEADERS[1:]]]
    for case in found:
        if case.product != "NTK" or case.k == 1:
            continue
        row = [case.cell, case.size, case.dtype, str(case.k)]
        peaks = [case.by_peer.get(peer, {}).get("rise_bytes") for peer in ("ours", *COLUMNS[1:])]
        rows.append([*row, *("" if peak is None else f"{peak / 2**20:.0f}" for peak in peaks)])
    return rows


def markdown(table: Table) -> str:
    """Return a table of Markdown."""
    lines = [f"| {' | '.join(cell.replace('*', chr(92) + '*') for cell in row)} |" for row in table]
    return "\n".join([lines[0], "|" + " --- |" * len(table[0]), *lines[1:]])


def restructured(table: Table) -> str:
    """Return a table of reStructuredText."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([[cell.replace("*", "\\*") for cell in row] for row in table])
    lines = "".join(f"   {line}\n" for line in text.getvalue().splitlines())
    return f".. csv-table::\n   :header-rows: 1\n\n{lines}"


def write_reports(found: dict[str, Any], path: Path) -> None:
    """Write the tables beside `path`, as ``.md`` and ``.rst``."""
    gathered = cases(found["records"])
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    sections = [
        ("Ratios to reach", target_table(gathered)),
        ("Training and eigenpairs", other_table(gathered)),
        ("Seconds of the contenders over ours", ratio_table(gathered)),
        ("Rise of the peak memory by a block product of the NTK, MiB", memory_table(gathered)),
    ]
    measured = f"Measured on {found['date']} on {found['processor']} with {versions}, by"
    commands = found["command"].splitlines()
    text = [measured, "", *(f"    {command}" for command in commands), ""]
    pages = {".md": list(text), ".rst": [f"{measured}::", *text[1:]]}
    for title, table in sections:
        if len(table) > 1:
            pages[".md"] += [f"### {title}", "", markdown(table), ""]
            pages[".rst"] += [title, "-" * len(title), "", restructured(table)]
    for suffix, lines in pages.items():
        path.with_suffix(suffix).write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
