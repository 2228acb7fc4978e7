"""Turns a photograph of one cell into the 28x28 pixels the networks were trained on.

Flow: takes an image file or a Pillow image; gives uint8 (28, 28, 3), RGB, 0..255.
Sources: MedMNIST v2's own recipe, found by matching its pixels to the source photographs:
    centre crop 200x200, Pillow bilinear resize to 28x28, JPEG round trip at quality 75.
"""

import io
import os

import numpy as np
from PIL import Image

from bloodkeras.contract import CROP_SIDE, IMAGE_SIDE, JPEG_QUALITY
from bloodkeras.runtime.decode import MAX_PIXELS, load_content, load_image, rgb
from bloodkeras.runtime.refusal import refusals
from bloodkeras.runtime.scale import UNKNOWN, Framing, kept_side

__all__ = [
    "IMAGE_SUFFIXES", "MAX_PIXELS", "eight_views", "medmnist_pixels", "read_content", "read_image",
    "square",
]  # fmt: skip

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pnm", ".ppm", ".pgm",
    ".jfif", ".jpe", ".jif", ".pjpeg", ".pjp", ".apng", ".dib", ".pbm",
)  # fmt: skip

# --- how much of a photograph is looked at: docs/photographs.md has the reasons -----------------
PHOTOGRAPH_SIDES = range(300, 421)  # like the source photographs, which are 360x360 to 366x369
WHOLE_SIDES = (64, 128, 200, 224)  # squares as MedMNIST publishes them, and its crop itself


def read_image(path: str | os.PathLike, framing: Framing = UNKNOWN) -> np.ndarray:
    """Read one photograph of one cell.

    A 28x28 image is taken as it is; anything else goes through `medmnist_pixels`. Of an
    animation or a file of several pages the first picture is read.

    Args:
        path: A PNG, JPEG, TIFF, BMP, WebP, GIF or PNM file, by its content, whatever its name.
        framing: What is known of its magnification.

    Returns:
        uint8 (28, 28, 3), RGB.

    Raises:
        BloodkerasError: The file is missing, no file, damaged, too large, or no image whose
            colours are defined; the message is one line and names it.
    """
    with refusals(path):
        return medmnist_pixels(load_image(path), framing)


def read_content(content: bytes, name: str, framing: Framing = UNKNOWN) -> np.ndarray:
    """Read the bytes of an image file, as `read_image` does the file itself.

    Args:
        content: The bytes.
        name: What they are called in a refusal.
        framing: What is known of its magnification.
    """
    with refusals(name):
        return medmnist_pixels(load_content(content), framing)


def medmnist_pixels(image: Image.Image, framing: Framing = UNKNOWN) -> np.ndarray:
    """Turn a photograph into 28x28 pixels the way MedMNIST did.

    All three steps matter: leaving out the JPEG round trip alone moves a pixel by 6.7 grey
    levels on average. A 28x28 image has been through this already and is returned unchanged.

    Args:
        image: An upright Pillow image with the cell in its centre.
        framing: What is known of its magnification.

    Returns:
        uint8 (28, 28, 3), RGB.
    """
    if image.size == (IMAGE_SIDE, IMAGE_SIDE):
        return np.asarray(rgb(image))
    crop = rgb(image.crop(square(image, framing)))  # cropped first: less memory, the same pixels
    small = crop.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BILINEAR)
    small.info.clear()  # a comment of the original's would be written, or be too long for it
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=JPEG_QUALITY)
    with Image.open(buffer) as compressed:
        return np.asarray(compressed.convert("RGB"))


def eight_views(images: np.ndarray) -> list[np.ndarray]:
    """Return the flips and quarter turns of uint8 (N, 28, 28, 3), the images as they are first."""
    flipped = (images, images[:, :, ::-1])
    views = [np.rot90(view, turns, (1, 2)) for view in flipped for turns in range(4)]
    return [np.ascontiguousarray(view) for view in views]


def square(image: Image.Image, framing: Framing = UNKNOWN) -> tuple[int, int, int, int]:
    """Return the centred square that becomes the 28x28 pixels.

    Photographs that are framed like the PBC set's or MedMNIST's are cut as MedMNIST did; of any
    other, and where the magnification is known or cells are wanted larger, `scale.py` decides.

    Returns:
        left, top, right, bottom, in pixels.
    """
    width, height = image.size
    side = _known_side(width, height)
    if side and not framing.microns_per_pixel:
        side = min(round(side / framing.tightness), width, height)
    else:
        side = kept_side(image, framing)
    left, top = (round((length - side) / 2) for length in (width, height))  # Python's rounding
    return left, top, left + side, top + side


def _known_side(width: int, height: int) -> int:
    """Return the side that MedMNIST's own crop has in a photograph of this size; else 0."""
    if width in PHOTOGRAPH_SIDES and height in PHOTOGRAPH_SIDES:
        return CROP_SIDE
    return width if width == height and width in WHOLE_SIDES else 0
