"""Checks the shipped classifier on a network small enough to compute by hand.

Flow: takes a hand-made export; gives a failure when it answers wrongly, or trusts a changed file.
"""

import copy
import io
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from forged_images import encoded
from onnx import TensorProto
from PIL import Image
from tiny_export import FILES, build_export, expected_probs, write_sums

import bloodkeras
from bloodkeras.answers.answer import Thresholds
from bloodkeras.answers.classifier import BATCH_SIZE, Classifier, Prediction
from bloodkeras.answers.exports import published
from bloodkeras.bloodmnist import CLASS_NAMES, bloodmnist
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.preprocess import doubt_of, eight_views, read_any
from bloodkeras.images.synthetic import draw_arrays

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
def test_a_single_path_is_a_list_of_one(classifier, tmp_path, kind):
    """A path where a list belongs is not taken for a list of letters."""
    Image.new("RGB", (28, 28), RED).save(tmp_path / "r.png")
    (answer,) = classifier.predict(kind(tmp_path / "r.png"))
    assert answer.label == "basophil"


def held(kind: str, folder: Path):
    """Return a red photograph as Python users hold one."""
    photograph = Image.new("RGB", (90, 80), RED)
    photograph.save(folder / "red.png")
    content = (folder / "red.png").read_bytes()
    return {
        "path": folder / "red.png",
        "PIL": photograph,
        "opened": Image.open(folder / "red.png"),
        "palette": photograph.convert("P"),
        "transparent": photograph.convert("RGBA"),
        "inks": photograph.convert("CMYK"),
        "bytes": content,
        "bytearray": bytearray(content),
        "memoryview": memoryview(content),
        "file": open(folder / "red.png", "rb"),
        "BytesIO": io.BytesIO(content),
        "array": np.asarray(photograph),
        "small array": painted(RED)[0],
        "strided array": np.asarray(photograph)[::-1, ::2],
    }[kind]


KINDS = (
    "path",
    "PIL",
    "opened",
    "palette",
    "transparent",
    "inks",
    "bytes",
    "bytearray",
    "memoryview",
    "file",
    "BytesIO",
    "array",
    "small array",
    "strided array",
)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_holds_a_photograph_is_answered(classifier, tmp_path, kind):
    """Alone, in a list, in a generator, and beside others."""
    assert [a.label for a in classifier.predict(held(kind, tmp_path))] == ["basophil"]
    assert [a.label for a in classifier.predict([held(kind, tmp_path)])] == ["basophil"]
    mixed = (image for image in (painted(BLUE)[0], held(kind, tmp_path)))
    assert [a.label for a in classifier.predict(mixed)] == ["erythroblast", "basophil"]


@pytest.mark.parametrize("size", [(28, 28), (64, 64), (90, 80), (360, 363)])
def test_every_way_in_gives_the_pixels_of_the_file(classifier, tmp_path, size):
    """Crop, resize and JPEG are the same, and so are the probabilities, to the last bit."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    ways = [tmp_path / "a.png", content, io.BytesIO(content), Image.fromarray(noise), noise]
    answers = classifier.predict(ways)
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer.probs, answers[0].probs)


def test_a_file_that_was_read_is_read_from_its_beginning(classifier):
    file = io.BytesIO(encoded(Image.new("RGB", (28, 28), RED), "PNG"))
    file.read()
    assert classifier.predict(file)[0].label == "basophil"


def test_a_pipe_is_read(classifier):
    """What cannot be wound back is taken from where it is."""
    reading, writing = os.pipe()
    with open(reading, "rb") as pipe, open(writing, "wb") as end:
        end.write(encoded(Image.new("RGB", (28, 28), RED), "PNG"))
        end.close()
        assert classifier.predict(pipe)[0].label == "basophil"


def test_what_can_only_be_read_is_read(classifier):
    """As the bodies of some downloads: no seek, nor anything else of a file."""

    class Body:
        def __init__(self, content):
            self.read = io.BytesIO(content).read

    body = Body(encoded(Image.new("RGB", (28, 28), RED), "PNG"))
    assert classifier.predict(body)[0].label == "basophil"


def test_the_orientation_of_a_pil_image_is_honoured(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(read_any(image, "it"), np.rot90(pixels, -1))


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (np.zeros((28, 28, 3)), "found float64 (28, 28, 3)"),
        (np.zeros((28, 28), np.uint8), "(N, 28, 28, 3)"),
        (np.zeros((2, 64, 64, 3), np.uint8), "found uint8 (2, 64, 64, 3)"),
        (np.zeros((64, 64, 4), np.uint8), "found uint8 (64, 64, 4)"),
        (np.zeros((3, 64, 64), np.uint8), "found uint8 (3, 64, 64)"),
        (np.uint8(3), "cannot classify numpy.uint8"),
        (np.array(["a.png"]), "expected raw pixels"),
        (np.zeros((0,)), "expected raw pixels"),
        ([np.zeros((64, 64, 3), np.float32)], "image 0: expected raw pixels as uint8 (H, W, 3)"),
        ([painted(RED)[0], np.zeros((28, 28), np.uint8)], "image 1"),
        ([painted(RED)], "image 0"),
        ([np.zeros((4, 4, 3), np.uint8)], "4x4 pixels show no cell"),
        ([np.zeros((200, 28, 3), np.uint8)], "strip"),
        ({"a": 1}, "cannot classify dict"),
        (None, "cannot classify NoneType"),
        (7, "cannot classify int"),
        ([7], "image 0: found int"),
        ([[1, 2], [3, 4]], "image 0: found list"),
        (b"no image", "the image is not an image"),
        (b"", "the image: the file is empty"),
        ([b"\x89PNG"], "image 0"),
        (io.StringIO("text"), "opened as text"),
        (Image.new("F", (28, 28)), "colour mode F"),
        (Image.new("RGB", (2, 2)), "2x2 pixels show no cell"),
    ],
    ids=lambda given: None if isinstance(given, str) else type(given).__name__,
)
def test_what_is_no_photograph_is_refused_in_one_line(classifier, images, told):
    with pytest.raises(BloodkerasError) as caught:
        classifier.predict(images)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tensor_and_a_column_of_paths(classifier, tmp_path):
    """Another library's tensor is refused by its name; a column of a table is a list."""

    class Tensor:
        def __iter__(self):
            return iter([Tensor()])

    with pytest.raises(BloodkerasError, match=r"found .*Tensor, expected"):
        classifier.predict(Tensor())
    pandas = pytest.importorskip("pandas")
    Image.new("RGB", (28, 28), RED).save(tmp_path / "r.png")
    column = pandas.Series([str(tmp_path / "r.png")] * 2)
    assert [a.label for a in classifier.predict(column)] == ["basophil", "basophil"]


def test_arrays_are_never_doubted(classifier):
    """The benchmark's images are taken as they are, whatever they seem to show."""
    cells = draw_arrays({"train": 8, "val": 8, "test": 400})["test_images"]
    assert any(doubt_of(read_any(Image.fromarray(cell), "it")) for cell in cells)
    for images in (cells, list(cells)):
        answers = classifier.predict(images)
        assert not any(answer.reason for answer in answers)
        verdicts = [answer.verdict for answer in answers]
        assert verdicts == classifier.answer(cells).verdicts.tolist()


# --- copies in other processes --------------------------------------------------------------------


def asked_elsewhere(classifier: Classifier, folder: str, images: np.ndarray) -> tuple:
    """Answer in another process, in another folder."""
    os.chdir(folder)
    return classifier.predict_proba(images), classifier._made_of[1]


def test_a_pickled_classifier_answers_the_same(export, tmp_path, monkeypatch):
    """Settings, relative folder, and a folder that is gone: the copy holds the network itself."""
    monkeypatch.chdir(export.parent)
    original = Classifier.load(export.name, threads=1)
    original.batch_size = 7
    original.thresholds = Thresholds(0.75, 3.0)
    images = np.random.default_rng(0).integers(0, 256, (9, 28, 28, 3), np.uint8)
    content = pickle.dumps(original)
    shutil.rmtree(export)
    monkeypatch.chdir(tmp_path)
    for made in (pickle.loads(content), copy.deepcopy(original), copy.copy(original)):
        assert (made._made_of[1], made.batch_size) == (1, 7)
        assert made.thresholds == Thresholds(0.75, 3.0)
        assert (made.labels, made.card) == (original.labels, original.card)
        np.testing.assert_array_equal(made.predict_proba(images), original.predict_proba(images))
        assert pickle.loads(pickle.dumps(made)).labels == original.labels
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as pool:
        probs, threads = pool.submit(asked_elsewhere, original, "/", images).result()
    assert threads == 1
    np.testing.assert_array_equal(probs, original.predict_proba(images))


def test_a_changed_pickle_is_refused(export):
    """A byte of the network that was lost on the way is noticed."""
    content = bytearray(pickle.dumps(Classifier.load(export)))
    place = content.index(b"weights")
    content[place] ^= 1
    with pytest.raises(BloodkerasError, match="not the one that was pickled"):
        pickle.loads(bytes(content))


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
    assert "is not a complete export" in message
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
    """A sound network with other names, types or labels is not a model of ours."""
    assert "is not a bloodkeras model" in refusal(build_export(tmp_path / "foreign", **graph))


@pytest.mark.parametrize("content", [b"", b"not a protobuf\n"])
def test_no_onnx_is_refused(export, content):
    """Bytes that are no network are refused even when their checksum is right."""
    (export / "model.onnx").write_bytes(content)
    write_sums(export)
    assert "onnxruntime cannot load" in refusal(export)


def test_views_are_the_mean_over_flips_and_turns():
    """Asked of a real network: the one made by hand cannot tell up from down."""
    classifier = Classifier.load(Path(__file__).parents[2] / "exports/tiny")
    images = draw_arrays({"train": 8, "val": 8, "test": BATCH_SIZE + 6})["test_images"]
    seen = [classifier.answer(view) for view in eight_views(images)]
    found = classifier.answer(images, views=True)
    assert found.probs == pytest.approx(np.mean([a.probs for a in seen], axis=0), abs=1e-5)
    assert found.foreign == pytest.approx(np.mean([a.foreign for a in seen], axis=0), rel=1e-4)
    assert np.abs(found.probs - seen[0].probs).max() > 0.01


def test_without_a_name_the_default_is_loaded_and_what_is_none_is_one_line():
    sizes = {"train": 8, "val": 8, "test": 8}
    images = draw_arrays(sizes, dataset=bloodmnist(64))["test_images"]
    named, default = bloodkeras.load("robust-64"), bloodkeras.load(None)
    assert np.array_equal(named.predict_proba(images), default.predict_proba(images))
    for wrong in (5, b"tiny", ["tiny"], {"tiny": 1}):
        with pytest.raises(UsageError, match="expected a name such as tiny, or a folder"):
            bloodkeras.load(wrong)


def test_from_python_nothing_is_said_unless_it_is_asked_for(tmp_path):
    """Of the int8 file of so small a network there is something to say."""
    asked = "import logging; logging.basicConfig(level=logging.INFO)\n"
    code = "from bloodkeras.answers.classifier import advise\n"
    code += "from bloodkeras.progress import Progress, Stages\n"
    code += f"advise({str(published()['tiny'])!r}, 'int8'); Stages('export', ['a']).begin('a')\n"
    silent, loud = (
        subprocess.run([sys.executable, "-c", c], capture_output=True, text=True, timeout=60)
        for c in (code, asked + code)
    )
    assert (silent.returncode, silent.stdout, silent.stderr) == (0, "", "")
    assert "WARNING:bloodkeras.answers.classifier:" in loud.stderr
    assert "INFO:bloodkeras.progress:export, 1 of 1: a" in loud.stderr
