"""Layers that look at an image's colours alone: what they are, and whether they are usual.

Flow: used by `ood_score.py` and `join.py`; registered with Keras, so that a saved model finds
them again. `laboratory/shift_score.py` has the same in numpy.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.laboratory.shift_score import PARTS, centre_of
from bloodkeras.named_types import Floats, Json, Tensor

COLOUR_COUNT = 15  # what `Colours` gives


@keras.saving.register_keras_serializable(package="bloodkeras")
class Colours(keras.layers.Layer):
    """Mean and deviation of each channel, those of the centre, and its darkest values.

    One layer, so that none of its steps shares a name with one of the network.
    """

    def call(self, images: Tensor) -> Tensor:
        """Return float (B, 15), of pixels scaled to 0..1, of float (B, S, S, 3), 0..255."""
        side, centre = images.shape[1], centre_of(images.shape[1])
        regions = np.zeros((2, side, side), np.float32)  # weights of the whole and the centre
        regions[0] = 1 / side**2
        regions[1, centre, centre] = 1 / regions[1, centre, centre].size
        regions = regions.reshape(2, -1)
        pixels = ops.reshape(images / 255.0, (-1, side * side, 3))
        # By products of matrices, which take a quarter of the time of reductions in onnxruntime.
        means = ops.matmul(regions, pixels)  # (B, 2, 3): of the whole, of the centre
        variances = ops.relu(ops.matmul(regions, pixels * pixels) - means * means)
        moments = ops.concatenate([means, ops.sqrt(variances)], axis=-1)
        darkest = ops.min(images[:, centre, centre, :], axis=(1, 2)) / 255.0
        return ops.concatenate([ops.reshape(moments, (-1, 12)), darkest], axis=-1)


@keras.saving.register_keras_serializable(package="bloodkeras")
class Usual(keras.layers.Layer):
    """Whether colours are those of the training data: near enough to those of one class.

    Args:
        class_count: Of the training data.
    """

    def __init__(self, class_count: int = BLOODMNIST.class_count, **options: Any) -> None:
        super().__init__(**options)
        self._class_count = class_count

    def get_config(self) -> Json:
        """Return what a saved layer is made of again."""
        return {**super().get_config(), "class_count": self._class_count}

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make room for what `set` is told."""
        sizes = {
            "centre": (COLOUR_COUNT,),
            "whitening": (COLOUR_COUNT, COLOUR_COUNT),
            "means": (self._class_count, COLOUR_COUNT),
            "limit": (),
        }
        self._told = {
            name: self.add_weight(shape=size, trainable=False, name=name)
            for name, size in sizes.items()
        }

    def set(self, fitted: dict[str, Floats], limit: float) -> None:
        """Take over what is usual.

        Args:
            fitted: `gaussian` of the training split's colours, of all classes.
            limit: The largest distance from a class that is usual, in standard deviations.
        """
        for name in PARTS:
            self._told[name].assign(fitted[name])
        self._told["limit"].assign(limit)

    def call(self, colours: Tensor) -> Tensor:
        """Return float (B, 1), 1 or 0, of what `Colours` gives, (B, 15)."""
        white = ops.matmul(colours - self._told["centre"], self._told["whitening"])
        squares = ops.sum((white[:, None] - self._told["means"]) ** 2, axis=-1)
        nearest = ops.min(squares, axis=-1, keepdims=True)
        return ops.cast(nearest <= self._told["limit"] ** 2, white.dtype)
