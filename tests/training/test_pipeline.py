"""The input pipeline: every image once an epoch, and randomness from (seed, epoch, step) alone."""

import numpy as np
import pytest

from bloodkeras.data.splits import class_weights
from bloodkeras.recipe import override
from bloodkeras.recipes import RECIPES
from bloodkeras.training.pipeline import eval_dataset, steps_per_epoch, train_dataset

PLAIN = override(RECIPES["simple"], {"epochs": "3", "batch_size": "64"})
AUGMENTED = override(RECIPES["deeper"], {"epochs": "3", "batch_size": "64"})


def epochs(split, recipe, first_epoch=0):
    """Return the batches as numpy, a list an epoch."""
    batches = list(train_dataset(split, recipe, first_epoch).as_numpy_iterator())
    steps = steps_per_epoch(split, recipe)
    return [batches[start : start + steps] for start in range(0, len(batches), steps)]


def test_shapes_types_and_counts(drawn):
    first, *_, last = epochs(drawn.train, AUGMENTED)[0]
    images, labels, weights = first
    assert images.shape == (64, 28, 28, 3)
    assert images.dtype == np.float32
    assert labels.dtype == np.int64
    assert weights.dtype == np.float32
    assert len(last[0]) == 400 % 64


def test_every_image_comes_once_an_epoch_in_a_new_order(drawn):
    runs = epochs(drawn.train, PLAIN)
    assert len(runs) == 3
    seen = [np.concatenate([images for images, _ in batches]) for batches in runs]
    original = sorted(image.tobytes() for image in drawn.train.images.astype(np.float32))
    for images in seen:
        assert sorted(image.tobytes() for image in images) == original
    assert not np.array_equal(seen[0], seen[1])


def test_an_image_keeps_its_label_and_weight(drawn):
    weight = class_weights(drawn.train.labels)
    label = {
        image.tobytes(): label
        for image, label in zip(
            drawn.train.images.astype(np.float32), drawn.train.labels, strict=True
        )
    }
    recipe = override(PLAIN, {"class_weights": "true"})
    for images, labels, weights in epochs(drawn.train, recipe)[0]:
        assert [label[image.tobytes()] for image in images] == labels.tolist()
        assert weights == pytest.approx([weight[k] for k in labels.tolist()])


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(drawn):
    first, again = (epochs(drawn.train, AUGMENTED) for _ in range(2))
    other = epochs(drawn.train, override(AUGMENTED, {"seed": "1"}))
    for one, two in zip(first, again, strict=True):
        assert all(np.array_equal(a[0], b[0]) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(first[0][0][0], other[0][0][0])


def test_starting_at_a_later_epoch_continues_the_same_sequence(drawn):
    whole, resumed = epochs(drawn.train, AUGMENTED), epochs(drawn.train, AUGMENTED, first_epoch=2)
    assert len(resumed) == 1
    for one, two in zip(whole[2], resumed[0], strict=True):
        assert np.array_equal(one[0], two[0])
        assert np.array_equal(one[1], two[1])


def test_augmentation_changes_pixels_differently_for_each_image(drawn):
    recipe = override(PLAIN, {"rotation_degrees": "15"})
    plain, turned = epochs(drawn.train, PLAIN)[0][0][0], epochs(drawn.train, recipe)[0][0][0]
    changed = np.abs(plain - turned).mean((1, 2, 3))
    assert (changed > 0).mean() > 0.75  # nearest pixels: under two degrees nothing moves
    assert len(np.unique(changed)) > 48


def test_flips_mirror_about_half_of_the_images(drawn):
    recipe = override(PLAIN, {"flip": "true"})
    plain, flipped = epochs(drawn.train, PLAIN)[0], epochs(drawn.train, recipe)[0]
    before, after = (np.concatenate([b[0] for b in batches]) for batches in (plain, flipped))
    same = (before == after).all((1, 2, 3))
    mirrored = (before[:, :, ::-1] == after).all((1, 2, 3))
    assert (same | mirrored).all()
    assert 0.4 < mirrored.mean() < 0.6


def test_evaluation_keeps_the_order(drawn):
    batches = list(eval_dataset(drawn.val, batch_size=50).as_numpy_iterator())
    assert [len(labels) for _, labels in batches] == [50, 50, 20]
    assert np.array_equal(np.concatenate([images for images, _ in batches]), drawn.val.images)
    assert np.array_equal(np.concatenate([labels for _, labels in batches]), drawn.val.labels)
