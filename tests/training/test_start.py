"""A training begins with an export's weights: the same answers, other classes, earlier cells."""

import dataclasses

import keras
import numpy as np
import pytest

from bloodkeras.__main__ import COMMANDS
from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.exports import published
from bloodkeras.bloodmnist import BLOODMNIST, bloodmnist
from bloodkeras.data.rehearse import REHEARSED, rehearsing
from bloodkeras.data.splits import Split, Splits, read_npz
from bloodkeras.dataset import DataSet
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.synthetic import draw_arrays
from bloodkeras.recipe import recipe_of_export
from bloodkeras.recipes import RECIPES, started
from bloodkeras.training.models import build_model, predict_proba
from bloodkeras.training.run_folder import load_run
from bloodkeras.training.start import begin_with, open_start
from bloodkeras.training.train import train

THREE = ("neutrophil", "giant cell", "basophil")


def drawn(dataset: DataSet, count: int = 48) -> Splits:
    """Drawn cells of a data set."""
    arrays = draw_arrays(dict.fromkeys(("train", "val", "test"), count), dataset=dataset)
    splits = {
        name: Split(arrays[f"{name}_images"], arrays[f"{name}_labels"].ravel().astype(int), dataset)
        for name in ("train", "val", "test")
    }
    return Splits(**splits, source="drawn", sha256="0" * 64)


@pytest.mark.parametrize("name", sorted(published()))
def test_a_network_answers_as_the_export_that_it_begins_with(name):
    """Every published one; what sharpens is its own images' business, so it is left out."""
    classifier = Classifier.load(published()[name])
    images = drawn(classifier.dataset).train.images
    start = open_start(published()[name], classifier.dataset)
    recipe = dataclasses.replace(start.recipe, train_precision="float32")
    keras.utils.clear_session(free_memory=False)
    model = build_model(recipe, classifier.dataset)
    begin_with(start, model, classifier.dataset, images)
    if recipe.model_balance:
        sharpen(model, published()[name])
    temperature = classifier.card["calibration"]["temperature"]
    expected = classifier.predict_proba(images)
    assert np.abs(predict_proba(model, images, temperature) - expected).max() < 1e-4


def sharpen(model: keras.Model, folder) -> None:
    """Sharpen as an export does: by the one constant that its graph has for that."""
    import onnx

    graph = onnx.load(folder / "model.onnx").graph
    (usual,) = (c for c in graph.initializer if "focus" in c.name and "ReadVariable" in c.name)
    (weight,) = model.get_layer("focus").weights
    weight.assign(onnx.numpy_helper.to_array(usual))


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_normalisations_begin_with_what_the_images_show(precision):
    """So the network answers in training, by a batch's own mean and variance, nearly as it does."""
    dataset, export = BLOODMNIST, published()["residual"]
    images = drawn(dataset, 128).train.images
    start = open_start(export, dataset)
    recipe = dataclasses.replace(
        started(RECIPES["residual"], start.recipe), train_precision=precision
    )
    model = build_model(recipe, dataset)
    begin_with(start, model, dataset, images)
    learning = keras.ops.softmax(model(images.astype(np.float32), training=True))
    assert np.abs(learning - predict_proba(model, images)).mean() < 0.02


def test_what_is_known_of_a_class_is_kept_and_others_begin_low():
    """In whatever order the data have them."""
    dataset = DataSet("Three", THREE, BLOODMNIST.image_side)
    start = open_start(published()["simple"], dataset)
    model = build_model(start.recipe, dataset)
    begin_with(start, model, dataset, drawn(BLOODMNIST).train.images)
    images = drawn(BLOODMNIST).test.images
    ours = np.log(predict_proba(model, images)[:, [0, 2]])
    theirs = Classifier.load(published()["simple"])
    columns = [BLOODMNIST.class_names.index(THREE[k]) for k in (0, 2)]
    known = np.log(theirs.predict_proba(images)[:, columns].clip(1e-30))
    known *= theirs.card["calibration"]["temperature"]
    assert np.diff(ours) == pytest.approx(np.diff(known), rel=1e-3, abs=1e-2)


def test_a_short_recipe_of_the_starts_shape():
    """What is for other laboratories is left out; the network's own settings are the start's."""
    start = recipe_of_export(published()["robust-64"])
    recipe = started(RECIPES["robust"], start)
    assert recipe.train_epochs < RECIPES["robust"].train_epochs
    assert recipe.model_balance
    assert not recipe.augment_stain_strength
    assert not recipe.augment_kept
    with pytest.raises(UsageError, match="kind residual, and tiny is tiny"):
        started(RECIPES["tiny"], start)


def test_earlier_cells_are_mixed_in_by_name():
    """At most so many of each class, and none of a class that is not one's own."""
    mine = drawn(DataSet("Three", THREE, BLOODMNIST.image_side))
    earlier = drawn(BLOODMNIST, 2000)
    found = rehearsing(mine.train, earlier, seed=1)
    added = np.bincount(found.labels[len(mine.train) :], minlength=3)
    there = np.bincount(earlier.train.labels, minlength=8)
    names = BLOODMNIST.class_names
    expected = [min(REHEARSED, there[names.index(name)]) for name in (THREE[0], THREE[2])]
    assert added.tolist() == [expected[0], 0, expected[1]]
    assert np.array_equal(found.images[: len(mine.train)], mine.train.images)
    with pytest.raises(BloodkerasError, match="images of 64 pixels, and the data have 28"):
        rehearsing(mine.train, drawn(bloodmnist(64)), seed=1)


def test_a_run_says_what_it_began_with_and_goes_on_with_nothing_else(tmp_path):
    """The start's weights and the earlier data are part of what a run is."""
    mine = drawn(DataSet("Three", THREE, BLOODMNIST.image_side))
    earlier, export = drawn(BLOODMNIST), published()["simple"]
    recipe = started(RECIPES["simple"], recipe_of_export(export))
    recipe = dataclasses.replace(recipe, train_epochs=1)
    known = {"start": export, "rehearsed": earlier}
    folder = train(recipe, mine, tmp_path / "run", **known)
    info = load_run(folder).info
    assert info["start"]["model"] == "simple"
    assert info["rehearsed"]["file"] == "drawn"
    train(recipe, mine, folder, resume=True, **known)
    with pytest.raises(BloodkerasError, match=r"began with start simple .*, not no start"):
        train(recipe, mine, folder, resume=True, rehearsed=earlier)
    with pytest.raises(BloodkerasError, match=r"not no rehearsed data: .*by --rehearse"):
        train(recipe, mine, folder, resume=True, start=export)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"start": "simpel"}, "did you mean simple"),
        ({"start": "tiny"}, "is a network of the kind tiny, and simple is simple"),
        ({"recipe": "tune-in"}, "begins with --start EXPORT"),
        ({"start": "simple", "teacher": "deeper"}, "--start and --teacher"),
        ({"start": "simple", "width": "2"}, "leave --width, --depth"),
    ],
)
def test_wrong_words_are_refused(tmp_path, words, said):
    """Before anything is trained."""
    with pytest.raises((BloodkerasError, UsageError), match=said):
        COMMANDS["train"]("simple", data="synthetic", runs=str(tmp_path), **words)


def test_another_side_is_refused(tmp_path):
    """An export of 64 pixels does not begin a training at 28."""
    with pytest.raises(BloodkerasError, match="looks at 64 pixels, and the data have 28"):
        COMMANDS["train"](
            "residual", data="synthetic", size=28, start="residual-64", runs=str(tmp_path)
        )


def test_read_back(tmp_path):
    """A gathered file is what a start is tuned to: its classes reach the run."""
    path = tmp_path / "three.npz"
    dataset = DataSet("Three", THREE, BLOODMNIST.image_side)
    arrays = draw_arrays({"train": 60, "val": 30, "test": 30}, dataset=dataset)
    np.savez(path, name="Three", class_names=THREE, **arrays)
    COMMANDS["train"](
        "simple", data=str(path), start="simple", epochs="1", runs=str(tmp_path / "runs")
    )
    assert load_run(tmp_path / "runs/simple-seed42").dataset.class_names == THREE
    assert read_npz(path).dataset.class_names == THREE
