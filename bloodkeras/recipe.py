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
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloodkeras.errors import BloodkerasError, UsageError

CHOICES = {
    "augment_rotation_interpolation": ("nearest", "bilinear"),
    "train_optimizer": ("adam", "adamw", "muon"),
    "train_schedule": ("constant", "cosine"),
    "train_precision": ("auto", "float32", "mixed_bfloat16"),
}
ABOVE_ZERO = ("model_width", "train_epochs", "train_batch_size", "train_learning_rate")
NOT_NEGATIVE = (
    "model_depth",
    "augment_shift_pixels",
    "augment_mixup",
    "train_weight_decay",
    "train_patience",
    "augment_stain_strength",
    "augment_stain_mix",
    "augment_stain_curve",
    "augment_stain_tint",
    "augment_field",
    "augment_focus",
    "augment_noise",
)
SHARES = (
    "model_dropout",
    "model_norm_momentum",
    "model_stochastic_depth",
    "augment_scale",
    "augment_brightness",
    "augment_contrast",
    "augment_cutmix",
    "train_warmup",
    "train_label_smoothing",
    "train_ema",
    "augment_stain_swap",
    "augment_stain_grey",
    "augment_surroundings",
    "augment_kept",
)


@dataclass(frozen=True)
class Recipe:
    """One way to train one network. The defaults are the baseline's: plain, no tricks."""

    model_name: str  # a key of models.MODELS
    model_dropout: float = 0.5  # share of units dropped before the last dense layers, 0..1
    model_norm_momentum: float = 0.99  # of batch normalisation's moving averages; Keras' default
    model_stochastic_depth: float = 0.0  # share of images that skip the last block, 0..1
    model_width: float = 1.0  # times the filters of every convolution, in steps of eight
    model_depth: int = 0  # further blocks at the end of every stage

    augment_flip: bool = False  # mirror left-right with probability .5: a cell has no left
    augment_turns: bool = False  # all eight flips and quarter turns, which lose no pixel
    augment_rotation_degrees: float = 0.0  # rotate by up to +- this angle
    # Bilinear rotation blurs what is 28 pixels wide, and a network that saw blurred cells only
    # loses about a point on sharp ones (docs/recipes.md).
    augment_rotation_interpolation: str = "nearest"  # or bilinear
    augment_scale: float = 0.0  # zoom in or out by up to this share
    augment_shift_pixels: float = 0.0  # move by up to so many pixels of 28, each way
    augment_brightness: float = 0.0  # add up to +- this share of 255
    augment_contrast: float = 0.0  # stretch about the mean by up to +- this share
    # Another laboratory: stain.py says what each means, docs/recipes.md what each is worth.
    augment_stain_strength: float = 0.0  # stains and channels times exp(+- this)
    augment_stain_mix: float = 0.0  # a channel takes up to +- this share of each other's density
    augment_stain_swap: float = 0.0  # share of images whose channels are put in any order
    augment_stain_grey: float = 0.0  # share of images without colour
    augment_stain_curve: float = 0.0  # densities to the power exp(+- this): faint things fade
    augment_stain_tint: float = 0.0  # background of up to this density, each channel its own
    augment_field: float = 0.0  # field of view times 1 / (1 + this) to 1 + this
    augment_surroundings: float = 0.0  # share of images without anything around the cell
    augment_focus: float = 0.0  # blur or sharpen by up to this share
    augment_noise: float = 0.0  # of up to this standard deviation, in grey levels of 255
    augment_kept: float = 0.0  # share of images that all of these leave alone
    augment_mixup: float = 0.0  # alpha of the beta distribution that blends pairs; 0: none
    augment_cutmix: float = 0.0  # largest share of an image that another one covers; 0: none

    train_epochs: int = 20
    train_patience: int = 0  # stop after so many epochs without a better one; 0: never
    train_batch_size: int = 64
    train_optimizer: str = "adam"  # or adamw, or muon
    train_learning_rate: float = 1e-3  # Adam's default; the highest one of a schedule
    train_schedule: str = "constant"  # or cosine: warm up, then fall to 0 along a cosine
    train_warmup: float = 0.1  # share of the training over which a schedule warms up
    train_weight_decay: float = 0.0  # of adamw and muon, times the learning rate, a step
    train_label_smoothing: float = 0.0  # share of the label spread over all classes
    train_ema: float = 0.0  # momentum, a step, of averaged weights that are then used; 0: none
    # bfloat16 takes a third off a step where processor or GPU has instructions for it, and is a
    # trap elsewhere; auto asks device.py, and run.json says what was taken. float32 for `simple`
    # and `deeper`, whose study is to give the same anywhere, and `tiny`, which gains nothing.
    train_precision: str = "float32"  # or mixed_bfloat16, or auto
    train_class_weights: bool = False  # weigh each class by the inverse of its frequency
    train_seed: int = 42  # of the initial weights, the shuffling, the augmentation and dropout

    def __post_init__(self) -> None:
        for name in ABOVE_ZERO:
            self._require(getattr(self, name) > 0, name, "above 0")
        for name in NOT_NEGATIVE:
            self._require(getattr(self, name) >= 0, name, "0 or more")
        for name in SHARES:
            self._require(0 <= getattr(self, name) < 1, name, "a share, 0 <= x < 1")
        for name, choices in CHOICES.items():
            self._require(getattr(self, name) in choices, name, f"one of {choices}")
        turn = self.augment_rotation_degrees
        self._require(0 <= turn <= 180, "augment_rotation_degrees", "0..180")
        self._require(0 <= self.train_seed < 2**31, "train_seed", "0 <= seed < 2**31")

    @property
    def soft_labels(self) -> bool:
        """Whether a label is a distribution over the classes: float (8,) instead of a number."""
        return bool(self.augment_mixup or self.augment_cutmix or self.train_label_smoothing)

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
    "residual": Recipe(
        model_name="residual",
        model_dropout=0.2,
        model_norm_momentum=0.9,
        model_stochastic_depth=0.1,
        augment_turns=True,
        augment_shift_pixels=2.0,
        augment_brightness=0.1,
        augment_contrast=0.1,
        train_epochs=40,
        train_batch_size=128,
        train_optimizer="muon",
        train_learning_rate=6e-3,
        train_schedule="cosine",
        train_weight_decay=0.05,
        train_label_smoothing=0.05,
        train_precision="auto",
    ),
}
RECIPES["tiny"] = dataclasses.replace(
    RECIPES["residual"],
    model_name="tiny",
    model_dropout=0.1,
    model_stochastic_depth=0.0,
    train_epochs=24,
    train_precision="float32",
)
RECIPES["robust"] = dataclasses.replace(
    RECIPES["residual"],
    model_name="robust",
    model_stochastic_depth=0.0,  # harder to learn as it is
    augment_stain_strength=0.4,
    augment_stain_mix=0.4,
    augment_stain_swap=0.2,
    augment_stain_grey=0.1,
    augment_stain_curve=0.4,
    augment_stain_tint=0.6,
    augment_field=0.4,
    augment_surroundings=0.5,
    augment_focus=0.7,
    augment_noise=6.0,
    augment_kept=0.5,
    augment_mixup=0.4,
    train_epochs=20,  # longer is better at home and worse elsewhere (docs/recipes.md)
    train_class_weights=True,  # another laboratory's shares are not BloodMNIST's
)

JOINED = "joined"  # what `join` makes of two runs: no recipe trains it
STUDIED = ("simple", "deeper")  # the baseline and its improvement: what `make all` compares


def named_recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        UsageError: There is no such recipe; the message lists those there are.
    """
    if name not in RECIPES:
        raise UsageError(f"unknown model {name!r}: expected {hint(name, RECIPES)}")
    return RECIPES[name]


def quick(recipe: Recipe) -> Recipe:
    """Return the recipe for the impatient: a third of the epochs, the rate falling to 0."""
    epochs = max(1, recipe.train_epochs // 3)
    return dataclasses.replace(recipe, train_epochs=epochs, train_schedule="cosine")


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe.json, as a run folder holds it.

    Raises:
        BloodkerasError: The file cannot be read or is no recipe.
    """
    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        known = {field.name for field in dataclasses.fields(Recipe)}
        if unknown := [str(name) for name in fields if name not in known]:
            raise ValueError(f"no such field: {', '.join(unknown)}")
        return Recipe(**fields)
    except OSError as error:
        raise BloodkerasError(
            f"cannot read the recipe {path} ({error.strerror}): expected quick or a recipe.json"
        ) from None
    except json.JSONDecodeError:
        raise BloodkerasError(f"{path} is no recipe.json: it is not JSON") from None
    except (TypeError, ValueError) as error:
        raise BloodkerasError(f"{path} is no recipe.json of this version: {error}") from None


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write the recipe as JSON, field by field."""
    path.write_text(json.dumps(dataclasses.asdict(recipe), indent=2) + "\n", encoding="utf-8")


def settled(recipe: Recipe, precision: str) -> Recipe:
    """Return the recipe with "auto" replaced by the precision that a run was trained in."""
    if recipe.train_precision != "auto":
        return recipe
    return dataclasses.replace(recipe, train_precision=precision)


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
    typed: dict[str, Any] = {}
    for name, text in changes.items():
        field = _field_name(name)
        typed[field] = convert(text, types[field], name)
    try:
        return dataclasses.replace(recipe, **typed)
    except UsageError as error:  # names the field in full: say it as it was typed
        field, rest = str(error).split(" ", 1)
        names = {_field_name(name): f"--{name}" for name in changes}
        raise UsageError(f"{names.get(field, field)} {rest}") from None


def full_names(names: Iterable[str]) -> set[str]:
    """Return the fields that some options stand for, whose prefix may be missing."""
    return {_field_name(name) for name in names}


def convert(text: str, kind: type, name: str) -> bool | int | float | str:
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


def hint(name: str, choices: Iterable[str]) -> str:
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
