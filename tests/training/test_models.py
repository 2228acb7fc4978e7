"""The networks: parameter counts to the digit, raw pixels in, logits out."""

import keras
import numpy as np
import pytest

from bloodkeras.bloodmnist import bloodmnist
from bloodkeras.images.synthetic import draw_arrays
from bloodkeras.recipe import override
from bloodkeras.recipes import RECIPES
from bloodkeras.training.layers import FusedBatchNormalization, StainBalance
from bloodkeras.training.models import (
    MODELS,
    build_model,
    multiply_adds,
    parameter_count,
    predict_proba,
    scale,
)


def test_every_model_has_a_recipe():
    assert set(MODELS) == {recipe.model_architecture for recipe in RECIPES.values()}


@pytest.mark.parametrize(("name", "count"), [("simple", 102_024), ("deeper", 313_192)])
def test_parameter_counts(name, count):
    assert parameter_count(build_model(RECIPES[name])) == count


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds_allowed"),
    [("residual", 1_000_000, 100_000_000), ("tiny", 100_000, 3_000_000)],
)
def test_budgets(name, parameters, multiply_adds_allowed):
    model = build_model(RECIPES[name])
    assert parameter_count(model) <= parameters
    assert multiply_adds(model) <= multiply_adds_allowed


@pytest.mark.parametrize("side", [64, 128, 224])
def test_budgets_of_larger_images(side):
    """The stem halves them, so that they cost little more than 28 pixels do."""
    model = build_model(RECIPES["residual"], bloodmnist(side))
    assert model.input_shape == (None, side, side, 3)
    assert parameter_count(model) <= 1_000_000
    assert multiply_adds(model) <= 150_000_000


def test_multiply_adds_by_hand():
    # conv 3->32 at 28x28, 32->64 at 14x14, 64->128 at 7x7, dense 128->64->8
    expected = 9 * (3 * 32 * 28**2 + 32 * 64 * 14**2 + 64 * 128 * 7**2) + 128 * 64 + 64 * 8
    assert multiply_adds(build_model(RECIPES["simple"])) == expected


def test_scaling_is_mean_half_deviation_half():
    images = keras.Input((28, 28, 3))
    model = keras.Model(images, scale(images, RECIPES["simple"]))
    pixels = np.array([0, 127.5, 255], np.float32) * np.ones((1, 28, 28, 3), np.float32)
    expected = (pixels / 255 - 0.5) / 0.5
    assert np.allclose(model.predict(pixels, verbose=0), expected, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_probabilities(name, drawn):
    model = build_model(RECIPES[name])
    probs = predict_proba(model, drawn.test.images[:5])
    assert probs.shape == (5, 8)
    assert probs.dtype == np.float32
    assert np.allclose(probs.sum(1), 1, atol=1e-6)


def test_the_seed_decides_the_weights():
    first, same = (build_model(RECIPES["deeper"]).get_weights() for _ in range(2))
    other = build_model(override(RECIPES["deeper"], {"seed": "1"})).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("training", [True, False])
def test_fused_normalisation_answers_as_keras_does(training):
    rng = np.random.default_rng(0)
    images = rng.normal(3, 2, (16, 7, 7, 5)).astype(np.float32)
    layers = FusedBatchNormalization(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)
    for layer in layers:
        layer.build(images.shape)
        layer.gamma.assign([1, 2, 3, 4, 5])
        layer.beta.assign([5, 4, 3, 2, 1])
    fused, plain = (np.asarray(layer(images, training=training)) for layer in layers)
    assert np.allclose(fused, plain, atol=1e-4)
    assert np.allclose(layers[0].moving_mean, layers[1].moving_mean, atol=1e-5)
    unbiased = 16 * 49 / (16 * 49 - 1)
    variance = 0.9 + 0.1 * images.var((0, 1, 2)) * unbiased if training else np.ones(5)
    assert np.allclose(layers[0].moving_variance, variance, atol=1e-4)


def test_a_saved_model_finds_its_layers_again(tmp_path, drawn):
    model = build_model(RECIPES["deeper"])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    images = drawn.test.images[:4]
    assert np.array_equal(predict_proba(model, images), predict_proba(again, images))


@pytest.mark.parametrize("side", [28, 64])
def test_balance_shows_one_light_and_one_stain(side):
    """A coloured lamp and twice the dye, each channel by its own, change next to nothing."""
    cells = draw_arrays({"test": 24}, dataset=bloodmnist(side))["test_images"].astype(np.float32)
    balance = StainBalance()
    shown = balance(cells).numpy()
    assert shown.min() > -0.01
    assert shown.max() < 255.01
    assert np.percentile(shown, 95) > 240  # the background
    assert np.percentile(shown, 5) < 200
    lamp = np.array([0.6, 0.8, 0.95], np.float32)
    assert np.abs(balance(np.rint(cells * lamp)).numpy() - shown).mean() < 2
    white = cells.max(axis=(1, 2), keepdims=True)
    dye = np.array([0.6, 0.8, 1.3], np.float32)
    stained = white * (cells.clip(1) / white) ** dye
    assert np.abs(cells - stained).mean() > 8
    assert np.abs(balance(stained).numpy() - shown).mean() < 4


def test_balance_divides_nothing_by_nothing():
    for level in (0, 7, 128, 255):
        shown = StainBalance()(np.full((2, 28, 28, 3), level, np.float32)).numpy()
        assert np.isfinite(shown).all()
        assert shown.std() < 1e-3


@pytest.mark.parametrize("name", ["tiny", "residual"])
def test_a_balanced_network_answers_alike_in_another_light(name):
    recipe = override(RECIPES[name], {"balance": "true", "precision": "float32"})
    model = build_model(recipe)
    cells = draw_arrays({"test": 16})["test_images"]
    dark = np.rint(cells * np.array([0.7, 0.6, 0.8])).astype(np.uint8)
    answers, again = (predict_proba(model, images) for images in (cells, dark))
    assert np.abs(answers - again).max() < 0.02
