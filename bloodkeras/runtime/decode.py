"""Opens an image file of any origin: one upright picture whose black and white are known.

Flow: takes a path; gives a Pillow image, or raises what `refusal.py` makes one line of.
Sources: Pillow, of which only the decoders in FORMATS are let near a file.
"""

import io
import os
import stat
from typing import BinaryIO

import numpy as np
from PIL import Image

from bloodkeras.runtime.refusal import Refused

MAX_PIXELS = 64_000_000  # an 8000x8000 photograph; above it a small file can fill the memory
MAX_BYTES = 8 * MAX_PIXELS  # that photograph, uncompressed, with 16 bits and transparency
MAX_ASPECT = 4  # a longer strip is a montage of cells, or no photograph
MIN_SIDE = 8  # pixels; below it no cell can be seen
MIN_WHITE = 1 / 4  # of full scale: a 16-bit picture without it was saved with 14 bits or fewer
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM")  # EPS, for one, runs a program
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B")
ORIENTATION = 0x0112  # the camera's tag, and what undoes each of its values
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(path: str | os.PathLike) -> Image.Image:
    """Decode an image file, the first picture of several; raise anything on a bad one.

    Call it inside `refusals`, which makes one line of whatever a decoder raises.
    """
    _refuse_special(os.stat(path))
    with open(path, "rb") as file:
        return load_open(file)


def load_content(content: bytes) -> Image.Image:
    """Decode the bytes of an image file, as `load_image` does the file itself."""
    _refuse_length(len(content))
    return load_open(io.BytesIO(content))


def load_open(file: BinaryIO) -> Image.Image:
    """Decode an open image file, as `load_image` does."""
    with Image.open(file, formats=FORMATS) as image:
        _refuse_size(*image.size)
        if image.format != "PNG":
            return decoded(image)
        image.verify()  # Pillow itself does not compare the checksums of the pixels
    file.seek(0)
    with Image.open(file, formats=FORMATS) as image:
        return decoded(image)


def decoded(image: Image.Image) -> Image.Image:
    """Decode an opened Pillow image, at the page it is at; raise on what cannot be told.

    Returns:
        A loaded image, upright; `rgb` turns it, or a crop of it, into 8-bit RGB.
    """
    _refuse_size(*image.size)
    _refuse_mode(image)
    deep = image.mode[0] == "I" or any("16" in str(tile.args) for tile in image.tile)
    image.load()
    if image.mode == "I;16B":  # the big-endian twin, which Pillow can do little with
        image = image.convert("I")
    if deep:
        _refuse_dark(image)
    return upright(image)


def upright(image: Image.Image) -> Image.Image:
    """Undo the camera's orientation; a damaged tag is overlooked, like any other metadata."""
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION))
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
        raise Refused(
            f"{width}x{height} pixels are over the limit of {MAX_PIXELS:,}: cut the cell out first"
        )
    if min(width, height) < MIN_SIDE:
        raise Refused(f"{width}x{height} pixels show no cell: expected at least {MIN_SIDE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise Refused(f"{width}x{height} pixels are a strip, not a photograph of one cell")


def _refuse_mode(image: Image.Image) -> None:
    if image.mode not in MODES and not (image.mode == "I" and image.format == "PPM"):
        raise Refused(
            f"colour mode {image.mode} has no defined black and white here: save it as 8-bit RGB"
        )
    if image.format == "TIFF":
        tags = image.tag_v2
        if set(tags.get(339, (1,))) != {1}:  # SampleFormat
            raise Refused("signed or floating-point pixels: save it as 8-bit RGB")
        if image.mode == "I;16" and tags.get(262) == 0:  # which Pillow would show as a negative
            raise Refused("16-bit grey in which 0 is white: save it as 8-bit RGB")
        if tags.get(322, 0) * tags.get(323, 0) > MAX_PIXELS:  # each is decoded as a whole
            raise Refused(f"tiles of over {MAX_PIXELS:,} pixels")


def _refuse_dark(image: Image.Image) -> None:
    extrema = image.getextrema()
    full = 65535 if image.mode[0] == "I" else 255
    brightest = extrema[1] if full > 255 else max(high for _, high in extrema[:3])
    if brightest < MIN_WHITE * full:
        raise Refused(
            f"16-bit pixels, none brighter than {brightest / full:.1%} of white: a camera of fewer "
            "bits? scale its white to 65535 first"
        )
