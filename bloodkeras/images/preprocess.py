"""Turns a photograph of one cell into the pixels that a network was trained on.

Flow: takes an image file or a Pillow image; gives uint8 (S, S, 3), RGB, 0..255;
S is the side that the `Framing` names.
Sources: MedMNIST v2's own recipe, found by matching its pixels to the source photographs:
    centre crop 200x200, Pillow bilinear resize to 28x28, JPEG round trip at quality 75.
"""

import io
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from bloodkeras.bloodmnist import MD5S
from bloodkeras.contract import CROP_SIDE, JPEG_QUALITY
from bloodkeras.errors import BloodkerasError
from bloodkeras.images.decode import decoded, opened, rgb
from bloodkeras.images.framing import PHOTOGRAPH_SHARE, UNKNOWN, Framing, is_wide, kept_side
from bloodkeras.images.refusal import refusals
from bloodkeras.named_types import Pixels

_ENDINGS = "png jpg jpeg tif tiff bmp webp gif pnm ppm pgm jfif jpe jif pjpeg pjp apng dib pbm"
IMAGE_SUFFIXES = tuple(f".{ending}" for ending in _ENDINGS.split())

# --- how much of a photograph is looked at: docs/photographs.md has the reasons -----------------
PHOTOGRAPH_SIDES = range(300, 421)  # like the source photographs, which are 360x360 to 366x369
WHOLE_SIDES = (*MD5S, CROP_SIDE)  # squares as MedMNIST publishes them, and its crop itself
NEARLY_SQUARE = 1.03  # as the source photographs are
NETWORK_SIDES = (96, 112, 160, 192, 227, 240, 256, 288, 299, 448, 456, 480, 512, 528, 600)
WIDE = (
    "its cells look half as large as in BloodMNIST, as in a photograph that was shrunk as a whole: "
    "give the original photograph, and its microns per pixel if they are known"
)
# A frame of 21 pixels costs a network of 28 a quarter of its right answers, one of 14 half of them,
# and it is nearly as confident: docs/photographs.md.
ENLARGED = (
    "only {} pixels across show the cell, fewer than the {} that the network looks at: give the "
    "original photograph, or take a network for smaller images"
)


EXPECTED = (
    "paths, PIL images, encoded bytes, open files, or RGB arrays of uint8 (H, W, 3) or (N, S, S, 3)"
)

Photograph = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | Pixels
)
Photographs = Photograph | Iterable[Photograph]


class Doubtful(np.ndarray):
    """Pixels of a photograph whose framing is in doubt: an answer to them is unsure.

    Copies and slices remember the doubt, and so does what another process gets of them.

    Attributes:
        doubt: The reason.
    """

    doubt: str

    def __array_finalize__(self, made_from: np.ndarray | None) -> None:
        """Take over the doubt; numpy calls this for every view and copy."""
        self.doubt = doubt_of(made_from)

    def __reduce__(self) -> tuple[Callable[..., np.ndarray], tuple[np.ndarray, str]]:
        """Pickle the doubt with the pixels; numpy's own way forgets what a subclass adds."""
        return Doubtful.of, (np.asarray(self), self.doubt)

    @classmethod
    def of(cls, pixels: Pixels, doubt: str) -> "Doubtful":
        """Return a view of uint8 (S, S, 3) that remembers why it is in doubt."""
        view = pixels.view(cls)
        view.doubt = doubt
        return view


def doubt_of(pixels: object) -> str:
    """Return why the framing of uint8 (S, S, 3) is in doubt; "" where that is not known."""
    return str(getattr(pixels, "doubt", ""))


def read_image(path: str | os.PathLike[str], framing: Framing = UNKNOWN) -> Pixels:
    """Read one photograph of one cell.

    An image of the network's side is taken as it is; anything else goes through
    `medmnist_pixels`. Of an animation or a file of several pages the first photograph is read;
    `sources.py` reads all.

    Args:
        path: A PNG, JPEG, TIFF, BMP, WebP, GIF or PNM file, by its content, whatever its name.
        framing: What is known of its magnification.

    Returns:
        uint8 (S, S, 3), RGB; `Doubtful` where the framing is in doubt.

    Raises:
        BloodkerasError: The file is missing, no file, damaged, too large, or no image whose
            colours are defined; the message is one line and names it.
    """
    return read_content(path, path, framing)


def read_content(
    content: str | os.PathLike[str] | bytes | BinaryIO,
    name: str | os.PathLike[str],
    framing: Framing = UNKNOWN,
) -> Pixels:
    """Read the bytes of an image file, as `read_image` does the file itself.

    Args:
        content: The bytes, an open file, or a path.
        name: What they are called in a refusal.
        framing: What is known of its magnification.
    """
    with refusals(name), opened(content) as pictures:
        return medmnist_pixels(pictures.load(pictures.pages[0]), framing)


def read_any(image: Any, name: str, framing: Framing = UNKNOWN) -> Pixels:
    """Turn whatever Python holds a photograph in into pixels, as `read_image` does a file.

    Args:
        image: A path; a PIL image of any mode; the bytes of an image file; an open one; or an
            array uint8 (H, W, 3), RGB, of which (S, S, 3) is taken as it is.
        name: What it is called in a refusal; a path is called by its own.
        framing: What is known of its magnification.

    Raises:
        BloodkerasError: It cannot be read, or is nothing of these.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(image, framing)
    if isinstance(image, bytes | bytearray | memoryview) or _is_file(image):
        return read_content(image, name, framing)
    if isinstance(image, Image.Image):
        with refusals(name):
            return medmnist_pixels(decoded(image), framing)
    if not isinstance(image, np.ndarray):
        raise BloodkerasError(f"cannot read {name}: found {kind_of(image)}, expected {EXPECTED}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise BloodkerasError(
            f"cannot read {name}: expected raw pixels as uint8 (H, W, 3), found {kind_of(image)} "
            "(of floats from 0 to 1, pass (image * 255).round().astype(np.uint8))"
        )
    if image.shape[:2] == (framing.image_side,) * 2:
        return image
    with refusals(name):
        return medmnist_pixels(decoded(Image.fromarray(np.ascontiguousarray(image))), framing)


def is_photograph(image: object) -> bool:
    """Return whether something is one photograph, as `read_any` takes it, and no list of them."""
    one = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)
    return isinstance(image, one) or _is_file(image)


def kind_of(image: object) -> str:
    """Return what something is, for a refusal: its type, and shape and number type of an array."""
    if isinstance(image, np.ndarray):
        return f"{image.dtype} {image.shape}"
    kind = type(image)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _is_file(image: object) -> bool:
    return hasattr(image, "read")


def medmnist_pixels(image: Image.Image, framing: Framing = UNKNOWN) -> Pixels:
    """Turn a photograph into the network's pixels the way MedMNIST did.

    All three steps matter: leaving out the JPEG round trip alone moves a pixel by 6.7 grey
    levels on average. An image of that side has been through this and is returned unchanged.

    Args:
        image: An upright Pillow image with the cell in its centre.
        framing: What is known of its magnification.

    Returns:
        uint8 (S, S, 3), RGB; `Doubtful` where the framing is in doubt.
    """
    if image.size == (framing.image_side,) * 2:
        frame = rgb(image)
        return _doubted(np.asarray(frame), is_wide(frame))
    frame = _cut(image, square(image, framing))
    if frame.width < min(framing.image_side, CROP_SIDE):  # larger ones MedMNIST enlarged itself
        said = ENLARGED.format(frame.width, framing.image_side)
        return Doubtful.of(_shrunk(frame, framing.image_side), said)
    taken_at_its_word = _is_photograph(*image.size) and not _scale(image, framing)
    return _doubted(_shrunk(frame, framing.image_side), taken_at_its_word and is_wide(frame))


def _doubted(pixels: Pixels, wide: bool) -> Pixels:
    return Doubtful.of(pixels, WIDE) if wide else pixels


def _cut(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    return rgb(image.crop(box))  # cropped first: less memory, the same pixels


def _shrunk(frame: Image.Image, side: int) -> Pixels:
    """Return a square RGB image as MedMNIST's pixels."""
    small = frame.resize((side, side), Image.Resampling.BILINEAR)
    small.info.clear()  # a comment of the original's would be written, or be too long for it
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=JPEG_QUALITY)
    with Image.open(buffer) as compressed:
        return np.asarray(compressed.convert("RGB"))


def eight_views(images: Pixels) -> list[Pixels]:
    """Return the flips and quarter turns of uint8 (N, S, S, 3), the images as they are first."""
    flipped = (images, images[:, :, ::-1])
    views = [np.rot90(view, turns, (1, 2)) for view in flipped for turns in range(4)]
    return [np.ascontiguousarray(view) for view in views]


def square(image: Image.Image, framing: Framing = UNKNOWN) -> tuple[int, int, int, int]:
    """Return the centred square that becomes the network's pixels.

    Photographs that are framed like the PBC set's or MedMNIST's are cut as MedMNIST did; of any
    other, and where the magnification is known or cells are wanted larger, `framing.py` decides.

    Returns:
        left, top, right, bottom, in pixels.
    """
    width, height = image.size
    side, scale = 0, _scale(image, framing)
    if not scale:
        side = _vetoed_side(image) or known_side(width, height)
    if side:
        side = min(round(side / framing.tightness), width, height)
    else:
        side = kept_side(image, replace(framing, microns_per_pixel=scale))
    return _centred(image, side)


def _scale(image: Image.Image, framing: Framing) -> float:
    """Return the micrometres a pixel by which a photograph is to be cut; 0 where nothing says."""
    scales, (width, height) = dict(framing.scales), image.size
    found = framing.microns_per_pixel or scales.get(f"{width}x{height}", 0.0)
    return found or (0.0 if known_side(width, height) else scales.get("", 0.0))


def _vetoed_side(image: Image.Image) -> int:
    """Return what to keep of a photograph that was resized as a whole; 0 where it was not.

    Squares, or nearly, of the sizes that networks take are often that: their cells say so.
    """
    short, long = sorted(image.size)
    if long > NEARLY_SQUARE * short or not {short, long} & {*WHOLE_SIDES, *NETWORK_SIDES}:
        return 0
    return round(PHOTOGRAPH_SHARE * short) if is_wide(_cut(image, _centred(image, short))) else 0


def _centred(image: Image.Image, side: int) -> tuple[int, int, int, int]:
    left, top = (round((length - side) / 2) for length in image.size)  # Python's rounding
    return left, top, left + side, top + side


def known_side(width: int, height: int) -> int:
    """Return the side that MedMNIST's own crop has in a photograph of this size; else 0."""
    if _is_photograph(width, height):
        return CROP_SIDE
    return width if width == height and width in WHOLE_SIDES else 0


def _is_photograph(width: int, height: int) -> bool:
    """Return whether a size is that of the source photographs."""
    return width in PHOTOGRAPH_SIDES and height in PHOTOGRAPH_SIDES
