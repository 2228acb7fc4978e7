"""Says which square of a field shows a white cell as a network wants it.

Flow: takes a cell, the field's shape and its scale; gives left, top, right, bottom in pixels.
"""

from bloodkeras.fields.nuclei import Cell
from bloodkeras.images.framing import CROP_MICRONS

AROUND = 1.4  # times the frame that the network sees, which is cut from the middle

Square = tuple[int, int, int, int]


def cut(cell: Cell, shape: tuple[int, ...], microns_per_pixel: float) -> Square:
    """Return the square to cut out, inside the field.

    It is centred on the nucleus, and somewhat larger than the network's frame: near an edge no
    larger. Where not even the frame fits it is moved into the field, for no pixel is invented.

    Args:
        cell: In the field.
        shape: Of the field's array: height and width first.
        microns_per_pixel: Of the field.
    """
    (x, y), (height, width) = cell.centre, shape[:2]
    frame = CROP_MICRONS / microns_per_pixel
    room = 2 * min(x, y, width - x, height - y)
    side = round(min(max(min(AROUND * frame, room), frame), width, height))
    left = min(max(round(x - side / 2), 0), width - side)
    top = min(max(round(y - side / 2), 0), height - side)
    return left, top, left + side, top + side
