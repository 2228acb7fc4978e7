"""One scale for many photographs: drawn red cells and nuclei at odd magnifications."""

import logging
import sys

import numpy as np
import pytest
from drawn_field import field
from PIL import Image

from bloodkeras.errors import UsageError
from bloodkeras.images.folder import PassedOver, walk
from bloodkeras.images.framing import CROP_MICRONS, UNKNOWN, Framing
from bloodkeras.images.preprocess import medmnist_pixels, read_image, square
from bloodkeras.images.scale import Scale, even_sample, measure, pooled, scale_of, scaled

HOME = CROP_MICRONS / 200  # micrometres a pixel of a photograph of 360 pixels that shows all of it


def folder_of(place, photographs):
    """Write photographs into a folder."""
    place.mkdir(exist_ok=True)
    for number, image in enumerate(photographs):
        image.save(place / f"{number:03}.png")
    return str(place)


def true_scale(share, side):
    """Return the micrometres a pixel of `field(share, side)`."""
    return HOME * 360 * share / side


def found(folder, framing=UNKNOWN):
    """Return the scales that a folder is found to have."""
    return dict(scaled([str(folder)], framing).scales)


@pytest.mark.parametrize(
    ("share", "side"), [(1, 500), (1, 180), (0.8, 575), (0.75, 430), (1.3, 720)]
)
def test_the_scale_of_drawn_cells_is_found(tmp_path, share, side):
    scale = found(folder_of(tmp_path / "photos", [field(share, side)] * 6))[""]
    assert scale == pytest.approx(true_scale(share, side), rel=0.12)


def test_it_is_said_with_its_uncertainty(tmp_path, caplog):
    folder = folder_of(tmp_path / "photos", [field(1, 500)] * 6)
    with caplog.at_level(logging.INFO):
        scale = found(folder)[""]
    (line,) = caplog.messages
    assert line.startswith(f"{scale:.3g} micrometres a pixel (")
    assert line.endswith(" red cells and 6 nuclei")
    low, high = (float(word.strip("(),")) for word in line.split()[4:7:2])
    assert low < true_scale(1, 500) < high


def test_small_cells_of_one_class_are_not_blown_up(tmp_path):
    """Platelets alone, nuclei a third as large: red cells hold the scale."""
    photographs = [field(1, 500) for _ in range(6)]
    for image in photographs:
        pixels = np.asarray(image).copy()
        rows, columns = np.mgrid[:500, :500]
        away = np.hypot(rows - 250, columns - 250)
        pixels[(away < 95) & (away > 25)] = pixels[2, 2]
        image.paste(Image.fromarray(pixels))
    scale = found(folder_of(tmp_path / "photos", photographs))[""]
    assert scale == pytest.approx(true_scale(1, 500), rel=0.2)


def test_photographs_framed_as_at_home_keep_their_pixels(tmp_path):
    folder = folder_of(tmp_path / "photos", [field(1, 360)] * 8)
    framing = scaled([folder], UNKNOWN)
    assert not framing.scales
    image = Image.open(f"{folder}/000.png")
    np.testing.assert_array_equal(read_image(f"{folder}/000.png", framing), medmnist_pixels(image))


def test_a_size_like_home_s_is_doubted_where_red_cells_deny_it(tmp_path):
    """A telephone's photographs of 402x402 pixels, say."""
    folder = folder_of(tmp_path / "photos", [field(0.75, 402)] * 8)
    assert found(folder)["402x402"] == pytest.approx(true_scale(0.75, 402), rel=0.12)


@pytest.mark.parametrize("side", [28, 64, 128, 200, 224])
def test_images_as_medmnist_publishes_them_stay(tmp_path, side):
    folder = folder_of(tmp_path / "photos", [field(200 / 360, side)] * 8)
    framing = scaled([folder], UNKNOWN)
    image = Image.open(f"{folder}/000.png")
    assert square(image, framing) == (0, 0, side, side)


def test_each_zoom_has_its_scale(tmp_path):
    """Two cameras in one folder; a size that is rare goes with the others."""
    photographs = [field(1, 500)] * 8 + [field(1, 1100)] * 8
    scales = found(folder_of(tmp_path / "photos", photographs))
    for side in (500, 1100):
        image = Image.new("RGB", (side, side))
        left, _, right, _ = square(image, Framing(scales=tuple(scales.items())))
        assert right - left == pytest.approx(CROP_MICRONS / true_scale(1, side), rel=0.12)


@pytest.mark.parametrize(
    "photographs",
    [
        [field(1, 500)],
        [Image.new("RGB", (150, 140), "white")] * 8,
        [Image.new("RGB", (28, 28), "white")] * 8,
    ],
    ids=["one", "empty", "the network's own"],
)
def test_nothing_is_estimated_from_too_little(tmp_path, photographs, caplog):
    folder = folder_of(tmp_path / "photos", photographs)
    framing = scaled([folder], UNKNOWN)
    assert framing == UNKNOWN
    image = photographs[0]
    assert square(image, framing) == square(image)


def test_nuclei_alone_need_many_and_are_less_certain():
    one = measure(field(1, 500))
    bare = type(one)(one.size, (), one.nucleus, one.redness)
    assert scale_of([bare] * 19) is None
    assert scale_of([bare] * 40).spread > 2 * scale_of([one] * 40).spread


def test_it_is_the_same_again_and_damaged_files_do_not_count(tmp_path):
    folder = folder_of(tmp_path / "photos", [field(1, 500)] * 6)
    scales = found(folder)
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert found(folder) == scales


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 5_000, 100_001])
def test_the_sample_is_even_and_small(count):
    sample = even_sample(map(str, range(count)))
    assert len(sample) == min(count, 200)
    if count >= 5_000:
        assert int(sample[0]) < count * 0.01
        assert int(sample[-1]) > count * 0.97
        assert np.diff([int(name) for name in sample]).max() < count / 60


# --- a scale that is given ------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0.065", " 0.065\n", "\ufeff0.065\r\n", "6.5e-2"])
def test_a_file_beside_the_photographs_fixes_it(tmp_path, text):
    folder = folder_of(tmp_path / "photos", [field(1, 500)] * 6)
    (tmp_path / "photos" / "microns_per_pixel.txt").write_text(text, encoding="utf-8")
    for words in ([folder], [f"{folder}/000.png"]):
        assert scaled(words, UNKNOWN) == Framing(0.065)
    assert scaled([folder], Framing(0.1)) == Framing(0.1)  # an option counts more


@pytest.mark.parametrize(
    "text", ["", "0", "nan", "-1", "50", "0,065", "65 nm", "0.06 0.07", "x" * 999]
)
def test_nonsense_beside_the_photographs_is_refused(tmp_path, text):
    folder = folder_of(tmp_path / "photos", [field(1, 500)])
    (tmp_path / "photos" / "microns_per_pixel.txt").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"microns_per_pixel\.txt: expected one number") as refused:
        scaled([folder], UNKNOWN)
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 400


def test_a_file_that_is_no_text_is_refused(tmp_path):
    folder = folder_of(tmp_path / "photos", [field(1, 500)])
    (tmp_path / "photos" / "microns_per_pixel.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"microns_per_pixel\.txt"):
        scaled([folder], UNKNOWN)


def test_a_file_further_below_does_not_count_and_is_said(tmp_path):
    top = tmp_path / "photos"
    folder_of(top, [field(1, 500)])
    folder_of(top / "below", [field(1, 500)])
    (top / "below" / "microns_per_pixel.txt").write_text("0.065", encoding="utf-8")
    passed = PassedOver()
    assert len(list(walk(str(top), passed))) == 2
    assert scaled([str(top)], UNKNOWN) == UNKNOWN
    assert "1 .txt" in str(passed)
    (top / "microns_per_pixel.txt").write_text("0.065", encoding="utf-8")
    passed = PassedOver()
    list(walk(str(top), passed))
    assert "passed over 1 file" in str(passed)


def test_folders_of_different_scales_are_refused(tmp_path):
    folders = [folder_of(tmp_path / name, [field(1, 500)]) for name in "ab"]
    (tmp_path / "a" / "microns_per_pixel.txt").write_text("0.065", encoding="utf-8")
    with pytest.raises(UsageError, match="different scales"):
        scaled(folders, UNKNOWN)
    (tmp_path / "b" / "microns_per_pixel.txt").write_text("0.065", encoding="utf-8")
    assert scaled(folders, UNKNOWN) == Framing(0.065)


def test_a_list_on_standard_input_is_not_read_twice(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert scaled(["-"], UNKNOWN) == UNKNOWN


def test_what_a_job_was_begun_with_counts(tmp_path):
    folder = folder_of(tmp_path / "photos", [field(1, 500)] * 6)
    assert scaled([folder], UNKNOWN, {"scales": {"": 0.2}}).scales == (("", 0.2),)


def test_uncertainty_is_two_standard_errors():
    said = str(Scale(0.066, 0.04, 1412, 20))
    assert said == (
        "0.066 micrometres a pixel (0.0609 to 0.0715), by 1,412 red cells and 20 nuclei"
    )


def test_sizes_that_agree_are_pooled():
    scales = pooled([measure(field(1, 500)), measure(field(1.1, 550))] * 8)
    assert list(scales) == [""]
