"""Classes that were never shown: left out everywhere, judged, and not trained twice."""

import dataclasses
import json

import numpy as np
import pytest

from bloodkeras.bloodmnist import BLOODMNIST, CLASS_NAMES
from bloodkeras.data.splits import class_weights, read_npz
from bloodkeras.images.synthetic import draw_arrays
from bloodkeras.recipe import override
from bloodkeras.recipes import RECIPES
from bloodkeras.studies import held_out as module


def test_a_class_is_left_out_everywhere(drawn):
    known = module.without(drawn, 3)
    for name, split in known.named().items():
        assert set(split.labels) == set(range(8)) - {3}
        whole = drawn.named()[name]
        assert np.array_equal(split.images, whole.images[whole.labels != 3])


def test_weights_of_the_classes_there_are_average_to_one(drawn):
    labels = drawn.train.labels[drawn.train.labels != 3]
    weights = class_weights(labels)
    assert np.mean([weights[k] for k in labels.tolist()]) == pytest.approx(1)


@pytest.mark.slow
def test_each_class_is_left_out_once(tmp_path, monkeypatch, capsys):
    recipe = override(RECIPES["simple"], {"epochs": "1", "batch_size": "100"})
    three = dataclasses.replace(BLOODMNIST, class_names=CLASS_NAMES[:3])
    arrays = draw_arrays({"train": 150, "val": 50, "test": 50}, dataset=three)
    np.savez(tmp_path / "three.npz", class_names=three.class_names, **arrays)
    drawn = read_npz(tmp_path / "three.npz")
    text = module.held_out(recipe, drawn, tmp_path)
    results = json.loads((tmp_path / "held_out.json").read_text(encoding="utf-8"))
    assert list(results["classes"]) == list(CLASS_NAMES[:3])
    for found in results["classes"].values():
        assert found["auroc"] == found["aurocs"][found["score"]]
        assert 0 <= found["refused"] <= 1
    values = [found["auroc"] for found in results["classes"].values()]
    assert f"{np.mean(values):.4f} +- {np.std(values, ddof=1):.4f}" in text
    assert (tmp_path / "held_out.txt").read_text(encoding="utf-8") == text + "\n"

    def never(*words):
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "train", never)
    assert module.held_out(recipe, drawn, tmp_path) == text
    with pytest.raises(AssertionError, match="trained again"):
        module.held_out(dataclasses.replace(recipe, train_seed=1), drawn, tmp_path)
