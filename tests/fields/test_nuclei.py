"""White cells are found where they were drawn, each once, and nothing else is."""

import numpy as np
import pytest
from drawn_field import ROUND, THREE_LOBES, whole
from PIL import Image, ImageFilter

pytest.importorskip("skimage", reason="needs scikit-image, of the extra find")

from bloodkeras.fields.find import BLURRED
from bloodkeras.fields.nuclei import find_cells, outline_width, stained_at
from bloodkeras.fields.squares import cut
from bloodkeras.images.framing import CROP_MICRONS

CELLS = [(25.0, 20.0, ROUND), (62.0, 38.0, THREE_LOBES)]


def found(image: Image.Image, scale: float) -> list[tuple[float, float]]:
    """Return where cells were found, in micrometres."""
    return [
        (cell.centre[0] * scale, cell.centre[1] * scale)
        for cell in find_cells(np.asarray(image), scale)
    ]


@pytest.mark.parametrize("scale", [0.04, 0.1, 0.2, 0.33])
def test_each_cell_is_found_once_at_any_magnification(scale):
    places = found(whole(CELLS, scale), scale)
    assert len(places) == 2
    for place, (x, y, _) in zip(places, CELLS, strict=True):
        assert np.hypot(place[0] - x, place[1] - y) < 1.0


def test_red_cells_and_platelets_are_none():
    assert found(whole([]), 0.1) == []


@pytest.mark.parametrize("change", [(0.6, 1.0, 1.0), (1.0, 1.0, 0.6), (0.5, 0.5, 0.5)])
def test_the_lamp_does_not_matter(change):
    pixels = np.asarray(whole(CELLS)) * np.array(change)
    assert len(found(Image.fromarray(pixels.astype(np.uint8)), 0.1)) == 2


def test_nuclei_that_touch_are_two_and_lobes_are_one():
    touching = [(41.0, 30.0, ROUND), (48.4, 30.0, ROUND)]
    (left, y1), (right, y2) = sorted(found(whole(touching), 0.1))
    assert (left, right) == (pytest.approx(41, abs=1), pytest.approx(48.4, abs=1))
    assert y1 == y2 == pytest.approx(30, abs=1)
    bilobed = ((-2.5, 0.0, 2.6), (2.5, 0.0, 2.6))
    assert len(found(whole([(45.0, 30.0, bilobed)]), 0.1)) == 1


def test_lobes_apart_are_one_nucleus_and_two_cells_apart_are_two():
    apart = ((-3.5, 0.0, 2.4), (3.5, 0.0, 2.4))  # a gap of 2.2 micrometres
    assert len(found(whole([(45.0, 30.0, apart)]), 0.1)) == 1
    both_large = ((-5.0, 0.0, 4.0), (5.0, 0.0, 4.0))  # the same gap
    assert len(found(whole([(45.0, 30.0, both_large)]), 0.1)) == 2


def test_what_the_field_cuts_is_said():
    cells = find_cells(np.asarray(whole([(1.0, 30.0, ROUND), (45.0, 30.0, ROUND)])), 0.1)
    assert [cell.at_edge for cell in sorted(cells, key=lambda cell: cell.left)] == [True, False]


@pytest.mark.parametrize("colour", ["white", "black", (210, 205, 200)])
def test_a_blank_field_has_none(colour):
    stain = stained_at(np.asarray(Image.new("RGB", (640, 480), colour)), 0.1)
    assert not stain.pale
    assert outline_width(stain) == np.inf
    assert found(Image.new("RGB", (640, 480), colour), 0.1) == []


def test_a_blurred_field_is_told_from_a_sharp_one():
    sharp = whole(CELLS)
    blurred = sharp.filter(ImageFilter.GaussianBlur(8))  # 0.8 micrometres
    widths = [outline_width(stained_at(np.asarray(image), 0.1)) for image in (sharp, blurred)]
    assert widths[0] < BLURRED < widths[1]
    assert len(found(blurred, 0.1)) == 2


@pytest.mark.parametrize(
    ("x", "y", "square"),
    [
        (45.0, 30.0, (313, 163, 587, 437)),  # 1.4 frames around the middle
        (12.0, 30.0, (0, 180, 240, 420)),  # as much as is centred
        (1.5, 30.0, (0, 202, 195, 398)),  # a frame, moved in
    ],
)
def test_the_square_is_centred_while_a_frame_fits(x, y, square):
    field = np.asarray(whole([(x, y, ROUND)]))
    (cell,) = find_cells(field, 0.1)
    assert cut(cell, field.shape, 0.1) == pytest.approx(square, abs=4)
    left, top, right, bottom = cut(cell, field.shape, 0.1)
    assert right - left == bottom - top >= int(CROP_MICRONS / 0.1)
