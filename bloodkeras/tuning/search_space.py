"""Which recipe fields a search may change, and how far.

Flow: takes the recipe to start from; gives KerasTuner's `HyperParameters`, and for the values that
it chose the `Recipe`. The names are the recipe's own.
"""

import dataclasses
import typing
from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bloodkeras.named_types import Json
from bloodkeras.recipe import Recipe

if TYPE_CHECKING:
    from keras_tuner import HyperParameters

STRATEGIES = ("hyperband", "bayesian", "random")
# What a search may be steered by, and whether more of it is better.
OBJECTIVES = {"val_macro_f1": "max", "val_accuracy": "max", "val_auc": "max", "val_loss": "min"}
DECAYING = ("adamw", "muon")  # the optimisers that read train_weight_decay
DIGITS = 4  # significant ones, of a number that was searched for


@dataclass(frozen=True)
class Range:
    """Numbers from low to high; where `log`, as many from 1 to 10 as from 10 to 100."""

    low: float
    high: float
    log: bool = False


# A tuple lists the choices. What the starting recipe says is always possible too: a range is
# widened to hold it, a choice added.
SPACE: dict[str, Range | tuple[Any, ...]] = {
    "train_optimizer": ("adam", "adamw", "muon"),
    "train_learning_rate": Range(2e-4, 2e-2, log=True),
    "train_weight_decay": Range(1e-3, 0.2, log=True),
    "train_schedule": ("constant", "cosine"),
    "train_batch_size": (32, 64, 128),
    "train_label_smoothing": Range(0.0, 0.15),
    "train_class_weights": (False, True),
    "model_dropout": Range(0.0, 0.6),
    "model_width": (0.75, 1.0, 1.25),
    "model_depth": (0, 1),
    "augment_flip": (False, True),
    "augment_turns": (False, True),
    "augment_rotation_degrees": Range(0.0, 30.0),
    "augment_shift_pixels": Range(0.0, 3.0),
    "augment_brightness": Range(0.0, 0.2),
    "augment_contrast": Range(0.0, 0.2),
}


def search_space(start: Recipe, held: Set[str] = frozenset()) -> "HyperParameters":
    """Declare the space to KerasTuner.

    Args:
        start: Its values are the defaults.
        held: Fields to leave as they are in `start`.

    Returns:
        keras_tuner.HyperParameters. The weight decay is searched only for an optimiser that reads
        it.
    """
    from keras_tuner import HyperParameters

    space = HyperParameters()
    for name in (name for name in SPACE if name not in held):
        if name != "train_weight_decay":
            _declare(space, name, start)
        elif "train_optimizer" not in held:
            with space.conditional_scope("train_optimizer", list(DECAYING)):
                _declare(space, name, start)
        elif start.train_optimizer in DECAYING:
            _declare(space, name, start)
    return space


def recipe_of(values: Json, start: Recipe) -> Recipe:
    """Return the starting recipe with the values that a search chose.

    Args:
        values: By field name; what is not a field of the space is left out.
        start: For everything else.
    """
    kinds = typing.get_type_hints(Recipe)
    chosen = {name: kinds[name](value) for name, value in values.items() if name in SPACE}
    rounded: Json = {
        name: float(f"{value:.{DIGITS}g}") if kinds[name] is float else value
        for name, value in chosen.items()
    }
    return dataclasses.replace(start, **rounded)


def _declare(space: "HyperParameters", name: str, start: Recipe) -> None:
    domain, default = SPACE[name], getattr(start, name)
    if isinstance(domain, Range):
        default = max(default, domain.low) if domain.log else default
        low, high = min(domain.low, default), max(domain.high, default)
        space.Float(name, low, high, sampling="log" if domain.log else "linear", default=default)
    elif isinstance(default, bool):
        space.Boolean(name, default=default)
    else:
        choices = domain if default in domain else (*domain, default)
        space.Choice(name, list(choices), default=default, ordered=not isinstance(default, str))
