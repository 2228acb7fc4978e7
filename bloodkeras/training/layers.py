"""The layers that Keras lacks, or has more slowly; the one import that a saved model needs.

Flow: used by `models.py`. Importing it registers with Keras everything of this package that a run's
model.keras may hold, optimiser included:

    import bloodkeras.training.layers
    model = keras.models.load_model("runs/residual-seed42/model.keras")
"""

import keras
import numpy as np
from keras import ops

from bloodkeras.named_types import Pixels, Tensor
from bloodkeras.training import optimizers  # noqa: F401  registered too
from bloodkeras.training.stain import blur_kernels, distances

BLOCKS = 7  # of a side: about as large as a nucleus' lobe
DARKEST, DEEPEST = 1.2, 2.4  # optical densities, natural logarithm: of a nucleus; what is shown
GRAIN, CELL = 0.875, 10.5  # of 28 pixels: deviation of a blur that takes grain; radius looked at
LEAST_GRAIN, LEAST_VARIANCE = 0.01, 1.0  # so that nothing is divided by nothing
MOST_SHARPENED = 2.0  # times the grain: more would be noise
LEAST_WHITE, LEAST_DARK, LEAST_LIGHT = 16.0, 0.1, 8.0  # so that nothing is divided by nothing


@keras.saving.register_keras_serializable(package="bloodkeras")
class StainBalance(keras.layers.Layer):
    """Shows every cell in one light and one stain, whatever lamp, camera and dye it had.

    Each channel is divided by the background's and turned into optical density, in which twice the
    dye is twice the number; then the darkest part is brought to the same density everywhere. Both
    are found in means of blocks, so that neither noise nor a speck decides.
    """

    def call(self, images: Tensor) -> Tensor:
        """Return float (B, S, S, 3), 255 for the background and less where more is stained.

        Args:
            images: float (B, S, S, 3), 0..255.
        """
        block = max(1, images.shape[1] // BLOCKS)
        white = ops.max(ops.average_pool(images, block, block), axis=(1, 2), keepdims=True)
        light = ops.clip(images * (255.0 / ops.maximum(white, LEAST_WHITE)), LEAST_LIGHT, 255.0)
        density = ops.log(255.0 / light)
        dark = ops.max(ops.average_pool(density, block, block), axis=(1, 2), keepdims=True)
        density = density * (DARKEST / ops.maximum(dark, LEAST_DARK))
        return 255.0 - ops.minimum(density, DEEPEST) * (255.0 / DEEPEST)


@keras.saving.register_keras_serializable(package="bloodkeras")
class FocusBalance(keras.layers.Layer):
    """Sharpens images that are less sharp than those of the training, when the network answers.

    A network that has learned from clear grain takes a smooth nucleus for another cell, even if it
    was shown blurred ones too. Where other optics left little grain, what there is counts more
    (unsharp masking), until its share is that of the training images. In training nothing is
    sharpened, nor ever what is as sharp as those.
    """

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make room for what `adapt` finds; until then nothing is sharpened."""
        self._usual = self.add_weight(shape=(), initializer="zeros", trainable=False, name="usual")

    def adapt(self, images: Pixels) -> None:
        """Take over how sharp uint8 (N, S, S, 3), the training images, are: their median."""
        shares = [
            ops.convert_to_numpy(self._grain(images[start : start + 256].astype(np.float32))[1])
            for start in range(0, len(images), 256)
        ]
        self._usual.assign(np.median(np.concatenate(shares)))

    def call(self, images: Tensor, training: bool | None = None) -> Tensor:
        """Return float (B, S, S, 3), 0..255, of the same."""
        if training:
            return images
        grain, share = self._grain(images)
        amount = self._usual / ops.maximum(share, LEAST_GRAIN) - 1.0
        amount = ops.reshape(ops.clip(amount, 0.0, MOST_SHARPENED), (-1, 1, 1, 1))
        return ops.clip(images + amount * grain, 0.0, 255.0)

    def _grain(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a blur takes away (B, S, S, 3), and its share of the deviation (B,)."""
        side = images.shape[1]
        blur = ops.transpose(blur_kernels(side, np.float32(GRAIN)))
        # Rows and columns last: onnxruntime multiplies by a constant matrix from the right alone.
        planes = ops.transpose(images, (0, 3, 1, 2))
        blurred = ops.matmul(ops.transpose(ops.matmul(planes, blur), (0, 1, 3, 2)), blur)
        grain = planes - ops.transpose(blurred, (0, 1, 3, 2))
        near = distances(side) < CELL
        near = (near / near.sum()).astype(np.float32).reshape(-1, 1)

        def mean(pixels: Tensor) -> Tensor:
            return ops.matmul(ops.reshape(pixels, (-1, 3, side * side)), near)  # (B, 3, 1)

        variance = ops.mean(mean(planes * planes) - mean(planes) ** 2, (1, 2))
        share = ops.mean(mean(grain * grain), (1, 2)) / ops.maximum(variance, LEAST_VARIANCE)
        return ops.transpose(grain, (0, 2, 3, 1)), ops.sqrt(share)


@keras.saving.register_keras_serializable(package="bloodkeras")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation that trains through TensorFlow's fused kernel.

    Keras 3 computes moments and normalisation as separate operations, each of which reads the
    whole activation; the fused kernel took an epoch of `deeper` from 13.3 to 11.0 s on two cores.
    Answers are Keras' own, except that the moving variance is the unbiased one, as in PyTorch.
    Needs a float (B, H, W, C) input; on another backend it is Keras' layer unchanged.
    """

    def call(
        self,
        inputs: Tensor,
        training: bool | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Normalise (B, H, W, C) by the batch's statistics in training, else the moving ones."""
        if not (training and self.trainable and keras.backend.backend() == "tensorflow"):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=tf.zeros([0]),  # only read when not training
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
            is_training=True,
        )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return outputs
