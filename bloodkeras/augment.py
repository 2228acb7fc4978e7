"""Builds the random layers that a recipe asks for.

Flow: takes a recipe; gives a list of Keras image-augmentation layers, which `pipeline.py` applies
to batches of float32 (B, 28, 28, 3), 0..255. They are never part of an exported model.
"""

import keras

from bloodkeras.recipe import Recipe


def build_augmentation(recipe: Recipe) -> list[keras.layers.Layer]:
    """Return the recipe's augmentation layers, in the order in which they are applied."""
    layers = []
    if recipe.augment_flip:
        layers.append(keras.layers.RandomFlip("horizontal"))
    if recipe.augment_rotation_degrees:
        # Corners are filled by reflection: black corners would be a shape no photograph has.
        turn = recipe.augment_rotation_degrees / 360
        layers.append(
            keras.layers.RandomRotation(
                turn, fill_mode="reflect", interpolation=recipe.augment_rotation_interpolation
            )
        )
    return layers
