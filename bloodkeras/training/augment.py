"""Builds the random layers that a recipe asks for.

Flow: takes a recipe; gives a list of Keras image-augmentation layers, which `pipeline.py` applies
to batches of float32 (B, S, S, 3), 0..255. They are never part of an exported model.
Sources: mixup, Zhang et al. 2018 (arXiv:1710.09412); CutMix, Yun et al. 2019 (arXiv:1905.04899).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.named_types import Tensor
from bloodkeras.recipe import Recipe
from bloodkeras.training.stain import (
    ImageLayer,
    RandomFieldOfView,
    RandomFocus,
    RandomNoise,
    RandomStain,
    RandomSurroundings,
    Seed,
    Sometimes,
)

PIXEL_RANGE = (0, 255)


def build_augmentation(recipe: Recipe, teacher: bool = False) -> list[keras.layers.Layer]:
    """Return the recipe's augmentation layers, in the order in which they are applied.

    Args:
        recipe: Every setting.
        teacher: Leave out what only a student is shown: its cells as another laboratory's.
    """
    # Corners are filled by reflection: black corners would be a shape no photograph has.
    nearest = {"fill_mode": "reflect", "interpolation": "nearest"}
    turn = recipe.augment_rotation_degrees / 360
    blur = recipe.augment_rotation_interpolation
    # In pixels of BloodMNIST, as the recipe says; of any other side the same part.
    scale, shift = recipe.augment_scale, recipe.augment_shift_pixels / BLOODMNIST.image_side
    random = keras.layers
    other_laboratory = None if teacher else build_other_laboratory(recipe)
    chosen: list[tuple[object, Callable[[], keras.layers.Layer]]] = [
        (recipe.augment_flip, lambda: random.RandomFlip("horizontal")),
        (recipe.augment_turns, RandomTurn),
        (turn, lambda: random.RandomRotation(turn, fill_mode="reflect", interpolation=blur)),
        (other_laboratory, lambda: other_laboratory),
        (scale, lambda: random.RandomZoom((-scale, scale), fill_mode="reflect")),
        (shift, lambda: random.RandomTranslation(shift, shift, **nearest)),
        (recipe.augment_brightness, lambda: random.RandomBrightness(recipe.augment_brightness)),
        (
            recipe.augment_contrast,
            lambda: random.RandomContrast(recipe.augment_contrast, value_range=PIXEL_RANGE),
        ),
        (recipe.augment_mixup, lambda: random.MixUp(recipe.augment_mixup)),
        (recipe.augment_cutmix, lambda: random.CutMix(recipe.augment_cutmix)),
    ]
    return [build() for wanted, build in chosen if wanted]


def build_other_laboratory(recipe: Recipe) -> Sometimes | None:
    """Return the layer that shows some cells as another laboratory might; None without any."""
    prefix = "augment_stain_"
    stain = {
        name.removeprefix(prefix): value
        for name, value in dataclasses.asdict(recipe).items()
        if name.startswith(prefix)
    }
    chosen: list[tuple[object, Callable[[], ImageLayer]]] = [
        (recipe.augment_field, lambda: RandomFieldOfView(recipe.augment_field)),
        (recipe.augment_surroundings, lambda: RandomSurroundings(recipe.augment_surroundings)),
        (any(stain.values()), lambda: RandomStain(**stain)),
        (recipe.augment_focus, lambda: RandomFocus(recipe.augment_focus)),
        (recipe.augment_noise, lambda: RandomNoise(recipe.augment_noise)),
    ]
    layers = [build() for wanted, build in chosen if wanted]
    return Sometimes(layers, recipe.augment_kept) if layers else None


class RandomTurn(ImageLayer):
    """Turns each image into one of its eight flips and quarter turns: a cell has no up.

    Called the way Keras' own image-augmentation layers are.
    """

    def get_random_transformation(
        self, data: dict[str, Any], training: bool = True, seed: Seed = None
    ) -> Tensor:
        """Draw which of the eight, int (B,)."""
        return keras.random.randint((ops.shape(data["images"])[0],), 0, 8, seed=seed)

    def transform_images(
        self, images: Tensor, transformation: Tensor, training: bool = True
    ) -> Tensor:
        """Turn float32 (B, S, S, 3)."""
        which = ops.reshape(transformation, (-1, 1, 1, 1))
        images = ops.where(which % 2 == 1, ops.flip(images, 1), images)
        images = ops.where(which // 2 % 2 == 1, ops.flip(images, 2), images)
        return ops.where(which // 4 == 1, ops.transpose(images, (0, 2, 1, 3)), images)
