"""Settings: defaults, files, flags, and what is refused."""

from __future__ import annotations

import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from kpflow_numerics._errors import InputError, InputTypeError, suggest
from kpflow_numerics.analysis import DEFAULT_QUANTITIES, DEFAULT_RECIPES, SignThresholds
from kpflow_numerics.experiments.build import build_cell
from kpflow_numerics.experiments.config import (
    AnalysisSettings,
    CellSettings,
    RunSettings,
    SignSettings,
    override,
    parse_assignment,
    read_settings,
    settings_from_dict,
)
from kpflow_numerics.experiments.run import check_analysis, recipes_of
from kpflow_numerics.experiments.train import train_to_file
from kpflow_numerics.store import to_toml


def test_the_defaults_survive_a_round_trip() -> None:
    assert settings_from_dict(RunSettings().to_dict()) == RunSettings()


def test_options_of_task_and_cell_survive_a_round_trip() -> None:
    settings = settings_from_dict(
        {"task": {"name": "memory-pro", "n_memory": 60}, "cell": {"bias": False, "gain": 2}}
    )
    assert settings.task.options == {"n_memory": 60}
    assert settings.cell.options == {"bias": False}
    assert settings.cell.gain == 2.0
    assert isinstance(settings.cell.gain, float)
    assert settings_from_dict(settings.to_dict()) == settings


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('[task]\nname = "flip-flop"\nn_bits = 2\n[training]\nseed = 5\n')
    settings = settings_from_dict(read_settings(path), str(path))
    assert settings.task.name == "flip-flop"
    assert settings.task.options == {"n_bits": 2}
    assert settings.training.seed == 5


def test_assignments_win_over_the_file() -> None:
    tables = override({"training": {"seed": 5}}, {"training.seed": 9, "cell.n_units": 12})
    assert tables == {"training": {"seed": 9}, "cell": {"n_units": 12}}


def test_override_leaves_what_it_was_given() -> None:
    tables = {"training": {"seed": 5}}
    override(tables, {"training.seed": 9})
    assert tables == {"training": {"seed": 5}}


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("task.n_memory=60", "task.n_memory", 60),
        ("cell.bias=false", "cell.bias", False),
        ("training.learning_rate = 1e-3", "training.learning_rate", 1e-3),
        ("cell.activation=relu", "cell.activation", "relu"),
        ('cell.activation="relu"', "cell.activation", "relu"),
    ],
)
def test_assignments_are_read_as_toml(text: str, key: str, value: object) -> None:
    assert parse_assignment(text) == (key, value)


@pytest.mark.parametrize(
    ("tables", "error", "message"),
    [
        ({"trainig": {}}, InputError, r"unknown table \[trainig\].*Did you mean 'training'"),
        ({"training": {"sede": 1}}, InputError, "no key 'sede'.*Did you mean 'seed'"),
        ({"training": {"seed": "five"}}, InputTypeError, "training.seed must be of type int"),
        ({"analysis": {"recipes": "entropy"}}, InputTypeError, "recipes must be a list of strings"),
        ({"analysis": {"quantities": [3]}}, InputTypeError, r"list of strings; got \[3\]"),
        ({"training": {"seed": True}}, InputTypeError, "training.seed must be of type int"),
        ({"training": {"n_iterations": 1.5}}, InputTypeError, "n_iterations must be of type int"),
        ({"training": 3}, InputTypeError, r"training must be a table \[training\]"),
    ],
)
def test_what_cannot_be_used_is_refused(tables: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        settings_from_dict(tables)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[task\n")
    with pytest.raises(InputError, match=r"settings\.toml is not a TOML file"):
        read_settings(path)
    with pytest.raises(InputError, match="is a directory"):
        read_settings(tmp_path)
    with pytest.raises(InputError, match="There is no configuration file"):
        read_settings(tmp_path / "absent.toml")


@pytest.mark.parametrize("text", ["task.n_memory", "=3"])
def test_an_assignment_needs_key_and_value(text: str) -> None:
    with pytest.raises(InputError, match=r"--set takes section\.key=value"):
        parse_assignment(text)


def test_a_key_needs_a_table() -> None:
    with pytest.raises(InputError, match=r"must have the form section\.key"):
        override({}, {"seed": 3})


def test_lists_of_names_survive_a_round_trip_through_toml() -> None:
    settings = settings_from_dict({"analysis": {"recipes": ["entropy"], "quantities": []}})
    assert settings.analysis.recipes == ("entropy",)
    assert settings.analysis.quantities == ()
    assert settings_from_dict(tomllib.loads(to_toml(settings.to_dict()))) == settings


def test_the_names_an_analysis_would_refuse_are_refused_before_training() -> None:
    check_analysis(AnalysisSettings())
    with pytest.raises(InputError, match="analysis.recipes must be one of.*Did you mean 'entropy'"):
        check_analysis(AnalysisSettings(recipes=("entrop",)))
    with pytest.raises(InputError, match="analysis.quantities must be one of 'trace'"):
        check_analysis(AnalysisSettings(quantities=("misdirection",)))


def test_recipes_go_to_every_operator_beside_the_participation_ratio() -> None:
    assert recipes_of(AnalysisSettings()) is DEFAULT_RECIPES
    wanted = ("participation-ratio", "paper-figure-4")
    found = recipes_of(AnalysisSettings(recipes=("paper-figure-4", "participation-ratio")))
    assert found == {"K": wanted, "P": wanted, "NTK": wanted}


def test_the_default_quantities_are_those_of_an_analysis() -> None:
    assert AnalysisSettings().quantities == DEFAULT_QUANTITIES


def test_the_signs_begin_where_the_analysis_says() -> None:
    assert asdict(SignSettings()) == asdict(SignThresholds())
    tables = override({}, dict([parse_assignment("signs.k_rank=3")]))
    assert settings_from_dict(tables).signs == SignSettings(k_rank=3.0)
    with pytest.raises(InputError, match=r"\[signs\] has no key 'k_rang'.*Did you mean 'k_rank'"):
        settings_from_dict({"signs": {"k_rang": 2.0}})


def test_a_setting_of_every_cell_is_meant_where_the_cell_has_none_like_it() -> None:
    with pytest.raises(InputError, match=r"no setting cell\.gian; it takes.*Did you mean 'gain'"):
        build_cell(CellSettings(options={"gian": 3.0}), 3)
    with pytest.raises(InputError, match=r"no setting cell\.biass.*Did you mean 'bias'"):
        build_cell(CellSettings(options={"biass": False}), 3)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"training": {"n_iterations": -3}}, r"training\.n_iterations must be at least 0; got -3"),
        ({"training": {"batch_size": 0}}, r"training\.batch_size must be at least 1"),
        ({"training": {"checkpoint_every": 0}}, r"training\.checkpoint_every must be at least 1"),
        ({"training": {"seed": -1}}, r"training\.seed must be at least 0"),
        ({"training": {"tolerance": -1.0}}, r"training\.tolerance must be finite and at least 0"),
        ({"training": {"clip_norm": 0.0}}, r"training\.clip_norm must be finite and greater than"),
        ({"cell": {"gain": -1.0}}, r"cell\.gain must be finite and at least 0"),
        ({"analysis": {"n_trials": 0}}, r"analysis\.n_trials must be at least 1"),
    ],
)
def test_numbers_that_training_would_refuse_are_refused_before_any_file_is_looked_at(
    tmp_path: Path, tables: dict, message: str
) -> None:
    path = tmp_path / "run.h5"
    path.write_text("not a run file")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=message):
            train_to_file(settings_from_dict(tables), path, overwrite=overwrite)
    assert path.read_text() == "not a run file"


@pytest.mark.parametrize("name", ["n_trials", "n_checkpoints", "n_eigenpairs", "max_memory_gib"])
def test_numbers_that_an_analysis_would_refuse_are_refused_before_training(name: str) -> None:
    with pytest.raises(InputError, match=rf"analysis\.{name} must be"):
        check_analysis(settings_from_dict({"analysis": {name: 0}}).analysis)


def test_words_are_near_whatever_their_capitals() -> None:
    assert suggest("GUR", ["lstm", "gru"]) == " Did you mean 'gru'?"
    assert suggest("mean", ["MeanField"]) == " Did you mean 'MeanField'?"
    assert suggest("qqq", ["lstm", "gru"]) == ""
