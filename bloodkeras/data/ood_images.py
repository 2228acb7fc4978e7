"""Draws images that are no blood cells: what a network should refuse to name.

Flow: takes a count, a seed and a side; gives uint8 (N, S, S, 3) a kind. Used at export to choose
the score that tells them from cells, and by `evaluate` to say how well it does.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.errors import BloodkerasError
from bloodkeras.images.decode import FORMATS
from bloodkeras.images.folder import walk
from bloodkeras.images.refusal import refusals
from bloodkeras.named_types import Flags, Pixels

PER_KIND = 500
STROKES = {  # seven segments of a digit: x0, y0, x1, y1 in a 3x5 box
    "top": (0, 0, 3, 1),
    "upper left": (0, 0, 1, 3),
    "upper right": (2, 0, 3, 3),
    "middle": (0, 2, 3, 3),
    "lower left": (0, 2, 1, 5),
    "lower right": (2, 2, 3, 5),
    "bottom": (0, 4, 3, 5),
}
MARGIN_SIDE = 80  # pixels of a photograph's corner: never reaches the cell in its centre
FRAME = BLOODMNIST.image_side  # pixels of an image of a cell, in which the lengths here are meant
CORNER_SIDE = 10  # of FRAME: about as much of the photograph


def draw_foreign(count: int = PER_KIND, seed: int = 0, side: int = FRAME) -> dict[str, np.ndarray]:
    """Return a set of images of each kind that code can draw.

    Args:
        count: Images a kind.
        seed: The same seed draws the same images.
        side: Of the images, in pixels.

    Returns:
        {"noise", "flat colour", "stripes", "digits"} -> uint8 (count, S, S, 3).
    """
    rng = np.random.default_rng(seed)
    shape = (count, side, side, 3)
    colours = rng.integers(0, 256, (2, count, 1, 1, 3))
    flat = np.broadcast_to(colours[0], shape)
    stripes = np.where(_stripes(count, side, rng), colours[0], colours[1])
    digits = np.where(_digits(count, side, rng), colours[0], colours[1])
    return {
        "noise": rng.integers(0, 256, shape, dtype=np.uint8),
        "flat colour": flat.astype(np.uint8),
        "stripes": stripes.astype(np.uint8),
        "digits": digits.astype(np.uint8),
    }


def cut_margins(folder: Path, side: int = FRAME) -> np.ndarray:
    """Cut the four corners out of photographs of cells: background and red cells.

    Args:
        folder: Photographs of about 360x363 pixels, the cell in the centre.
        side: Of what is returned, in pixels.

    Returns:
        uint8 (4 x photographs, S, S, 3).

    Raises:
        BloodkerasError: There is no photograph, or one cannot be read.
    """
    pieces = []
    for path, error in walk(str(folder)):
        if error:
            raise BloodkerasError(error)
        with refusals(path), Image.open(path, formats=FORMATS) as image:
            right, bottom = image.width - MARGIN_SIDE, image.height - MARGIN_SIDE
            for left, top in ((0, 0), (right, 0), (0, bottom), (right, bottom)):
                piece = image.crop((left, top, left + MARGIN_SIDE, top + MARGIN_SIDE))
                small = piece.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
                pieces.append(np.asarray(small))
    if not pieces:
        raise BloodkerasError(f"no photograph in {folder}: expected those whose margins are cut")
    return np.stack(pieces)


def cut_corners(images: Pixels, count: int = PER_KIND, seed: int = 0) -> Pixels:
    """Cut corners out of images of cells and enlarge them: red cells, background, cut-off cells.

    What the margins of a photograph show, without the photographs: these are there wherever a
    network is trained.

    Args:
        images: uint8 (N, S, S, 3), a cell in the centre of each.
        count: Corners to cut.
        seed: The same seed cuts the same corners.

    Returns:
        uint8 (count, S, S, 3).
    """
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(images), count)
    side = images.shape[1]
    corner = round(CORNER_SIDE * side / FRAME)
    tops, lefts = rng.integers(0, 2, (2, count)) * (side - corner)
    pieces = []
    for row, top, left in zip(rows, tops, lefts, strict=True):
        piece = images[row, top : top + corner, left : left + corner]
        large = Image.fromarray(piece).resize((side, side), Image.Resampling.BILINEAR)
        pieces.append(np.asarray(large))
    return np.stack(pieces)


def _stripes(count: int, side: int, rng: np.random.Generator) -> Flags:
    """Return bool (count, S, S, 1): waves of any direction and width."""
    rows, columns = np.mgrid[:side, :side] * (FRAME / side)
    angle, period, phase = (
        rng.uniform(low, high, (count, 1, 1)) for low, high in ((0, 6.3), (3, 14), (0, 6.3))
    )
    along = rows * np.cos(angle) + columns * np.sin(angle)
    found: Flags = (np.sin(along * 2 * np.pi / period + phase) > 0)[..., None]
    return found


def _digits(count: int, side: int, rng: np.random.Generator) -> Flags:
    """Return bool (count, S, S, 1): random seven-segment figures in the middle."""
    masks = np.zeros((count, FRAME, FRAME, 1), bool)
    lit = rng.random((count, len(STROKES))) < 0.7
    for segment, (x0, y0, x1, y1) in enumerate(STROKES.values()):
        masks[lit[:, segment], 4 + 4 * y0 : 4 + 4 * y1, 8 + 4 * x0 : 8 + 4 * x1] = True
    near = np.arange(side) * FRAME // side
    return masks[:, near[:, None], near]
