"""The networks, as plain functions that build functional Keras models.

Flow: takes a recipe and a `DataSet`; gives a keras.Model from raw pixels 0..255 (B, S, S, 3) to
logits (B, K). The shapes that the builders name are those at 28 pixels.
Scaling is the first layer, so a model cannot be fed wrongly scaled pixels; softmax is left to the
loss and to the export, which is the numerically stable place for it.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import layers

from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.dataset import DataSet
from bloodkeras.named_types import Floats, Pixels, Probs, Tensor
from bloodkeras.recipe import Recipe
from bloodkeras.training.device import choose_precision
from bloodkeras.training.layers import FocusBalance, FusedBatchNormalization, StainBalance

PREDICT_BATCH = 256  # images a step
LARGE = 40  # pixels


def build_model(
    recipe: Recipe, dataset: DataSet = BLOODMNIST, images: Pixels | None = None
) -> keras.Model:
    """Build the network that the recipe names, with weights drawn from its seed.

    Args:
        recipe: Every setting.
        dataset: Side of the images, and classes.
        images: uint8 (N, S, S, 3), those of the training, where the network is to be trained: a
            recipe that balances has to know how sharp they are.
    """
    keras.utils.set_random_seed(recipe.train_seed)
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(choose_precision(recipe.train_precision))
    try:
        model = MODELS[recipe.model_architecture](recipe, dataset)
        if recipe.model_balance and images is not None:
            model.get_layer("focus").adapt(images)
        return model
    finally:
        keras.config.set_dtype_policy(usual)


def build_simple(recipe: Recipe, dataset: DataSet = BLOODMNIST) -> keras.Model:
    """Build the baseline: three convolutions, 102,024 parameters."""

    def stage(x: Tensor, filters: int) -> Tensor:
        for count in deepen([(filters,)], recipe):
            x = layers.Conv2D(widen(count, recipe), 3, padding="same", activation="relu")(x)
        return x

    images = keras.Input(dataset.image_shape, name="images")
    x = scale(images, recipe)
    x = layers.MaxPooling2D()(stage(x, 32))  # (B, 14, 14, 32)
    x = layers.MaxPooling2D()(stage(x, 64))  # (B, 7, 7, 64)
    x = stage(x, 128)
    x = layers.GlobalAveragePooling2D()(x)  # (B, 128)
    x = layers.Dense(64, activation="relu")(x)
    x = layers.Dropout(recipe.model_dropout)(x)
    logits = layers.Dense(dataset.class_count, name="logits", dtype="float32")(x)
    return keras.Model(images, logits, name="simple")


def build_deeper(recipe: Recipe, dataset: DataSet = BLOODMNIST) -> keras.Model:
    """Build the improved network: six normalised convolutions, 313,192 trainable parameters."""

    def stage(x: Tensor, *filters: int) -> Tensor:
        for count in deepen([filters], recipe):
            x = layers.Conv2D(widen(count, recipe), 3, padding="same")(x)
            x = FusedBatchNormalization(momentum=recipe.model_norm_momentum)(x)
            x = layers.ReLU()(x)
        return x

    images = keras.Input(dataset.image_shape, name="images")
    x = scale(images, recipe)
    x = layers.MaxPooling2D()(stage(x, 32, 32))  # (B, 14, 14, 32)
    x = layers.MaxPooling2D()(stage(x, 64, 64))  # (B, 7, 7, 64)
    x = layers.MaxPooling2D()(stage(x, 128))  # (B, 3, 3, 128)
    x = stage(x, 128)
    x = layers.GlobalAveragePooling2D()(x)  # (B, 128)
    for units in (128, 64):
        x = layers.Dense(units, activation="relu")(x)
        x = layers.Dropout(recipe.model_dropout)(x)
    logits = layers.Dense(dataset.class_count, name="logits", dtype="float32")(x)
    return keras.Model(images, logits, name="deeper")


def build_residual(recipe: Recipe, dataset: DataSet = BLOODMNIST) -> keras.Model:
    """Build the strong network: three stages of residual blocks with channel attention."""
    images = keras.Input(dataset.image_shape, name="images")
    x = stem(scale(images, recipe), widen(32, recipe), recipe)
    blocks = deepen([(32,), (64, 64, 64), (128, 128)], recipe)
    widths = [widen(count, recipe) for count in blocks]
    for index, filters in enumerate(widths):
        drop = recipe.model_stochastic_depth * (index + 1) / len(widths)
        x = residual_block(x, filters, drop, recipe)
    x = layers.GlobalAveragePooling2D()(x)  # (B, 128)
    x = layers.Dropout(recipe.model_dropout)(x)
    logits = layers.Dense(dataset.class_count, name="logits", dtype="float32")(x)
    return keras.Model(images, logits, name=recipe.model_name)


def build_tiny(recipe: Recipe, dataset: DataSet = BLOODMNIST) -> keras.Model:
    """Build the network for a small board: inverted residuals at 14x14 and 7x7."""
    images = keras.Input(dataset.image_shape, name="images")
    x = normalised_conv(
        scale(images, recipe), widen(16, recipe), recipe, strides=2
    )  # (B, 14, 14, 16)
    stages = [((16, 3, 1), (16, 3, 1)), ((32, 4, 2), (32, 3, 1)), ((48, 4, 1), (48, 2, 1))]
    for filters, expansion, strides in deepen(stages, recipe):
        x = inverted_block(x, widen(filters, recipe), expansion, strides, recipe)
    x = normalised_conv(x, widen(128, recipe), recipe, kernel=1)  # (B, 7, 7, 128)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(recipe.model_dropout)(x)
    logits = layers.Dense(dataset.class_count, name="logits", dtype="float32")(x)
    return keras.Model(images, logits, name="tiny")


def stem(x: Tensor, filters: int, recipe: Recipe) -> Tensor:
    """Convolve, and halve what is wider than LARGE pixels until it is not.

    So a network takes 64, 128 or 224 pixels for about a third more than it takes for 28.
    """
    halvings = max(0, math.ceil(math.log2(x.shape[1] / LARGE)))
    # Of 64 pixels nothing is thrown away before a first convolution has looked at them.
    strides = [1] * (halvings < 2) + [2] * halvings
    for stride in strides[:-1]:
        x = normalised_conv(x, filters // 2, recipe, strides=stride)
    return normalised_conv(x, filters, recipe, strides=strides[-1])


def widen(filters: int, recipe: Recipe) -> int:
    """Return a number of filters times the recipe's width: a multiple of eight, as all here are."""
    return max(8, 8 * round(filters * recipe.model_width / 8))


def deepen(stages: list[tuple[Any, ...]], recipe: Recipe) -> list[Any]:
    """Return the blocks of all stages, the last one of each repeated as the recipe's depth says."""
    return [block for stage in stages for block in stage + stage[-1:] * recipe.model_depth]


def residual_block(x: Tensor, filters: int, drop: float, recipe: Recipe) -> Tensor:
    """Two normalised convolutions with attention, added to what came in.

    Where the number of filters grows, the height and the width are halved.
    """
    grows = filters != x.shape[-1]
    strides = 2 if grows and x.shape[-1] > 3 else 1
    y = normalised_conv(x, filters, recipe, strides=strides)
    y = normalised_conv(y, filters, recipe, activation=None)
    y = attend(y, filters // 4)
    if drop:
        y = layers.Dropout(drop, noise_shape=(None, 1, 1, 1))(y)
    if grows:
        # Average first: a strided 1x1 convolution would throw three quarters of the pixels away.
        x = layers.AveragePooling2D(2, padding="same" if x.shape[1] % 2 else "valid")(x)
        x = normalised_conv(x, filters, recipe, kernel=1, activation=None)
    return layers.ReLU()(layers.Add()([x, y]))


def inverted_block(x: Tensor, filters: int, expansion: int, strides: int, recipe: Recipe) -> Tensor:
    """Widen by 1x1, filter each channel by itself, attend, narrow by 1x1 (MobileNetV3)."""
    wide = expansion * x.shape[-1]
    y = normalised_conv(x, wide, recipe, kernel=1)
    y = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(y)
    y = layers.ReLU()(FusedBatchNormalization(momentum=recipe.model_norm_momentum)(y))
    y = attend(y, wide // 8)
    y = normalised_conv(y, filters, recipe, kernel=1, activation=None)
    return layers.Add()([x, y]) if x.shape == y.shape else y


def normalised_conv(
    x: Tensor,
    filters: int,
    recipe: Recipe,
    kernel: int = 3,
    strides: int = 1,
    activation: str | None = "relu",
) -> Tensor:
    """Convolve without bias, normalise, and apply ReLU unless told otherwise."""
    x = layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False)(x)
    x = FusedBatchNormalization(momentum=recipe.model_norm_momentum)(x)
    return layers.ReLU()(x) if activation == "relu" else x


def attend(x: Tensor, units: int) -> Tensor:
    """Weigh each channel by what all of the image says of it (squeeze-and-excitation)."""
    weight = layers.GlobalAveragePooling2D(keepdims=True)(x)  # (B, 1, 1, C)
    weight = layers.Conv2D(units, 1, activation="relu")(weight)
    weight = layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(weight)
    return layers.Multiply()([x, weight])


def scale(images: Tensor, recipe: Recipe) -> Tensor:
    """Normalise pixels 0..255 to mean .5, standard deviation .5: to -1..1."""
    if recipe.model_balance:
        images = FocusBalance(name="focus", dtype="float32")(images)
        images = StainBalance(name="balance", dtype="float32")(images)
    return layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(images)


def predict_proba(model: keras.Model, images: Pixels, temperature: float = 1.0) -> Probs:
    """Return a model's class probabilities: the Keras side of the seam.

    Args:
        model: One of MODELS, trained.
        images: uint8 (N, S, S, 3), RGB, 0..255.
        temperature: The logits are divided by it: above 1 for less confidence, labels unchanged.

    Returns:
        float32 (N, K), rows sum to 1.
    """
    (logits,) = predict_outputs(model, images)
    found: Probs = keras.ops.convert_to_numpy(keras.ops.softmax(logits / temperature))
    return found


def predict_outputs(model: keras.Model, images: Pixels) -> list[Floats]:
    """Return what a model with one or more outputs says of uint8 (N, S, S, 3), an array each.

    Not by model.predict: it traces a function for each network and batch size, and TensorFlow
    warns of that where several networks are judged in one process.
    """
    found = []
    for start in range(0, max(len(images), 1), PREDICT_BATCH):
        outputs = model(images[start : start + PREDICT_BATCH].astype(np.float32), training=False)
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        found.append([keras.ops.convert_to_numpy(output) for output in outputs])
    return [np.concatenate(batches) for batches in zip(*found, strict=True)]


def parameter_count(model: keras.Model) -> int:
    """Return the number of trainable parameters."""
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def multiply_adds(model: keras.Model) -> int:
    """Return the multiply-adds of one image's forward pass, convolutions and dense layers."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.Dense):
            places = int(np.prod(layer.output.shape[1:-1]))  # 1 for a dense layer
            total += places * int(np.prod(layer.kernel.shape))
    return total


MODELS = {
    "simple": build_simple,
    "deeper": build_deeper,
    "residual": build_residual,
    "tiny": build_tiny,
}
