"""The steps of photograph.onnx do what Pillow, libjpeg and `framing.py` do, one at a time."""

import io

import numpy as np
import pytest
from drawn_field import field
from graph_runs import computed
from PIL import Image

from bloodkeras.export.framing_graph import is_wide, measured, nucleus_span, percentile
from bloodkeras.export.jpeg_graph import doubling, round_trip
from bloodkeras.export.resize_graph import cubic, resized, triangle
from bloodkeras.images import framing


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height, width, seed=0):
    few = Image.fromarray(noise(5, 5, seed))
    return np.asarray(few.resize((width, height), Image.Resampling.BICUBIC))


def planes(image):
    return np.asarray(image, np.float32).transpose(2, 0, 1)


def number(value):
    return np.array(value, np.float32)


@pytest.mark.parametrize("side", [28, 64, 20, 27, 31])
@pytest.mark.parametrize("draw", [noise, smooth])
def test_the_round_trip_is_pillows(side, draw):
    image = draw(side, side)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=75)
    expected = planes(Image.open(buffer).convert("RGB"))
    found = computed(lambda graph, rgb: round_trip(graph, rgb, side), rgb=planes(image))
    np.testing.assert_array_equal(found, expected)


def test_grey_goes_through_it_unchanged():
    grey = np.full((3, 28, 28), 128, np.float32)
    found = computed(lambda graph, rgb: round_trip(graph, rgb, 28), rgb=grey)
    np.testing.assert_array_equal(found, grey)


def test_chroma_is_doubled_by_three_quarters_and_one():
    expected = [[4, 0], [3, 1], [1, 3], [0, 4]]  # the ends repeat
    np.testing.assert_array_equal(doubling(4, 8)[:, :2], expected)
    assert doubling(4, 8)[:, 2:].sum() == 0  # what only fills up a block is not looked at


@pytest.mark.parametrize("length", [200, 575, 64, 28, 31, 9, 1000, 27])
@pytest.mark.parametrize("side", [28, 64])
def test_the_resize_is_pillows(length, side):
    image = noise(length, length)

    def write(graph, levels, long):
        shrink = triangle(graph, long, side)
        return resized(graph, levels, shrink, shrink)

    found = computed(write, levels=planes(image), long=number(length))
    expected = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found, planes(expected))


def test_bicubic_is_pillows_too():
    image = noise(28, 28)
    enlarge = cubic(28, 64)
    found = computed(
        lambda graph, levels: resized(graph, levels, enlarge, enlarge), levels=planes(image)
    )
    expected = Image.fromarray(image).resize((64, 64), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(found, planes(expected))


@pytest.mark.parametrize("share", [90, 95, 50])
def test_the_percentile_is_numpys(share):
    values = np.random.default_rng(0).normal(size=524).astype(np.float32)
    found = computed(lambda graph, x: percentile(graph, x, 524, share), x=values)
    assert found == pytest.approx(np.percentile(values, share), rel=1e-6)


@pytest.mark.parametrize("size", [(360, 360), (90, 120), (900, 700), (64, 64), (256, 257)])
@pytest.mark.parametrize("share", [1, 0.6, 0.3])
def test_the_nucleus_spans_what_framing_says(size, share):
    image = field(share).resize(size, Image.Resampling.BICUBIC)
    found = computed(lambda graph, x: nucleus_span(graph, measured(graph, x)), x=np.asarray(image))
    assert found == pytest.approx(framing.nucleus_span(image), rel=1e-5)


def test_a_winding_nucleus_is_followed_to_its_end():
    """A snake from the middle, one pixel wide: it grows by one pixel a round."""
    image = np.full((64, 64, 3), 220, np.uint8)
    for place, row in enumerate(range(32, 60, 2)):
        image[row, 8:56] = 60
        image[row + 1, 55 if place % 2 == 0 else 8] = 60
    found = computed(lambda graph, x: nucleus_span(graph, measured(graph, x)), x=image)
    expected = framing.nucleus_span(Image.fromarray(image))
    assert expected > 0.5
    assert found == pytest.approx(expected, rel=1e-5)


def test_an_empty_frame_has_no_nucleus():
    image = np.full((100, 100, 3), 220, np.uint8)
    assert computed(lambda graph, x: nucleus_span(graph, measured(graph, x)), x=image) == 0
    assert framing.nucleus_span(Image.fromarray(image)) is None


@pytest.mark.parametrize("side", [28, 45, 64, 224])
@pytest.mark.parametrize("share", [200 / 360, 1])
def test_what_is_too_wide_is_seen(side, share):
    image = field(share, side=side)

    def write(graph, x, long):
        return is_wide(graph, measured(graph, x), long)

    found = computed(write, x=np.asarray(image), long=number(side))
    assert bool(found) == framing.is_wide(image)
    if side >= 64:
        assert bool(found) == (share == 1)
