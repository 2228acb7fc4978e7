"""Checks that a photograph becomes the pixels MedMNIST made of it, and that bad files are told.

Flow: takes painted images, and real photographs where there are any; gives a failure when a
pixel differs, or when a broken file is anything but one line of explanation.
"""

import csv
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from bloodkeras.errors import BloodkerasError
from bloodkeras.runtime.preprocess import MAX_PIXELS, read_image


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Return random pixels, in which every misplaced row shows."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def saved(image, path, **options):
    """Save pixels or an image and return the path."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


def refusal(path) -> str:
    """Return the one line with which a file is refused."""
    with pytest.raises(BloodkerasError) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def as_jpeg(pixels: np.ndarray) -> np.ndarray:
    """Send pixels through Pillow's default JPEG, quality 75 and 4:2:0, spelled out."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=75, subsampling="4:2:0")
    return np.asarray(Image.open(buffer))


def bilinear(pixels: np.ndarray) -> np.ndarray:
    """Resize to 28x28."""
    return np.asarray(Image.fromarray(pixels).resize((28, 28), Image.Resampling.BILINEAR))


# --- MedMNIST's recipe --------------------------------------------------------------------------


def test_28x28_is_unchanged(tmp_path):
    """What is a BloodMNIST image already is taken byte for byte."""
    pixels = noise(28, 28)
    found = read_image(saved(pixels, tmp_path / "a.png"))
    assert (found.shape, found.dtype) == ((28, 28, 3), np.uint8)
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize(
    ("width", "height", "left", "top"),
    [
        (360, 363, 80, 82),  # 81.5 rounds to the even 82: nearly every photograph
        (366, 369, 83, 84),  # 84.5 rounds to the even 84
        (360, 360, 80, 80),
        (201, 203, 0, 2),  # 0.5 and 1.5
        (200, 200, 0, 0),
    ],
)
def test_photograph_is_cropped_resized_and_compressed(tmp_path, width, height, left, top):
    """The crop's corner is the one computed by hand, to the pixel."""
    pixels = noise(height, width)
    expected = as_jpeg(bilinear(pixels[top : top + 200, left : left + 200]))
    found = read_image(saved(pixels, tmp_path / "a.png"))
    np.testing.assert_array_equal(found, expected)


def test_one_pixel_beside_is_another_image(tmp_path):
    """The test above can fail: noise cropped one pixel beside differs."""
    pixels = noise(363, 360)
    beside = as_jpeg(bilinear(pixels[81:281, 80:280]))
    assert (read_image(saved(pixels, tmp_path / "a.png")) != beside).mean() > 0.5


def test_jpeg_round_trip_is_not_left_out(tmp_path):
    """Without it most pixels differ, by several grey levels."""
    pixels = noise(363, 360)
    uncompressed = bilinear(pixels[82:282, 80:280]).astype(float)
    difference = np.abs(read_image(saved(pixels, tmp_path / "a.png")) - uncompressed)
    assert difference.mean() > 2


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [(100, 60, (20, 0, 80, 60)), (28, 90, (0, 31, 28, 59)), (1, 1, (0, 0, 1, 1))],
)
def test_small_image_gives_its_centred_square(tmp_path, width, height, box):
    """Down to a single pixel."""
    pixels = noise(height, width)
    left, top, right, bottom = box
    expected = as_jpeg(bilinear(pixels[top:bottom, left:right]))
    np.testing.assert_array_equal(read_image(saved(pixels, tmp_path / "a.png")), expected)


@pytest.mark.needs_data
def test_real_photographs_give_published_pixels(photographs, real_data):
    """All photographs come out as their rows of the test split, to the last bit."""
    with open(photographs / "labels.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    with np.load(real_data, allow_pickle=False) as data:
        images, labels = data["test_images"], data["test_labels"].ravel()
    assert len(table) == 96
    for entry in table:
        row = int(entry["test_index"])
        np.testing.assert_array_equal(
            read_image(photographs / entry["file"]), images[row], err_msg=entry["file"]
        )
        assert labels[row] == int(entry["label"])


# --- modes, on 28x28 images, whose pixels are known before -------------------------------------


def test_grey_becomes_three_equal_channels(tmp_path):
    """Mode L."""
    grey = noise(28, 28)[..., 0]
    found = read_image(saved(grey, tmp_path / "a.png"))
    np.testing.assert_array_equal(found, np.stack([grey] * 3, axis=-1))


def test_black_and_white(tmp_path):
    """Mode 1 is 0 and 255, not 0 and 1."""
    bits = noise(28, 28)[..., 0] > 127
    found = read_image(saved(Image.fromarray(bits), tmp_path / "a.png"))
    np.testing.assert_array_equal(found, 255 * np.stack([bits] * 3, axis=-1).astype(np.uint8))


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("LA", (90, 255), (90, 90, 90)),
        ("LA", (90, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 102), (153, 153, 153)),  # 102/255 = 40 % black over white
    ],
)
def test_transparency_lies_on_white(tmp_path, mode, pixel, expected):
    """A cell cut out of its background gets a bright one, like a smear's."""
    found = read_image(saved(Image.new(mode, (28, 28), pixel), tmp_path / "a.png"))
    assert np.unique(found.reshape(-1, 3), axis=0).tolist() == [list(expected)]


def test_palette_with_transparent_entry(tmp_path):
    """Mode P: entry 0 is transparent and becomes white, entry 1 keeps its colour."""
    indices = noise(28, 28)[..., 0] % 2
    image = Image.fromarray(indices).convert("L")
    image.putpalette([7, 8, 9, 200, 100, 50])
    path = saved(image, tmp_path / "a.png", transparency=0)
    assert Image.open(path).mode == "P"
    expected = np.array([(255, 255, 255), (200, 100, 50)], np.uint8)[indices]
    np.testing.assert_array_equal(read_image(path), expected)


def test_transparent_colour(tmp_path):
    """Mode RGB with one colour declared transparent."""
    pixels = np.full((28, 28, 3), (10, 20, 30), np.uint8)
    pixels[:14] = (1, 2, 3)
    found = read_image(saved(pixels, tmp_path / "a.png", transparency=(1, 2, 3)))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[27, 27].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("ink", "expected"),
    [((0, 0, 0, 0), (255, 255, 255)), ((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 255), (0, 0, 0))],
)
def test_cmyk(tmp_path, ink, expected):
    """Mode CMYK: ink, not light."""
    found = read_image(saved(Image.new("CMYK", (28, 28), ink), tmp_path / "a.tif"))
    assert found[5, 5].tolist() == list(expected)


@pytest.mark.parametrize(("suffix", "mode"), [("png", "I;16"), ("tif", "I;16"), ("pgm", "I")])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, suffix, mode):
    """Modes I;16 and I: 65535 is white and a hundredth of it is nearly black."""
    grey = noise(28, 28)[..., 0]
    grey[0, :2] = 0, 255
    path = saved(grey.astype(np.uint16) * 257, tmp_path / f"a.{suffix}")
    assert Image.open(path).mode == mode
    np.testing.assert_array_equal(read_image(path), np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize(
    "grey", [np.int32(70_000), np.int32(-5), np.float32(0.5)], ids=["65536+", "negative", "float"]
)
def test_grey_levels_of_unknown_range_are_refused(tmp_path, grey):
    """32-bit pictures have no agreed white: guessed wrongly, they are a black cell, or wrap."""
    refusal(saved(np.full((28, 28), grey), tmp_path / "a.tif"))


def test_camera_orientation_is_applied(tmp_path):
    """A photograph taken with the camera on its side is set upright."""
    exif = Image.Exif()
    exif[0x0112] = 6  # "row 0 is the right-hand side": turn by 90 degrees clockwise
    pixels = noise(28, 28)
    found = read_image(saved(pixels, tmp_path / "a.png", exif=exif))
    np.testing.assert_array_equal(found, np.rot90(pixels, -1))


def test_odd_camera_tags_are_no_crash(tmp_path):
    """A tag of the wrong type (the maker's name as a float) is overlooked or told."""
    tags = [(0x010F, 11, 1, b"\0\0\x80?"), (0x0112, 3, 1, b"\6\0\0\0")]  # maker, orientation
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(tags))
    exif += b"".join(struct.pack("<HHI4s", *tag) for tag in tags) + bytes(4)
    pixels = noise(28, 28)
    path = saved(pixels, tmp_path / "a.png", exif=exif)
    try:
        found = read_image(path)
    except BloodkerasError:
        refusal(path)
    else:
        np.testing.assert_array_equal(found, np.rot90(pixels, -1))


# --- files that are broken ----------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    """Return the first bytes of a PNG that claims any size: the bomb without its charge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64)))


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "webp"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_truncated_file(tmp_path, suffix, kept):
    """A download that broke off is told, not half guessed."""
    path = saved(noise(90, 90), tmp_path / f"a.{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    refusal(path)


@pytest.mark.parametrize("content", [b"", b"no image\n", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_no_image(tmp_path, content):
    """Neither the ending nor the first bytes make an image."""
    path = tmp_path / "a.png"
    path.write_bytes(content)
    refusal(path)


def test_missing_file(tmp_path):
    """The system's own reason is passed on."""
    assert "No such file" in refusal(tmp_path / "nobody.png")


def test_directory(tmp_path):
    """A folder is told to be one."""
    assert "directory" in refusal(tmp_path).lower()


@pytest.mark.parametrize(("width", "height"), [(8000, 8001), (9000, 9500), (60_000, 60_000)])
def test_too_many_pixels(tmp_path, width, height):
    """A small file that would fill the memory is refused before it is unpacked."""
    assert width * height > MAX_PIXELS == 64_000_000
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(width, height))
    message = refusal(path)
    assert "limit" in message


def test_made_up_header_opens_when_small(tmp_path):
    """The header above is refused for its size, not for being made up: a small one opens."""
    path = tmp_path / "small.png"
    path.write_bytes(png_header(1, 1))
    assert read_image(path).tolist() == [[[0, 0, 0]] * 28] * 28
