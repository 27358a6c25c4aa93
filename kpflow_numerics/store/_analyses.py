"""Analyses of checkpoints as stacked arrays.

What an analysis lacks is NaN, an empty string, or -1 where the number is a count.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import h5py
import numpy as np

from .._typing import Array, FloatArray
from .._validation import InputError, InputTypeError
from ..analysis.checkpoint import NetworkAnalysis, OperatorRank
from ..analysis.checkpoint_interference import CheckpointInterference
from ..analysis.quantities import OperatorQuantity
from ._estimates import ABSENT as _ABSENT
from ._estimates import read_estimates, write_estimates
from ._interference import check_interference, read_interference, write_interference
from ._variables import add_coordinate, add_dimension, add_variable, read_text, replace_group

_RANK_DIMS = ["checkpoint", "operator", "recipe"]
_EXPONENT_LABELS = {
    "exponents": "finite-time Lyapunov exponent, descending",
    "lower": "lower end of the 95 % interval of the Lyapunov exponent",
    "upper": "upper end of the 95 % interval of the Lyapunov exponent",
    "standard_errors": "standard error of the Lyapunov exponent",
}


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
        keys = [(entry.name, entry.operators) for entry in analysis.quantities]
        if len(set(keys)) < len(keys):
            raise InputError(
                f"The analysis of iteration {analysis.iteration} has a quantity of the same name "
                "and operators twice; a run file holds one."
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
    check_interference(checked)
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
    _write_quantities(group, analyses)
    _write_exponents(group, analyses)
    _write_spectra(group, analyses, operators)
    _write_modes(group, analyses, operators)
    write_interference(group, analyses)


def read_analyses(file: h5py.File) -> list[NetworkAnalysis]:
    """Return the analyses by iteration."""
    group = file.get("analysis")
    if group is None or "iteration" not in group:
        return []
    operators, recipes = list(read_text(group["operator"])), list(read_text(group["recipe"]))
    quantities = _quantity_keys(group)
    values = {
        name: read_text(item) if h5py.check_string_dtype(item.dtype) else item[()]
        for name, item in group.items()
        if isinstance(item, h5py.Dataset)
        and not item.is_scale
        and name not in ("quantity_name", "quantity_operators")
    }
    return [
        _read_analysis(
            {name: array[row] for name, array in values.items()},
            operators,
            recipes,
            quantities,
            interference,
        )
        for row, interference in enumerate(read_interference(group))
    ]


def _quantity_keys(group: h5py.Group) -> list[tuple[str, tuple[str, ...]]]:
    if "quantity_name" not in group:
        return []
    names, operators = read_text(group["quantity_name"]), read_text(group["quantity_operators"])
    return [(name, tuple(json.loads(of))) for name, of in zip(names, operators, strict=True)]


def _write_ranks(
    group: h5py.Group,
    analyses: Sequence[NetworkAnalysis],
    operators: list[str],
    recipes: list[str],
) -> None:
    shape = (len(analyses), len(operators), len(recipes))
    placed = [
        ((row, operators.index(entry.operator), recipes.index(entry.recipe)), place, entry.estimate)
        for row, analysis in enumerate(analyses)
        for place, entry in enumerate(analysis.ranks)
    ]
    write_estimates(group, "rank", "effective rank", _RANK_DIMS, shape, placed)


def _write_quantities(group: h5py.Group, analyses: Sequence[NetworkAnalysis]) -> None:
    keys = list(
        dict.fromkeys(
            (entry.name, entry.operators) for each in analyses for entry in each.quantities
        )
    )
    labels = [f"{name} of {', '.join(of)}" if of else name for name, of in keys]
    add_coordinate(group, "quantity", labels, dtype=object,
                   long_name="quantity and its operators; P stands for P P*")  # fmt: skip
    names = np.array([name for name, _ in keys], object)
    add_variable(group, "quantity_name", ["quantity"], data=names,
                 long_name="what the quantity is")  # fmt: skip
    of_operators = np.array([json.dumps(operators) for _, operators in keys], object)
    add_variable(group, "quantity_operators", ["quantity"], data=of_operators,
                 long_name="operators of the quantity, as JSON")  # fmt: skip
    placed = [
        ((row, keys.index((entry.name, entry.operators))), place, entry.estimate)
        for row, analysis in enumerate(analyses)
        for place, entry in enumerate(analysis.quantities)
    ]
    shape = (len(analyses), len(keys))
    write_estimates(
        group, "quantity_value", "value of the quantity", ["checkpoint", "quantity"], shape, placed
    )


def _write_exponents(group: h5py.Group, analyses: Sequence[NetworkAnalysis]) -> None:
    if not any(analysis.lyapunov for analysis in analyses):
        return
    longest = max(len(array) for each in analyses for array in each.lyapunov.values())
    add_dimension(group, "exponent_place", longest)
    for name, label in _EXPONENT_LABELS.items():
        data = np.full((len(analyses), longest), np.nan)
        for row, analysis in enumerate(analyses):
            if analysis.lyapunov:
                data[row, : len(analysis.lyapunov[name])] = analysis.lyapunov[name]
        errors = {} if name != "exponents" else {
            "coordinates": "iteration",
            "ancillary_variables": "lyapunov_lower lyapunov_upper lyapunov_standard_errors",
        }  # fmt: skip
        add_variable(group, f"lyapunov_{name}", ["checkpoint", "exponent_place"], data=data,
                     long_name=label, attributes=errors)  # fmt: skip
    lengths = np.array([len(each.lyapunov.get("exponents", ())) for each in analyses])
    add_variable(group, "n_lyapunov", ["checkpoint"], data=lengths,
                 long_name="how many Lyapunov exponents there are, 0 where none")  # fmt: skip


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
    row: dict[str, Any],
    operators: list[str],
    recipes: list[str],
    quantities: Sequence[tuple[str, tuple[str, ...]]],
    interference: CheckpointInterference | None,
) -> NetworkAnalysis:
    return NetworkAnalysis(
        iteration=int(row["iteration"]),
        evaluation_loss=float(row["evaluation_loss"]),
        accuracy=float(row["accuracy"]),
        ranks=tuple(
            OperatorRank(operators[at[0]], recipes[at[1]], estimate)
            for at, estimate in read_estimates(row, "rank")
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
        quantities=_read_quantities(row, quantities),
        lyapunov=_read_exponents(row),
        interference=interference,
    )


def _read_quantities(
    row: dict[str, Any], quantities: Sequence[tuple[str, tuple[str, ...]]]
) -> tuple[OperatorQuantity, ...]:
    """Return the quantities; files of schema version 1 have none."""
    if "quantity_value" not in row:
        return ()
    return tuple(
        OperatorQuantity(*quantities[at[0]], estimate)
        for at, estimate in read_estimates(row, "quantity_value")
    )


def _read_exponents(row: dict[str, Any]) -> dict[str, FloatArray]:
    count = int(row.get("n_lyapunov", 0))
    if count == 0:
        return {}
    return {name: row[f"lyapunov_{name}"][:count] for name in _EXPONENT_LABELS}


def _read_ragged(row: dict[str, Any], name: str, operators: list[str]) -> dict[str, Array]:
    return {
        operator: array[:length]
        for operator, array, length in zip(operators, row[name], row[f"n_{name}s"], strict=True)
        if length != _ABSENT
    }


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
