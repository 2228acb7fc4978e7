"""The whole study on drawn cells, from data to the ONNX file's own report."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from bloodkeras import contract
from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.export_folder import verify_checksums
from bloodkeras.bloodmnist import CLASS_NAMES
from bloodkeras.errors import BloodkerasError
from bloodkeras.evaluation.evaluate import load_report
from bloodkeras.recipes import RECIPES
from bloodkeras.studies.report import interpret
from bloodkeras.studies.study import Study
from bloodkeras.training.run_folder import load_run

MODELS = tuple(RECIPES)


def run_of(study_folder, name):
    return study_folder / "runs" / f"{name}-seed42"


@pytest.mark.parametrize("name", MODELS)
def test_a_run_explains_itself(study_folder, drawn, name):
    run = load_run(run_of(study_folder, name))
    assert run.recipe.model_name == name
    assert run.recipe.train_epochs == 4
    assert run.data["sha256"] == drawn.sha256
    assert run.info["status"] == "finished"
    assert {"keras", "tensorflow", "python"} <= set(run.info["versions"])
    assert len(run.history["loss"]) == 4
    assert run.info["seconds"] > 0


@pytest.mark.parametrize("name", MODELS)
def test_the_best_epoch_is_the_model_that_was_kept(study_folder, drawn, name):
    from bloodkeras.training.models import predict_proba

    run = load_run(run_of(study_folder, name))
    probs = predict_proba(run.model, drawn.val.images)
    found = (probs.argmax(1) == drawn.val.labels).mean()
    assert found == pytest.approx(run.best_val_accuracy, abs=1e-6)
    worse = [v for v in run.history["val_accuracy"] if v < run.best_val_accuracy - 5 / len(probs)]
    assert worse  # so another epoch's model would be noticed


def test_a_few_epochs_beat_chance(study_folder):
    report = load_report(run_of(study_folder, "simple") / "evaluation", "test")
    largest_class = np.bincount(report.labels).max() / len(report.labels)
    assert report.value("accuracy") > largest_class + 0.1


@pytest.mark.parametrize("name", MODELS)
def test_onnx_and_keras_give_the_same_answers(study_folder, name):
    keras = load_report(run_of(study_folder, name) / "evaluation", "test")
    onnx = load_report(study_folder / "runs" / f"onnx-{name}" / "evaluation", "test")
    card = json.loads((study_folder / "exports" / name / "card.json").read_text(encoding="utf-8"))
    tempered = keras.probs ** (1 / card["calibration"]["temperature"])
    tempered /= tempered.sum(1, keepdims=True)
    difference = np.abs(tempered - onnx.probs)
    assert difference.max() < contract.STORED_TOLERANCE
    assert difference.mean() < contract.STORED_TOLERANCE / 20
    assert (keras.probs.argmax(1) == onnx.probs.argmax(1)).mean() > 0.99


@pytest.mark.parametrize("name", MODELS)
def test_an_export_is_complete_and_says_what_it_is(study_folder, drawn, name):
    folder = study_folder / "exports" / name
    verify_checksums(folder)
    classifier = Classifier.load(folder)
    assert classifier.labels == CLASS_NAMES
    assert classifier.card["training_data"]["sha256"] == drawn.sha256
    metadata = classifier._session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["bloodkeras.training_data"])["sha256"] == drawn.sha256
    assert "test" in json.loads(metadata["bloodkeras.metrics"])
    (inputs,) = classifier._session.get_inputs()
    outputs, foreign = classifier._session.get_outputs()
    assert (inputs.name, inputs.type, inputs.shape) == ("images", "tensor(uint8)", ["N", 28, 28, 3])
    assert (outputs.name, outputs.type, outputs.shape) == ("probs", "tensor(float)", ["N", 8])
    assert (foreign.name, foreign.type, foreign.shape) == ("foreign", "tensor(float)", ["N"])
    page = (folder / "MODEL_CARD.html").read_text(encoding="utf-8")
    assert len(page) < 150_000
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r'(src|href)="(?!data:)', page)
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    report = load_report(study_folder / "runs" / f"onnx-{name}" / "evaluation", "test")
    assert f"{report.value('accuracy'):.4f}" in card
    assert f"<td>{report.value('accuracy'):.4f} [" in page
    assert "not for diagnosis" in card


def test_normalisation_is_folded_and_one_transpose_is_left(study_folder):
    import onnx

    from bloodkeras.export.half_weights import restore_weights

    graph = restore_weights(onnx.load(study_folder / "exports/deeper/model.onnx"))
    kinds = [node.op_type for node in graph.graph.node]
    convolutions = [place for place, kind in enumerate(kinds) if kind == "Conv"]
    assert len(convolutions) == 6
    assert {kinds[place + 1] for place in convolutions} == {"Relu"}
    assert kinds.count("Transpose") == 1
    assert [(domain.domain, domain.version) for domain in graph.opset_import] == [("", 17)]


def test_every_figure_is_there_and_large_enough_to_read(study_folder):
    figures = sorted(path.name for path in (study_folder / "runs").rglob("*.png"))
    expected = ["sample_images", "class_distribution", "augmentation"]
    expected += [
        f"{kind}_{name}"
        for kind in ("confusion_matrix", "learning_curves", "mistakes")
        for name in MODELS
    ]
    assert {f"{name}.png" for name in expected} <= set(figures)
    for path in (study_folder / "runs").rglob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 250, path


def test_the_report_holds_both_models_and_the_gain(study_folder):
    results = json.loads((study_folder / "runs/report/results.json").read_text(encoding="utf-8"))
    text = (study_folder / "runs/report/results.txt").read_text(encoding="utf-8")
    accuracies = [m["keras"]["headline"]["accuracy"]["value"] for m in results["models"]]
    assert [m["name"] for m in results["models"]] == list(MODELS)
    best = max(range(1, len(MODELS)), key=accuracies.__getitem__)
    assert results["gain"]["model"] == MODELS[best]
    gained = pytest.approx(accuracies[best] - accuracies[0])
    assert results["gain"]["by"]["accuracy"] == gained
    for value in accuracies:
        assert f"{value:.4f}" in text
    assert "120/120" in text
    page = (study_folder / "runs/report/report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3 + 3 * len(MODELS)
    assert "sets of identical images" in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_interpretation_is_computed(study_folder):
    simple, deeper = (
        load_report(run_of(study_folder, n) / "evaluation", "test") for n in MODELS[:2]
    )
    swapped = interpret(deeper, simple)
    assert interpret(simple, deeper)[0] != swapped[0]
    assert swapped[-1].startswith("simple confuses")


def test_drawn_cells_never_replace_a_model_trained_on_photographs(study_folder, drawn, tmp_path):
    import dataclasses
    import shutil

    from bloodkeras.export.publish import export_run

    target = tmp_path / "simple"
    shutil.copytree(study_folder / "exports/simple", target)
    before = (target / "model.onnx").read_bytes()
    run = load_run(run_of(study_folder, "simple"))
    synthetic = dataclasses.replace(run, data=run.data | {"synthetic": True})
    with pytest.raises(BloodkerasError, match="photographs"):
        export_run(synthetic, drawn, target)
    assert (target / "model.onnx").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["simple"]


def test_an_export_that_disagrees_is_not_published(study_folder, drawn, tmp_path, monkeypatch):
    from bloodkeras.export import publish as export

    run = load_run(run_of(study_folder, "simple"))
    honest = export.predict_proba
    monkeypatch.setattr(export, "predict_proba", lambda *words: honest(*words)[:, ::-1])
    with pytest.raises(BloodkerasError, match="disagrees with Keras"):
        export.export_run(run, drawn, tmp_path / "simple")
    assert list(tmp_path.iterdir()) == []


def test_what_is_drawn_stays_apart(drawn, capsys):
    import dataclasses

    study = Study(dataclasses.replace(drawn, synthetic=True))
    assert study.runs.parts == ("runs", "synthetic")
    assert study.exports.parts == ("runs", "synthetic", "exports")
    said = capsys.readouterr()
    assert contract.SYNTHETIC_STAMP in said.err
    assert said.out == ""


def test_training_again_keeps_the_earlier_run(study_folder, drawn, tmp_path):
    import shutil

    from bloodkeras.recipe import override
    from bloodkeras.training.train import train

    folder = tmp_path / "run"
    shutil.copytree(run_of(study_folder, "simple"), folder)
    recipe = override(RECIPES["simple"], {"epochs": "1", "batch_size": "100"})
    train(recipe, drawn, folder)
    assert load_run(folder).recipe.train_epochs == 1
    assert load_run(tmp_path / "run.1").recipe.train_epochs == 4


def test_training_twice_gives_the_same_numbers(drawn, tmp_path):
    from bloodkeras.recipe import override
    from bloodkeras.training.train import train

    recipe = override(RECIPES["deeper"], {"epochs": "1", "batch_size": "50"})
    runs = [load_run(train(recipe, drawn, tmp_path / name)) for name in ("a", "b")]
    assert np.array_equal(runs[0].history["loss"], runs[1].history["loss"])
    assert runs[0].weights == runs[1].weights  # SHA-256 of model.keras


def test_a_loss_that_explodes_ends_the_run_with_advice(drawn, tmp_path):
    from bloodkeras.recipe import override
    from bloodkeras.training.train import train

    recipe = override(RECIPES["simple"], {"epochs": "2", "learning_rate": "1e30"})
    with pytest.raises(BloodkerasError, match="lower --learning-rate"):
        train(recipe, drawn, tmp_path / "run")
    assert json.loads((tmp_path / "run/run.json").read_text(encoding="utf-8"))["status"] == "failed"


def test_ctrl_c_leaves_a_usable_run(drawn, tmp_path, monkeypatch):
    from bloodkeras.recipe import override
    from bloodkeras.training import train as module
    from bloodkeras.training.models import predict_proba

    class StopInSecondEpoch(module.LossGuard):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(module, "LossGuard", StopInSecondEpoch)
    recipe = override(RECIPES["simple"], {"epochs": "3", "batch_size": "100"})
    with pytest.raises(KeyboardInterrupt, match="ready for evaluate and export"):
        module.train(recipe, drawn, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.info["status"] == "interrupted"
    assert run.best_epoch == 1
    assert predict_proba(run.model, drawn.test.images[:3]).shape == (3, 8)


def test_an_export_does_not_swallow_other_files(study_folder, drawn, tmp_path):
    from bloodkeras.export.publish import export_run

    (tmp_path / "simple").mkdir()
    (tmp_path / "simple/thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(BloodkerasError, match=r"thesis\.txt"):
        export_run(load_run(run_of(study_folder, "simple")), drawn, tmp_path / "simple")
    assert (tmp_path / "simple/thesis.txt").read_text(encoding="utf-8") == "mine"


def test_a_run_does_not_move_what_is_no_run(drawn, tmp_path):
    from bloodkeras.training.train import train

    (tmp_path / "photos").mkdir()
    with pytest.raises(BloodkerasError, match="is not a run"):
        train(RECIPES["simple"], drawn, tmp_path / "photos")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_the_report_works_with_what_there_is(study_folder, drawn, tmp_path, capsys):
    import shutil

    shutil.copytree(run_of(study_folder, "simple"), tmp_path / "simple-seed42")
    study = Study(drawn, tmp_path, tmp_path / "exports")
    study.report()
    said = capsys.readouterr().err
    assert "left out: deeper, which has no run" in said
    assert "no export was evaluated" in said
    results = json.loads((tmp_path / "report/results.json").read_text(encoding="utf-8"))
    assert [model["agreement"] for model in results["models"]] == [None]
    assert results["gain"] == {}


def test_the_report_compares_a_run_with_its_own_export_only(study_folder, drawn, tmp_path, capsys):
    import shutil

    shutil.copytree(run_of(study_folder, "simple"), tmp_path / "simple-seed42")
    onnx = tmp_path / "onnx-simple/evaluation"
    shutil.copytree(study_folder / "runs/onnx-simple/evaluation", onnx)
    study = Study(drawn, tmp_path, tmp_path / "exports")
    study.report()
    assert "120/120" in (tmp_path / "report/results.txt").read_text(encoding="utf-8")
    found = json.loads((onnx / "test.json").read_text(encoding="utf-8"))
    (onnx / "test.json").write_text(json.dumps(found | {"weights": "another's"}), encoding="utf-8")
    study.report()
    assert "is of another run" in capsys.readouterr().err
    assert "120/120" not in (tmp_path / "report/results.txt").read_text(encoding="utf-8")


def test_the_report_refuses_an_evaluation_of_earlier_weights(study_folder, drawn, tmp_path):
    import shutil

    folder = tmp_path / "simple-seed42"
    shutil.copytree(run_of(study_folder, "simple"), folder)
    shutil.copy(run_of(study_folder, "deeper") / "model.keras", folder)
    with pytest.raises(BloodkerasError, match="other weights"):
        Study(drawn, tmp_path).report(str(folder))


def test_without_any_run_there_is_nothing_to_export(drawn, tmp_path):
    with pytest.raises(BloodkerasError, match="no model has a run"):
        Study(drawn, tmp_path).export()
