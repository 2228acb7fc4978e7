"""Writes Pillow's resize filters as matrix products that give exactly its pixels.

Flow: takes grey levels as float32 (C, H, W) and how long their sides are; gives (C, S, S).
Sources: Pillow's Resample.c: a filter as wide as the pixels that become one, its weights in 22
    binary places; along the rows first, rounded, then along the columns, rounded again.
"""

from typing import NamedTuple

import numpy as np

from bloodkeras.export.nodes import Nodes, Operand, Value

PLACES = 22  # of the weights, binary
HALF = 2.0 ** (PLACES // 2)  # float32 holds whole numbers up to 2**24: weights come in two halves


class Filter(NamedTuple):
    """Weights (S, L) that make S pixels of L, times 2**PLACES: high * HALF + low."""

    high: Operand
    low: Operand


def triangle(graph: Nodes, length: Value, side: int) -> Filter:
    """Return the filter that Pillow calls BILINEAR.

    Args:
        length: float32 (), how many pixels there are.
        side: How many there are to be.
    """
    # In units of half a pixel by `side`, in which centres and reach are whole numbers.
    centres = np.arange(1, 2 * side, 2, dtype=np.float32)[:, None]
    pixels = graph.op("Range", 1, length * 2, 2)
    reach = length.most(side) * 2
    share = (reach - (pixels * side - length * centres).abs()).most(0)
    total = graph.op("ReduceSum", share, np.array([1]), keepdims=1)
    high = (share * HALF / total).floor()
    rest = share * HALF - high * total  # whole: what a rounded quotient lost is in it
    return Filter(high, (rest * HALF / total + 0.5).floor())


def cubic(length: int, side: int) -> Filter:
    """Return the filter that Pillow calls BICUBIC, to enlarge."""
    away = np.arange(length) + 0.5 - (np.arange(side)[:, None] + 0.5) * length / side
    x = np.abs(away)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    weights /= weights.sum(1, keepdims=True)
    whole = np.trunc(weights * 2**PLACES + np.copysign(0.5, weights))
    high = np.floor(whole / HALF)
    return Filter(high.astype(np.float32), (whole - high * HALF).astype(np.float32))


def resized(graph: Nodes, levels: Value, down: Filter, across: Filter) -> Value:
    """Return float32 (C, H, W), whole numbers, as (C, S, S).

    Args:
        down: For the columns, H to S.
        across: For the rows, W to S.
    """
    high, low = (graph.constant(half).turned(1, 0) for half in across)
    wide = _rounded(levels @ high, levels @ low)
    return _rounded(down.high @ wide, down.low @ wide)


def _rounded(high: Value, low: Value) -> Value:
    """Return (high * HALF + low) / 2**PLACES, rounded, without a number that float32 rounds."""
    return ((high + (low / HALF).floor() + HALF / 2) / HALF).floor().clip(0, 255)
