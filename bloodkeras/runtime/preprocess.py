"""Turns a photograph of one cell into the 28x28 pixels the networks were trained on.

Flow: takes an image file or a Pillow image; gives uint8 (28, 28, 3), RGB, 0..255.
Sources: MedMNIST v2's own recipe, found by matching its pixels to the source photographs:
    centre crop 200x200, Pillow bilinear resize to 28x28, JPEG round trip at quality 75.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from bloodkeras.contract import CROP_SIDE, IMAGE_SIDE, JPEG_QUALITY
from bloodkeras.errors import BloodkerasError, gist

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
MAX_PIXELS = 64_000_000  # an 8000x8000 photograph; above it a small file can fill the memory


def read_image(path: str | Path) -> np.ndarray:
    """Read one photograph of one cell.

    A 28x28 image is taken as it is; anything else goes through `medmnist_pixels`.

    Args:
        path: An image file that Pillow can open.

    Returns:
        uint8 (28, 28, 3), RGB.

    Raises:
        BloodkerasError: The file is missing, empty, truncated, too large, or no image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below
            with Image.open(path) as image:
                _refuse_too_large(image, path)
                return medmnist_pixels(rgb(image))
    except BloodkerasError:
        raise
    except UnidentifiedImageError:
        raise BloodkerasError(f"{path} is not an image that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise BloodkerasError(f"{path} is too large: {error}") from None
    except Exception as error:  # Pillow's readers share no base class for bad files
        reason = getattr(error, "strerror", None) or gist(error)
        raise BloodkerasError(f"cannot read {path}: {reason}") from None


def rgb(image: Image.Image) -> Image.Image:
    """Return the image upright and in RGB; what is transparent becomes white.

    Raises:
        ValueError: The grey levels have no agreed white: floats, or beyond 16 bits.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):  # Pillow would clip, not scale
        levels = np.asarray(image, np.float64)
        if image.mode == "F" or levels.min() < 0 or levels.max() > 65_535:
            raise ValueError("grey levels of unknown range: save it with 8 or 16 bits")
        image = Image.fromarray(np.rint(levels / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def medmnist_pixels(image: Image.Image) -> np.ndarray:
    """Turn an RGB photograph into 28x28 pixels the way MedMNIST did.

    All three steps matter: leaving out the JPEG round trip alone moves a pixel by 6.7 grey
    levels on average. From a photograph smaller than 200 pixels the largest centred square
    is taken. A 28x28 image has been through this already and is returned unchanged.

    Args:
        image: An RGB Pillow image with the cell in its centre.

    Returns:
        uint8 (28, 28, 3), RGB.
    """
    if image.size == (IMAGE_SIDE, IMAGE_SIDE):
        return np.asarray(image)
    side = min(CROP_SIDE, *image.size)
    left, top = (round((length - side) / 2) for length in image.size)  # Python's rounding
    crop = image.crop((left, top, left + side, top + side))
    small = crop.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=JPEG_QUALITY)
    with Image.open(buffer) as compressed:
        return np.asarray(compressed.convert("RGB"))


def _refuse_too_large(image: Image.Image, path) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BloodkerasError(
            f"{path} has {width}x{height} pixels, over the limit of {MAX_PIXELS:,}: "
            "cut the cell out first"
        )
