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
from bloodkeras.runtime.decode import MAX_PIXELS, load_image, rgb
from bloodkeras.runtime.refusal import refusals

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "cell_box", "medmnist_pixels", "read_image"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")

# --- how much of a photograph is looked at: docs/photographs.md has the reasons -----------------
PHOTOGRAPH_SIDES = range(300, 421)  # like the source photographs, which are 360x360 to 366x369
WHOLE_SIDES = (64, 128, 200, 224)  # squares as MedMNIST publishes them, and its crop itself
CENTRE_FRACTION = 3 / 4  # of any other; about halfway, in scale, from the whole to 200/360 of it


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Read one photograph of one cell.

    A 28x28 image is taken as it is; anything else goes through `medmnist_pixels`. Of an
    animation or a file of several pages the first picture is read.

    Args:
        path: A PNG, JPEG, TIFF, BMP, WebP, GIF or PNM file, by its content, whatever its name.

    Returns:
        uint8 (28, 28, 3), RGB.

    Raises:
        BloodkerasError: The file is missing, no file, damaged, too large, or no image whose
            colours are defined; the message is one line and names it.
    """
    with refusals(path):
        return medmnist_pixels(load_image(path))


def medmnist_pixels(image: Image.Image) -> np.ndarray:
    """Turn a photograph into 28x28 pixels the way MedMNIST did.

    All three steps matter: leaving out the JPEG round trip alone moves a pixel by 6.7 grey
    levels on average. A 28x28 image has been through this already and is returned unchanged.

    Args:
        image: An upright Pillow image with the cell in its centre.

    Returns:
        uint8 (28, 28, 3), RGB.
    """
    if image.size == (IMAGE_SIDE, IMAGE_SIDE):
        return np.asarray(rgb(image))
    crop = rgb(image.crop(cell_box(*image.size)))  # cropped first: less memory, the same pixels
    small = crop.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BILINEAR)
    small.info.clear()  # a comment of the original's would be written, or be too long for it
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=JPEG_QUALITY)
    with Image.open(buffer) as compressed:
        return np.asarray(compressed.convert("RGB"))


def cell_box(width: int, height: int) -> tuple[int, int, int, int]:
    """Return the centred square that becomes the 28x28 pixels.

    This function alone knows how large a cell is taken to be.

    Returns:
        left, top, right, bottom, in pixels.
    """
    if width in PHOTOGRAPH_SIDES and height in PHOTOGRAPH_SIDES:
        side = CROP_SIDE
    elif width == height and width in WHOLE_SIDES:
        side = width
    else:
        side = max(1, round(CENTRE_FRACTION * min(width, height)))
    left, top = (round((length - side) / 2) for length in (width, height))  # Python's rounding
    return left, top, left + side, top + side
