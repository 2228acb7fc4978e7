"""A layer that looks at an image's colours alone.

Flow: used by `ood_score.py`, which builds it into the graph of an export.
`laboratory/shift_score.py` has the same in numpy.
"""

import keras
import numpy as np
from keras import ops

from bloodkeras.laboratory.shift_score import centre_of
from bloodkeras.named_types import Tensor

COLOUR_COUNT = 15  # what `Colours` gives


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
