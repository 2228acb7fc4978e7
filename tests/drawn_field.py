"""Draws a cell among red cells, and whole fields of view, at any magnification."""

import numpy as np
from PIL import Image, ImageDraw

NUCLEUS = (90, 40, 130)


def field(share: float, side: int = 360) -> Image.Image:
    """Draw a photograph in which a PBC one's middle takes this share: cells get smaller with it.

    Args:
        share: 1 for a photograph as MedMNIST's source has it; 200 / 360 for MedMNIST's frame.
        side: Of the square, in pixels; drawn four times as large, so that edges are smooth.
    """
    large = 4 * side
    image = Image.new("RGB", (large, large), (225, 215, 220))
    pen = ImageDraw.Draw(image)
    unit = large / 360 / share  # a pixel of the source photograph
    middle = large / 2
    for row in range(-4, 5):
        for column in range(-4, 5):
            if abs(row) > 1 or abs(column) > 1 or (row, column) in ((1, 1), (-1, -1)):
                x, y = middle + 82 * unit * column, middle + 80 * unit * (row + 0.3 * column)
                if np.hypot(x - middle, y - middle) > 95 * unit:
                    pen.circle((x, y), 36 * unit, (215, 165, 165))
    pen.circle((middle, middle), 62 * unit, (190, 170, 205))
    pen.circle((middle, middle), 48 * unit, NUCLEUS)
    return image.resize((side, side), Image.Resampling.BOX)


RED_CELL, CYTOPLASM, GLASS = (215, 165, 165), (215, 190, 210), (225, 215, 220)
RED_RADIUS = 3.64  # micrometres
ROUND = ((0.0, 0.0, 4.0),)  # a lymphocyte's nucleus: x, y and radius in micrometres
THREE_LOBES = ((-3.0, 1.0, 2.2), (0.0, -2.0, 2.2), (3.0, 1.0, 2.2))


def whole(
    cells: list[tuple[float, float, tuple[tuple[float, float, float], ...]]],
    scale: float = 0.1,
    size: tuple[float, float] = (90.0, 60.0),
) -> Image.Image:
    """Draw a field of view: white cells, red cells around them, and three platelets.

    Args:
        cells: Where each is, in micrometres, and the lobes of its nucleus around that place.
        scale: Micrometres a pixel; drawn three times as fine, so that edges are smooth.
        size: Of the field, in micrometres.
    """
    unit = 3 / scale
    image = Image.new("RGB", (round(size[0] * unit), round(size[1] * unit)), GLASS)
    pen = ImageDraw.Draw(image)
    for x, y in [(x, y) for x in np.arange(5, size[0], 9.5) for y in np.arange(5, size[1], 9.5)]:
        if all(np.hypot(x - u, y - v) > 12 for u, v, _ in cells):
            pen.circle((x * unit, y * unit), RED_RADIUS * unit, RED_CELL)
    for x, y in ((0.3, 0.3), (size[0] - 9.6, 9.7), (9.7, size[1] - 9.6)):
        pen.circle((x * unit, y * unit), 1.2 * unit, (130, 90, 160))
    for x, y, lobes in cells:  # all of the paler first: cells may touch
        reach = max(np.hypot(u, v) + radius for u, v, radius in lobes) + 1
        pen.circle((x * unit, y * unit), reach * unit, CYTOPLASM)
    for x, y, lobes in cells:
        for u, v, radius in lobes:
            pen.circle(((x + u) * unit, (y + v) * unit), radius * unit, NUCLEUS)
    return image.resize((image.width // 3, image.height // 3), Image.Resampling.BOX)
