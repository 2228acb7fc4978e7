"""The layers that make images alike: what they change, and what they leave alone."""

import keras
import numpy as np
import pytest
from PIL import Image, ImageFilter

from bloodkeras.bloodmnist import bloodmnist
from bloodkeras.contract import ONNX_OPSET
from bloodkeras.images.synthetic import draw_arrays
from bloodkeras.recipe import override
from bloodkeras.recipes import RECIPES
from bloodkeras.training.layers import MOST_SHARPENED, FocusBalance
from bloodkeras.training.models import build_model, predict_proba


@pytest.fixture
def images(drawn):
    return drawn.val.images[:40]


@pytest.fixture
def layer(drawn):
    found = FocusBalance()
    found.build((None, 28, 28, 3))
    found.adapt(drawn.train.images)
    return found


def blurred(images, deviation):
    blur = ImageFilter.GaussianBlur(deviation)
    return np.stack([np.asarray(Image.fromarray(image).filter(blur)) for image in images])


def balanced(layer, images, training=False):
    return np.asarray(layer(images.astype(np.float32), training=training))


def detail(images):
    return np.abs(np.diff(images.astype(float)[:, 7:21, 7:21], axis=1)).mean()


def test_what_is_blurred_becomes_nearly_as_sharp_as_the_training(layer, images):
    dull = blurred(images, 1.5)
    found = balanced(layer, dull)
    assert 1.1 * detail(dull) < detail(found) < detail(images)
    assert found.min() >= 0
    assert found.max() <= 255


def test_what_is_sharper_than_the_training_is_left_alone(layer, images):
    sharp = images + 0.0
    sharp[:, ::2] = np.clip(sharp[:, ::2] + 40, 0, 255)
    assert balanced(layer, sharp) == pytest.approx(sharp, abs=1e-3)


def test_in_training_nothing_is_sharpened(layer, images):
    dull = blurred(images, 2).astype(np.float32)
    assert np.array_equal(balanced(layer, dull, training=True), dull)


def test_an_empty_image_stays_empty_and_noise_is_not_made_much_of(layer):
    empty = np.full((2, 28, 28, 3), 230, np.uint8)
    assert balanced(layer, empty) == pytest.approx(empty.astype(float), abs=1e-3)
    speck = empty.copy()
    speck[:, 14, 14] = 220
    assert balanced(layer, speck).min() >= 220 - MOST_SHARPENED * 10


def test_a_network_that_balances_knows_how_sharp_its_training_was(drawn, tmp_path):
    recipe = override(RECIPES["residual"], {"balance": "true", "width": "0.25"})
    told = build_model(recipe, images=drawn.train.images)
    untold = build_model(recipe)
    assert float(untold.get_layer("focus").weights[0]) == 0
    assert 0.05 < float(told.get_layer("focus").weights[0]) < 0.9
    told.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    dull = blurred(drawn.val.images[:8], 1)
    assert np.array_equal(predict_proba(told, dull), predict_proba(again, dull))
    assert np.abs(predict_proba(told, dull) - predict_proba(untold, dull)).max() > 1e-4


@pytest.mark.parametrize("side", [28, 64])
def test_onnxruntime_sharpens_alike_at_any_batch_size(drawn, side):
    import onnxruntime
    import tensorflow as tf
    import tf2onnx

    images = draw_arrays({"train": 8, "val": 8, "test": 8}, dataset=bloodmnist(side))["test_images"]
    dull = blurred(images, side / 28)
    layer = FocusBalance()
    layer.build((None, side, side, 3))
    layer.adapt(images)
    shape = [tf.TensorSpec((None, side, side, 3), tf.float32, name="images")]
    graph, _ = tf2onnx.convert.from_function(
        tf.function(lambda images: layer(images, training=False), input_signature=shape),
        input_signature=shape,
        opset=ONNX_OPSET,
    )
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    expected = balanced(layer, dull)
    assert np.abs(expected - dull).max() > 10
    for count in (0, 1, 5, 8):
        (found,) = session.run(None, {"images": dull[:count].astype(np.float32)})
        assert found == pytest.approx(expected[:count], abs=0.01)
