"""How much of a photograph is kept: drawn cells of known size, any background, a known scale."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bloodkeras.errors import UsageError
from bloodkeras.runtime.preprocess import medmnist_pixels, square
from bloodkeras.runtime.scale import (
    CELL_TRUST,
    CROP_MICRONS,
    FRAME_SHARE,
    NUCLEUS_SHARE,
    Framing,
    kept_side,
    nucleus_span,
)

NUCLEUS, RED_CELL = (90, 40, 130), (215, 160, 150)
BACKGROUNDS = {"white": (245, 243, 244), "yellow": (250, 240, 160), "grey": (190, 186, 200)}


def draw(side: int, nucleus: float, background: str = "white") -> Image.Image:
    """Draw a round nucleus in the middle, red cells around it.

    Args:
        side: Of the square, in pixels.
        nucleus: Its diameter in pixels.
        background: One of BACKGROUNDS.
    """
    image = Image.new("RGB", (side, side), BACKGROUNDS[background])
    pen = ImageDraw.Draw(image)
    for x in (0.1, 0.9):
        for y in (0.1, 0.5, 0.9):
            pen.circle((x * side, y * side), 0.08 * side, RED_CELL)
    pen.circle((side / 2, side / 2), nucleus / 2, NUCLEUS)
    return image


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize(
    ("side", "nucleus"), [(120, 40), (120, 60), (90, 55), (600, 150), (50, 20)]
)
def test_the_nucleus_is_measured_on_any_background(side, nucleus, background):
    span = nucleus_span(draw(side, nucleus, background))
    assert span == pytest.approx(nucleus / side, rel=0.06)


def test_lobes_count_as_one():
    image = Image.new("RGB", (120, 120), "white")
    pen = ImageDraw.Draw(image)
    for x, y in ((48, 50), (60, 66), (72, 50)):
        pen.circle((x, y), 10, NUCLEUS)
    pen.line((48, 50, 60, 66, 72, 50), NUCLEUS, 3)
    assert 36 / 120 < nucleus_span(image) < 44 / 120


def test_what_touches_nothing_in_the_middle_is_left_out():
    alone = nucleus_span(draw(120, 40))
    beside = draw(120, 40)
    ImageDraw.Draw(beside).circle((100, 100), 15, NUCLEUS)
    assert nucleus_span(beside) == pytest.approx(alone, rel=0.01)


@pytest.mark.parametrize("colour", ["white", "black", (250, 240, 160), RED_CELL])
def test_without_a_nucleus_the_frame_decides(colour):
    image = Image.new("RGB", (120, 100), colour)
    assert nucleus_span(image) is None
    assert kept_side(image) == 75


def test_the_kept_side_by_hand():
    image = draw(120, 48)
    share = FRAME_SHARE ** (1 - CELL_TRUST) * (nucleus_span(image) / NUCLEUS_SHARE) ** CELL_TRUST
    assert kept_side(image) == round(120 * share)
    left, top, right, bottom = square(image)
    assert right - left == bottom - top == kept_side(image)
    assert abs(left + right - 120) <= 1
    assert kept_side(draw(120, 100)) == 120  # no more than there is
    assert kept_side(draw(600, 14)) == 450  # a speck is no nucleus


@pytest.mark.parametrize("pixels", [60, 240, 500])
def test_magnification_does_not_matter(pixels):
    """The same field with more or fewer pixels gives the same picture."""
    field = draw(1000, 400)
    share = kept_side(field) / 1000
    assert kept_side(field.resize((pixels, pixels))) / pixels == pytest.approx(share, rel=0.04)


def test_framing_matters_less_than_it_did():
    """Of two frames around the same cell, one 1.8 times the other, the kept sides are closer."""
    wide, tight = kept_side(draw(216, 55)), kept_side(draw(120, 55))
    assert 1 < wide / tight < 1.45


@pytest.mark.parametrize("size", [(360, 363), (200, 200), (120, 120)])
def test_a_known_scale_wins(size):
    image = draw(max(size), 50).crop((0, 0, *size))
    left, _, right, _ = square(image, Framing(microns_per_pixel=0.3))
    assert right - left == round(CROP_MICRONS / 0.3)
    left, _, right, _ = square(image, Framing(microns_per_pixel=0.05))
    assert right - left == min(size)  # more is not there


def test_tightness_makes_cells_larger():
    for image, usual in ((draw(360, 70), 200), (draw(120, 48), kept_side(draw(120, 48)))):
        left, _, right, _ = square(image, Framing(tightness=1.25))
        assert right - left == pytest.approx(usual / 1.25, abs=1)


def test_what_is_an_image_of_the_data_already_stays_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    found = medmnist_pixels(Image.fromarray(pixels), Framing(microns_per_pixel=0.1, tightness=2))
    assert np.array_equal(found, pixels)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("side", [120, 700])
def test_every_mode_is_measured(mode, side):
    image = draw(side, side / 3)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    assert nucleus_span(image.convert(mode)) == pytest.approx(1 / 3, rel=0.06)


@pytest.mark.parametrize(
    "known", [{"microns_per_pixel": -1}, {"microns_per_pixel": 50}, {"tightness": 0}]
)
def test_nonsense_is_refused(known):
    with pytest.raises(UsageError, match="expected"):
        Framing(**known)


def test_predict_takes_the_scale(tmp_path):
    from tiny_export import build_export

    from bloodkeras.runtime.classifier import Classifier
    from bloodkeras.runtime.score import score

    draw(120, 40).save(tmp_path / "cell.png")
    classifier = Classifier.load(build_export(tmp_path / "export"))
    answers = [
        classifier.predict(str(tmp_path / "cell.png"), microns_per_pixel=scale)[0].probs
        for scale in (0.0, 0.5)
    ]
    assert np.abs(answers[0] - answers[1]).max() > 0.01
    out = tmp_path / "x.csv"
    score([str(tmp_path / "cell.png")], str(tmp_path / "export"), str(out), microns_per_pixel=0.5)
    cells = out.read_text(encoding="utf-8").splitlines()[1].split(",")[3:11]
    assert [float(cell) for cell in cells] == pytest.approx(answers[1].tolist(), abs=1e-5)
