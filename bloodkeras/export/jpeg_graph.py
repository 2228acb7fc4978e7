"""Writes the JPEG round trip of the training pixels as matrices and rounding: exactly libjpeg's.

Flow: takes grey levels as float32 (3, S, S), RGB; gives what they are after being compressed at
quality 75 with 4:2:0 and unpacked, float32 (3, S, S).
Sources: libjpeg-turbo's jccolor.c, jcsample.c, jfdctint.c, jcdctmgr.c, jidctint.c, jdsample.c and
    jdcolor.c: its whole-number arithmetic, of numbers that float32 holds.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from bloodkeras.contract import JPEG_QUALITY
from bloodkeras.export.nodes import Nodes, Value
from bloodkeras.named_types import Floats

BLOCK = 8
FIXED = 2.0**16  # by which the colours' factors are multiplied
TO_LUMA = np.array([[19595, 38470, 7471]], np.float32)  # of red, green, blue
TO_CHROMA = np.array([[-11059, -21709, 32768], [32768, -27439, -5329]], np.float32)
# Of blue's and red's chroma.
TO_RGB = np.array([[0, 91881], [-22554, -46802], [116130, 0]], np.float32)
# The cosine transform of eight numbers, times 2**13, as libjpeg's factors add up to.
COSINES = np.array(
    [
        [8192, 8192, 8192, 8192, 8192, 8192, 8192, 8192],
        [11363, 9633, 6437, 2260, -2260, -6437, -9633, -11363],
        [10703, 4433, -4433, -10703, -10703, -4433, 4433, 10703],
        [9633, -2259, -11362, -6436, 6436, 11362, 2259, -9633],
        [8192, -8192, -8192, 8192, 8192, -8192, -8192, 8192],
        [6437, -11362, 2261, 9633, -9633, -2261, 11362, -6437],
        [4433, -10704, 10704, -4433, -4433, 10704, -10704, 4433],
        [2260, -6436, 9633, -11363, 11363, -9633, 6436, -2260],
    ],
    np.float32,
)
AFTER_ROWS, AFTER_COLUMNS = 2.0**11, 2.0**15  # by which sums are divided, and rounded
BACK_COLUMNS, BACK_ROWS = 2.0**11, 2.0**18
SPLIT = 2.0**7  # float32 holds whole numbers up to 2**24
GAIN = 8.0  # of the coefficients, over those of the standard


def round_trip(graph: Nodes, rgb: Value, side: int) -> Value:
    """Return the levels after the round trip.

    Args:
        rgb: float32 (3, S, S), whole numbers 0..255.
        side: S.
    """
    luma_table, chroma_table = quality_tables()
    half = -(-side // 2)
    colours = rgb.reshaped(3, side * side)
    luma = _fixed(TO_LUMA @ colours).reshaped(1, side, side)
    chroma = ((TO_CHROMA @ colours + (128 * FIXED + FIXED / 2 - 1)) / FIXED).floor()
    luma = _coded(_padded(luma, side), luma_table, _blocks(side))
    small = _halved(chroma.reshaped(2, side, side), side)
    small = _coded(small, chroma_table, _blocks(half))
    rows = doubling(side, _blocks(half) * BLOCK)
    odd = np.where(np.arange(side) % 2, 7, 8).astype(np.float32)  # libjpeg rounds up and down
    chroma = ((rows @ (small @ rows.T) + odd) / 16).floor() - 128
    luma = luma.part(np.array([0, 0]), np.array([side, side]), (1, 2))
    change = _fixed(TO_RGB @ chroma.reshaped(2, side * side)).reshaped(3, side, side)
    return (luma + change).clip(0, 255)


def quality_tables() -> list[Floats]:
    """Return by what Pillow divides coefficients of luma and of chroma, float32 (8, 8) each."""
    buffer = io.BytesIO()
    Image.new("RGB", (BLOCK, BLOCK)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    with Image.open(buffer) as image:
        tables = image.quantization  # type: ignore[attr-defined]
    return [np.array(tables[place], np.float32).reshape(BLOCK, BLOCK) for place in (0, 1)]


def _blocks(side: int) -> int:
    return -(-side // BLOCK)


def _fixed(sums: Value) -> Value:
    return (sums / FIXED + 0.5).floor()


def _padded(luma: Value, side: int) -> Value:
    """Repeat the last row and column until there are whole blocks."""
    size = _blocks(side) * BLOCK
    if size == side:
        return luma
    places = np.arange(size).clip(max=side - 1)
    return luma.take(places, 1).take(places, 2)


def _halved(chroma: Value, side: int) -> Value:
    """Return means of four, in whole blocks: libjpeg fills up pixels along rows, means below."""
    half = -(-side // 2)
    size = _blocks(half) * BLOCK
    pixels = np.arange(2 * size).reshape(size, 2).clip(max=side - 1)
    across = np.eye(side, dtype=np.float32)[pixels].sum(1)
    down = across[np.arange(size).clip(max=half - 1)]
    up = np.where(np.arange(size) % 2, 2, 1).astype(np.float32)  # of columns, in turn
    sums: Value = down @ (chroma @ across.T)
    return ((sums + up) / 4).floor()


def _coded(levels: Value, table: Floats, blocks: int) -> Value:
    """Transform whole blocks, quantise, and transform back: (C, 8B, 8B), 0..255."""
    cosines = np.kron(np.eye(blocks, dtype=np.float32), COSINES)
    steps = np.tile(table, (blocks, blocks))
    rows = ((levels - 128) @ cosines.T / AFTER_ROWS + 0.5).floor()
    found = _rounded(lambda part: cosines @ part, rows, AFTER_COLUMNS)
    # A quarter of a unit more, for runtimes that multiply with a rounded reciprocal: 2 is not 1.99.
    whole = ((found.abs() + (steps * (GAIN / 2) + 0.25)) / (steps * GAIN)).floor()
    kept = whole * found.sign() * steps
    columns = _rounded(lambda part: cosines.T @ part, kept, BACK_COLUMNS)
    return (_rounded(lambda part: part @ cosines, columns, BACK_ROWS) + 128).clip(0, 255)


def _rounded(multiply: Callable[[Value], Value], whole: Value, divisor: float) -> Value:
    """Return multiply(whole) / divisor, rounded: in two parts, whose sums float32 holds."""
    high = (whole / SPLIT).floor()
    low = multiply(whole - high * SPLIT)
    return ((multiply(high) + (low / SPLIT).floor()) * (SPLIT / divisor) + 0.5).floor()


def doubling(side: int, size: int) -> Floats:
    """Return libjpeg's "fancy" doubling, times 4: three of the nearest, one of the next.

    Args:
        side: How many there are to be.
        size: How many there are, those that fill up blocks included; the last used is repeated.
    """
    places = np.arange(side)
    near = places // 2
    following = (near + np.where(places % 2, 1, -1)).clip(0, near.max())
    found = np.zeros((side, size), np.float32)
    np.add.at(found, (places, near), 3)
    np.add.at(found, (places, following), 1)
    return found
