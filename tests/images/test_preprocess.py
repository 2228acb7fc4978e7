"""Checks that a photograph becomes the pixels MedMNIST made of it, and that bad files are told.

Flow: takes painted images, and real photographs where there are any; gives a failure when a
pixel differs, or when a broken file is anything but one line of explanation.
"""

import csv
import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from forged_images import png_chunk, tiff
from PIL import Image

from bloodkeras.errors import BloodkerasError
from bloodkeras.images.decode import MAX_PIXELS
from bloodkeras.images.framing import Framing
from bloodkeras.images.preprocess import doubt_of, read_image, square


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
        (300, 420, 50, 110),
        (301, 303, 50, 52),  # 50.5 and 51.5
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
    ("width", "height", "side"),
    [
        (299, 299, 224),  # 3/4; a pixel more is a photograph as in the training set
        (299, 360, 224),
        (300, 300, 200),
        (420, 420, 200),
        (421, 421, 316),
        (360, 421, 270),
        (64, 64, 64),  # MedMNIST's own sizes are its crop, resized
        (128, 128, 128),
        (224, 224, 224),
        (64, 65, 48),  # beside them are others'
        (199, 199, 149),
        (120, 120, 90),
        (100, 60, 45),
        (28, 90, 21),
        (8, 8, 6),
        (4000, 3000, 2250),
    ],
)
def test_how_much_of_a_photograph_is_looked_at(width, height, side):
    """The rule of docs/photographs.md where no cell is found, around each of its boundaries."""
    left, top, right, bottom = square(Image.new("RGB", (width, height), "white"))
    assert (right - left, bottom - top) == (side, side)
    assert abs(left - (width - right)) <= 1  # centred
    assert abs(top - (height - bottom)) <= 1


@pytest.mark.parametrize(
    ("width", "height", "box"), [(120, 120, (15, 15, 105, 105)), (100, 60, (28, 8, 73, 53))]
)
def test_other_size_gives_its_centre(tmp_path, width, height, box):
    """Then the same steps as any photograph; pale noise has no nucleus to go by."""
    pixels = noise(height, width) // 12 + 230
    left, top, right, bottom = box
    expected = as_jpeg(bilinear(pixels[top:bottom, left:right]))
    np.testing.assert_array_equal(read_image(saved(pixels, tmp_path / "a.png")), expected)


@pytest.mark.parametrize(("width", "height"), [(7, 28), (28, 7), (1, 1), (28, 113), (401, 100)])
def test_no_photograph_of_a_cell(tmp_path, width, height):
    """Too few pixels to see a cell, or a strip of several."""
    assert f"{width}x{height}" in refusal(saved(noise(height, width), tmp_path / "a.png"))


@pytest.mark.parametrize(("width", "height"), [(8, 8), (28, 112), (400, 100)])
def test_smallest_and_longest_photographs(tmp_path, width, height):
    """One pixel beside the refused ones."""
    assert read_image(saved(noise(height, width), tmp_path / "a.png")).shape == (28, 28, 3)


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


@pytest.mark.needs_data
def test_real_photographs_give_the_pixels_of_64(photographs, real_data):
    """The same recipe at 64, to the last bit: the rows of both files are the same cells."""
    packed = real_data.parent / "bloodmnist_64.jpeg.npz"
    if not packed.is_file():
        pytest.skip(f"needs {packed.name} beside the real data")
    with open(photographs / "labels.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    with np.load(packed, allow_pickle=False) as data:
        content, ends = data["test_jpeg"].tobytes(), data["test_offsets"]
        labels = data["test_labels"].ravel()
    assert len(table) == 96
    for entry in table:
        row = int(entry["test_index"])
        held = Image.open(io.BytesIO(content[ends[row] : ends[row + 1]])).convert("RGB")
        found = read_image(photographs / entry["file"], Framing(image_side=64))
        np.testing.assert_array_equal(found, np.asarray(held), err_msg=entry["file"])
        assert labels[row] == int(entry["label"])


@pytest.mark.parametrize("side", [28, 40, 64, 128, 224])
def test_the_recipe_is_the_same_at_every_side(tmp_path, side):
    """Cropped, resized and compressed to the side that the network takes; of that side, not."""
    pixels = noise(363, 360)
    cropped = Image.fromarray(pixels[82:282, 80:280])
    small = np.asarray(cropped.resize((side, side), Image.Resampling.BILINEAR))
    framing = Framing(image_side=side)
    found = read_image(saved(pixels, tmp_path / "a.png"), framing)
    np.testing.assert_array_equal(found, as_jpeg(small))
    np.testing.assert_array_equal(read_image(saved(small, tmp_path / "b.png"), framing), small)


@pytest.mark.parametrize(
    ("size", "side", "enlarged"),
    [
        ((28, 28), 64, 28),  # MedMNIST's smallest, which is taken whole
        ((64, 64), 128, 64),
        ((80, 80), 64, 60),  # three quarters are kept
        ((90, 28), 28, 21),
        ((28, 28), 28, 0),
        ((64, 64), 64, 0),
        ((86, 86), 64, 0),  # 64 are kept
        ((360, 363), 128, 0),
        ((360, 363), 224, 0),  # MedMNIST enlarged its crop of 200 pixels, too
        ((128, 128), 224, 128),
    ],
)
def test_a_frame_that_must_be_enlarged_is_in_doubt(tmp_path, size, side, enlarged):
    """What has fewer pixels than the network looks at cannot show what it was trained to see."""
    image = saved(Image.new("RGB", size, "white"), tmp_path / "a.png")
    doubt = doubt_of(read_image(image, Framing(image_side=side)))
    expected = f"only {enlarged} pixels across show the cell, fewer than the {side} that"
    assert doubt.startswith(expected) if enlarged else not doubt


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


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_sixteen_bits_of_either_byte_order(tmp_path, byte_order):
    """Mode I;16B is what a big-endian camera writes."""
    grey = noise(28, 28)[..., 0]
    image = Image.fromarray(grey.astype(np.uint16) * 257)
    image = image.convert("I").convert("I;16B") if byte_order == ">" else image
    path = saved(image, tmp_path / "a.tif")
    assert path.read_bytes()[:2] == {"<": b"II", ">": b"MM"}[byte_order]
    np.testing.assert_array_equal(read_image(path), np.stack([grey] * 3, axis=-1))


def deep_png(levels: np.ndarray) -> bytes:
    """Return an RGB PNG of 16 bits, which Pillow reads but cannot write."""
    height, width, _ = levels.shape
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    body = png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


def test_sixteen_bits_in_colour(tmp_path):
    """Pillow keeps the upper byte of each, which is exact for 257 times an 8-bit level."""
    pixels = noise(28, 28)
    (tmp_path / "a.png").write_bytes(deep_png(pixels.astype(np.uint16) * 257))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)


@pytest.mark.parametrize("white", [1023, 4095, 16383])
def test_a_camera_of_fewer_bits_is_told_not_taken_for_the_dark(tmp_path, white):
    """10, 12 and 14 bits in 16, grey and colour: scaled by 65535 they would be nearly black."""
    levels = np.linspace(0, white, 28 * 28 * 3).astype(np.uint16).reshape(28, 28, 3)
    (tmp_path / "colour.png").write_bytes(deep_png(levels))
    grey = saved(np.ascontiguousarray(levels[..., 0]), tmp_path / "grey.tif")
    assert "fewer bits" in refusal(tmp_path / "colour.png")
    assert "fewer bits" in refusal(grey)


def test_sixteen_bits_that_are_dim_but_use_their_range(tmp_path):
    """A quarter of white is enough."""
    levels = np.full((28, 28, 3), 16384, np.uint16)
    (tmp_path / "colour.png").write_bytes(deep_png(levels))
    assert np.unique(read_image(tmp_path / "colour.png")).tolist() == [64]
    assert np.unique(read_image(saved(levels[..., 0], tmp_path / "grey.png"))).tolist() == [64]


@pytest.mark.parametrize(
    "grey",
    [np.int32(70_000), np.int32(-5), np.int32(60_000), np.float32(0.5), np.float32(np.nan)],
    ids=["65536+", "negative", "32 bits", "float", "nan"],
)
def test_grey_levels_of_unknown_range_are_refused(tmp_path, grey):
    """32-bit pictures have no agreed white: guessed wrongly, they are a black cell, or wrap."""
    refusal(saved(np.full((28, 28), grey), tmp_path / "a.tif"))


def test_sixteen_bit_negative_is_refused(tmp_path):
    """A TIFF in which 0 is white: Pillow inverts it with 8 bits, not with 16."""
    (tmp_path / "a.tif").write_bytes(tiff(28, 28, t258=16, t262=0, t273=1000, t279=1568))
    assert "0 is white" in refusal(tmp_path / "a.tif")


@pytest.mark.parametrize("ink", [(0, 255, 255, 0), (255, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 255)])
def test_photoshop_inks(tmp_path, ink):
    """A CMYK JPEG with Adobe's marker stores its inks inverted, one without does as well."""
    content = saved(Image.new("CMYK", (64, 64), ink), tmp_path / "a.jpg").read_bytes()
    start = content.index(b"\xff\xee\0\x0eAdobe")
    (tmp_path / "plain.jpg").write_bytes(content[:start] + content[start + 16 :])
    expected = [(255 - level) * (255 - ink[3]) // 255 for level in ink[:3]]
    for name in ("a.jpg", "plain.jpg"):
        assert np.abs(read_image(tmp_path / name) - np.array(expected)).max() <= 2


def test_colour_profile_is_ignored(tmp_path):
    """Valid or not: the training set's photographs were read without theirs, too."""
    from PIL import ImageCms

    pixels = noise(28, 28)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    for name, icc in (("valid.png", profile), ("broken.png", b"no profile")):
        found = read_image(saved(pixels, tmp_path / name, icc_profile=icc))
        np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_in_every_format(tmp_path, suffix, orientation):
    """The tag is undone once, in a TIFF too, where Pillow does it by itself."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = noise(28, 28)
    options = {"lossless": True} if suffix == "webp" else {}
    found = read_image(saved(pixels, tmp_path / f"a.{suffix}", exif=exif, **options))
    upright = [
        pixels,
        pixels[:, ::-1],
        pixels[::-1, ::-1],
        pixels[::-1],
        pixels.swapaxes(0, 1),
        np.rot90(pixels, -1),
        np.rot90(pixels[:, ::-1], -1),
        np.rot90(pixels),
    ]
    np.testing.assert_array_equal(found, upright[orientation - 1])


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
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(8 * 25)))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + pixels + png_chunk(b"IEND", b"")


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
    path.write_bytes(png_header(8, 8))
    assert read_image(path).tolist() == [[[0, 0, 0]] * 28] * 28


def test_threads_leave_the_warning_filters_as_they_were(tmp_path):
    """Reading in several threads at once silences nobody for good, and warns nobody."""
    exif = b"Exif\0\0II*\0\xff\xff\0\0bad"
    path = saved(noise(28, 28), tmp_path / "a.jpg", exif=exif)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        threads = [
            threading.Thread(target=lambda: [read_image(path) for _ in range(20)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert warnings.filters == before
    assert not caught
