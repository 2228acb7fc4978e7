"""Augmentation: what each recipe field does to images and labels."""

from dataclasses import fields, replace

import numpy as np
import pytest

from bloodkeras.recipe import Recipe, override
from bloodkeras.recipes import RECIPES
from bloodkeras.training.augment import RandomTurn, build_augmentation
from bloodkeras.training.pipeline import StepSeed, augment

PLAIN = RECIPES["simple"]


@pytest.fixture
def images(drawn):
    return drawn.train.images[:64].astype(np.float32)


def augmented(images, labels=None, **settings):
    """Return (images, labels) after the layers that the settings ask for."""
    layers = build_augmentation(override(PLAIN, settings))
    labels = np.zeros(len(images), np.int64) if labels is None else labels
    found = augment(images, labels, layers, StepSeed(42, 0, 0))
    return [np.asarray(value) for value in found]


def test_the_baseline_has_none():
    assert build_augmentation(PLAIN) == []


TOGETHER = {"augment_kept", "augment_rotation_interpolation"}  # they say how others act
ALONE = [f.name for f in fields(Recipe) if f.name.startswith("augment_")]


@pytest.mark.parametrize("name", [name for name in ALONE if name not in TOGETHER])
def test_every_field_makes_a_layer(name):
    """Otherwise it would be taken, written into the run, and do nothing."""
    kind = type(getattr(RECIPES["simple"], name))
    assert build_augmentation(replace(RECIPES["simple"], **{name: kind(0.3) or True}))


def test_turns_are_the_eight_flips_and_quarter_turns(images):
    image = images[:1]
    eight = {
        np.rot90(view, turns, (1, 2)).tobytes()
        for view in (image, image[:, :, ::-1])
        for turns in range(4)
    }
    layer = RandomTurn()
    turned, _ = augment(np.repeat(image, 200, 0), np.zeros(200), [layer], StepSeed(1, 0, 0))
    assert {np.asarray(view).tobytes() for view in turned} == eight


def test_shifts_move_by_whole_pixels(images):
    moved, _ = augmented(images, shift_pixels="2")
    for before, after in zip(images, moved, strict=True):
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)), "symmetric")
        places = [padded[y : y + 28, x : x + 28] for y in range(5) for x in range(5)]
        assert any(np.array_equal(after, place) for place in places)


@pytest.mark.parametrize("name", ["brightness", "contrast", "scale"])
def test_photometry_and_scale_change_every_image_and_keep_the_range(images, name):
    changed, _ = augmented(images, **{name: "0.2"})
    assert changed.shape == images.shape
    assert (np.abs(changed - images).max((1, 2, 3)) > 0).mean() > 0.9
    assert changed.min() >= 0
    assert changed.max() <= 255


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_mixes_labels_as_it_mixes_images(images, drawn, name):
    """Images of one grey level a class: the label's shares must give the mean grey level."""
    labels = np.eye(8, dtype=np.float32)[drawn.train.labels[:64]]
    levels = np.arange(8) * 30.0
    flat = np.ones_like(images) * (labels @ levels)[:, None, None, None].astype(np.float32)
    mixed, shares = augmented(flat, labels, **{name: "0.9"})
    assert shares.sum(1) == pytest.approx(1, abs=1e-5)
    # Keras' CutMix counts the box before it is rounded: up to a row and a column more.
    assert mixed.mean((1, 2, 3)) == pytest.approx(shares @ levels, abs=210 / 28 * 2)
    assert (shares.max(1) < 0.99).any()
