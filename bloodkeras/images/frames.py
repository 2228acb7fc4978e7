"""Draws cells as the network will see them, beside BloodMNIST's: is their size right?

Flow: takes photographs and a `Framing`; gives one image, twelve cells on either side.
Source of home.png: twelve 64x64 images of BloodMNIST's training split, rebuilt from Acevedo et al.,
Data in Brief 30, 2020, doi:10.1016/j.dib.2020.105474, in the layout of MedMNIST v2, Yang et al.,
Scientific Data 2023, doi:10.1038/s41597-022-01721-8. Both CC BY 4.0.
"""

from collections.abc import Sequence
from importlib.resources import files

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bloodkeras.images.framing import Framing
from bloodkeras.images.scale import even_sample
from bloodkeras.images.sources import find_paths, is_array, read_file
from bloodkeras.named_types import Pixels

COLUMNS, ROWS = 4, 3
SHOWN = COLUMNS * ROWS
TILE = 128  # pixels that a cell is shown with: twice 64
GAP, HEAD = 16, 48
CREDIT = "BloodMNIST: Acevedo et al. 2020, Yang et al. 2023, CC BY 4.0"


def twelve(words: Sequence[str], framing: Framing) -> list[Pixels]:
    """Return up to twelve frames, spread evenly over what the words mean."""
    paths = [path for path, error in find_paths(words) if not error and not is_array(path)]
    items = [read_file(str(path), framing)[0] for path in even_sample(paths, SHOWN)]
    return [pixels for _, pixels in items if isinstance(pixels, np.ndarray)]


def draw(frames: Sequence[Pixels], title: str) -> Image.Image:
    """Return frames on the left, BloodMNIST's on the right, and a title above."""
    half = COLUMNS * TILE
    sheet = Image.new("RGB", (2 * half + 3 * GAP, ROWS * TILE + HEAD + 2 * GAP + 12), "white")
    pen = ImageDraw.Draw(sheet)
    pen.font = ImageFont.load_default(size=14)
    pen.text((GAP, 4), title, "black")
    pen.text((GAP, 25), "as the network will see these photographs", "black")
    pen.text((2 * GAP + half, 25), "BloodMNIST: cells should be about as large", "black")
    for place, frame in enumerate(frames):
        tile = Image.fromarray(np.asarray(frame)).resize((TILE, TILE), Image.Resampling.NEAREST)
        row, column = divmod(place, COLUMNS)
        sheet.paste(tile, (GAP + column * TILE, HEAD + row * TILE))
    with files("bloodkeras.images").joinpath("home.png").open("rb") as file:
        home = Image.open(file).resize((half, ROWS * TILE), Image.Resampling.NEAREST)
    sheet.paste(home, (2 * GAP + half, HEAD))
    pen.text((2 * GAP + half, HEAD + ROWS * TILE + 8), CREDIT, "grey")
    return sheet
