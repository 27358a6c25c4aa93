"""Analyses of checkpoints as stacked arrays.

What an analysis lacks is NaN, an empty string, or -1 where the number is a count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import h5py
import numpy as np

from .._typing import Array, FloatArray
from .._validation import InputError, InputTypeError
from ..analysis.checkpoint import NetworkAnalysis, OperatorRank
from ..results import Cost, Estimate
from ._variables import add_coordinate, add_dimension, add_variable, read_text, replace_group

_ABSENT = -1
_RANK_NUMBERS = {
    "rank_lower": ("lower", "lower end of the interval of the effective rank"),
    "rank_upper": ("upper", "upper end of the interval of the effective rank"),
    "rank_standard_error": ("standard_error", "standard error of the effective rank"),
    "rank_confidence": ("confidence", "probability that the interval holds the effective rank"),
}
_RANK_WORDS = {
    "rank_method": ("method", "how the effective rank was found"),
    "rank_quantity": ("quantity", "what the effective rank is of"),
    "rank_recipe": ("recipe", "recipe as the estimate names it"),
}
_RANK_DIMS = ["checkpoint", "operator", "recipe"]


def check_analyses(analyses: Iterable[NetworkAnalysis]) -> list[NetworkAnalysis]:
    """Return the analyses by iteration, if one file can hold them.

    Raises
    ------
    InputError, InputTypeError
        If it cannot.
    """
    checked = list(analyses)
    for analysis in checked:
        if not isinstance(analysis, NetworkAnalysis):
            raise InputTypeError(f"analyses must be NetworkAnalysis objects; got {analysis!r}.")
        entries = [(entry.operator, entry.recipe) for entry in analysis.ranks]
        if len(set(entries)) < len(entries):
            raise InputError(
                f"The analysis of iteration {analysis.iteration} has two ranks of the same "
                "operator and recipe; a run file holds one."
            )
    iterations = [analysis.iteration for analysis in checked]
    if len(set(iterations)) < len(iterations):
        raise InputError(f"analyses must be of different iterations; got {iterations}.")
    shapes = {analysis.principal_components.shape for analysis in checked} | {
        (*courses.shape[1:], analysis.principal_components.shape[2])
        for analysis in checked
        for courses in analysis.modes.values()
    }
    if len(shapes) > 1:
        raise InputError(
            "analyses must all be of one evaluation batch; their trials, steps and components are "
            f"{sorted(shapes)}."
        )
    return sorted(checked, key=lambda analysis: analysis.iteration)


def write_analyses(file: h5py.File, analyses: Sequence[NetworkAnalysis]) -> None:
    """Write checked analyses in place of any others."""
    group = replace_group(file, "analysis")
    if not analyses:
        return
    operators = _in_order(
        name
        for analysis in analyses
        for name in (
            *(entry.operator for entry in analysis.ranks), *analysis.spectra, *analysis.complete,
            *analysis.methods, *analysis.modes, *analysis.mode_fractions, *analysis.n_products,
        )
    )  # fmt: skip
    recipes = _in_order(entry.recipe for analysis in analyses for entry in analysis.ranks)
    add_dimension(group, "checkpoint", len(analyses))
    add_coordinate(group, "operator", operators, dtype=object,
                   long_name="operator; P stands for P P*")  # fmt: skip
    add_coordinate(group, "recipe", recipes, dtype=object,
                   long_name="recipe of the effective rank")  # fmt: skip
    add_variable(group, "iteration", ["checkpoint"], long_name="updates made before",
                 data=np.array([analysis.iteration for analysis in analyses]))  # fmt: skip
    for name, long_name in (
        ("evaluation_loss", "loss on the evaluation batch"),
        ("accuracy", "accuracy on the evaluation batch"),
    ):
        values = np.array([getattr(analysis, name) for analysis in analyses], np.float64)
        add_variable(group, name, ["checkpoint"], data=values, long_name=long_name,
                     attributes={"coordinates": "iteration"})  # fmt: skip
    _write_ranks(group, analyses, operators, recipes)
    _write_spectra(group, analyses, operators)
    _write_modes(group, analyses, operators)


def read_analyses(file: h5py.File) -> list[NetworkAnalysis]:
    """Return the analyses by iteration."""
    group = file.get("analysis")
    if group is None or "iteration" not in group:
        return []
    operators, recipes = list(read_text(group["operator"])), list(read_text(group["recipe"]))
    values = {
        name: read_text(item) if h5py.check_string_dtype(item.dtype) else item[()]
        for name, item in group.items()
        if not item.is_scale
    }
    return [
        _read_analysis({name: array[row] for name, array in values.items()}, operators, recipes)
        for row in range(len(values["iteration"]))
    ]


def _write_ranks(
    group: h5py.Group,
    analyses: Sequence[NetworkAnalysis],
    operators: list[str],
    recipes: list[str],
) -> None:
    shape = (len(analyses), len(operators), len(recipes))
    names = ["rank", *_RANK_NUMBERS, "rank_flops", "rank_memory"]
    numbers = {name: np.full(shape, np.nan) for name in names}
    words = {name: np.full(shape, "", object) for name in _RANK_WORDS}
    counts = {name: np.full(shape, _ABSENT) for name in ("rank_n_products", "rank_place")}
    for row, analysis in enumerate(analyses):
        for place, entry in enumerate(analysis.ranks):
            at = (row, operators.index(entry.operator), recipes.index(entry.recipe))
            estimate = entry.estimate
            numbers["rank"][at] = estimate.value
            for name, (field, _) in _RANK_NUMBERS.items():
                numbers[name][at] = getattr(estimate, field)
            for name, (field, _) in _RANK_WORDS.items():
                words[name][at] = getattr(estimate, field)
            counts["rank_n_products"][at] = estimate.n_matvecs
            counts["rank_place"][at] = place
            if estimate.cost is not None:
                numbers["rank_flops"][at] = estimate.cost.flops
                numbers["rank_memory"][at] = estimate.cost.memory_bytes
    add_variable(
        group, "rank", _RANK_DIMS, data=numbers["rank"], long_name="effective rank",
        attributes={
            "coordinates": "iteration",
            "ancillary_variables": " ".join([*_RANK_NUMBERS, *_RANK_WORDS, "rank_n_products"]),
        },
    )  # fmt: skip
    labels = {name: long_name for name, (_, long_name) in (_RANK_NUMBERS | _RANK_WORDS).items()}
    labels |= {
        "rank_flops": "floating-point operations beside the products with the operator",
        "rank_memory": "peak of the working memory",
        "rank_n_products": "products of single columns with the operator",
        "rank_place": "place of the rank in the analysis",
    }
    for name, array in (numbers | words | counts).items():
        if name != "rank":
            units = "byte" if name == "rank_memory" else "1"
            add_variable(group, name, _RANK_DIMS, data=array, long_name=labels[name], units=units)


def _write_spectra(
    group: h5py.Group, analyses: Sequence[NetworkAnalysis], operators: list[str]
) -> None:
    shape = (len(analyses), len(operators))
    spectra = [array for analysis in analyses for array in analysis.spectra.values()]
    add_dimension(group, "eigenvalue_place", max(map(len, spectra), default=0))
    _write_ragged(
        group, "eigenvalue", [analysis.spectra for analysis in analyses], operators,
        dims=["eigenvalue_place"], long_name="leading eigenvalue, descending",
    )  # fmt: skip
    complete = np.full(shape, _ABSENT, np.int8)
    methods = np.full(shape, "", object)
    products = np.full(shape, _ABSENT)
    for row, analysis in enumerate(analyses):
        for column, operator in enumerate(operators):
            complete[row, column] = analysis.complete.get(operator, _ABSENT)
            methods[row, column] = analysis.methods.get(operator, "")
            products[row, column] = analysis.n_products.get(operator, _ABSENT)
    dims = ["checkpoint", "operator"]
    add_variable(
        group, "spectrum_complete", dims, data=complete,
        long_name="whether the certificate found no larger eigenvalue left out",
        attributes={
            "flag_values": np.array([_ABSENT, 0, 1], np.int8),
            "flag_meanings": "absent incomplete complete",
        },
    )  # fmt: skip
    add_variable(group, "spectrum_method", dims, data=methods, long_name="solver of the spectrum")
    add_variable(group, "n_products", dims, data=products,
                 long_name="products of single columns that the operator took")  # fmt: skip


def _write_modes(
    group: h5py.Group, analyses: Sequence[NetworkAnalysis], operators: list[str]
) -> None:
    components = np.stack([analysis.principal_components for analysis in analyses])
    _, n_trials, n_steps, n_components = components.shape
    add_dimension(group, "trial", n_trials)
    add_dimension(group, "time", n_steps)
    add_dimension(group, "component", n_components)
    add_variable(
        group, "principal_component", ["checkpoint", "trial", "time", "component"],
        data=components, long_name="hidden states along their principal directions, centred",
    )  # fmt: skip
    add_variable(
        group, "explained_variance", ["checkpoint", "component"],
        data=np.stack([analysis.explained_variance for analysis in analyses]),
        long_name="share of the variance along the direction",
    )  # fmt: skip
    tables = [table for analysis in analyses for table in (analysis.modes, analysis.mode_fractions)]
    longest = max((len(array) for table in tables for array in table.values()), default=0)
    add_dimension(group, "mode_place", longest)
    _write_ragged(
        group, "mode", [analysis.modes for analysis in analyses], operators,
        dims=["mode_place", "trial", "time"],
        long_name="course of the leading eigenvector over trials and steps",
    )  # fmt: skip
    _write_ragged(
        group, "mode_fraction", [analysis.mode_fractions for analysis in analyses], operators,
        dims=["mode_place"], long_name="share of the eigenvector that its course explains",
    )  # fmt: skip


def _write_ragged(
    group: h5py.Group,
    name: str,
    tables: Sequence[dict[str, FloatArray]],
    operators: list[str],
    *,
    dims: list[str],
    long_name: str,
) -> None:
    """Write arrays whose first length differs, padded by NaN, and those lengths."""
    arrays = [array for table in tables for array in table.values()]
    dtype = np.result_type(*arrays) if arrays else np.dtype(np.float64)
    rest = arrays[0].shape[1:] if arrays else tuple(len(group[dim]) for dim in dims[1:])
    shape = (len(tables), len(operators), len(group[dims[0]]), *rest)
    variable = add_variable(
        group, name, ["checkpoint", "operator", *dims], shape=shape, dtype=dtype,
        long_name=long_name, fill=np.nan if all(shape) else None,
        attributes={"coordinates": "iteration"},
    )  # fmt: skip
    lengths = np.full((len(tables), len(operators)), _ABSENT)
    for row, table in enumerate(tables):
        for operator, array in table.items():
            column = operators.index(operator)
            lengths[row, column] = len(array)
            if array.size:
                variable[row, column, : len(array)] = array
    add_variable(group, f"n_{name}s", ["checkpoint", "operator"], data=lengths,
                 long_name=f"how many there are of {name}")  # fmt: skip


def _read_analysis(
    row: dict[str, Any], operators: list[str], recipes: list[str]
) -> NetworkAnalysis:
    present = np.argwhere(row["rank_place"] != _ABSENT)
    by_place = sorted((tuple(at) for at in present), key=lambda at: row["rank_place"][at])
    return NetworkAnalysis(
        iteration=int(row["iteration"]),
        evaluation_loss=float(row["evaluation_loss"]),
        accuracy=float(row["accuracy"]),
        ranks=tuple(
            OperatorRank(operators[at[0]], recipes[at[1]], _read_estimate(row, at))
            for at in by_place
        ),
        spectra=_read_ragged(row, "eigenvalue", operators),
        complete={
            name: bool(value)
            for name, value in zip(operators, row["spectrum_complete"], strict=True)
            if value != _ABSENT
        },
        methods={
            name: value
            for name, value in zip(operators, row["spectrum_method"], strict=True)
            if value
        },
        modes=_read_ragged(row, "mode", operators),
        mode_fractions=_read_ragged(row, "mode_fraction", operators),
        principal_components=row["principal_component"],
        explained_variance=row["explained_variance"],
        n_products={
            name: int(value)
            for name, value in zip(operators, row["n_products"], strict=True)
            if value != _ABSENT
        },
    )


def _read_estimate(row: dict[str, Any], at: tuple[int, ...]) -> Estimate:
    flops, memory = float(row["rank_flops"][at]), float(row["rank_memory"][at])
    return Estimate(
        value=float(row["rank"][at]),
        **{field: float(row[name][at]) for name, (field, _) in _RANK_NUMBERS.items()},  # type: ignore[arg-type]
        **{field: str(row[name][at]) for name, (field, _) in _RANK_WORDS.items()},  # type: ignore[arg-type]
        n_matvecs=int(row["rank_n_products"][at]),
        cost=None if np.isnan(flops) else Cost(flops, memory),
    )


def _read_ragged(row: dict[str, Any], name: str, operators: list[str]) -> dict[str, Array]:
    return {
        operator: array[:length]
        for operator, array, length in zip(operators, row[name], row[f"n_{name}s"], strict=True)
        if length != _ABSENT
    }


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
