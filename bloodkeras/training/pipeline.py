"""Feeds splits to Keras as tf.data, with randomness that depends on seed, epoch and step alone.

Flow: takes a `Split` and a recipe; gives a tf.data.Dataset of (images, labels[, weights]).
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from bloodkeras.data.splits import Split, class_weights
from bloodkeras.named_types import Array, Floats, Labels, Pixels
from bloodkeras.recipe import Recipe
from bloodkeras.training.augment import build_augmentation, build_other_laboratory
from bloodkeras.training.stain import Sometimes

CALLS = 1000  # more than the layers of one batch make
Taught = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]  # view, step, rows -> (B, K)


class StepSeed(keras.random.SeedGenerator):
    """Hands a Keras random layer seeds that are a pure function of (seed, epoch, step).

    Keras' own generator counts its calls in a variable, which a parallel `map` reads in no fixed
    order and a resumed run would start over. This one holds no variable: the n-th seed it gives
    is derived from where in the training the batch stands.
    """

    def __init__(self, seed: int, epoch: tf.Tensor, step: tf.Tensor, sequence: int = 0) -> None:
        # The parent's constructor would create the variable; nothing else of it is needed.
        self._key = tf.random.experimental.stateless_fold_in(_key(seed, epoch), step)
        self._calls = sequence * CALLS

    def next(self, ordered: bool = True) -> tf.Tensor:
        """Return the next seed, int32 (2,)."""
        self._calls += 1
        return tf.random.experimental.stateless_fold_in(self._key, self._calls)


def steps_per_epoch(split: Split, recipe: Recipe) -> int:
    """Return how many batches an epoch has; the last may be smaller."""
    return -(-len(split) // recipe.train_batch_size)


def batch_rows(split: Split, recipe: Recipe, epoch: int, step: int) -> Labels:
    """Return the rows of the split in one batch of the training, int32 (B,).

    Args:
        split: The training split.
        recipe: Every setting.
        epoch: From 0.
        step: Within the epoch, from 0.
    """
    first = step * recipe.train_batch_size
    shuffled: Labels = _shuffled(split, recipe, _view(recipe, epoch)).numpy()
    return shuffled[first : first + recipe.train_batch_size]


def train_dataset(
    split: Split, recipe: Recipe, first_epoch: int = 0, taught: Taught | None = None
) -> tf.data.Dataset:
    """Return the batches of all epochs from `first_epoch` on, one epoch after the other.

    Give `model.fit` `steps_per_epoch` with it. Order: shuffle rows, batch, gather, augment,
    prefetch. The images stay uint8 in memory (28 MB at 28 pixels); gathering a batch from there is
    cheaper than a shuffle buffer of images.

    Args:
        split: The training split.
        recipe: Every setting.
        first_epoch: From 0.
        taught: What teachers say of a batch, of which the recipe's share goes into the labels.

    Returns:
        float32 (B, S, S, 3) 0..255, labels int64 (B,) or soft ones float32 (B, K), and float32
        (B,) sample weights when the recipe asks for class weights.
    """
    images, labels = tf.constant(split.images), tf.constant(_labels(split, recipe.soft_labels))
    weights = tf.constant(_row_weights(split, recipe))
    layers = build_augmentation(recipe)

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        shuffled = _shuffled(split, recipe, _view(recipe, epoch))
        batches = tf.data.Dataset.from_tensor_slices(shuffled).batch(recipe.train_batch_size)
        return batches.enumerate().map(lambda step, batch: (epoch, step, batch))

    def load(epoch: tf.Tensor, step: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
        pixels = tf.cast(tf.gather(images, batch), tf.float32)
        view = _view(recipe, epoch)
        # Where views repeat, a cell is still shown as ever other laboratories': its teachers,
        # whose answers are kept, see it as its own laboratory's.
        seeds = StepSeed(recipe.train_seed, view, step)
        others = StepSeed(recipe.train_seed, epoch, step, sequence=1)
        pixels, answers = augment(pixels, tf.gather(labels, batch), layers, seeds, others)
        if taught is not None:
            share = recipe.train_teacher_share
            answers = share * taught(view, step, batch) + (1 - share) * answers
        sample = (pixels, answers)
        return (*sample, tf.gather(weights, batch)) if recipe.train_class_weights else sample

    epochs = tf.data.Dataset.range(first_epoch, recipe.train_epochs)
    dataset = epochs.flat_map(epoch_batches).map(load, num_parallel_calls=1)
    return dataset.prefetch(4).with_options(_options())


def eval_dataset(split: Split, soft_labels: bool = False, batch_size: int = 256) -> tf.data.Dataset:
    """Return the split in its own order: float32 (B, S, S, 3) 0..255, and labels.

    Args:
        split: The images.
        soft_labels: Whether labels are float32 (B, K) instead of int64 (B,).
        batch_size: Images a batch.
    """
    rows = (split.images, _labels(split, soft_labels))
    dataset = tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)
    dataset = dataset.map(lambda images, labels: (tf.cast(images, tf.float32), labels))
    return dataset.prefetch(2).with_options(_options())


def as_elsewhere(split: Split, recipe: Recipe, batch_size: int = 256) -> Split:
    """Return the split as other laboratories might show it, the way the recipe trains for that.

    Args:
        split: The images.
        recipe: Says what differs between laboratories, and which share of the images stays as is.
        batch_size: Images changed at a time.

    Returns:
        The same cells in the same order; the split itself if the recipe trains for none.
    """
    layer = build_other_laboratory(recipe)
    if layer is None:
        return split
    found = []
    for step, start in enumerate(range(0, len(split), batch_size)):
        rows = slice(start, start + batch_size)
        pixels = tf.cast(split.images[rows], tf.float32)
        seeds = StepSeed(recipe.train_seed, tf.constant(0), tf.constant(step))
        found.append(augment(pixels, split.labels[rows], [layer], seeds)[0].numpy())
    images = np.rint(np.concatenate(found)).astype(np.uint8)
    return dataclasses.replace(split, images=images)


def augmented_views(images: Pixels, recipe: Recipe, views: int = 8) -> Floats:
    """Return float32 (views, N, S, S, 3): each of uint8 (N, S, S, 3) augmented some times.

    But for the blending of images: the rows of a figure are to show one cell each.
    """
    unmixed = dataclasses.replace(recipe, augment_mixup=0.0, augment_cutmix=0.0)
    layers, pixels = build_augmentation(unmixed), images.astype(np.float32)
    seeds = (StepSeed(recipe.train_seed, 0, view) for view in range(views))
    labels = np.zeros(len(images), np.int64)
    return np.stack([augment(pixels, labels, layers, seed)[0] for seed in seeds])


def augment(
    images: tf.Tensor,
    labels: tf.Tensor,
    layers: list[keras.layers.Layer],
    seeds: keras.random.SeedGenerator,
    others: keras.random.SeedGenerator | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Apply augmentation layers one after the other.

    Args:
        images: float32 (B, S, S, 3), 0..255.
        labels: int (B,), or soft ones float32 (B, K), which layers that mix images need.
        layers: What `build_augmentation` returned.
        seeds: Where each layer's random numbers come from.
        others: Where those of other laboratories' stain and optics come from; None: `seeds` too.

    Returns:
        Images and labels, of the shapes given.
    """
    shape = images.shape  # which Keras' own layers forget: the next one may need it
    for layer in layers:
        sample = {"images": images, "labels": labels}
        seed = others if others and isinstance(layer, Sometimes) else seeds
        transformation = layer.get_random_transformation(sample, training=True, seed=seed)
        images = layer.transform_images(images, transformation, training=True)
        images.set_shape(shape)
        labels = layer.transform_labels(labels, transformation, training=True)
    return images, labels


def _options() -> tf.data.Options:
    """Return options without autotuning, which has nothing to tune here.

    Its thread sleeps 10, 20, 40 ... ms between looks, and an iterator waits for it when it is
    freed: with it, `fit` returned up to 7 s after its last step. An operation of the pipeline
    keeps to one thread, because a convolution waits for the slower of its two: 7 % of an epoch.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.max_intra_op_parallelism = 1
    return options


def _view(recipe: Recipe, epoch: int) -> int:
    """Return the epoch that an epoch repeats: itself, unless the recipe has only so many views."""
    return epoch % recipe.train_views if recipe.train_views else epoch


def _shuffled(split: Split, recipe: Recipe, epoch: tf.Tensor) -> tf.Tensor:
    """Return all rows in the order of an epoch, int32 (N,)."""
    rows = np.arange(len(split), dtype=np.int32)
    return tf.random.experimental.stateless_shuffle(rows, _key(recipe.train_seed, epoch))


def _key(seed: int, epoch: tf.Tensor) -> tf.Tensor:
    return tf.stack([tf.constant(seed, tf.int32), tf.cast(epoch, tf.int32)])


def _labels(split: Split, soft: bool) -> Array:
    """Return int64 (N,), or float32 (N, K)."""
    return (
        np.eye(split.dataset.class_count, dtype=np.float32)[split.labels] if soft else split.labels
    )


def _row_weights(split: Split, recipe: Recipe) -> Floats:
    """Return float32 (N,): each row's class weight, or ones."""
    if not recipe.train_class_weights:
        return np.ones(len(split), np.float32)
    by_class = class_weights(split.labels, split.dataset.class_count)
    return np.array([by_class[label] for label in split.labels.tolist()], np.float32)
