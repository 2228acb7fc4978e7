"""Muon for convolutions: a kernel's step is an orthogonal matrix, whatever the gradient."""

import keras
import numpy as np
import pytest

from bloodkeras.training.optimizers import ConvMuon


@pytest.fixture
def layer():
    layer = keras.layers.Conv2D(8, 3, name="conv")
    layer.build((None, 7, 7, 4))
    return layer


def step_of(layer, optimizer, gradient):
    """Return how far one step of the optimiser moves the kernel."""
    before = layer.kernel.numpy()
    optimizer.build(layer.trainable_variables)
    optimizer.apply([gradient, np.ones(8, np.float32)])
    return layer.kernel.numpy() - before


def test_a_kernels_step_has_equal_singular_values(layer):
    gradient = np.random.default_rng(0).normal(size=(3, 3, 4, 8)).astype(np.float32)
    gradient[..., 0] *= 100  # one filter's gradient dwarfs the others'
    step = step_of(layer, ConvMuon(0.01, weight_decay=None), gradient).reshape(36, 8)
    values = np.linalg.svd(step, compute_uv=False)
    expected = 0.01 * 0.2 * np.sqrt(36)  # rate x rms_rate x root of the longer side
    assert values == pytest.approx(np.full(8, expected), rel=0.4)  # five Newton-Schulz steps
    given = np.linalg.svd(gradient.reshape(36, 8), compute_uv=False)
    assert given.max() / given.min() > 50


def test_the_step_goes_down_the_gradient(layer):
    gradient = np.random.default_rng(1).normal(size=(3, 3, 4, 8)).astype(np.float32)
    assert (step_of(layer, ConvMuon(0.01), gradient) * gradient).sum() < 0


def test_biases_and_depthwise_kernels_are_left_to_adamw():
    optimizer = ConvMuon(0.01, exclude_layers=["logits"])
    depthwise = keras.layers.DepthwiseConv2D(3)
    depthwise.build((None, 7, 7, 4))
    logits = keras.layers.Dense(8, name="logits")
    logits.build((None, 4))
    for variable in (*depthwise.trainable_variables, *logits.trainable_variables):
        assert optimizer._should_use_adamw(variable), variable.path


def test_it_is_saved_and_read_back():
    optimizer = ConvMuon(0.01, weight_decay=0.1)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, ConvMuon)
    assert again.weight_decay == 0.1
