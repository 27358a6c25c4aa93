"""What is written as TOML is read back as it was."""

from __future__ import annotations

import math
import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpflow_numerics._errors import InputError, InputTypeError
from kpflow_numerics.store import to_toml

SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=("Cs",))),
)
KEYS = st.text(st.characters(exclude_categories=("Cs",)))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_configuration_comes_back(tables):
    read = tomllib.loads(to_toml(tables))
    assert read == tables
    assert repr(read).count("True") == repr(tables).count("True")


def test_types_come_back_too():
    tables = {"a": 1.0, "b": 1, "c": True, "d": -0.0, "e": 1e-300, "f": math.inf, "g": 2**70}
    read = tomllib.loads(to_toml(tables))
    assert [type(value) for value in read.values()] == [type(value) for value in tables.values()]
    assert math.copysign(1, read["d"]) == -1
    assert math.isnan(tomllib.loads(to_toml({"x": math.nan}))["x"])


def test_numpy_scalars_and_tuples():
    tables = {"a": np.float64(0.1), "b": np.int32(3), "c": np.bool_(True), "d": (1, 2)}
    assert tomllib.loads(to_toml(tables)) == {"a": 0.1, "b": 3, "c": True, "d": [1, 2]}


def test_the_text_is_for_people():
    text = to_toml({"task": {"name": "memory-pro"}, "seed": 7, "empty": {}, "a": {"b": {"c": []}}})
    assert text == ('seed = 7\n\n[task]\nname = "memory-pro"\n\n[empty]\n\n[a.b]\nc = []\n')


def test_nothing_is_nothing():
    assert to_toml({}) == ""


@pytest.mark.parametrize(
    ("tables", "error", "message"),
    [
        ([1], InputTypeError, "must map names to values"),
        ({3: 1}, InputTypeError, "keys of a configuration must be strings; got 3"),
        ({"a": {3: 1}}, InputTypeError, "got 3 in a"),
        ({"a": {"b": None}}, InputTypeError, r"a\.b must be a string.*got None \(NoneType\)"),
        ({"a": np.ones(3)}, InputTypeError, r"a must be a string.*\(ndarray\)"),
        ({"a": 1j}, InputTypeError, r"a must be a string.*\(complex\)"),
        ({"a": "\ud800"}, InputError, "'a' holds the string .* not text"),
    ],
)
def test_what_toml_cannot_hold_is_named(tables, error, message):
    with pytest.raises(error, match=message):
        to_toml(tables)
