"""How much of a photograph is kept: drawn cells of known size, any background, a known scale."""

import copy
import pickle

import numpy as np
import pytest
from drawn_field import NUCLEUS, field
from PIL import Image, ImageDraw

from bloodkeras.errors import UsageError
from bloodkeras.images.framing import (
    CELL_TRUST,
    CROP_MICRONS,
    FRAME_SHARE,
    NUCLEUS_SHARE,
    Framing,
    is_wide,
    kept_side,
    nucleus_span,
)
from bloodkeras.images.preprocess import doubt_of, medmnist_pixels, square

RED_CELL = (215, 160, 150)
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
    assert kept_side(draw(600, 14)) == 450  # a speck is not a nucleus


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
    with pytest.raises(UsageError, match="expected") as refused:
        Framing(**known)
    assert "--" not in str(refused.value)  # Python has no options


# --- a photograph that was resized as a whole ----------------------------------------------------


@pytest.mark.parametrize("side", [64, 96, 128, 200, 224, 256, 299, 512])
def test_a_photograph_that_was_resized_as_a_whole_is_cut_like_the_photograph(side):
    """Its red cells and nucleus say so, whatever the size and the filter."""
    for how in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS):
        left, _, right, _ = square(field(1).resize((side, side), how))
        assert right - left == round(side * 200 / 360)


@pytest.mark.parametrize("size", [(224, 226), (222, 224)])
def test_nearly_square_counts(size):
    left, _, right, _ = square(field(1).resize(size))
    assert right - left == round(min(size) * 200 / 360)


@pytest.mark.parametrize("side", [64, 128, 200, 224])
def test_medmnists_own_frame_is_kept(side):
    image = field(200 / 360).resize((side, side))
    assert square(image) == (0, 0, side, side)
    assert not doubt_of(medmnist_pixels(image))


def test_a_known_scale_is_not_questioned():
    image = field(1).resize((224, 224))
    left, _, right, _ = square(image, Framing(microns_per_pixel=19.5 / 200))
    assert right - left == 200


def test_28_pixels_are_taken_as_they_are_and_doubted():
    """The pixels are a promise; the verdict is not."""
    whole = field(1).resize((28, 28), Image.Resampling.BICUBIC)
    found = medmnist_pixels(whole)
    np.testing.assert_array_equal(found, np.asarray(whole))
    assert "half as large" in doubt_of(found)
    assert not doubt_of(medmnist_pixels(field(200 / 360).resize((28, 28))))


def test_a_photograph_at_half_the_magnification_is_doubted():
    """Of 360x360 pixels the middle 200 are kept, and the answer is unsure."""
    wide, usual = field(2), field(1)
    assert "half as large" in doubt_of(medmnist_pixels(wide))
    assert not doubt_of(medmnist_pixels(usual))
    assert not doubt_of(medmnist_pixels(wide, Framing(microns_per_pixel=0.195)))


@pytest.mark.parametrize("side", [28, 64, 224, 360])
def test_noise_and_emptiness_are_not_wide(side):
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    for pixels in (noise, noise // 12 + 230, np.full_like(noise, 255), np.zeros_like(noise)):
        assert not is_wide(Image.fromarray(pixels))


def test_a_doubted_answer_is_unsure_everywhere(tmp_path, capsys):
    """In Python, printed, and in every table, with the reason; it is not a failure."""
    from tiny_export import build_export

    from bloodkeras.answers.classifier import Classifier
    from bloodkeras.answers.predict import score

    path, folder = tmp_path / "s28.png", str(build_export(tmp_path / "export"))
    field(1).resize((28, 28), Image.Resampling.BICUBIC).save(path)
    (answer,) = Classifier.load(folder).predict(path)
    assert (answer.verdict, answer.confidence > 0) == ("unsure", True)
    assert "half as large" in answer.reason
    sorted_into = str(tmp_path / "s")
    for out in ("", str(tmp_path / "a.csv"), str(tmp_path / "a.jsonl")):
        score([str(path)], folder, out, sort_into=sorted_into)
    rows = [capsys.readouterr().out]
    rows += [(tmp_path / name).read_text(encoding="utf-8") for name in ("a.csv", "a.jsonl")]
    for text in rows:
        assert answer.label in text
        assert "unsure" in text
        assert answer.reason in text
    assert (tmp_path / "s" / "unsure" / "s28.png").is_file()


@pytest.mark.parametrize(
    "through",
    [
        lambda pixels: pickle.loads(pickle.dumps(pixels)),
        lambda pixels: pickle.loads(pickle.dumps(pixels, protocol=2)),
        copy.copy,
        copy.deepcopy,
        lambda pixels: pixels[:],
        lambda pixels: pixels[::-1, 2:20, 0],
        lambda pixels: pixels.copy(),
        lambda pixels: pixels.reshape(-1, 3),
    ],
)
def test_a_doubt_is_not_lost_on_the_way(through):
    doubtful = medmnist_pixels(field(2))
    found = through(doubtful)
    assert "half as large" in doubt_of(found)
    assert doubt_of(found) == doubt_of(doubtful)
    assert not doubt_of(through(medmnist_pixels(field(1))))


def test_a_stack_of_doubtful_pixels_is_an_array_like_any_other():
    stack = np.stack([medmnist_pixels(field(2)), medmnist_pixels(field(1))])
    assert type(stack) is np.ndarray


@pytest.mark.needs_data
def test_hardly_any_image_of_the_benchmark_is_taken_for_too_wide(real_data):
    with np.load(real_data, allow_pickle=False) as data:
        images, labels = data["test_images"], data["test_labels"].ravel()
    wide = np.array([is_wide(Image.fromarray(image)) for image in images])
    assert 0 < wide.mean() < 0.006
    assert max(wide[labels == k].mean() for k in range(8)) < 0.04


@pytest.mark.needs_data
@pytest.mark.parametrize(("side", "caught"), [(28, 0.85), (64, 0.92), (224, 0.92), (299, 0.92)])
def test_real_photographs_that_were_resized_are_noticed(photographs, side, caught):
    whole = [Image.open(path).convert("RGB") for path in sorted(photographs.glob("*.jpg"))]
    assert len(whole) == 96
    resized = [image.resize((side, side), Image.Resampling.BICUBIC) for image in whole]
    assert np.mean([is_wide(image) for image in resized]) >= caught


def test_predict_takes_the_scale(tmp_path):
    from tiny_export import build_export

    from bloodkeras.answers.classifier import Classifier
    from bloodkeras.answers.predict import score

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
