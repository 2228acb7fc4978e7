"""Draws what was found into a field: a square around each cell, and its number.

Flow: takes a field, its cells and their squares; gives a picture.
"""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from bloodkeras.fields.nuclei import Cell
from bloodkeras.fields.squares import Square
from bloodkeras.named_types import Pixels

LONGEST = 1600  # pixels of a side
WHOLE, CUT = "#0a7d4f", "#c05a00"  # of a cell, and of one that the field's edge cuts
LINE, LETTER = 1 / 240, 1 / 24  # of the shorter side


def draw(field: Pixels, cells: Sequence[Cell], squares: Sequence[Square]) -> Image.Image:
    """Return a field with its cells numbered from 1, as their crops are.

    Args:
        field: uint8 (H, W, 3).
        cells: In the field.
        squares: Of each cell, where the crop was cut.
    """
    image = Image.fromarray(field)
    image.thumbnail((LONGEST, LONGEST))
    ratio, pen = image.width / field.shape[1], ImageDraw.Draw(image)
    line = max(2, round(LINE * min(image.size)))
    pen.font = ImageFont.load_default(size=max(12, round(LETTER * min(image.size))))
    for number, (cell, square) in enumerate(zip(cells, squares, strict=True), 1):
        colour = CUT if cell.at_edge else WHOLE
        left, top, right, bottom = (round(ratio * place) for place in square)
        pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=line)
        label = f" {number}{' at the edge' if cell.at_edge else ''} "
        room = pen.textbbox((left, top), label)
        pen.rectangle(room, fill=colour)
        pen.text((left, top), label, "white")
    return image
