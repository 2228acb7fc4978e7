"""A student learns from networks that see the same cells, turned and shifted alike, at any size."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from bloodkeras.answers.exports import published
from bloodkeras.bloodmnist import bloodmnist
from bloodkeras.data.splits import Split, Splits
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.synthetic import draw_arrays
from bloodkeras.recipe import override
from bloodkeras.recipes import RECIPES, taught, untaught
from bloodkeras.studies.study import Study
from bloodkeras.training.callbacks import Keeper
from bloodkeras.training.distillation import (
    Teacher,
    Teachers,
    inherit,
    open_teachers,
    teacher_answers,
)
from bloodkeras.training.models import build_model, predict_proba
from bloodkeras.training.pipeline import train_dataset
from bloodkeras.training.run_folder import load_run
from bloodkeras.training.train import train

SMALL = {"epochs": "2", "batch_size": "8", "width": "0.25"}
STUDENT = override(taught(RECIPES["simple"]), SMALL)
VIEWED = override(STUDENT, {"turns": "true", "brightness": "0.1", "contrast": "0.2"})


@pytest.fixture(scope="module")
def few():
    """Return splits of drawn cells at 28 pixels."""
    arrays = draw_arrays({"train": 136, "val": 48, "test": 48})
    return splits_of(arrays, lambda images: images)


@pytest.fixture(scope="module")
def large(few):
    """Return the same cells, twice as wide and high."""
    arrays = {
        f"{name}_{part}": getattr(split, part)
        for name, split in few.named().items()
        for part in ("images", "labels")
    }
    return splits_of(arrays, lambda images: images.repeat(2, axis=1).repeat(2, axis=2))


def splits_of(arrays, enlarge) -> Splits:
    side = enlarge(arrays["val_images"]).shape[1]
    found = {
        name: Split(
            enlarge(arrays[f"{name}_images"]),
            arrays[f"{name}_labels"].reshape(-1).astype(np.int64),
            bloodmnist(side),
        )
        for name in ("train", "val", "test")
    }
    return Splits(**found, source="few", sha256=f"few{side}")


@pytest.fixture(scope="module")
def teachers(few, large, tmp_path_factory):
    """Return two run folders, one of each size."""
    folder = tmp_path_factory.mktemp("teachers")
    recipe = override(RECIPES["simple"], SMALL)
    return [train(recipe, few, folder / "at28"), train(recipe, large, folder / "at56")]


def colour_teacher(images) -> Teacher:
    """Return a network whose logits tell the mean colour of what it is shown."""
    shown = keras.Input(images.shape[1:])
    colour = keras.layers.GlobalAveragePooling2D()(shown)
    eight = keras.layers.Dense(8, use_bias=False, name="logits")
    logits = eight(colour)
    eight.set_weights([np.eye(3, 8, dtype=np.float32) / 20])
    return Teacher(keras.Model(shown, logits), images)


def first_batches(split, recipe, answers):
    return list(train_dataset(split, recipe, taught=answers).take(5).as_numpy_iterator())


@pytest.mark.parametrize("size", ["few", "large"])
def test_a_teacher_sees_what_the_student_sees(few, size, request):
    """Its answer to each image is that to the student's own pixels, at either size."""
    members = (colour_teacher(request.getfixturevalue(size).train.images),)
    recipe = override(VIEWED, {"teacher_share": "1"})
    answers = teacher_answers(Teachers(members), recipe)
    for pixels, labels in first_batches(few.train, recipe, answers):
        logits = np.pad(pixels.mean(axis=(1, 2)), ((0, 0), (0, 5))) / 20
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert labels == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("mixing", [{"mixup": "0.4"}, {"cutmix": "0.5"}])
def test_a_teacher_sees_mixed_images_too(few, large, mixing):
    """The same pair is mixed in the same parts: one teacher at both sizes answers alike."""
    recipe = override(VIEWED, {"teacher_share": "1"} | mixing)

    def labels_at(splits):
        teacher = Teachers((colour_teacher(splits.train.images),))
        batches = first_batches(few.train, recipe, teacher_answers(teacher, recipe))
        return np.concatenate([labels for _, labels in batches])

    assert labels_at(few) == pytest.approx(labels_at(large), abs=0.05)


def test_a_teacher_does_not_see_the_stain_of_another_laboratory(few):
    """It answers as without, in whatever stain the student sees the turned and shifted cell."""
    members = (colour_teacher(few.train.images),)

    def seen_by_both(settings):
        recipe = override(VIEWED, {"teacher_share": "1", "shift_pixels": "2"} | settings)
        return first_batches(few.train, recipe, teacher_answers(Teachers(members), recipe))

    stained = {"stain_tint": "0.6", "stain_mix": "0.4"}
    plain, same = seen_by_both(stained | {"kept": "0.99999"}), seen_by_both(stained)
    for (usual, answers), (unusual, others) in zip(plain, same, strict=True):
        assert (others == answers).all()
        assert not np.allclose(unusual, usual, atol=20)


@pytest.mark.parametrize(("views", "alike"), [("1", True), ("2", False), ("0", False)])
def test_what_teachers_said_of_a_view_is_kept(few, views, alike):
    """Whoever asks again, after the teacher has forgotten everything, hears the first answer."""
    recipe = override(VIEWED, {"teacher_share": "1", "views": views})
    teacher, steps = colour_teacher(few.train.images), 136 // 8
    answers = teacher_answers(Teachers((teacher,)), recipe)
    batches = iter(train_dataset(few.train, recipe, taught=answers).as_numpy_iterator())
    first = [next(batches) for _ in range(steps)]
    teacher.model.get_layer("logits").set_weights([np.zeros((3, 8), np.float32)])
    again = list(batches)[4:]  # a few were asked for ahead
    pairs = list(zip(first[4:], again, strict=True))
    assert all(np.array_equal(one[0], two[0]) for one, two in pairs) == alike
    assert all(np.array_equal(one[1], two[1]) for one, two in pairs) == alike


def test_share_and_temperature_shape_the_label(few):
    """A share of 0.25 leaves 0.75 of the label; a high temperature makes answers alike."""
    members = (colour_teacher(few.train.images),)
    recipe = override(VIEWED, {"teacher_share": "0.25", "teacher_temperature": "1e6"})
    for _, labels in first_batches(few.train, recipe, teacher_answers(Teachers(members), recipe)):
        assert np.sort(labels)[:, :-1] == pytest.approx(0.25 / 8, abs=1e-3)
        assert labels.max(axis=1) == pytest.approx(0.75 + 0.25 / 8, abs=1e-3)


@pytest.mark.parametrize(
    "view", [{"shift_pixels": "2"}, {"turns": "true", "views": "1", "inherit": "true"}]
)
def test_a_stopped_student_goes_on_to_the_same_bits(
    few, large, teachers, view, tmp_path, monkeypatch
):
    recipe = override(STUDENT, view)
    options = {"teachers": teachers, "teacher_splits": large}
    whole = train(recipe, few, tmp_path / "whole", **options)
    keep = Keeper.on_epoch_end

    def stop(self, epoch, logs=None):
        keep(self, epoch, logs)
        raise KeyboardInterrupt

    monkeypatch.setattr(Keeper, "on_epoch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, few, tmp_path / "stopped", **options)
    monkeypatch.undo()
    others = r"teachers at28 \(\w+\), at56 \(\w+\), not teachers at28 \("
    with pytest.raises(BloodkerasError, match=others):
        train(recipe, few, tmp_path / "stopped", resume=True, teachers=teachers[:1])
    stopped = train(recipe, few, tmp_path / "stopped", resume=True, **options)
    for name in ("history.csv", "model.keras"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()
    with pytest.raises(BloodkerasError, match=others):
        train(recipe, few, stopped, resume=True, teachers=teachers[:1])


@pytest.mark.parametrize(("side", "alike"), [(28, 43), (64, 42)])
def test_a_student_inherits_what_is_alike(few, side, alike, tmp_path, caplog):
    """All, or all but the first convolution, which depends on the size."""
    caplog.set_level("INFO")
    recipe = override(RECIPES["residual"], {"width": "0.25", "precision": "float32"})
    build_model(recipe, bloodmnist(side)).save(tmp_path / "teacher.keras")
    teacher = keras.saving.load_model(tmp_path / "teacher.keras")  # lists layers in another order
    student = build_model(dataclasses.replace(recipe, train_seed=1))
    inherit(student, Teachers((Teacher(teacher, few.train.images),), [{"run": "large"}]))
    assert f"{alike} of 43 layers begin with the weights of large" in caplog.text
    if side == 28:
        images = few.val.images
        assert np.array_equal(predict_proba(student, images), predict_proba(teacher, images))


def test_what_is_not_alike_is_not_inherited(few, caplog):
    caplog.set_level("INFO")
    teacher = Teachers((colour_teacher(few.train.images),), [{"run": "colours"}])
    inherit(build_model(RECIPES["tiny"]), teacher)
    assert "0 of " in caplog.text


def test_a_taught_recipe_differs_only_where_it_says():
    """A student that is not told otherwise has its model's recipe and a share for teachers."""
    assert taught(RECIPES["deeper"]) == override(RECIPES["deeper"], {"teacher_share": "0.9"})
    assert taught(RECIPES["residual"]).train_inherit
    with pytest.raises(UsageError, match="--inherit needs teachers"):
        untaught(override(RECIPES["deeper"], {"inherit": "true"}))


def test_the_run_names_its_teachers(few, large, teachers, tmp_path):
    run = load_run(
        train(STUDENT, few, tmp_path / "student", teachers=teachers, teacher_splits=large)
    )
    named = run.info["teachers"]
    assert [each["run"] for each in named] == ["at28", "at56"]
    assert [each["image_side"] for each in named] == [28, 56]
    assert [each["weights_sha256"] for each in named] == [load_run(t).weights for t in teachers]
    assert [each["data_sha256"] for each in named] == ["few28", "few56"]


def test_several_students_are_trained_once_for_each_teacher(few, tmp_path):
    """What another taught is not taken for it; what this one taught is not trained again."""
    study, recipe = Study(few, str(tmp_path)), override(RECIPES["simple"], SMALL)
    study.train(recipe)
    student = dataclasses.replace(STUDENT, train_seed=1)

    def taught_run(teacher):
        study.seeds(student, [1], **study.taught_by([teacher], ""))
        run = load_run(tmp_path / "simple-seed1")
        return run.info["seconds"], [each["run"] for each in run.info["teachers"]]

    first = taught_run(str(tmp_path / "simple-seed42"))
    assert first[1] == ["simple-seed42"]
    assert taught_run(str(tmp_path / "simple-seed42")) == first
    study.train(dataclasses.replace(recipe, train_seed=2))
    assert taught_run(str(tmp_path / "simple-seed2"))[1] == ["simple-seed2"]


def test_drawn_cells_of_another_size_are_not_the_students(few, large, tmp_path):
    recipe = override(RECIPES["simple"], SMALL)
    drawn = [dataclasses.replace(splits, synthetic=True) for splits in (few, large)]
    teacher = str(Study(drawn[1], str(tmp_path)).train(recipe).folder)
    with pytest.raises(BloodkerasError, match=r"look at 56 pixels.*needs BloodMNIST"):
        Study(drawn[0], str(tmp_path)).taught_by([teacher], "")


def test_what_cannot_teach_is_refused(few, large, teachers, tmp_path):
    """Another size, other cells, other classes, a share without a teacher."""
    with pytest.raises(BloodkerasError, match=r"56x56 pixels.*--teacher-data"):
        open_teachers(teachers, few, None, "float32")
    turned = dataclasses.replace(large.train, images=large.train.images[::-1])
    with pytest.raises(BloodkerasError, match="training rows differ in label or colour"):
        open_teachers(teachers, few, dataclasses.replace(large, train=turned), "float32")
    fewer = dataclasses.replace(
        large.train, images=large.train.images[:9], labels=large.train.labels[:9]
    )
    with pytest.raises(BloodkerasError, match="9 training images and the student's data 136"):
        open_teachers(teachers, few, dataclasses.replace(large, train=fewer), "float32")
    with pytest.raises(BloodkerasError, match="not a usable run"):
        open_teachers([tmp_path], few, large, "float32")
    with pytest.raises(UsageError, match="give both, or neither"):
        train(STUDENT, few, tmp_path / "alone")
    with pytest.raises(UsageError, match="--inherit needs teachers"):
        train(override(RECIPES["simple"], {"inherit": "true"}), few, tmp_path / "alone")
    with pytest.raises(UsageError, match="cannot be its own teacher"):
        train(STUDENT, few, teachers[0], teachers=teachers[:1])
    other = load_run(teachers[0])
    data = json.loads((teachers[0] / "data.json").read_text(encoding="utf-8"))
    data["dataset"]["class_names"] = [*other.dataset.class_names[:-1], "blast"]
    strange = tmp_path / "strange"
    strange.mkdir()
    for path in teachers[0].iterdir():
        if path.is_file():
            (strange / path.name).write_bytes(path.read_bytes())
    (strange / "data.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(BloodkerasError, match="knows other classes"):
        open_teachers([strange], few, large, "float32")


def test_what_is_no_run_is_no_teacher(few, tmp_path):
    """Said of the option that names it; a folder of an export is told apart."""
    study = Study(few, str(tmp_path))
    with pytest.raises(UsageError, match="--teacher nowhere: expected a finished run"):
        study.taught_by(["nowhere"], "")
    with pytest.raises(UsageError, match="is an export: expected the run"):
        study.taught_by([str(published()["tiny"])], "")
    with pytest.raises(
        BloodkerasError, match=r"--teacher-data gone\.npz, what the teachers look at"
    ):
        study.taught_by([str(tmp_path)], "gone.npz")


def test_images_that_no_teacher_looks_at_are_refused(few, large, teachers):
    with pytest.raises(BloodkerasError, match="no teacher looks at few"):
        open_teachers(teachers[:1], few, large, "float32")
