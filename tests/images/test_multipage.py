"""One path to pixels: every page, upload and file is read, or refused, as a file's only picture.

Flow: takes files written by hand; gives a failure where the ways to the same picture differ.
"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from bad_files import make_bad_files
from forged_images import encoded, rgb_page, tiff, tiff_pages
from PIL import Image

from bloodkeras.errors import BloodkerasError
from bloodkeras.images import decode
from bloodkeras.images.preprocess import read_content, read_image
from bloodkeras.images.sources import count_pages, read_file


def noise(height: int = 28, width: int = 28, seed: int = 0) -> np.ndarray:
    """Return random pixels, in which every misplaced byte shows."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def outcome(read, *given) -> str | list:
    """Return pixels as a list, or the line of refusal."""
    try:
        return read(*given).tolist()
    except BloodkerasError as error:
        return str(error)


def ways(content: bytes, path: Path) -> list[str | list]:
    """Return what becomes of a file's first picture by each way to it; the names are equal."""
    path.write_bytes(content)
    name, first = read_file(str(path))[0]
    pages = first if isinstance(first, str) else first.tolist()
    plain = pages.replace(name, str(path)) if isinstance(pages, str) else pages
    return [outcome(read_image, path), outcome(read_content, content, str(path)), plain]


# --- every refusal, of a file's only picture and of a page ---------------------------------------

DARK = np.linspace(0, 4095, 28 * 28).astype(np.uint16).reshape(28, 28)
REFUSED = {
    "16 bits without white": (Image.fromarray(DARK), "fewer bits"),
    "32 bits": (Image.fromarray(np.full((28, 28), 70_000, np.int32)), "colour mode I"),
    "float": (Image.fromarray(np.full((28, 28), 0.5, np.float32)), "colour mode F"),
    "nan": (Image.fromarray(np.full((28, 28), np.nan, np.float32)), "colour mode F"),
    "lab": (Image.merge("LAB", [Image.new("L", (28, 28), 90)] * 3), "colour mode LAB"),
    "tiny": (Image.new("RGB", (4, 4)), "4x4 pixels show no cell"),
    "strip": (Image.new("RGB", (200, 28)), "strip"),
    "large": (Image.new("L", (101, 100)), "limit"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_is_the_same_alone_and_as_a_page(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(decode, "MAX_PIXELS", 10_000)
    image, reason = REFUSED[kind]
    alone = ways(encoded(image, "TIFF"), tmp_path / "alone.tif")
    assert alone[0] == alone[1] == alone[2]
    assert reason in alone[0]
    good = Image.fromarray(noise())
    content = encoded(good, "TIFF", save_all=True, append_images=[image, good])
    path = tmp_path / "pages.tif"
    path.write_bytes(content)
    items = read_file(str(path))
    assert [name for name, _ in items] == [f"{path}#{page}" for page in range(3)]
    assert items[1][1] == alone[0].replace("alone.tif", "pages.tif#1")
    for _, pixels in (items[0], items[2]):
        np.testing.assert_array_equal(pixels, noise())


def test_tags_are_looked_at_on_every_page(tmp_path):
    """Signed numbers, and 16 bits in which 0 is white, which Pillow does not tell by its mode."""
    grey = np.ascontiguousarray(noise()[..., 0])
    deep = (rgb_page(grey, t258=16, t262=0)[0], [bytes(28 * 28 * 2)])
    pages = rgb_page(grey), rgb_page(grey, t339=2), deep
    (tmp_path / "a.tif").write_bytes(tiff_pages(*pages))
    good, signed, negative = (found for _, found in read_file(str(tmp_path / "a.tif")))
    assert good.shape == (28, 28, 3)
    assert "signed" in signed
    assert "0 is white" in negative


def test_all_ways_agree_on_every_bad_file(tmp_path):
    """Path, bytes and pages give the same pixels or the same line, whatever is wrong."""
    checked = 0
    for path in map(Path, make_bad_files(tmp_path)):
        try:
            if not path.is_file() or path.is_symlink() or path.stat().st_size > 1_000_000:
                continue
        except (OSError, ValueError):
            continue
        found = ways(path.read_bytes(), path)
        assert found[0] == found[1] == found[2], path
        assert count_pages(str(path)) == len(read_file(str(path))), path
        checked += 1
    assert checked > 80


# --- TIFF as others write it ---------------------------------------------------------------------


def planes(pixels: np.ndarray, bits: int, order: str, compressed: bool, rows: int) -> bytes:
    """Return a TIFF whose colours lie one after the other."""
    height, width, samples = pixels.shape
    levels = pixels.astype(f"{order}u{bits // 8}") * (257 if bits == 16 else 1)
    strips = [
        np.ascontiguousarray(levels[top : top + rows, :, k]).tobytes()
        for k in range(samples)
        for top in range(0, height, rows)
    ]
    strips = [zlib.compress(strip) for strip in strips] if compressed else strips
    tags = {
        256: width,
        257: height,
        258: (bits,) * samples,
        259: 8 if compressed else 1,
        262: 2,
        277: samples,
        278: rows,
        284: 2,
    }
    tags |= {338: 2} if samples == 4 else {}
    return tiff_pages((tags, strips), order=order)


@pytest.mark.parametrize("rows", [28, 9])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
def test_separate_planes_are_read_right(tmp_path, bits, order, compressed, rows):
    content = planes(noise(), bits, order, compressed, rows)
    for found in ways(content, tmp_path / "a.tif"):
        np.testing.assert_array_equal(found, noise())


def test_separate_planes_of_few_bits_are_dark(tmp_path):
    content = planes(noise() // 16, 16, "<", False, 28)
    for found in ways(content, tmp_path / "a.tif"):
        assert "fewer bits" in found


@pytest.mark.parametrize(("bits", "samples"), [(16, 4), (8, 2), (16, 5)])
def test_planes_that_would_be_mixed_up_are_refused(tmp_path, bits, samples):
    pixels = np.repeat(noise(), 2, axis=2)[..., :samples]
    for found in ways(planes(pixels, bits, "<", False, 28), tmp_path / "a.tif"):
        assert "not supported" in found
        assert "damaged" not in found


def test_an_image_that_pillow_has_mixed_up_already_is_refused(tmp_path):
    """`Image.load` of a user's own cannot be undone."""
    from bloodkeras.images.preprocess import read_any

    (tmp_path / "a.tif").write_bytes(planes(noise(), 16, "<", False, 28))
    with Image.open(tmp_path / "a.tif") as image:
        np.testing.assert_array_equal(read_any(image, "it"), noise())
    with Image.open(tmp_path / "a.tif") as image:
        image.load()
        assert "planes" in outcome(read_any, image, "it")


def test_uncompressed_ycbcr_is_refused(tmp_path):
    content = tiff_pages(rgb_page(noise(), t262=6, t530=(1, 1)))
    for found in ways(content, tmp_path / "a.tif"):
        assert "YCbCr is not supported" in found


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"t259": 34712}, "JPEG 2000"),
        ({"t259": 33003}, "JPEG 2000"),
        ({"t259": 50001}, "WebP"),
        ({"t259": 34887}, "LERC"),
        ({"t259": 12345}, "number 12345"),
        ({"t258": (12, 12, 12)}, "12 bits"),
        ({"t258": (32, 32, 32), "t339": (3, 3, 3)}, "32 bits"),
    ],
)
def test_a_sound_tiff_that_cannot_be_read_is_not_called_damaged(tmp_path, tags, reason):
    content = tiff_pages(rgb_page(noise(), **tags))
    for found in ways(content, tmp_path / "a.tif"):
        assert reason in found
        assert "not supported" in found
        assert "damaged" not in found
    for found in ways(content[:-500], tmp_path / "cut.tif"):
        assert "not supported" not in found


# --- formats that are none of ours ---------------------------------------------------------------


def boxed(brand: bytes) -> bytes:
    """Return the beginning of an ISO media file."""
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1" + brand + bytes(500)


OTHERS = {
    "HEIC": boxed(b"heic"),
    "AVIF": boxed(b"avif"),
    "Photoshop": b"8BPS\0\1" + bytes(500),
    "CZI": b"ZISRAWFILE" + bytes(500),
    "DICOM": bytes(128) + b"DICM" + bytes(500),
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(500),
    "JPEG XL": b"\xff\x0a" + bytes(500),
    "ND2": b"\xda\xce\xbe\x0a" + bytes(500),
    "raw": b"II*\0\x10\0\0\0CR\2\0" + bytes(500),
    "PDF": b"%PDF-1.7\n" + bytes(500),
    "JPEG of 12 bits": b"\xff\xd8\xff\xc1\0\x11\x0c" + bytes(500),
    "lossless JPEG": b"\xff\xd8\xff\xe0\0\4ab\xff\xc3\0\x11\x08" + bytes(500),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_format_is_named(tmp_path, kind):
    """Whatever the file is called, the line says what it is and what to do."""
    for found in ways(OTHERS[kind], tmp_path / "a.jpg"):
        assert kind in found
        assert "not supported: save it as" in found
        assert "damaged" not in found


def test_a_whole_slide_is_refused(tmp_path):
    content = tiff_pages(rgb_page(noise(), t270="Aperio Image Library v12\n"), rgb_page(noise()))
    for found in ways(content, tmp_path / "a.svs"):
        assert "slide" in found


# --- which pages are photographs -----------------------------------------------------------------


@pytest.mark.parametrize("tags", [{"t254": 1}, {"t254": 4}, {"t254": 9}, {"t255": 2}])
@pytest.mark.parametrize("place", [0, 1])
def test_previews_and_masks_are_passed_over(tmp_path, tags, place):
    """One photograph is left, so the file's name needs no number."""
    pages = [rgb_page(noise())]
    pages.insert(place, rgb_page(noise(14, 14, 1), **tags))
    for found in ways(tiff_pages(*pages), tmp_path / "a.tif"):
        np.testing.assert_array_equal(found, noise())
    path = str(tmp_path / "a.tif")
    assert [name for name, _ in read_file(path)] == [path]
    assert count_pages(path) == 1


def test_the_pages_that_are_left_keep_their_numbers(tmp_path):
    pages = [rgb_page(noise(seed=k), t254=int(k == 1)) for k in range(3)]
    (tmp_path / "a.tif").write_bytes(tiff_pages(*pages))
    items = read_file(str(tmp_path / "a.tif"))
    assert [name.rpartition("#")[2] for name, _ in items] == ["0", "2"]
    np.testing.assert_array_equal(items[1][1], noise(seed=2))


def test_page_two_of_three_is_a_photograph(tmp_path):
    """SubfileType 2 is a page of several."""
    pages = [rgb_page(noise(seed=k), t254=2) for k in range(2)]
    (tmp_path / "a.tif").write_bytes(tiff_pages(*pages))
    assert count_pages(str(tmp_path / "a.tif")) == len(read_file(str(tmp_path / "a.tif"))) == 2


def test_nothing_but_previews_is_refused(tmp_path):
    for found in ways(tiff_pages(rgb_page(noise(), t254=1)), tmp_path / "a.tif"):
        assert "no photograph" in found


@pytest.mark.parametrize(
    "description",
    [
        "ImageJ=1.53t\nimages=3\nchannels=3\nhyperstack=true\nmode=composite\n",
        "ImageJ=1.53t\nimages=20\nchannels=10\nslices=2\n",
        '<?xml version="1.0"?><OME><Image><Pixels SizeC="3" SizeX="28"/></Image></OME>',
        '{"shape": [3, 28, 28], "axes": "CYX"}',
    ],
)
def test_channels_are_not_three_cells(tmp_path, description):
    grey = [np.ascontiguousarray(noise()[..., k]) for k in range(3)]
    content = tiff_pages(rgb_page(grey[0], t270=description), *map(rgb_page, grey[1:]))
    found = ways(content, tmp_path / "a.tif")
    assert "channels of one picture" in found[0]
    assert found[0] == found[1] == found[2]
    assert count_pages(str(tmp_path / "a.tif")) == len(read_file(str(tmp_path / "a.tif"))) == 1


@pytest.mark.parametrize(
    ("description", "colours"),
    [
        ("ImageJ=1.53t\nimages=3\nslices=3\n", 1),
        ("ImageJ=1.53t\nimages=3\nchannels=1\nframes=3\n", 1),
        ('<OME><Pixels SizeC="1"/></OME>', 1),
        ('<OME><Pixels SizeC="3"/></OME>', 3),
        ('{"shape": [3, 28, 28, 3]}', 3),
        ("", 1),
    ],
)
def test_a_stack_is_a_cell_a_page(tmp_path, description, colours):
    pages = [noise(seed=k) if colours == 3 else noise(seed=k)[..., 0].copy() for k in range(3)]
    content = tiff_pages(rgb_page(pages[0], t270=description), *map(rgb_page, pages[1:]))
    (tmp_path / "a.tif").write_bytes(content)
    items = read_file(str(tmp_path / "a.tif"))
    for (_, found), pixels in zip(items, pages, strict=True):
        np.testing.assert_array_equal(found, pixels if colours == 3 else np.dstack([pixels] * 3))


def test_a_telephones_second_picture_is_no_cell(tmp_path):
    """A JPEG with a preview or a depth map behind the photograph (MPO)."""
    first, second = Image.fromarray(noise()), Image.new("RGB", (28, 28), "red")
    content = encoded(first, "MPO", save_all=True, append_images=[second], quality=95)
    with Image.open(io.BytesIO(content)) as image:
        assert image.n_frames == 2
    found = ways(content, tmp_path / "a.jpg")
    assert found[0] == found[1] == found[2]
    assert [name for name, _ in read_file(str(tmp_path / "a.jpg"))] == [str(tmp_path / "a.jpg")]


@pytest.mark.parametrize("suffix", ["", ".jpg", ".TIF"])
def test_the_content_decides_not_the_name(tmp_path, suffix):
    frames = [Image.fromarray(noise(seed=k)) for k in range(2)]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]))
    assert len(read_file(str(path))) == count_pages(str(path)) == 2


def test_a_damaged_later_page_is_told(tmp_path):
    """The pages before it are answered."""
    content = bytearray(tiff_pages(rgb_page(noise()), rgb_page(noise(seed=1))))
    (count,) = struct.unpack_from("<H", content, 8)
    place = 10 + 12 * count
    struct.pack_into("<I", content, place, len(content) - 3)
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    items = read_file(str(path))
    np.testing.assert_array_equal(items[0][1], noise())
    assert count_pages(str(path)) == len(items) == 2
    assert "damaged" in items[1][1]


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", "png"), ("WEBP", "webp"), ("GIF", "gif")])
def test_what_a_frame_leaves_transparent_shows_the_one_before(tmp_path, kind, suffix):
    """An animation stores what changes: its frames are composed, and lie on white."""
    first = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    first.paste((0, 0, 255, 255), (0, 0, 14, 28))
    second = first.copy()
    second.paste((255, 0, 0, 255), (0, 0, 14, 14))
    path = tmp_path / f"a.{suffix}"
    options = {"lossless": True} if kind == "WEBP" else {}
    first.save(path, kind, save_all=True, append_images=[second], **options)
    (_, before), (_, after) = read_file(str(path))
    assert before[3, 3].tolist() == before[20, 3].tolist() == [0, 0, 255]
    assert after[3, 3].tolist() == [255, 0, 0]
    assert after[20, 3].tolist() == [0, 0, 255]
    if kind != "WEBP":  # of which Pillow writes no transparency into an animation
        assert before[3, 20].tolist() == after[20, 20].tolist() == [255, 255, 255]


def test_a_bomb_among_uploads_is_told_the_limit(tmp_path):
    for found in ways(tiff(30_000, 30_000), tmp_path / "a.tif"):
        assert "limit" in found
        assert "cut the cell out" in found
