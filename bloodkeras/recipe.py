"""Choices: every setting of a training run, on one line each, with unit and reason.

Flow: takes a model name and overrides; gives a frozen `Recipe` that is written into the run.
A field is named after its reader: `model_*` is read by `models.py`, `augment_*` by `augment.py`,
`train_*` by `train.py` and `pipeline.py`. The command line and the tuner use the same names.
"""

import dataclasses
import difflib
import json
import math
import typing
from dataclasses import dataclass
from pathlib import Path

from bloodkeras.errors import BloodkerasError, UsageError

INTERPOLATIONS = ("nearest", "bilinear")


@dataclass(frozen=True)
class Recipe:
    """One way to train one network. The defaults are the baseline's: plain, no tricks."""

    model_name: str  # a key of models.MODELS
    model_dropout: float = 0.5  # share of units dropped before the last dense layers, 0..1
    model_norm_momentum: float = 0.99  # of batch normalisation's moving averages; Keras' default

    augment_flip: bool = False  # mirror left-right with probability .5: a cell has no left
    augment_rotation_degrees: float = 0.0  # rotate by up to +- this angle
    # Bilinear rotation blurs what is 28 pixels wide, and a network that saw blurred cells only
    # loses about a point on sharp ones (docs/recipes.md).
    augment_rotation_interpolation: str = "nearest"  # or bilinear

    train_epochs: int = 20
    train_batch_size: int = 64
    train_learning_rate: float = 1e-3  # Adam's default
    train_class_weights: bool = False  # weigh each class by the inverse of its frequency
    train_seed: int = 42  # of the initial weights, the shuffling, the augmentation and dropout

    def __post_init__(self):
        for name in ("train_epochs", "train_batch_size", "train_learning_rate"):
            self._require(getattr(self, name) > 0, name, "above 0")
        for name in ("model_dropout", "model_norm_momentum"):
            self._require(0 <= getattr(self, name) < 1, name, "a share, 0 <= x < 1")
        self._require(
            0 <= self.augment_rotation_degrees <= 180, "augment_rotation_degrees", "0..180"
        )
        interpolation = self.augment_rotation_interpolation
        self._require(
            interpolation in INTERPOLATIONS,
            "augment_rotation_interpolation",
            f"one of {INTERPOLATIONS}",
        )
        self._require(0 <= self.train_seed < 2**31, "train_seed", "0 <= seed < 2**31")

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise UsageError(f"{name} must be {expected}, not {getattr(self, name)!r}")


# `train simple`: about 1.5 minutes on two cores. `train deeper`: about 5 minutes.
# What each scores is in the README's table.
RECIPES = {
    "simple": Recipe(model_name="simple"),
    "deeper": Recipe(
        model_name="deeper",
        model_norm_momentum=0.9,  # with 187 steps an epoch .99 lags behind (docs/recipes.md)
        augment_flip=True,
        augment_rotation_degrees=15.0,
        train_class_weights=True,
    ),
}


def named_recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        UsageError: There is no such recipe; the message lists those there are.
    """
    if name not in RECIPES:
        raise UsageError(f"unknown model {name!r}: expected {hint(name, RECIPES)}")
    return RECIPES[name]


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe.json, as a run folder holds it.

    Raises:
        BloodkerasError: The file cannot be read or is no recipe.
    """
    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
        return Recipe(**fields)
    except OSError as error:
        raise BloodkerasError(f"cannot read the recipe {path}: {error.strerror}") from None
    except (TypeError, ValueError) as error:
        raise BloodkerasError(f"{path} is no recipe.json of this version: {error}") from None


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write the recipe as JSON, field by field."""
    path.write_text(json.dumps(dataclasses.asdict(recipe), indent=2) + "\n", encoding="utf-8")


def override(recipe: Recipe, changes: dict[str, str]) -> Recipe:
    """Return the recipe with some fields changed.

    Args:
        recipe: The recipe to start from; it is not changed.
        changes: Field name to value as text. The prefix may be left out where that leaves no
            doubt: `epochs` is `train_epochs`.

    Raises:
        UsageError: A name is unknown, or a value is not of the field's type or range.
    """
    types = typing.get_type_hints(Recipe)
    typed = {}
    for name, text in changes.items():
        field = _field_name(name)
        typed[field] = convert(text, types[field], name)
    try:
        return dataclasses.replace(recipe, **typed)
    except UsageError as error:  # names the field in full: say it as it was typed
        field, rest = str(error).split(" ", 1)
        names = {_field_name(name): f"--{name}" for name in changes}
        raise UsageError(f"{names.get(field, field)} {rest}") from None


def convert(text: str, kind: type, name: str):
    """Convert one command-line value to the type its parameter declares.

    Args:
        text: What was typed.
        kind: bool, int, float or str.
        name: The option's name, for the message.

    Raises:
        UsageError: The text does not spell a value of that type.
    """
    switches = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        value = switches[text.lower()] if kind is bool else kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError
    except (KeyError, ValueError):
        expected = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise UsageError(f"--{name} takes {expected}, not {text!r}") from None
    return value


def hint(name: str, choices) -> str:
    """Return the choices as text, the one that `name` was probably meant to be first."""
    close = difflib.get_close_matches(name, choices, n=1)
    listed = ", ".join(sorted(choices))
    return f"{close[0]!r}? (one of: {listed})" if close else f"one of: {listed}"


def _field_name(name: str) -> str:
    """Return the full field name of an option, whose prefix may be missing."""
    fields = [field.name for field in dataclasses.fields(Recipe) if field.name != "model_name"]
    matches = [field for field in fields if name in (field, field.split("_", 1)[1])]
    if not matches:
        short = [field.split("_", 1)[1] for field in fields]
        raise UsageError(f"unknown option --{name}: expected {hint(name, short)}")
    return matches[0]
