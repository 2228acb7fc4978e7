"""Opens an image file of any origin: one upright picture whose black and white are known.

Flow: takes a path, bytes or an open file; gives its pictures as Pillow images, or raises what
`refusal.py` makes one line of.
Sources: Pillow, of which only the decoders in FORMATS are let near a file.
"""

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from PIL import TiffImagePlugin as tiff

from bloodkeras.images.refusal import Refused
from bloodkeras.images.unsupported import unsupported

MAX_PIXELS = 64_000_000  # an 8000x8000 photograph; above it a small file can fill the memory
MAX_BYTES = 8 * MAX_PIXELS  # that photograph, uncompressed, with 16 bits and transparency
MAX_ASPECT = 4  # a longer strip is a montage of cells, or no photograph
MIN_SIDE = 8  # pixels; below it no cell can be seen
MIN_WHITE = 1 / 4  # of full scale: a 16-bit picture without it was saved with 14 bits or fewer
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM")  # EPS, for one, runs a program
PAGED = ("TIFF", "GIF", "WEBP", "PNG")  # all but TIFF may be animated
MAX_PAGES = 1000  # of one file that are read
CUT_OUT = "cut the cell out first"
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B")
SUBFILE, OLD_SUBFILE = 254, 255  # TIFF's tags that say what a page is to the others
PREVIEW_OR_MASK, OLD_PREVIEW = 1 | 4, 2  # bits of SUBFILE; value of OLD_SUBFILE
WHITE_IS_ZERO, YCBCR = 0, 6  # of TIFF's photometric interpretation
# How programs say that grey pages are the channels of one picture: ImageJ, OME, tifffile.
CHANNELS = re.compile(
    r'^ImageJ=.*^channels=(?!1\s)\d|<OME.*\bSizeC="(?!1")\d|"axes": "\w*C\w*"', re.M | re.S
)
TURNS = {  # what undoes each value of the camera's tag Orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Pictures:
    """An open image file: the one path to its pixels, whether it holds one picture or many.

    Attributes:
        pages: Numbers of the pictures that are photographs, from 0 as Pillow counts them. Not a
            preview of reduced resolution, a mask, or what a telephone keeps beside a photograph.
        numbered: Whether the file holds more pictures than one, so that a name needs a number.
        unread: How many pictures lie beyond MAX_PAGES.
        broken: Why the pictures after these cannot be found; "" usually.
    """

    def __init__(self, image: Image.Image, file: BinaryIO) -> None:
        """Look through the pages of an opened Pillow image, at their headers alone.

        Raises:
            Refused: The pages are channels of one picture, or none is a photograph.
        """
        self._image, self._file, self.broken = image, file, ""
        held = 1
        if image.format in PAGED:
            try:
                held = getattr(image, "n_frames", 1)
            except Exception as error:  # the table of a later page is damaged
                self.broken = str(error) or type(error).__name__
        image.seek(0)
        _refuse_parts(image, held)
        self.unread = max(0, held - MAX_PAGES)
        self.pages = [page for page in range(min(held, MAX_PAGES)) if self._is_photograph(page)]
        self.numbered = len(self.pages) > 1
        if not self.pages:
            raise Refused("it holds previews of reduced resolution or masks, and no photograph")

    def _is_photograph(self, page: int) -> bool:
        if self._image.format != "TIFF":
            return True
        self._image.seek(page)
        tags = _tags(self._image)
        return not (tags.get(SUBFILE, 0) & PREVIEW_OR_MASK or tags.get(OLD_SUBFILE) == OLD_PREVIEW)

    def load(self, page: int) -> Image.Image:
        """Decode one of the pages; it lasts until the next is loaded. Raise on a bad one."""
        try:
            self._image.seek(page)
            return decoded(self._image)
        except (Refused, MemoryError):
            raise
        except Exception as error:
            _refuse_unsupported(self._file, error)
            raise


@contextmanager
def opened(
    source: str | os.PathLike[str] | bytes | BinaryIO, check: bool = True
) -> Iterator[Pictures]:
    """Open an image file for its pictures; raise anything on a bad one.

    Use it inside `refusals`, which makes one line of whatever a decoder raises.

    Args:
        source: A path, the bytes of a file, or an open file.
        check: Compare a PNG's checksums, which reads all of it.
    """
    with _file(source) as file, _open(file) as image:
        _refuse_size(*image.size)
        if image.format == "PNG" and check:
            image.verify()  # Pillow itself does not compare the checksums of the pixels
            with _open(file) as verified:
                yield Pictures(verified, file)
        else:
            yield Pictures(image, file)


@contextmanager
def _file(source: str | os.PathLike[str] | bytes | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(source, bytes | bytearray | memoryview):
        _refuse_length(len(source))
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        _refuse_special(os.stat(source))
        with open(source, "rb") as file:
            yield file
    else:
        yield io.BytesIO(_content(source))


def _content(file: BinaryIO) -> bytes:
    """Return all that an open file holds, wherever it was read to; of a pipe, what is left."""
    with suppress(OSError, AttributeError):  # of what only reads, no more is asked
        file.seek(0)
    content = file.read(MAX_BYTES + 1)
    if not isinstance(content, bytes):
        raise Refused("it was opened as text: open it with mode 'rb'")
    _refuse_length(len(content))
    return content


def _open(file: BinaryIO) -> Image.Image:
    file.seek(0)
    try:
        return Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError:
        raise Refused(f"its pixels are over the limit of {MAX_PIXELS:,}: {CUT_OUT}") from None
    except MemoryError:
        raise
    except Exception as error:
        _refuse_unsupported(file, None if isinstance(error, UnidentifiedImageError) else error)
        raise


def decoded(image: Image.Image) -> Image.Image:
    """Decode an opened Pillow image, at the page it is at; raise on what cannot be told.

    Returns:
        A loaded image, upright; `rgb` turns it, or a crop of it, into 8-bit RGB.
    """
    _refuse_size(*image.size)
    _refuse_mode(image)
    _name_planes(image)
    tiles = getattr(image, "tile", ())  # an image that was made, not opened, has none
    deep = image.mode[0] == "I" or any("16" in str(tile.args) for tile in tiles)
    image.load()
    if image.mode == "I;16B":  # the big-endian twin, which Pillow can do little with
        image = image.convert("I")
    if deep:
        _refuse_dark(image)
    return upright(image)


def upright(image: Image.Image) -> Image.Image:
    """Undo the camera's orientation; a damaged tag is overlooked, like any other metadata."""
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the tag's parser raises whatever its broken bytes lead to
        turn = None
    return image if turn is None else image.transpose(turn)


def rgb(image: Image.Image) -> Image.Image:
    """Return a decoded image in RGB: 16 bits are scaled, what is transparent becomes white."""
    if image.mode[0] == "I":  # Pillow would clip it
        levels = np.asarray(image).astype(np.uint16)
        image = Image.fromarray((levels // 257 + (levels % 257 > 128)).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _refuse_special(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise Refused("it is a directory")
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise Refused("it is a pipe, socket or device, not a file")
    _refuse_length(status.st_size)


def _refuse_length(length: int) -> None:
    if length == 0:
        raise Refused("the file is empty")
    if length > MAX_BYTES:
        raise Refused(f"{length:,} bytes are over the limit of {MAX_BYTES:,}")


def _refuse_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Refused(f"{width}x{height} pixels are over the limit of {MAX_PIXELS:,}: {CUT_OUT}")
    if min(width, height) < MIN_SIDE:
        raise Refused(f"{width}x{height} pixels show no cell: expected at least {MIN_SIDE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise Refused(f"{width}x{height} pixels are a strip, not a photograph of one cell")


def _refuse_mode(image: Image.Image) -> None:
    if image.mode not in MODES and not (image.mode == "I" and image.format == "PPM"):
        raise Refused(
            f"colour mode {image.mode} has no defined black and white here: save it as 8-bit RGB"
        )
    if image.format != "TIFF":
        return
    tags = _tags(image)
    if set(tags.get(tiff.SAMPLEFORMAT, (1,))) != {1}:
        raise Refused("signed or floating-point pixels: save it as 8-bit RGB")
    kind = tags.get(tiff.PHOTOMETRIC_INTERPRETATION)
    if image.mode in ("I;16", "I;16B") and kind == WHITE_IS_ZERO:  # Pillow shows its negative
        raise Refused("16-bit grey in which 0 is white: save it as 8-bit RGB")
    if kind == YCBCR and tags.get(tiff.COMPRESSION, 1) == 1:  # which Pillow takes for RGB
        raise Refused("uncompressed YCbCr is not supported in a TIFF: save it as 8-bit RGB")
    tile = tags.get(tiff.TILEWIDTH, 0) * tags.get(tiff.TILELENGTH, 0)
    if tile > MAX_PIXELS:  # decoded as a whole
        raise Refused(f"tiles of over {MAX_PIXELS:,} pixels")


def _name_planes(image: Image.Image) -> None:
    """Say how planes of 16 bits are stored, which Pillow reads as if they had 8.

    Raises:
        Refused: A TIFF whose planes Pillow would mix up.
    """
    if image.format != "TIFF" or _tags(image).get(tiff.PLANAR_CONFIGURATION) != 2:
        return
    tags = _tags(image)
    bits, samples = set(tags.get(tiff.BITSPERSAMPLE, (1,))), tags.get(tiff.SAMPLESPERPIXEL, 1)
    raw = tags.get(tiff.COMPRESSION, 1) == 1
    if samples == 2 or (raw and bits != {8} and (bits, samples, image.mode) != ({16}, 3, "RGB")):
        raise Refused(
            f"{samples} separate planes of {min(bits)} bits are not supported: save it as 8-bit RGB"
        )
    if raw and bits == {16} and not getattr(image, "tile", None):
        raise Refused("Pillow has mixed up its 16-bit planes: give the file, not the opened image")
    if raw and bits == {16}:
        assert isinstance(image, ImageFile.ImageFile)
        suffix = ";16L" if tags.prefix == b"II" else ";16B"
        tiles: Any = image.tile
        image.tile = [tile._replace(args=(tile.args[0] + suffix, *tile.args[1:])) for tile in tiles]


def _refuse_parts(image: Image.Image, held: int) -> None:
    if image.format != "TIFF":
        return
    described = str(_tags(image).get(tiff.IMAGEDESCRIPTION, ""))
    if described.startswith("Aperio"):
        raise Refused(f"a whole slide (Aperio SVS) is not supported: {CUT_OUT}")
    grey = image.mode in ("1", "L", "I", "I;16", "I;16B", "F")
    if held > 1 and grey and CHANNELS.search(described):
        raise Refused(
            "its grey pages are the channels of one picture: save it as RGB first (in ImageJ, "
            "Image > Type > RGB Color)"
        )


def _tags(image: Image.Image) -> Any:
    """Return a TIFF's tags, by number."""
    assert isinstance(image, tiff.TiffImageFile)
    return image.tag_v2


def _refuse_unsupported(file: BinaryIO, error: Exception | None) -> None:
    if name := unsupported(file, error):
        raise Refused(f"{name} is not supported: save it as PNG, JPEG or plain TIFF") from None


def _refuse_dark(image: Image.Image) -> None:
    extrema: Any = image.getextrema()
    full = 65535 if image.mode[0] == "I" else 255
    brightest = extrema[1] if full > 255 else max(high for _, high in extrema[:3])
    if brightest < MIN_WHITE * full:
        raise Refused(
            f"16-bit pixels, none brighter than {brightest / full:.1%} of white: a camera of fewer "
            "bits? scale its white to 65535 first"
        )
