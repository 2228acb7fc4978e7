"""Training: optimiser and schedule are the recipe's, averaged weights and precisions work."""

import keras
import numpy as np
import pytest

from bloodkeras.recipe import override
from bloodkeras.recipes import RECIPES
from bloodkeras.training.models import build_model, predict_proba
from bloodkeras.training.run_folder import in_float32, load_run
from bloodkeras.training.train import build_optimizer, train

SHORT = {"epochs": "2", "batch_size": "50"}


def rates(recipe, steps):
    """Return the learning rate at each step of the training."""
    optimizer = build_optimizer(recipe, steps)
    found = []
    for step in range(steps * recipe.train_epochs + 1):
        optimizer.iterations.assign(step)
        found.append(float(optimizer.learning_rate))
    return np.array(found)


def test_the_rate_of_the_reference_configuration_is_constant():
    assert rates(override(RECIPES["simple"], SHORT), 5) == pytest.approx(1e-3)


def test_the_cosine_warms_up_and_falls_to_nothing():
    recipe = override(RECIPES["simple"], {"epochs": "4", "schedule": "cosine", "warmup": "0.25"})
    found = rates(recipe, 10)
    assert found[0] == 0
    assert found.argmax() == 10
    assert found.max() == pytest.approx(1e-3)
    assert (np.diff(found[:11]) > 0).all()
    assert (np.diff(found[10:]) < 0).all()
    assert found[-1] == pytest.approx(0, abs=1e-9)


def test_weight_decay_spares_biases_and_normalisation():
    recipe = override(RECIPES["deeper"], {"optimizer": "adamw", "weight_decay": "0.1"})
    model, optimizer = build_model(recipe), build_optimizer(recipe, 5)
    optimizer.build(model.trainable_variables)
    decayed = {v.name for v in model.trainable_variables if optimizer._use_weight_decay(v)}
    assert decayed == {"kernel"}


def test_averaged_weights_are_the_ones_that_are_kept(drawn, tmp_path):
    """With a momentum of nearly one the average stays where the first step of Adam led.

    That step moves every weight by the learning rate, whatever the gradient.
    """
    settings = SHORT | {"learning_rate": "0.01"}
    start = build_model(override(RECIPES["simple"], settings)).get_weights()[0]

    def moved(name, **more):
        recipe = override(RECIPES["simple"], settings | more)
        run = load_run(train(recipe, drawn, tmp_path / name))
        return np.abs(run.model.get_weights()[0] - start).mean()

    assert moved("averaged", ema="0.9999") == pytest.approx(0.01, rel=0.02)
    assert moved("plain") > 0.02


def test_bfloat16_trains_and_is_used_in_float32(drawn, tmp_path):
    narrow = {"precision": "mixed_bfloat16", "width": "0.25", "epochs": "1"}
    recipe = override(RECIPES["deeper"], SHORT | narrow)
    run = load_run(train(recipe, drawn, tmp_path / "run"))
    saved = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    assert saved.layers[2].compute_dtype == "bfloat16"
    assert {layer.compute_dtype for layer in run.model.layers} == {"float32"}
    for one, two in zip(saved.get_weights(), run.model.get_weights(), strict=True):
        assert np.array_equal(one, two)
    assert {weight.dtype for weight in run.model.weights} == {"float32"}


def test_the_float32_copy_answers_as_the_original(drawn):
    model = build_model(override(RECIPES["tiny"], {"precision": "mixed_bfloat16"}))
    images = drawn.test.images[:8]
    plain = build_model(override(RECIPES["tiny"], {"precision": "float32"}))
    plain.set_weights(model.get_weights())
    assert np.array_equal(predict_proba(in_float32(model), images), predict_proba(plain, images))
    assert np.abs(predict_proba(model, images) - predict_proba(plain, images)).max() < 0.02
