"""Another laboratory's stain, light, optics and camera: what each layer does to images."""

import numpy as np
import pytest

from bloodkeras.export.calibration import fit_calibration
from bloodkeras.export.ood_score import score_images, with_features
from bloodkeras.recipe import override
from bloodkeras.recipes import RECIPES
from bloodkeras.training.augment import build_augmentation
from bloodkeras.training.models import build_model
from bloodkeras.training.pipeline import StepSeed, as_elsewhere, augment, train_dataset
from bloodkeras.training.stain import (
    RandomFieldOfView,
    RandomFocus,
    RandomNoise,
    RandomStain,
    RandomSurroundings,
    Sometimes,
)

SILENT = [
    RandomStain(),
    RandomFieldOfView(0.0),
    RandomSurroundings(0.0),
    RandomFocus(0.0),
    RandomNoise(0.0),
]
LOUD = [
    RandomStain(strength=0.4),
    RandomStain(mix=0.4),
    RandomStain(swap=0.9),
    RandomStain(curve=0.5),
    RandomStain(tint=0.6),
    RandomFieldOfView(0.4),
    RandomFocus(0.8),
    RandomNoise(8.0),
]


@pytest.fixture
def images(drawn):
    return drawn.train.images[:64].astype(np.float32)


def changed(images, layers, step=0):
    labels = np.arange(len(images))
    found, answers = augment(images, labels, layers, StepSeed(42, 0, step))
    assert np.array_equal(answers, labels)
    return np.asarray(found)


def kind(layer):
    return type(layer).__name__


def density(images):
    return np.log(256 / (images + 1))


@pytest.mark.parametrize("layer", SILENT, ids=lambda layer: type(layer).__name__)
def test_strength_nought_changes_nothing(images, layer):
    # Where a pixel is lighter than the background's block, all of it counts: nothing is cut off.
    assert changed(images, [layer]) == pytest.approx(images, abs=0.1)


@pytest.mark.parametrize("layer", LOUD)
def test_images_change_within_their_range_by_the_seed_alone(images, layer):
    found = changed(images, [layer])
    assert found.shape == images.shape
    assert found.dtype == np.float32
    assert (np.abs(found - images).max((1, 2, 3)) > 1).mean() > 0.6
    assert found.min() >= 0
    assert found.max() <= 255
    assert np.array_equal(found, changed(images, [layer]))
    assert not np.array_equal(found, changed(images, [layer], step=1))


def test_grey_images_have_no_colour_but_that_of_the_light(images):
    found = density(changed(images, [RandomStain(grey=0.999999)]))
    light = density(images).reshape(64, 7, 4, 7, 4, 3).mean((2, 4)).min((1, 2))
    above = found - light[:, None, None]
    seen = found.max(-1) < density(0) - 0.1  # neither black nor, below, white: not cut off
    seen &= found.min(-1) > density(255) + 0.01
    assert np.ptp(above, axis=-1)[seen].max() < 0.02


def test_swapped_channels_are_the_same_channels_in_another_order(images):
    """Densities above a background that is the same in all channels: a white one."""
    white = images.copy()
    white[:, :8, :8] = 255
    found = np.sort(changed(white, [RandomStain(swap=0.999999)]).reshape(64, -1, 3).mean(1))
    assert found == pytest.approx(np.sort(white.reshape(64, -1, 3).mean(1)), abs=0.2)


def test_the_tint_is_the_background_of_the_image(images):
    found = density(changed(images, [RandomStain(tint=0.6)]))
    background = found.reshape(64, 7, 4, 7, 4, 3).mean((2, 4)).min((1, 2))
    assert background.min() >= -0.01
    assert background.max() <= 0.61
    assert background.std(0).min() > 0.1  # 0.17 if every density is as likely


def test_the_field_of_view_is_as_wide_as_asked():
    """A ramp stays a ramp about the centre: its slope is the factor."""
    ramp = np.broadcast_to(
        np.arange(28, dtype=np.float32)[None, None, :, None] * 9, (500, 28, 28, 3)
    )
    found = changed(ramp, [RandomFieldOfView(0.4)])
    slopes = (found[:, 14, 17, 0] - found[:, 14, 10, 0]) / 63
    assert found[:, 14, 13:15, 0].mean(1) == pytest.approx(np.full(500, 13.5 * 9), abs=0.01)
    assert 1 / 1.4 - 0.001 <= slopes.min() < 0.73
    assert 1.38 < slopes.max() <= 1.401
    assert (slopes < 1).mean() == pytest.approx(0.5, abs=0.1)


def test_focus_blurs_half_of_the_images_and_sharpens_the_others(images):
    detail = np.abs(np.diff(changed(images, [RandomFocus(0.8)]), axis=1)).mean((1, 2, 3))
    before = np.abs(np.diff(images, axis=1)).mean((1, 2, 3))
    assert (detail < before).mean() == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("side", [28, 64, 224])
def test_a_blur_is_as_wide_on_the_cell_at_any_size_and_leaves_nothing_finer(side):
    """A step becomes a slope as steep as the Gaussian's middle; a fine grating is gone."""
    step = np.zeros((600, side, side, 3), np.float32)
    step[:, :, side // 2 :] = 200
    found = changed(step, [RandomFocus(1.0)])
    slope = np.diff(found[:, side // 2, :, 0], axis=1).max(1) * side / 28  # a pixel of 28
    blurred = slope < 0.9 * 200 * side / 28
    narrowest = 200 / np.sqrt(2 * np.pi)  # deviation 1, the widest blur there is
    assert slope.min() == pytest.approx(narrowest, rel=0.1)
    assert blurred.mean() > 0.2
    grating = np.zeros((600, side, side, 3), np.float32)
    grating[:, ::2] = grating[:, :, ::2] = 200
    left = changed(grating, [RandomFocus(1.0)])[:, side // 4 : -side // 4, side // 4 : -side // 4]
    assert left.std((1, 2, 3)).min() < 3


def test_other_laboratories_differ_where_views_repeat(drawn):
    """And the teachers, who are shown neither, still see the student's turns and shifts."""
    words = {"views": "1", "epochs": "2", "batch_size": "16", "class_weights": "false"}
    recipe = override(RECIPES["robust"], words | {"mixup": "0", "label_smoothing": "0"})
    batches = list(train_dataset(drawn.train, recipe).as_numpy_iterator())
    first, again = batches[0], batches[len(batches) // 2]
    assert np.array_equal(first[1], again[1])  # the same cells
    alike = (np.abs(first[0] - again[0]) < 1e-3).all((1, 2, 3))
    assert 0 < alike.mean() < 0.7  # a quarter is left alone both times
    layers = list(map(kind, build_augmentation(recipe, teacher=True)))
    assert layers == [n for n in map(kind, build_augmentation(recipe)) if n != "Sometimes"]


def test_surroundings_are_emptied_and_the_cell_is_left_alone(images):
    found = changed(np.tile(images, (4, 1, 1, 1)), [RandomSurroundings(0.5)])
    emptied = np.ptp(found[:, [0, 0, -1, -1], [0, -1, 0, -1]], axis=1).max(-1) == 0
    assert emptied.mean() == pytest.approx(0.5, abs=0.1)
    middle = np.abs(found - np.tile(images, (4, 1, 1, 1)))[:, 9:19, 9:19]
    assert middle.max() < 0.01


def test_a_share_is_kept_as_it_is(images):
    many = np.tile(images, (8, 1, 1, 1))
    found = changed(many, [Sometimes([RandomStain(tint=0.6), RandomNoise(5.0)], kept=0.25)])
    same = (found == many).all((1, 2, 3))
    assert same.mean() == pytest.approx(0.25, abs=0.08)
    assert np.abs(found - many).mean((1, 2, 3))[~same].min() > 1


def test_the_recipe_names_what_is_built(images):
    inner = ["RandomFieldOfView", "RandomSurroundings", "RandomStain", "RandomFocus", "RandomNoise"]
    sometimes = build_augmentation(RECIPES["robust"])[1]
    assert [type(layer).__name__ for layer in sometimes.layers] == inner
    (only,) = build_augmentation(override(RECIPES["simple"], {"stain_tint": "0.3"}))
    assert [type(layer).__name__ for layer in only.layers] == ["RandomStain"]
    white = density(changed(images, [only])).reshape(64, 7, 4, 7, 4, 3).mean((2, 4)).min((1, 2))
    assert 0.2 < white.max() <= 0.31


def test_cells_are_shown_as_elsewhere_only_to_a_recipe_that_trains_for_that(drawn):
    assert as_elsewhere(drawn.val, RECIPES["residual"]) is drawn.val
    shown = as_elsewhere(drawn.val, RECIPES["robust"], batch_size=32)
    assert shown.images.dtype == np.uint8
    assert np.array_equal(shown.labels, drawn.val.labels)
    alike = (shown.images == drawn.val.images).all((1, 2, 3))
    assert 0.3 < alike.mean() < 0.7  # `augment_kept` of the recipe
    again = as_elsewhere(drawn.val, RECIPES["robust"], batch_size=32)
    assert np.array_equal(shown.images, again.images)


def test_another_stain_is_not_foreign_to_a_network_trained_for_it(drawn):
    network = build_model(override(RECIPES["robust"], {"width": "0.25"}))
    stained = np.flip(drawn.val.images, -1)  # red and blue change places
    acceptance, asked = [], with_features(network)
    for recipe in (RECIPES["residual"], RECIPES["robust"]):
        statistics = fit_calibration(network, drawn, recipe).statistics
        own, theirs = (
            score_images(asked, statistics, images)["feature distance"]
            for images in (drawn.val.images, stained)
        )
        acceptance.append((theirs <= np.quantile(own, 0.95)).mean())
    assert acceptance[0] + 0.2 < acceptance[1]
