"""Draws a cell among red cells, at any magnification."""

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
