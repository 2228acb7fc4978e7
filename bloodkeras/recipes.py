"""Choices: the named recipes, and what is otherwise in a quick training and in one with teachers.

Flow: takes a name of RECIPES; gives a `Recipe`. `recipe.py` says what its settings mean.
"""

import dataclasses
from typing import Any

from bloodkeras.errors import UsageError
from bloodkeras.recipe import Recipe, hint, settings, short

# `train simple`: about 1.5 minutes on two cores. `train deeper`: about 5 minutes.
# What each scores is in the README's table.
RECIPES = {
    "simple": Recipe(model_name="simple", model_architecture="simple"),
    "deeper": Recipe(
        model_name="deeper",
        model_architecture="deeper",
        model_norm_momentum=0.9,  # with 187 steps an epoch .99 lags behind (docs/recipes.md)
        augment_flip=True,
        augment_rotation_degrees=15.0,
        train_class_weights=True,
    ),
    "residual": Recipe(
        model_name="residual",
        model_architecture="residual",
        model_dropout=0.2,
        model_norm_momentum=0.9,
        model_stochastic_depth=0.1,
        augment_turns=True,
        augment_shift_pixels=2.0,
        augment_brightness=0.1,
        augment_contrast=0.1,
        train_epochs=24,
        train_batch_size=128,
        train_optimizer="muon",
        train_learning_rate=6e-3,
        train_schedule="cosine",
        train_weight_decay=0.05,
        train_precision="auto",
    ),
}
RECIPES["tiny"] = dataclasses.replace(
    RECIPES["residual"],
    model_name="tiny",
    model_architecture="tiny",
    model_dropout=0.1,
    model_stochastic_depth=0.0,
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
    augment_focus=1.0,
    augment_noise=6.0,
    augment_kept=0.5,
    augment_mixup=0.4,
    train_epochs=20,  # longer is better at home and worse elsewhere (docs/recipes.md)
    train_label_smoothing=0.05,
    train_class_weights=True,  # another laboratory's shares are not BloodMNIST's
)

# What a student does otherwise than its recipe says: teachers keep it from learning by heart, so it
# needs nothing else for that, and profits from long trainings (docs/recipes.md).
TAUGHT: dict[str, dict[str, Any]] = {
    "residual": {
        "model_dropout": 0.0,
        "model_stochastic_depth": 0.0,
        "train_learning_rate": 3e-3,  # it begins with weights that are nearly right
        "train_inherit": True,
    },
    "robust": {
        # In one light and stain whatever the lamp, so nothing else has to teach that.
        "model_balance": True,
        "augment_brightness": 0.0,
        "augment_contrast": 0.0,
        "model_dropout": 0.0,
        "augment_mixup": 0.0,
        "train_label_smoothing": 0.0,
        "train_epochs": 24,
        "train_views": 12,
        "train_learning_rate": 4e-3,
        "train_inherit": True,
    },
    "tiny": {"train_epochs": 96, "train_views": 8, "train_precision": "auto"},
}
# What is otherwise in a training that begins with an export's weights: short, and for one's own
# laboratory alone (docs/recipes.md).
STARTED: dict[str, Any] = {
    "model_dropout": 0.0,
    "model_stochastic_depth": 0.0,
    "augment_brightness": 0.1,
    "augment_contrast": 0.1,
    "augment_mixup": 0.0,
    "train_label_smoothing": 0.0,
    "train_epochs": 8,
    "train_batch_size": 32,
    "train_optimizer": "adamw",
    "train_learning_rate": 5e-4,
    "train_schedule": "cosine",
    "train_weight_decay": 0.05,
    "train_class_weights": True,
}
ELSEWHERE = ("stain_", "field", "surroundings", "focus", "noise", "kept")  # augment_*, for others
# The settings that an export's network has: with others its weights would not fit.
SHAPE = ("model_architecture", "model_width", "model_depth", "model_balance")
TEACHER_SHARE = 0.9  # of a student's labels, where nothing else is said

STUDIED = ("simple", "deeper")  # the baseline and its improvement: what `make all` compares


def named_recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        UsageError: There is no such recipe; the message lists those there are.
    """
    if name not in RECIPES:
        raise UsageError(f"unknown model {name!r}: {hint(name, RECIPES)}")
    return RECIPES[name]


def quick(recipe: Recipe) -> Recipe:
    """Return the recipe for the impatient: half of the epochs, the rate falling to 0."""
    epochs = max(1, recipe.train_epochs // 2)
    return dataclasses.replace(recipe, train_epochs=epochs, train_schedule="cosine")


def taught(recipe: Recipe) -> Recipe:
    """Return a named recipe as its student is trained."""
    return shared(dataclasses.replace(recipe, **TAUGHT.get(recipe.model_name, {})))


def started(recipe: Recipe, start: Recipe) -> Recipe:
    """Return a named recipe as it is trained from an export's weights.

    Args:
        recipe: As it is trained from nothing.
        start: That the export was trained by.

    Raises:
        UsageError: The export holds another kind of network.
    """
    if recipe.model_architecture != start.model_architecture:
        raise UsageError(
            f"--start is a network of the kind {start.model_architecture}, and "
            f"{recipe.model_name} is {recipe.model_architecture}: name an export of that kind"
        )
    shape = {name: getattr(start, name) for name in SHAPE}
    at_home = {
        name: field.default
        for name, field in settings().items()
        if short(name).startswith(ELSEWHERE) and name.startswith("augment_")
    }
    return dataclasses.replace(recipe, **STARTED | at_home | shape)


def shared(recipe: Recipe) -> Recipe:
    """Return the recipe with a share of the label for teachers, if it says none."""
    share = recipe.train_teacher_share or TEACHER_SHARE
    return dataclasses.replace(recipe, train_teacher_share=share)


def untaught(recipe: Recipe) -> Recipe:
    """Return the recipe, for commands that train without teachers.

    Raises:
        UsageError: It asks for some.
    """
    if recipe.train_teacher_share or recipe.train_inherit:
        asked = "--teacher-share" if recipe.train_teacher_share else "--inherit"
        raise UsageError(f"{asked} needs teachers: `train MODEL --teacher RUN`")
    return recipe
