"""Two networks in one: each answers for the images that are its own."""

import dataclasses

import numpy as np
import pytest

from bloodkeras import contract
from bloodkeras.data.splits import Split, Splits
from bloodkeras.errors import BloodkerasError
from bloodkeras.export.calibration import fit_calibration
from bloodkeras.export.card import describe_training
from bloodkeras.export.publish import convert
from bloodkeras.export.quantise import answer, quantise_with
from bloodkeras.laboratory.graph import read_head
from bloodkeras.laboratory.shift_score import colours, distances
from bloodkeras.studies.targets import Places
from bloodkeras.training.colours import Colours, Usual
from bloodkeras.training.join import HOME_SHARE, USUAL_ON_VAL, join, usual_colours
from bloodkeras.training.models import multiply_adds, parameter_count, predict_proba
from bloodkeras.training.run_folder import load_run


def test_a_joined_network_of_an_earlier_version_is_for_the_classes_of_bloodmnist():
    layer = Usual.from_config({"name": "usual"})  # it did not say for how many
    layer.build((None, 15))
    assert [weight.shape for weight in layer.weights if weight.name == "means"] == [(8, 15)]
    assert Usual.from_config(Usual(5).get_config()).get_config()["class_count"] == 5


@pytest.fixture(scope="module")
def runs(study_folder):
    return [load_run(study_folder / "runs" / f"{name}-seed42") for name in ("deeper", "simple")]


@pytest.fixture(scope="module")
def joined(runs, drawn, tmp_path_factory):
    return load_run(join(*runs, drawn, tmp_path_factory.mktemp("join") / "joined"))


def blue(split: Split) -> np.ndarray:
    """Return its images with red and blue exchanged: nothing in the training data looks so."""
    return split.images[..., ::-1].copy()


def test_usual_is_what_is_near_to_a_class(drawn):
    fitted, limit = usual_colours(drawn)
    layer = Usual()
    layer.build((None, 15))
    layer.set(fitted, limit)
    for images in (drawn.val.images, blue(drawn.val)):
        found = np.asarray(layer(Colours()(images.astype(np.float32))))[:, 0]
        far = distances(fitted, images)
        clear = np.abs(far - limit) > 1e-3  # float32 beside float64
        assert np.array_equal(found[clear], (far <= limit)[clear].astype(np.float32))
    assert colours(drawn.val.images).shape[1] == 15


def test_at_home_both_answer_and_elsewhere_the_second_alone(runs, joined, drawn):
    first, second = (predict_proba(run.model, drawn.val.images) for run in runs)
    mean = HOME_SHARE * first + (1 - HOME_SHARE) * second
    fitted, limit = usual_colours(drawn)
    usual = distances(fitted, drawn.val.images) <= limit
    assert usual.mean() == pytest.approx(USUAL_ON_VAL, abs=0.01)
    found = predict_proba(joined.model, drawn.val.images)
    assert found[usual] == pytest.approx(mean[usual], abs=1e-5)
    images = blue(drawn.val)
    assert (distances(fitted, images) > limit).all()
    alone = predict_proba(runs[1].model, images)
    assert predict_proba(joined.model, images) == pytest.approx(alone, abs=1e-5)


def test_the_run_says_what_it_was_made_of(runs, joined):
    assert joined.recipe == dataclasses.replace(runs[1].recipe, model_name="joined")
    assert joined.info["status"] == "finished"
    assert [joined.info["joined"][place]["weights_sha256"] for place in ("home", "elsewhere")] == [
        run.weights for run in runs
    ]
    training = describe_training({"training": {"joined": joined.info["joined"]}})
    assert "mean of `deeper`" in training
    assert runs[1].weights[:12] in training
    assert joined.info["parameters"] == sum(parameter_count(run.model) for run in runs)
    assert joined.info["multiply_adds"] == sum(multiply_adds(run.model) for run in runs)


def test_it_is_one_of_the_trained_models_that_are_exported_and_reported(tmp_path):
    places = Places(tmp_path, tmp_path / "exports")
    for name in ("joined", "tiny"):
        (tmp_path / f"{name}-seed42").mkdir()
        (tmp_path / f"{name}-seed42" / contract.RUN_INFO).touch()
    assert places.trained() == ("tiny", "joined")


def test_runs_of_other_data_are_refused(runs, drawn, tmp_path):
    other = Splits(drawn.train, drawn.val, drawn.test, "other.npz", "0" * 64, "0" * 32, True)
    with pytest.raises(BloodkerasError, match="join runs of the same data"):
        join(*runs, other, tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_its_graph_answers_the_same_in_float_and_nearly_in_eight_bits(joined, drawn):
    calibration = fit_calibration(joined.model, drawn, joined.recipe)
    graph = convert(joined.model, calibration)
    images = np.concatenate([drawn.val.images, blue(drawn.val)])
    expected = predict_proba(joined.model, images, calibration.temperature)
    assert answer(graph, images) == pytest.approx(expected, abs=1e-4)
    small = quantise_with("widest", graph, drawn.train.images)
    assert answer(small, images) == pytest.approx(expected, abs=0.2)
    with pytest.raises(BloodkerasError, match="two networks"):
        read_head(graph)
