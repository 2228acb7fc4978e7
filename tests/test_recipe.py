"""Recipes: the reference configuration, and overrides that are typed and checked."""

import dataclasses
import json
import typing

import pytest

from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.recipe import Recipe, convert, override, read_recipe, settings, write_recipe
from bloodkeras.recipes import RECIPES, named_recipe, quick, taught


@pytest.mark.parametrize("name", ["simple", "deeper"])
def test_reference_configuration(name):
    recipe = RECIPES[name]
    assert (recipe.train_epochs, recipe.train_batch_size, recipe.train_seed) == (20, 64, 42)
    assert recipe.train_learning_rate == 1e-3


def test_only_deeper_is_augmented_and_weighted():
    simple, deeper = RECIPES["simple"], RECIPES["deeper"]
    assert simple.augment_flip is False
    assert simple.augment_rotation_degrees == 0
    assert not simple.train_class_weights
    assert deeper.augment_flip
    assert deeper.augment_rotation_degrees == 15
    assert deeper.train_class_weights


def test_every_field_is_named_after_its_reader():
    for field in dataclasses.fields(Recipe):
        assert field.name.split("_")[0] in ("model", "augment", "train")


def test_short_names_are_unambiguous():
    short = [field.name.split("_", 1)[1] for field in dataclasses.fields(Recipe)]
    assert len(short) == len(set(short))


def test_override_takes_short_and_full_names():
    changed = override(RECIPES["simple"], {"epochs": "3", "train_seed": "7", "flip": "true"})
    assert (changed.train_epochs, changed.train_seed, changed.augment_flip) == (3, 7, True)
    assert RECIPES["simple"].train_epochs == 20


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epohcs", "3", "'epochs'"),
        ("name", "deeper", "unknown option"),
        ("epochs", "three", "whole number"),
        ("epochs", "1.5", "whole number"),
        ("epochs", "0", "above 0"),
        ("learning_rate", "nan", "a number"),
        ("learning_rate", "inf", "a number"),
        ("learning_rate", "-1", "above 0"),
        ("dropout", "1", "share"),
        ("flip", "maybe", "true or false"),
        ("rotation_degrees", "200", "0..180"),
        ("rotation_interpolation", "cubic", "nearest"),
        ("optimizer", "sdg", "adamw"),
        ("weight_decay", "-1", "0 or more"),
        ("shift_pixels", "-1", "0 or more"),
        ("ema", "1", "share"),
        ("seed", "-1", "seed"),
        ("seed", "4294967296", "seed"),
    ],
)
def test_wrong_settings_are_refused(name, value, message):
    with pytest.raises(UsageError, match=message):
        override(RECIPES["deeper"], {name: value})


def test_quick_takes_a_third_of_the_epochs():
    for recipe in RECIPES.values():
        assert quick(recipe).train_epochs == recipe.train_epochs // 2
        assert quick(recipe).train_schedule == "cosine"


@pytest.mark.parametrize(
    ("changes", "soft"),
    [
        ({}, False),
        ({"mixup": "0.2"}, True),
        ({"cutmix": "1e-1"}, True),
        ({"label_smoothing": "0.1"}, True),
    ],
)
def test_labels_are_soft_where_they_are_mixed_or_smoothed(changes, soft):
    assert override(RECIPES["simple"], changes).soft_labels is soft


def test_false_is_false():
    assert convert("false", bool, "flip") is False
    assert convert("False", bool, "flip") is False
    assert convert("True", bool, "flip") is True


def test_unknown_model_is_refused_with_a_hint():
    with pytest.raises(UsageError, match="'deeper'"):
        named_recipe("deepr")


def test_written_and_read_back(tmp_path):
    recipe = override(RECIPES["deeper"], {"seed": "9"})
    write_recipe(recipe, tmp_path / "recipe.json")
    assert read_recipe(tmp_path / "recipe.json") == recipe


@pytest.mark.parametrize("text", ["", "[]", '{"model_name": "deeper", "train_speed": 1}'])
def test_what_is_no_recipe_is_refused(tmp_path, text):
    path = tmp_path / "recipe.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BloodkerasError, match=r"recipe\.json"):
        read_recipe(path)


def test_every_setting_says_what_it_does_and_which_values_it_takes():
    kinds = typing.get_type_hints(Recipe)
    unsaid = {"model_name", "model_architecture"}
    assert set(settings()) == {field.name for field in dataclasses.fields(Recipe)} - unsaid
    for name, field in settings().items():
        assert field.metadata["about"], name
        assert field.metadata["range"].holds(field.default), name
        assert isinstance(field.default, kinds[name]), name


@pytest.mark.parametrize(
    ("written", "architecture"),
    [("simple", "simple"), ("robust", "residual"), ("tiny", "tiny")],
)
def test_a_recipe_from_before_architectures_gives_the_same_network(tmp_path, written, architecture):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"model_name": written, "train_epochs": 3}), encoding="utf-8")
    recipe = read_recipe(path)
    assert (recipe.model_name, recipe.model_architecture) == (written, architecture)
    if written in RECIPES:
        assert recipe.model_architecture == RECIPES[written].model_architecture


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("train_epochs", "3", "a whole number"),
        ("train_epochs", 2.5, "a whole number"),
        ("train_epochs", True, "a whole number"),
        ("train_epochs", 0, "above 0"),
        ("augment_flip", "yes", "true or false"),
        ("augment_flip", 1, "true or false"),
        ("train_optimizer", "sdg", "adamw"),
        ("model_dropout", 1, "share"),
    ],
)
def test_a_file_with_a_value_that_cannot_be_is_refused(tmp_path, field, value, message):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"model_name": "deeper", field: value}), encoding="utf-8")
    with pytest.raises(BloodkerasError, match=rf"recipe\.json .*{field} must be .*{message}"):
        read_recipe(path)


def test_a_setting_given_by_both_its_names_is_refused():
    with pytest.raises(UsageError, match="--train-epochs is given twice"):
        override(RECIPES["simple"], {"epochs": "3", "train_epochs": "4"})


def test_options_are_named_as_they_are_typed():
    for name in ("learning_rate", "learning-rate", "train_learning_rate"):
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} must be above 0"):
            override(RECIPES["simple"], {name: "0"})
    with pytest.raises(UsageError, match="--lerning-rate: did you mean 'learning-rate'"):
        override(RECIPES["simple"], {"lerning_rate": "0"})


def test_a_student_keeps_the_share_that_its_recipe_names():
    """As the recipe.json of a run that was taught does."""
    assert taught(RECIPES["tiny"]).train_teacher_share == 0.9
    named = override(RECIPES["tiny"], {"teacher_share": "0.5"})
    assert taught(named).train_teacher_share == 0.5
