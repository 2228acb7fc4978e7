"""Choices: every setting of a training run, on one line each, with unit and reason.

Flow: takes a model name and overrides; gives a frozen `Recipe` that is written into the run.
A field is named after its reader: `model_*` is read by `models.py`, `augment_*` by `augment.py`,
`train_*` by `train.py` and `pipeline.py`. The command line and the tuner use the same names, and
what a field means, its unit and its range stand with it: `train --help` shows them.
"""

import dataclasses
import difflib
import json
import math
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloodkeras.contract import CARD_FILE
from bloodkeras.errors import BloodkerasError, UsageError, gist


@dataclass(frozen=True)
class Range:
    """The values that a field may take."""

    text: str  # as --help and a refusal say it
    holds: Callable[[Any], bool]


ABOVE_ZERO = Range("above 0", lambda value: value > 0)
NOT_NEGATIVE = Range("0 or more", lambda value: value >= 0)
SHARE = Range("a share, 0 <= x < 1", lambda value: 0 <= value < 1)
WHOLE_SHARE = Range("a share, 0 <= x <= 1", lambda value: 0 <= value <= 1)
ANGLE = Range("0..180", lambda value: 0 <= value <= 180)
SEED = Range("0 <= seed < 2**31", lambda value: 0 <= value < 2**31)
SWITCH = Range("true or false", lambda value: True)
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


def number(default: float, about: str, unit: str = "", allowed: Range = NOT_NEGATIVE) -> Any:
    """Return a field: its default, what it does in one line of --help, its unit and its range."""
    metadata = {"about": about, "unit": unit, "range": allowed}
    return dataclasses.field(default=default, metadata=metadata)


def share(default: float, about: str) -> Any:
    """Return a field that is a share."""
    return number(default, about, allowed=SHARE)


def switch(about: str) -> Any:
    """Return a field that is on or off, off by default."""
    return number(False, about, allowed=SWITCH)


def word(default: str, about: str, choices: tuple[str, ...]) -> Any:
    """Return a field that is one of a few words."""
    allowed = Range(f"one of {', '.join(choices)}", lambda value: value in choices)
    return dataclasses.field(
        default=default, metadata={"about": about, "unit": "", "range": allowed}
    )


@dataclass(frozen=True)
class Recipe:
    """One way to train one network. The defaults are the baseline's: plain, no tricks.

    Attributes:
        model_name: What the recipe, its run and its export are called.
        model_architecture: A key of models.MODELS. Recipes written before this was a field
            are read too: then the name tells it.
    """

    model_name: str
    model_architecture: str = ""
    model_dropout: float = share(0.5, "share of units dropped before the last dense layers")
    model_norm_momentum: float = share(0.99, "momentum of batch normalisation's moving averages")
    model_stochastic_depth: float = share(0.0, "share of images that skip the last block")
    model_width: float = number(
        1.0, "times the filters of every convolution, in steps of eight", allowed=ABOVE_ZERO
    )
    model_depth: int = number(0, "further blocks at the end of every stage", "blocks")
    model_balance: bool = switch(
        "show every image in one light, stain and sharpness, in the network"
    )

    augment_flip: bool = switch("mirror half of the images left-right: a cell has no left")
    augment_turns: bool = switch("all eight flips and quarter turns, which lose no pixel")
    augment_rotation_degrees: float = number(
        0.0, "rotate by up to +- this", "degrees", allowed=ANGLE
    )
    # Bilinear rotation blurs what is 28 pixels wide, and a network that saw blurred cells only
    # loses about a point on sharp ones (docs/recipes.md).
    augment_rotation_interpolation: str = word(
        "nearest", "how a rotated image is read", ("nearest", "bilinear")
    )
    augment_scale: float = share(0.0, "zoom in or out by up to this share")
    augment_shift_pixels: float = number(0.0, "move by up to so many, each way", "pixels")
    augment_brightness: float = share(0.0, "add up to +- this share of 255")
    augment_contrast: float = share(0.0, "stretch about the mean by up to +- this share")
    # Another laboratory: stain.py says what each means, docs/recipes.md what each is worth.
    augment_stain_strength: float = number(0.0, "stains and channels times exp(+- this)")
    augment_stain_mix: float = number(
        0.0, "channels take up to +- this share of each other's density"
    )
    augment_stain_swap: float = share(0.0, "share of images whose channels are put in any order")
    augment_stain_grey: float = share(0.0, "share of images without colour")
    augment_stain_curve: float = number(
        0.0, "densities to the power exp(+- this): faint things fade"
    )
    augment_stain_tint: float = number(0.0, "background of up to this density, by channel")
    augment_field: float = number(0.0, "field of view times 1 / (1 + this) to 1 + this")
    augment_surroundings: float = share(0.0, "share of images without anything around the cell")
    augment_focus: float = number(
        0.0, "blur by a Gaussian of up to this deviation, or sharpen as much", "pixels"
    )
    augment_noise: float = number(
        0.0, "noise of up to this standard deviation", "grey levels of 255"
    )
    augment_kept: float = share(
        0.0, "share of images that stain, field, focus and noise leave alone"
    )
    augment_mixup: float = number(0.0, "alpha of the beta distribution that blends pairs; 0: none")
    augment_cutmix: float = share(0.0, "largest share of an image that another one covers; 0: none")

    train_epochs: int = number(20, "how often every image is seen", "epochs", allowed=ABOVE_ZERO)
    train_patience: int = number(0, "stop after so many without a better one; 0: never", "epochs")
    train_batch_size: int = number(64, "how many go into a step", "images", allowed=ABOVE_ZERO)
    train_optimizer: str = word(
        "adam", "the rule that changes the weights", ("adam", "adamw", "muon")
    )
    train_learning_rate: float = number(1e-3, "the highest one of a schedule", allowed=ABOVE_ZERO)
    train_schedule: str = word(
        "constant", "cosine: warm up, then fall to 0", ("constant", "cosine")
    )
    train_warmup: float = share(0.1, "share of the training over which a schedule warms up")
    train_weight_decay: float = number(0.0, "of adamw and muon, times the learning rate, a step")
    train_teacher_share: float = number(
        0.0, "share of the label that --teacher gives, 0 without one", allowed=WHOLE_SHARE
    )
    train_teacher_temperature: float = number(
        1.0, "teachers' logits are divided by it: above 1 for softer answers", allowed=ABOVE_ZERO
    )
    train_views: int = number(
        0, "epochs of which later ones are repetitions, so that teachers answer once; 0: all differ"
    )
    train_inherit: bool = switch(
        "begin with the weights of the first teacher, where layers are alike"
    )
    train_label_smoothing: float = share(0.0, "share of the label spread over all classes")
    train_ema: float = share(
        0.0, "momentum, a step, of averaged weights that are then used; 0: none"
    )
    # bfloat16 takes a third off a step where processor or GPU has instructions for it, and is a
    # trap elsewhere; auto asks device.py, and run.json says what was taken. float32 for `simple`
    # and `deeper`, whose study is to give the same anywhere, and `tiny`, which gains nothing.
    train_precision: str = word(
        "float32",
        "auto: bfloat16 where this machine has instructions for it",
        ("auto", "float32", "mixed_bfloat16"),
    )
    train_class_weights: bool = switch("weigh each class by the inverse of its frequency")
    train_seed: int = number(
        42, "of the initial weights, the shuffling, the augmentation and dropout", allowed=SEED
    )

    def __post_init__(self) -> None:
        if not self.model_architecture:
            architecture = RENAMED.get(self.model_name, self.model_name)
            object.__setattr__(self, "model_architecture", architecture)
        for field in settings().values():
            _require(field, getattr(self, field.name), field.name)

    @property
    def soft_labels(self) -> bool:
        """Whether a label is a distribution over the classes: float (8,) instead of a number."""
        return any(
            (
                self.augment_mixup,
                self.augment_cutmix,
                self.train_label_smoothing,
                self.train_teacher_share,
            )
        )


# Of recipes that named no architecture: the network that is not called as its recipe.
RENAMED = {"robust": "residual"}


def settings() -> dict[str, dataclasses.Field[Any]]:
    """Return the fields that can be set, by full name: all but what the recipe is called."""
    return {field.name: field for field in dataclasses.fields(Recipe) if field.metadata}


def short(name: str) -> str:
    """Return a field's name on the command line, without its reader: `epochs`."""
    return name.split("_", 1)[1]


def _require(field: dataclasses.Field[Any], value: Any, name: str) -> None:
    """Refuse a value that a field may not take.

    Raises:
        UsageError: The message calls the field by `name`.
    """
    kind: Any = field.type
    allowed = field.metadata["range"]
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole if kind is int else isinstance(value, kind) or (whole and kind is float)):
        raise UsageError(f"{name} must be {KINDS[kind]}, not {value!r}")
    if not allowed.holds(value):
        raise UsageError(f"{name} must be {allowed.text}, not {value!r}")


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe.json, as a run folder holds it.

    Raises:
        BloodkerasError: The file cannot be read or is not a recipe.
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
        raise BloodkerasError(f"{path} is not a recipe.json: it is not JSON") from None
    except (TypeError, ValueError, UsageError) as error:
        raise BloodkerasError(f"{path} is not a recipe.json of this version: {error}") from None


def recipe_of_export(folder: Path) -> Recipe:
    """Return the recipe that an export was trained by, as its card says it.

    Raises:
        BloodkerasError: There is no card, or it does not say it.
    """
    try:
        card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
        return Recipe(**card["recipe"])
    except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
        raise BloodkerasError(
            f"{folder / CARD_FILE} does not say by which recipe the export was trained "
            f"({gist(error)}): name another export"
        ) from None


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
        changes: Field name to value as text. The prefix may be left out: `epochs` is
            `train_epochs`.

    Raises:
        UsageError: A name is unknown, or a value is not of the field's type or range.
    """
    kinds = typing.get_type_hints(Recipe)
    typed: dict[str, Any] = {}
    for name, text in changes.items():
        field = _field(name)
        if field.name in typed:
            raise UsageError(f"{option(name)} is given twice")
        typed[field.name] = convert(text, kinds[field.name], name)
        _require(field, typed[field.name], option(name))
    return dataclasses.replace(recipe, **typed)


def full_names(names: Iterable[str]) -> set[str]:
    """Return the fields that some options stand for, whose prefix may be missing."""
    return {_field(name).name for name in names}


def convert(text: str, kind: type, name: str) -> Any:
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
        raise UsageError(f"{option(name)} takes {KINDS[kind]}, not {text!r}") from None
    return value


def hint(name: str, choices: Iterable[str]) -> str:
    """Return what a mistyped word was probably meant to be, and all that was expected."""
    known = sorted(choices)
    close = difflib.get_close_matches(name, known, n=1)
    listed = ", ".join(known)
    return (
        f"did you mean {close[0]!r}? (one of: {listed})" if close else f"expected one of: {listed}"
    )


def option(name: str) -> str:
    """Return an option as users type it: --learning-rate."""
    return f"--{name.replace('_', '-')}"


def unknown_option(name: str, options: Iterable[str]) -> UsageError:
    """Return the error for an option that there is not, with the one that was probably meant."""
    known = [option(known)[2:] for known in options]
    return UsageError(f"unknown option {option(name)}: {hint(option(name)[2:], known)}")


def _field(name: str) -> dataclasses.Field[Any]:
    """Return the field that an option stands for, whose prefix may be missing."""
    fields = {short(field): field for field in settings()}
    full = fields.get(name.replace("-", "_"), name.replace("-", "_"))
    if full not in settings():
        raise unknown_option(name, fields)
    return settings()[full]
