"""photograph.onnx answers as `predict` does, whatever the size of the photograph."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from drawn_field import field
from PIL import Image
from tiny_export import build_export, build_graph, write_sums

from bloodkeras import contract
from bloodkeras.answers.answer import Thresholds
from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.export_folder import verify_checksums
from bloodkeras.answers.session import open_session
from bloodkeras.errors import BloodkerasError
from bloodkeras.export.add_photograph import add_photograph
from bloodkeras.export.photograph import with_photograph
from bloodkeras.images.framing import CROP_MICRONS, Framing
from bloodkeras.images.preprocess import doubt_of, medmnist_pixels
from bloodkeras.images.synthetic import draw_arrays

EXPORTS = Path(__file__).parents[2] / "exports"
PUBLISHED = sorted(path.parent for path in EXPORTS.glob("*/model.onnx"))
BOTH_SIDES = [EXPORTS / "residual", EXPORTS / "robust-64"]
SIZES = [
    (360, 363), (300, 420), (421, 300), (28, 28), (64, 64), (200, 206), (224, 224), (299, 305),
    (120, 120), (575, 575), (640, 480), (8, 30), (27, 28), (61, 64), (257, 256), (1201, 900),
]  # fmt: skip
NAMES = [contract.OUTPUT_NAME, contract.FOREIGN_NAME, contract.VERDICT_NAME, contract.PIXELS_NAME]


def noisy(image, size):
    """Return an image at a size, with the grain of a camera."""
    levels = np.asarray(image.resize(size, Image.Resampling.BICUBIC)).astype(int)
    grain = np.random.default_rng(size).integers(-6, 7, levels.shape)
    return (levels + grain).clip(0, 255).astype(np.uint8)


def asked(session, photograph, side=0):
    feeds = {"photograph": photograph, "side": np.array([side], np.int32)}
    return dict(zip(NAMES, session.run(NAMES, feeds), strict=True))


def expect_the_same(session, classifier, photograph, side=0):
    """Compare a photograph's answers with those of the way that `predict` goes."""
    framing = Framing(
        microns_per_pixel=CROP_MICRONS / side if side else 0.0,
        image_side=classifier.dataset.image_side,
    )
    pixels = medmnist_pixels(Image.fromarray(photograph), framing)
    answers = classifier.answer(np.asarray(pixels)[None]).doubted([doubt_of(pixels)])
    found = asked(session, photograph, side)
    np.testing.assert_array_equal(found["pixels"], pixels)
    assert found["probs"] == pytest.approx(answers.probs, abs=1e-5)
    assert contract.VERDICTS[found["verdict"][0]] == answers.verdicts[0]


@pytest.mark.parametrize("folder", BOTH_SIDES, ids=lambda folder: folder.name)
@pytest.mark.parametrize("share", [1, 200 / 360, 0.35])
def test_it_answers_as_predict_does(folder, share):
    session = open_session(folder / contract.PHOTOGRAPH_FILE)
    classifier = Classifier.load(folder)
    for size in SIZES:
        expect_the_same(session, classifier, noisy(field(share), size))


@pytest.mark.parametrize("folder", BOTH_SIDES, ids=lambda folder: folder.name)
@pytest.mark.parametrize("side", [40, 130, 5000])
def test_a_square_that_is_given_is_kept(folder, side):
    session = open_session(folder / contract.PHOTOGRAPH_FILE)
    classifier = Classifier.load(folder)
    for size in SIZES[::3]:
        if side < 4000:
            expect_the_same(session, classifier, noisy(field(1), size), side)
        else:  # more than there is: all of it
            photograph = noisy(field(1), size)
            most, short = (asked(session, photograph, each) for each in (side, min(size)))
            np.testing.assert_array_equal(most["pixels"], short["pixels"])


def test_the_networks_own_pixels_are_taken_as_they_are():
    cells = draw_arrays({"train": 8, "val": 8, "test": 8})["test_images"]
    session = open_session(EXPORTS / "tiny" / contract.PHOTOGRAPH_FILE)
    for cell in cells:
        np.testing.assert_array_equal(asked(session, cell)["pixels"], cell)


def test_all_three_verdicts_and_the_doubt_are_given():
    """Red is class 0, sure of itself; grey is not; and of what is enlarged nothing is accepted."""
    session = open_session(
        with_photograph(build_graph(), Thresholds(confidence=0.9)).SerializeToString()
    )
    names = [contract.OUTPUT_NAME, contract.VERDICT_NAME]

    def verdict(photograph):
        feeds = {"photograph": photograph, "side": np.zeros(1, np.int32)}
        return contract.VERDICTS[session.run(names, feeds)[1][0]]

    red = np.zeros((360, 360, 3), np.uint8)
    red[..., 0] = 255
    assert verdict(red) == contract.ACCEPTED
    assert verdict(np.full((360, 360, 3), 128, np.uint8)) == contract.UNSURE
    assert verdict(red[:20, :20]) == contract.UNSURE
    noise = np.random.default_rng(0).integers(0, 256, (360, 360, 3), dtype=np.uint8)
    found = asked(open_session(EXPORTS / "residual" / contract.PHOTOGRAPH_FILE), noise)
    assert contract.VERDICTS[found["verdict"][0]] == contract.FOREIGN


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_the_published_file_is_what_its_export_makes(folder):
    verify_checksums(folder, contract.PHOTOGRAPH_FILE)
    card = Classifier.load(folder).card
    model = onnx.load(folder / contract.PHOTOGRAPH_FILE)
    network = onnx.load(folder / contract.MODEL_FILE)
    assert model == with_photograph(network, Thresholds(**card["thresholds"]))
    assert card["photograph"]["bytes"] == (folder / contract.PHOTOGRAPH_FILE).stat().st_size
    page = (folder / contract.MODEL_CARD_FILE).read_text(encoding="utf-8")
    assert card["photograph"]["input"] in page
    said = {each.key: each.value for each in model.metadata_props}
    assert json.loads(said["bloodkeras.verdicts"]) == [*contract.VERDICTS]
    assert json.loads(said["bloodkeras.labels"]) == card["labels"]
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    assert model.ir_version <= 9  # of onnxruntime 1.17
    names = [node.output[0] for node in model.graph.node]
    assert len(names) == len(set(names))


def test_int8_takes_photographs_too():
    folder = EXPORTS / "residual"
    classifier = Classifier.load(folder, precision="int8")
    model = with_photograph(onnx.load(folder / contract.INT8_FILE), classifier.thresholds)
    expect_the_same(
        open_session(model.SerializeToString()), classifier, noisy(field(1), (360, 363))
    )


def test_an_export_gets_the_file_without_its_run(tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(EXPORTS / "tiny", folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / contract.PHOTOGRAPH_FILE).unlink()
    sums = (folder / contract.SUMS_FILE).read_text(encoding="utf-8").splitlines()
    left = [line for line in sums if not line.endswith(contract.PHOTOGRAPH_FILE)]
    (folder / contract.SUMS_FILE).write_text("\n".join(left) + "\n", encoding="utf-8")
    assert add_photograph(folder) == len(before[contract.PHOTOGRAPH_FILE])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_of_a_calibrated_export_only_the_card_is_written_anew(tmp_path):
    folder = build_export(tmp_path / "mine")
    card = json.dumps({"model": "mine", "calibrated_on": {"model": "tiny"}})
    (folder / contract.CARD_FILE).write_text(card, encoding="utf-8")
    write_sums(folder)
    add_photograph(folder)
    assert (folder / contract.MODEL_CARD_FILE).read_text(encoding="utf-8") == "# tiny\n"
    verify_checksums(folder, contract.PHOTOGRAPH_FILE)


def test_a_damaged_export_is_left_alone(tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(EXPORTS / "tiny", folder)
    (folder / contract.CARD_FILE).write_text("{}", encoding="utf-8")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BloodkerasError, match="not the file that was exported"):
        add_photograph(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_real_photographs_are_answered_as_predict_answers_them(photographs):
    folder = EXPORTS / "robust-64"
    session = open_session(folder / contract.PHOTOGRAPH_FILE)
    classifier = Classifier.load(folder)
    for path in sorted(photographs.glob("*.jpg"))[::4]:
        expect_the_same(session, classifier, np.asarray(Image.open(path).convert("RGB")))
