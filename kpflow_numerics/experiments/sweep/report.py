"""The page about a sweep: figures against each axis, tables, failures, provenance."""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ... import plotting
from ...analysis.activity_quantities import CENTRED_COSINE, COSINE, MODE_SHARE
from ...analysis.median import MedianInterval, median_interval
from ...plotting._sweep import quantity_label, seed_axes
from ...store import SweepGrid
from ...store.sweep_grid import STATUS_MEANINGS
from ..report._file import write_page
from ..report._html import Markup, element, page, table
from ..report._numbers import number
from ..report._provenance import flatten
from .merge import merge_sweep
from .plan import duration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAIN_RECIPE = "participation-ratio"
MOST_PAIRS = 6
"""Pairs of tasks whose interference the report shows: all of four tasks."""

_OF_ONES = "The control is of a matrix of ones, which knows nothing of the network."
_CENTRED = "The means of rows and columns are taken away, so that ones would have none."
_RANDOM = (
    "The control is of the moves of random errors: where theirs is as large, the bias is of K and "
    "not of the error."
)
_WITHOUT_K = "It is the move that the error would cause without K; the control is chance."

CONTROLLED = (
    (f"{COSINE} of NTK, core", f"{COSINE} of NTK, ones", _OF_ONES),
    (f"{COSINE} of K, core", f"{COSINE} of K, ones", _OF_ONES),
    (f"{CENTRED_COSINE} of NTK, core", None, _CENTRED),
    (f"{CENTRED_COSINE} of K, core", None, _CENTRED),
    (f"{MODE_SHARE} of dh", f"{MODE_SHARE} of dh of random errors", _RANDOM),
    (f"{MODE_SHARE} of P P* err", f"{MODE_SHARE} of chance", _WITHOUT_K),
)
"""Quantities with the quantity that is their control, if any, and a sentence about both."""

MAX_ROWS = 1000
"""Cells that the table of cells shows."""


@dataclass(frozen=True)
class Shown:
    """A result that the report shows against the axes.

    Attributes
    ----------
    name : str
        The variable of the grid.
    places : dict
        Where on its other dimensions.
    title : str
        Heads its column in tables.
    caption : str
        Stands below its figure.
    note : str
        Ends the caption, a sentence.
    control : dict or None
        Places that differ where its control is.
    """

    name: str
    places: dict[str, Any]
    title: str
    caption: str
    note: str = ""
    control: dict[str, Any] | None = None

    def values(self, grid: SweepGrid) -> Any:
        """Return it on the grid."""
        return grid.select(self.name, **self.places)


def report_sweep(directory: str | Path) -> Path:
    """Merge a sweep, and write figures and a page about its results.

    Parameters
    ----------
    directory : str or Path
        The directory that :func:`plan_sweep` made. The sweep need not be finished.

    Returns
    -------
    Path
        Of ``report.html`` in the directory, which needs no network and no script. The figures are
        in ``figures`` as SVG, and the merged results in ``sweep.h5``.

    Raises
    ------
    InputError
        If the directory holds no sweep.
    MissingExtraError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> path = kpf.report_sweep("runs/gain-sweep")  # doctest: +SKIP
    """
    path = Path(directory)
    grid = merge_sweep(path)
    figures = dict(sweep_figures(grid))
    folder = path / "figures"
    folder.mkdir(exist_ok=True)
    for name, (svg, _) in figures.items():
        (folder / f"{name}.svg").write_text(_standalone(svg), encoding="utf-8")
    return write_page(path / "report.html", sweep_html(grid, figures), overwrite=True)


def sweep_figures(grid: SweepGrid) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the name, the SVG text and the caption of each figure.

    Every result is drawn against every axis but the seeds, unless nothing else varies.
    """
    wide = [name for name in grid.axes if len(grid.coordinates[name]) > 1] or list(grid.axes[:1])
    along = [name for name in wide if name not in seed_axes(grid)] or wide
    for place, (axis, shown) in enumerate(itertools.product(along, shown_results(grid))):
        if not np.isfinite(shown.values(grid)).any():
            continue
        name = "-".join([axis, shown.name, *(str(place) for place in shown.places.values())])
        name = name.replace(" ", "-").replace(",", "").replace("*", "")
        ax = plotting.sweep(grid, shown.name, along=axis, control=shown.control, **shown.places)
        caption = f"{shown.caption}, against {axis}.{shown.note and ' '}{shown.note}"
        figure = cast("Figure", ax.get_figure())
        yield name, (plotting.inline_svg(figure, f"f{place}", caption), caption)


def _standalone(svg: str) -> str:
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" '
                       'xmlns:xlink="http://www.w3.org/1999/xlink" ', 1)  # fmt: skip


def shown_results(grid: SweepGrid) -> list[Shown]:
    """Return the results that figures and tables show, as far as the sweep holds them."""
    shown = []
    if np.isfinite(grid.variables["final_evaluation_loss"].values).any():
        shown.append(Shown("final_evaluation_loss", {}, "evaluation loss",
                           "Loss on the evaluation trials after training"))  # fmt: skip
    tolerance = _telling_tolerance(grid)
    if tolerance is not None:
        shown.append(
            Shown("iterations_to_tolerance", {"tolerance": tolerance},
                  f"iterations to {tolerance:g}",
                  f"First iteration whose training loss is at most {tolerance:g}",
                  "A hollow mark at the top: fewer than half of the runs reach it.")
        )  # fmt: skip
    if "rank" in grid.variables and MAIN_RECIPE in grid.coordinates["recipe"]:
        for operator in grid.coordinates["operator"]:
            for which, when in (("first", "at the start"), ("last", "after training")):
                places = {"operator": operator, "recipe": MAIN_RECIPE, "checkpoint": which}
                label = "P P*" if operator == "P" else operator
                shown.append(
                    Shown("rank", places, f"rank of {label} {when}",
                          f"Effective rank of {label} (participation ratio) {when}")
                )  # fmt: skip
    for quantity in grid.coordinates.get("quantity", ()):
        if str(quantity).startswith(("alignment", "Kaplan-Yorke")):
            places = {"quantity": quantity, "checkpoint": "last"}
            label = quantity_label(str(quantity))
            is_alignment = label.startswith("alignment")
            note = "The alignment of A and B is tr(A B) / (|A| |B|)." if is_alignment else ""
            caption = f"{label[0].upper()}{label[1:]} after training"
            title = f"{label} after training"
            shown.append(Shown("quantity_value", places, title, caption, note))
    return [*shown, *_controlled(grid), *_interference(grid)]


def _controlled(grid: SweepGrid) -> list[Shown]:
    """Return what the sweep holds of core and self-reference, with the controls."""
    held = set(map(str, grid.coordinates.get("quantity", ())))
    found = []
    for quantity, control, note in CONTROLLED:
        if quantity in held:
            label = quantity_label(quantity)
            places = {"quantity": quantity, "checkpoint": "last"}
            beside = {"quantity": control} if control in held else None
            found.append(
                Shown("quantity_value", places, f"{label} after training",
                      f"{label[0].upper()}{label[1:]} after training", note, beside)
            )  # fmt: skip
    return found


def _interference(grid: SweepGrid) -> list[Shown]:
    """Return the cosines after training of the pairs of tasks that are least by their median."""
    name = "interference_cosines"
    if name not in grid.variables:
        return []
    found = []
    for pair in itertools.combinations(grid.coordinates["of_task"], 2):
        places = {"of_task": pair[0], "other_task": pair[1], "checkpoint": "last"}
        values = grid.select(name, **places)
        known = values[np.isfinite(values)]
        if known.size:
            words = f"{pair[0]} and {pair[1]}"
            shown = Shown(name, places, f"cosine of {words}",
                          f"Cosine between the gradients of {words} after training",
                          "Below zero a step of gradient descent for one raises the loss of the "
                          "other.")  # fmt: skip
            found.append((float(np.median(known)), shown))
    found.sort(key=lambda each: each[0])
    return [shown for _, shown in found[:MOST_PAIRS]]


def _telling_tolerance(grid: SweepGrid) -> float | None:
    """Return the smallest tolerance that half of the finished runs reach, or else the largest."""
    if "tolerance" not in grid.coordinates:
        return None
    tolerances = sorted(float(each) for each in grid.coordinates["tolerance"])
    done = max(int((grid.status == 0).sum()), 1)
    for tolerance in tolerances:
        reached = grid.select("iterations_to_tolerance", tolerance=tolerance)
        if np.isfinite(reached).sum() >= done / 2:
            return tolerance
    return tolerances[-1]


def sweep_html(grid: SweepGrid, figures: dict[str, tuple[str, str]]) -> str:
    """Return the page about a merged sweep, with figures that are drawn already."""
    title = f"Sweep over {_listed(grid.axes)}"
    return page(
        title,
        element(
            "header",
            element("h1", title),
            element("p", _what_was_run(grid), class_="subtitle"),
        ),
        element("main", *_main(grid, figures)),
        element("footer", *_foot(grid)),
    )


def _main(grid: SweepGrid, figures: dict[str, tuple[str, str]]) -> Iterator[Markup]:
    yield _facts(grid)
    if (grid.status != 0).any():
        yield _unfinished(grid)
    yield element("h2", "The grid")
    yield _grid(grid)
    for place, axis in enumerate(dict.fromkeys(name.split("-")[0] for name in figures)):
        yield element("h2", f"Against {axis}")
        if not place:
            yield element("p", _reading(grid))
        drawn = (
            element("figure", Markup(svg), element("figcaption", caption))
            for name, (svg, caption) in figures.items()
            if name.split("-")[0] == axis
        )
        yield element("div", *drawn, class_="figures")
    yield element("h2", "Numbers")
    yield _medians(grid)
    yield element("h2", "Cells")
    yield _cells(grid)
    if grid.failures:
        yield element("h2", "Failures")
        yield from _failures(grid)


def _what_was_run(grid: SweepGrid) -> str:
    settings = tomllib.loads(grid.plan_toml)
    cell, task, training = settings["cell"], settings["task"], settings["training"]
    return (
        f"Unless varied: {cell['kind']} of {cell['n_units']} units on {task['name']}, "
        f"{training['n_iterations']:,} iterations of {training['optimizer']} at "
        f"{training['learning_rate']:g} on batches of {training['batch_size']}."
    )


def _facts(grid: SweepGrid) -> Markup:
    counts = {word: int((grid.status == place).sum()) for place, word in enumerate(STATUS_MEANINGS)}
    facts = [("Cells", str(grid.status.size), " x ".join(map(str, grid.shape)))]
    facts += [(word.capitalize(), str(count), "") for word, count in counts.items() if count]
    seconds = grid.seconds[np.isfinite(grid.seconds)]
    if seconds.size:
        facts.append(("Time a cell", f"{np.median(seconds):.3g} s", "median"))
        facts.append(("Time in all", duration(float(seconds.sum())), "of one worker"))
    boxes = (
        element("div", element("dt", name), element("dd", value, element("small", note)))
        for name, value, note in facts
    )
    return element("dl", *boxes, class_="facts")


def _unfinished(grid: SweepGrid) -> Markup:
    words = [
        f"{int((grid.status == place).sum())} {word}"
        for place, word in enumerate(STATUS_MEANINGS)
        if place and (grid.status == place).any()
    ]
    return element(
        "p", f"Not every cell has a result: {_listed(words)}. Figures and tables show the others.",
        class_="notice",
    )  # fmt: skip


def _grid(grid: SweepGrid) -> Markup:
    rows = [
        [
            name,
            element("code", ", ".join(grid.linked.get(name, {})) or _setting(grid, name)),
            len(grid.coordinates[name]),
            ("; " if name in grid.linked else ", ").join(
                plotting.place_label(value) for value in grid.coordinates[name]
            ),
        ]
        for name in grid.axes
    ]
    return table(["axis", "setting", "places", "values"], rows, numeric=(2,), wide=(3,))


def _setting(grid: SweepGrid, name: str) -> str:
    for key in tomllib.loads(grid.plan_toml)["sweep"]["axes"]:
        if key.partition(".")[2] == name or key.replace(".", "_") == name:
            return str(key)
    return {"task": "task.name", "cell": "cell.kind"}.get(name, name)


def _reading(grid: SweepGrid) -> str:
    seeds = [name for name in seed_axes(grid) if len(grid.coordinates[name]) > 1]
    if not seeds:
        return "One run at each place of the grid, so there are no error bars."
    return (
        "Marks are medians over the seeds and whatever else the key names; bars and bands hold the "
        "median of all seeds with the probability that the key names (order statistics, no "
        "distribution assumed). Runs that failed are left out."
    )


def _groups(grid: SweepGrid) -> tuple[list[str], list[tuple[int, ...]]]:
    """Return the axes that are no repetitions, and every place on them."""
    names = [name for name in grid.axes if name not in seed_axes(grid)]
    shape = [len(grid.coordinates[name]) for name in names]
    return names, list(np.ndindex(*shape))


def _medians(grid: SweepGrid) -> Markup:
    names, places = _groups(grid)
    shown = [each for each in shown_results(grid) if each.name != "quantity_value"]
    ordered = {each.title: _last_seeds(grid, each.values(grid)) for each in shown}
    status = _last_seeds(grid, grid.status)
    rows = []
    for place in places[:MAX_ROWS]:
        done = status[place] == 0
        row: list[Any] = [
            plotting.place_label(grid.coordinates[name][i])
            for name, i in zip(names, place, strict=True)
        ] or ["all"]
        row.append(int(done.sum()))
        for each in shown:
            values = ordered[each.title][place][done]
            if each.name == "iterations_to_tolerance":
                values = np.where(np.isnan(values), math.inf, values)
            row.append(_median_text(median_interval(values)))
        rows.append(row)
    return table(
        [*(names or ["cells"]), "runs", *ordered],
        rows,
        caption="Medians over the seeds, with the interval that holds the median of all seeds with "
        f"{100 * median_interval(range(_n_seeds(grid))).confidence:.3g} % where every run is done. "
        "∞: not reached. Ranks are participation ratios; those that are not exact count as the "
        "middle of their bounds.",
        numeric=range(len(names), len(names) + 1 + len(shown)),
    )  # fmt: skip


def _n_seeds(grid: SweepGrid) -> int:
    return math.prod(len(grid.coordinates[name]) for name in seed_axes(grid))


def _last_seeds(grid: SweepGrid, values: Any) -> Any:
    """Return values with the repetitions along one last axis."""
    seeds = [place for place, name in enumerate(grid.axes) if name in seed_axes(grid)]
    others = [place for place in range(len(grid.axes)) if place not in seeds]
    ordered = np.transpose(values, [*others, *seeds])
    return ordered.reshape(*(values.shape[place] for place in others), -1)


def _median_text(found: MedianInterval) -> str:
    def word(value: float) -> str:
        return "∞" if value == math.inf else number(value)

    if found.n_values < 2:
        return word(found.median)
    return f"{word(found.median)} [{word(found.lower)}, {word(found.upper)}]"


def _cells(grid: SweepGrid) -> Markup:
    shown = shown_results(grid)[:4]
    values = {each.title: each.values(grid) for each in shown}
    rows = []
    for index, place in enumerate(itertools.islice(np.ndindex(*grid.shape), MAX_ROWS)):
        word = STATUS_MEANINGS[int(grid.status[place])]
        rows.append(
            [
                index,
                *(
                    plotting.place_label(grid.coordinates[name][i])
                    for name, i in zip(grid.axes, place, strict=True)
                ),
                element("span", word, class_="good" if word == "done" else "bad"),
                number(float(grid.variables["n_iterations"].values[place])),
                *(cell_text(each, values[each.title][place], word) for each in shown),
                number(float(grid.seconds[place])),
            ]
        )
    more = f" The first {MAX_ROWS} of them." if grid.status.size > MAX_ROWS else ""
    return table(
        ["no.", *grid.axes, "state", "iterations", *values, "seconds"],
        rows,
        caption=f"Every run of the grid.{more} ∞: not reached. All results are in sweep.h5, which "
        "xarray opens.",
        numeric=(0, *range(len(grid.axes) + 2, len(grid.axes) + 4 + len(values))),
    )


def cell_text(shown: Shown, value: float, state: str) -> str:
    """Return a result of a cell; a tolerance that a run never reached is no unknown number."""
    if shown.name == "iterations_to_tolerance" and state == "done" and math.isnan(value):
        return "∞"
    return number(float(value))


def _failures(grid: SweepGrid) -> Iterator[Markup]:
    rows = [
        [each["index"], each["label"], element("code", each["error"]), each["message"]]
        for each in grid.failures
    ]
    yield table(["cell", "place", "error", "message"], rows, wide=(3,))
    for each in grid.failures[:20]:
        yield element(
            "details",
            element("summary", f"Traceback of cell {each['index']} ({each['label']})"),
            element("pre", element("code", each["traceback"])),
        )


def _foot(grid: SweepGrid) -> Iterator[Markup]:
    for heading, mapping in (
        ("Plan", tomllib.loads(grid.plan_toml)),
        ("Provenance", grid.provenance),
    ):
        yield element("h2", heading)
        rows = [[name, element("code", value)] for name, value in flatten(mapping)]
        yield table(["name", "value"], rows, wide=(1,))


def _listed(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
