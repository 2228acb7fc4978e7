"""Draws a photograph as large as a person wants it to name the cell.

Flow: takes a file and the framing; gives a JPEG of the square that the network sees, and a little
around it.
"""

import io
from pathlib import Path

from PIL import Image

from bloodkeras.images.decode import opened, rgb
from bloodkeras.images.framing import Framing
from bloodkeras.images.preprocess import square
from bloodkeras.images.refusal import refusals

SIDE = 640  # pixels
AROUND = 1.3  # how much more than the network's square is shown, where there is more
QUALITY = 92


def picture_of(path: Path, framing: Framing) -> bytes:
    """Return a photograph as a JPEG of SIDE pixels.

    Raises:
        BloodkerasError: It cannot be read.
    """
    with refusals(path), opened(path) as pictures:
        image = pictures.load(pictures.pages[0])
        box = _grown(square(image, framing), image.size)
        frame = rgb(image.crop(box))
        how = Image.Resampling.LANCZOS if frame.width > SIDE else Image.Resampling.BICUBIC
        jpeg = io.BytesIO()
        frame.resize((SIDE, SIDE), how).save(jpeg, "JPEG", quality=QUALITY)
        return jpeg.getvalue()


def _grown(box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a larger square with the same middle, which stays inside the photograph."""
    left, top, right, bottom = box
    wanted = round((AROUND - 1) * (right - left) / 2)
    more = max(0, min(wanted, left, top, size[0] - right, size[1] - bottom))
    return left - more, top - more, right + more, bottom + more
