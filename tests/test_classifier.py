"""Checks the shipped classifier on a network small enough to compute by hand.

Flow: takes a hand-made export; gives a failure when it answers wrongly, or trusts a changed file.
"""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image
from tiny_export import FILES, build_export, expected_probs, write_sums

from bloodkeras.contract import CLASS_NAMES
from bloodkeras.errors import BloodkerasError
from bloodkeras.runtime.classifier import BATCH_SIZE, Classifier, Prediction
from bloodkeras.runtime.preprocess import eight_views
from bloodkeras.synthetic import draw_arrays

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def export(tmp_path):
    """An export that a test may damage."""
    return build_export(tmp_path / "tiny")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Classifier:
    """A loaded export for the tests that only ask it."""
    return Classifier.load(build_export(tmp_path_factory.mktemp("exports") / "tiny"), threads=1)


def painted(*colours) -> np.ndarray:
    """Return one image of one colour each, uint8 (N, 28, 28, 3)."""
    images = np.empty((len(colours), 28, 28, 3), np.uint8)
    images[:] = np.array(colours, np.uint8)[:, None, None]
    return images


def refusal(folder) -> str:
    """Return the one line with which a folder is refused."""
    with pytest.raises(BloodkerasError) as caught:
        Classifier.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- answers ------------------------------------------------------------------------------------


def test_load_reads_labels_and_card(classifier):
    """The class names come from the model file, the facts from its card."""
    assert classifier.labels == CLASS_NAMES
    assert classifier.card == {"model": "tiny"}


def test_predict_proba_is_the_hand_computed_answer(classifier):
    """Every probability of 40 random images is that of a computation in numpy."""
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 3), np.uint8)
    images[:30] //= np.random.default_rng(1).integers(1, 9, (30, 1, 1, 3), np.uint8)
    probs = classifier.predict_proba(images)
    assert (probs.shape, probs.dtype) == ((40, 8), np.float32)
    np.testing.assert_allclose(probs, expected_probs(images), atol=1e-6)
    assert len(np.unique(probs.argmax(1))) == 3  # no constant answer would do


def test_pixels_are_raw(classifier):
    """Pixels are not scaled on the way: black says nothing, red is sure."""
    probs = classifier.predict_proba(painted((0, 0, 0), RED))
    np.testing.assert_allclose(probs[0], 1 / 8)
    assert probs[1, 0] > 0.999


@pytest.mark.parametrize("n", [BATCH_SIZE - 1, BATCH_SIZE, BATCH_SIZE + 1, 2 * BATCH_SIZE + 88])
def test_batches_change_nothing(classifier, n):
    """Many images at once are answered as one by one, none left out at a batch's edge."""
    images = np.random.default_rng(n).integers(0, 256, (n, 1, 1, 3), np.uint8)
    images = np.broadcast_to(images, (n, 28, 28, 3))
    one_by_one = np.concatenate([classifier.predict_proba(image[None]) for image in images])
    np.testing.assert_allclose(classifier.predict_proba(images), one_by_one, atol=1e-7)


def test_no_images_no_answers(classifier):
    """An empty batch has an empty answer of the right width."""
    probs = classifier.predict_proba(np.empty((0, 28, 28, 3), np.uint8))
    assert (probs.shape, probs.dtype) == ((0, 8), np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int8, bool])
def test_other_types_are_refused(classifier, dtype):
    """A picture scaled to 0..1 is an error, not a confident answer about a black one."""
    with pytest.raises(BloodkerasError, match=f"uint8.*found {np.dtype(dtype)}"):
        classifier.predict_proba(np.zeros((2, 28, 28, 3), dtype))


@pytest.mark.parametrize("shape", [(28, 28, 3), (2, 28, 28), (2, 28, 28, 1), (2, 32, 32, 3), (2,)])
def test_other_shapes_are_refused(classifier, shape):
    """The message names the shape that was found."""
    with pytest.raises(BloodkerasError, match=r"\(N, 28, 28, 3\)") as caught:
        classifier.predict_proba(np.zeros(shape, np.uint8))
    assert str(shape) in str(caught.value)


def test_channels_first_is_refused(classifier):
    """PyTorch's order of axes is not taken for ours."""
    with pytest.raises(BloodkerasError, match=r"found uint8 \(2, 3, 28, 28\)"):
        classifier.predict_proba(np.zeros((2, 3, 28, 28), np.uint8))


def test_predict_names_the_class_of_arrays(classifier):
    """Colours are answered in order, each with its own probability."""
    answers = classifier.predict(painted(BLUE, RED, GREEN))
    assert [answer.label for answer in answers] == [CLASS_NAMES[k] for k in (2, 0, 1)]
    assert all(isinstance(answer, Prediction) for answer in answers)
    for answer in answers:
        assert answer.confidence == answer.probs.max() > 0.999
        assert answer.probs.shape == (8,)


def test_predict_reads_paths(classifier, tmp_path):
    """Files are answered in the order given, through the same preprocessing."""
    paths = []
    for name, colour in {"b": BLUE, "r": RED}.items():
        paths.append(tmp_path / f"{name}.png")
        Image.new("RGB", (360, 363), colour).save(paths[-1])
    assert [answer.label for answer in classifier.predict(paths)] == ["erythroblast", "basophil"]
    assert classifier.predict([str(paths[1])])[0].label == "basophil"


@pytest.mark.parametrize("kind", [str, Path])
def test_single_path_is_answered_or_refused(classifier, tmp_path, kind):
    """A path where a list belongs is not taken for a list of letters."""
    Image.new("RGB", (28, 28), RED).save(tmp_path / "r.png")
    try:
        (answer,) = classifier.predict(kind(tmp_path / "r.png"))
    except BloodkerasError as error:
        assert "list" in str(error)  # noqa: PT017
    else:
        assert answer.label == "basophil"


def test_list_of_arrays_is_answered_or_refused(classifier):
    """Images in a list instead of an array are no crash."""
    try:
        answers = classifier.predict(list(painted(BLUE, RED)))
    except BloodkerasError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert [answer.label for answer in answers] == ["erythroblast", "basophil"]


def test_predict_nothing(classifier):
    """No files, no answers."""
    assert classifier.predict([]) == []


def test_predict_names_the_bad_file(classifier, tmp_path):
    """A missing file is named in the error."""
    with pytest.raises(BloodkerasError, match=r"nobody\.png"):
        classifier.predict([tmp_path / "nobody.png"])


# --- exports that are not to be trusted ---------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_changed_byte_is_refused(export, name):
    """One bit of any exported file is enough."""
    content = bytearray((export / name).read_bytes())
    content[len(content) // 2] ^= 1
    (export / name).write_bytes(content)
    message = refusal(export)
    assert name in message
    assert "is not the file that was exported" in message


@pytest.mark.parametrize("name", [*FILES, "SHA256SUMS"])
def test_missing_file_is_named(export, name):
    """An incomplete export is refused, and the missing file named."""
    (export / name).unlink()
    message = refusal(export)
    assert "no complete export" in message
    assert name in message


def test_missing_folder_is_named(tmp_path):
    """The message says how an export is made."""
    message = refusal(tmp_path / "nowhere")
    assert "nowhere" in message
    assert "bloodkeras export" in message


@pytest.mark.parametrize("left_out", ["model.onnx", "card.json"])
def test_sums_must_list_model_and_card(export, left_out):
    """A file that no checksum covers is not trusted."""
    write_sums(export, tuple(name for name in FILES if name != left_out))
    assert f"does not list {left_out}" in refusal(export)


@pytest.mark.parametrize(
    "sums", [b"nonsense\n", b"\n", b"\xff\xfe\x00\n", b"<html>503</html>\n", b"ab  a\x00b\n"]
)
def test_damaged_sums_are_refused(export, sums):
    """Something else under the name SHA256SUMS is damage, not a crash."""
    (export / "SHA256SUMS").write_bytes(sums)
    assert "SHA256SUMS is damaged" in refusal(export)


def test_empty_sums_are_refused(export):
    """A checksum file that lists nothing vouches for nothing."""
    (export / "SHA256SUMS").write_bytes(b"")
    assert "does not list model.onnx" in refusal(export)


@pytest.mark.parametrize(
    "graph",
    [
        {"input_name": "input"},
        {"input_type": TensorProto.FLOAT},
        {"output_name": "output"},
        {"labels": None},
        {"labels": CLASS_NAMES[:2]},
    ],
    ids=["input", "type", "output", "no labels", "two labels"],
)
def test_foreign_onnx_is_refused(tmp_path, graph):
    """A sound network with other names, types or labels is no model of ours."""
    assert "no bloodkeras model" in refusal(build_export(tmp_path / "foreign", **graph))


@pytest.mark.parametrize("content", [b"", b"not a protobuf\n"])
def test_no_onnx_is_refused(export, content):
    """Bytes that are no network are refused even when their checksum is right."""
    (export / "model.onnx").write_bytes(content)
    write_sums(export)
    assert "onnxruntime cannot load" in refusal(export)


def test_views_are_the_mean_over_flips_and_turns():
    """Asked of a real network: the one made by hand cannot tell up from down."""
    classifier = Classifier.load(Path(__file__).parent.parent / "exports/tiny")
    images = draw_arrays({"train": 8, "val": 8, "test": BATCH_SIZE + 6})["test_images"]
    seen = [classifier.answer(view) for view in eight_views(images)]
    found = classifier.answer(images, views=True)
    assert found.probs == pytest.approx(np.mean([a.probs for a in seen], axis=0), abs=1e-5)
    assert found.foreign == pytest.approx(np.mean([a.foreign for a in seen], axis=0), rel=1e-4)
    assert np.abs(found.probs - seen[0].probs).max() > 0.01
