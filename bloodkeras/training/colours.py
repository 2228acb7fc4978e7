"""Layers that look at an image's colours alone: what they are, and whether they are usual.

Flow: used by `ood_score.py` and `join.py`; registered with Keras, so that a saved model finds
them again. `laboratory/shift_score.py` has the same in numpy.
"""

import keras
import numpy as np
from keras import ops

from bloodkeras.contract import CLASS_COUNT, IMAGE_SIDE
from bloodkeras.laboratory.shift_score import CENTRE, PARTS
from bloodkeras.named_types import Floats, Tensor

REGIONS: Floats = np.zeros(
    (2, IMAGE_SIDE, IMAGE_SIDE), np.float32
)  # weights of the whole and the centre
REGIONS[0] = 1 / IMAGE_SIDE**2
REGIONS[1, CENTRE, CENTRE] = 4 / IMAGE_SIDE**2
REGIONS = REGIONS.reshape(2, -1)
COLOUR_COUNT = 15  # what `Colours` gives


@keras.saving.register_keras_serializable(package="bloodkeras")
class Colours(keras.layers.Layer):
    """Mean and deviation of each channel, those of the centre, and its darkest values.

    One layer, so that none of its steps shares a name with one of the network.
    """

    def call(self, images: Tensor) -> Tensor:
        """Return float (B, 15), of pixels scaled to 0..1, of float (B, 28, 28, 3), 0..255."""
        pixels = ops.reshape(images / 255.0, (-1, IMAGE_SIDE * IMAGE_SIDE, 3))
        # By products of matrices, which take a quarter of the time of reductions in onnxruntime.
        means = ops.matmul(REGIONS, pixels)  # (B, 2, 3): of the whole, of the centre
        variances = ops.relu(ops.matmul(REGIONS, pixels * pixels) - means * means)
        moments = ops.concatenate([means, ops.sqrt(variances)], axis=-1)
        darkest = ops.min(images[:, CENTRE, CENTRE, :], axis=(1, 2)) / 255.0
        return ops.concatenate([ops.reshape(moments, (-1, 12)), darkest], axis=-1)


@keras.saving.register_keras_serializable(package="bloodkeras")
class Usual(keras.layers.Layer):
    """Whether colours are those of the training data: near enough to those of one class."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make room for what `set` is told."""
        sizes = {
            "centre": (COLOUR_COUNT,),
            "whitening": (COLOUR_COUNT, COLOUR_COUNT),
            "means": (CLASS_COUNT, COLOUR_COUNT),
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
