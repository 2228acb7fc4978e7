"""The layers that Keras lacks, or has more slowly; the one import that a saved model needs.

Flow: used by `models.py`. Importing it registers with Keras everything of this package that a run's
model.keras may hold, optimiser included:

    import bloodkeras.training.layers
    model = keras.models.load_model("runs/residual-seed42/model.keras")
"""

import keras
from keras import ops

from bloodkeras.named_types import Tensor
from bloodkeras.training import colours, optimizers  # noqa: F401  registered too

BLOCKS = 7  # of a side: about as large as a nucleus' lobe
DARKEST, DEEPEST = 1.2, 2.4  # optical densities, natural logarithm: of a nucleus; what is shown
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
