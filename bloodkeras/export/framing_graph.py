"""Writes the rule by which one photograph is framed, as `images/preprocess.py` has it.

Flow: takes a photograph, uint8 (H, W, 3), and the side to keep or 0; gives the square that is kept
and whether it is in doubt. docs/photographs.md has the rule and its reasons.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.contract import CROP_SIDE
from bloodkeras.export.nodes import Nodes, Value
from bloodkeras.export.resize_graph import cubic, resized, triangle
from bloodkeras.images import framing as rule
from bloodkeras.images.framing import SIDE
from bloodkeras.images.preprocess import (
    NEARLY_SQUARE,
    NETWORK_SIDES,
    PHOTOGRAPH_SIDES,
    WHOLE_SIDES,
)
from bloodkeras.named_types import Array, Floats

RED, GREEN = 0, 1
ROUNDING = 0.001  # 1.03 is less in float32, and sides are whole
THINNED = 4 * SIDE  # pixels to which a larger photograph is thinned out to look for the nucleus


class Photograph(NamedTuple):
    """A photograph and its sides, float32 () each."""

    pixels: Value  # uint8 (H, W, 3)
    height: Value
    width: Value

    @property
    def short(self) -> Value:
        """The shorter side."""
        return self.height.least(self.width)

    def is_square_of(self, side: int) -> Value:
        """Return whether both sides are that long, bool ()."""
        return self.height.same(side) & self.width.same(side)


def measured(graph: Nodes, pixels: Value) -> Photograph:
    """Return uint8 (H, W, 3) with its sides."""
    sides = graph.op("Shape", pixels).floats()
    return Photograph(pixels, sides.take(np.array(0), 0), sides.take(np.array(1), 0))


def kept_square(
    graph: Nodes, photograph: Photograph, given: Value, side: int
) -> tuple[Value, Value]:
    """Return the side of the square to keep, float32 (), and whether an answer to it is unsure.

    Args:
        given: float32 (), the side that the caller wants; 0 for the rule.
        side: Of the network's pixels.
    """
    height, width, short = photograph.height, photograph.width, photograph.short
    long = height.most(width)
    by_rule = ~(given > 0)
    whole = photograph.is_square_of(side)  # the network's own pixels
    at_home = _within(height, PHOTOGRAPH_SIDES) & _within(width, PHOTOGRAPH_SIDES) & ~whole
    common = (*WHOLE_SIDES, *NETWORK_SIDES)
    nearly = long <= short * NEARLY_SQUARE + ROUNDING
    perhaps_resized = nearly & (_among(short, common) | _among(long, common))

    looked_at = graph.where(whole | perhaps_resized, short, short.least(SIDE))
    wide = is_wide(graph, photograph, graph.where(at_home, CROP_SIDE, looked_at))
    found = nucleus_side(graph, photograph)
    found = graph.where(height.same(width) & _among(width, WHOLE_SIDES), short, found)
    found = graph.where(at_home, CROP_SIDE, found)
    shrunk = (short * rule.PHOTOGRAPH_SHARE).round()
    found = graph.where(perhaps_resized & wide, shrunk, found)
    kept = graph.where(by_rule, found, given).least(short).most(1)
    kept = graph.where(whole, short, kept)
    enlarged = (kept < min(side, CROP_SIDE)) & ~whole
    return kept, enlarged | (wide & (whole | (at_home & by_rule)))


def centred(graph: Nodes, photograph: Photograph, side: Value) -> Value:
    """Return the square of that side in the middle, as `preprocess.square` cuts it, uint8."""
    starts = [((length - side) / 2).round() for length in (photograph.height, photograph.width)]
    places = graph.op("Concat", *(start.reshaped(1) for start in starts), axis=0).ints()
    return photograph.pixels.part(places, places + side.ints(), (0, 1))


def is_wide(graph: Nodes, photograph: Photograph, side: Value) -> Value:
    """Return whether the square in the middle shows too much, as `framing.is_wide` does."""
    small = BLOODMNIST.image_side
    green = centred(graph, photograph, side).take(np.array(GREEN), 2).floats()
    to_large, to_small = triangle(graph, side, SIDE), triangle(graph, side, small)
    fine = resized(graph, green, to_large, to_large)
    coarse = resized(graph, green, to_small, to_small)
    coarse = resized(graph, coarse, cubic(small, SIDE), cubic(small, SIDE))
    is_fine = side >= SIDE
    levels = graph.where(is_fine, fine, coarse).clip(1, 255)
    background = percentile(graph, levels.reshaped(SIDE * SIDE), SIDE * SIDE, rule.BACKGROUND)
    density = (-(levels / background).log()).clip(0, rule.PALE)
    near, far = _likeness(density, rule.NEAR), _likeness(density, rule.FAR)
    steps = (density.part(*_span(1, SIDE, 0)) - density.part(*_span(0, SIDE - 1, 0))).abs().sum()
    steps += (density.part(*_span(1, SIDE, 1)) - density.part(*_span(0, SIDE - 1, 1))).abs().sum()
    outline = (steps / density.sum() * SIDE).log()
    fineness = outline + near * rule.NEAR_WEIGHT + far * rule.FAR_WEIGHT
    by_fine = fineness > rule.TOO_FINE
    by_coarse = (fineness > rule.TOO_FINE_SMALL) & (near < rule.MOST_ALIKE_SMALL)
    return (near >= rule.LEAST_ALIKE) & ((is_fine & by_fine) | (~is_fine & by_coarse))


def nucleus_side(graph: Nodes, photograph: Photograph) -> Value:
    """Return how much to keep by the nucleus in the middle, as `framing.kept_side` does."""
    span = nucleus_span(graph, photograph)
    trust = rule.CELL_TRUST
    by_cell = (span / rule.NUCLEUS_SHARE) ** trust * rule.FRAME_SHARE ** (1 - trust)
    share = graph.where(span > 0, by_cell, rule.FRAME_SHARE)
    return (photograph.short * share.least(1)).round().most(1)


def nucleus_span(graph: Nodes, photograph: Photograph) -> Value:
    """Return the share of the frame that the nucleus spans, float32 (); 0 without any."""
    frame = photograph.short
    count = frame.least(THINNED)
    steps = graph.op("Range", 0, count, 1) * 2 + 1  # of half a pixel
    places = (steps * frame / (count * 2)).floor()
    rows, columns = (
        (((length - frame) / 2).floor() + places).ints()
        for length in (photograph.height, photograph.width)
    )
    thin = photograph.pixels.take(np.array(RED), 2).take(rows, 0).take(columns, 1).floats()
    shrink = triangle(graph, count, SIDE)
    red = resized(graph, thin, shrink, shrink).clip(1, 255)
    background = percentile(graph, red.reshaped(SIDE * SIDE), SIDE * SIDE, rule.BACKGROUND)
    density = -(red / background).log()

    _, central = rule.dark_parts(np.zeros((SIDE, SIDE)))
    inside = np.flatnonzero(central)
    middle = density.reshaped(SIDE * SIDE).take(inside, 0)
    cut = percentile(graph, middle, len(inside), rule.DARK) * rule.DENSITY_CUT
    dark = ((density > cut) & (cut >= rule.LEAST_DENSITY)).floats()
    seed = dark * central.astype(np.float32)
    return _spread(graph.grown_out(seed, lambda inner, part: _grown(inner, part, dark)))


def percentile(graph: Nodes, values: Value, count: int, share: float) -> Value:
    """Return numpy's percentile of float32 (count,)."""
    place = share / 100 * (count - 1)
    below = int(place)
    largest = graph.op("TopK", values, np.array([count - below]))
    low = largest.take(np.array(count - below - 1), 0)
    high = largest.take(np.array(count - below - 2), 0)
    return low + (high - low) * (place - below)


def _within(length: Value, sides: range) -> Value:
    return (length >= sides[0]) & (length <= sides[-1])


def _among(length: Value, sides: Collection[int]) -> Value:
    return length.same(np.array(sorted({*sides}), np.float32)).floats().max() > 0


def _span(start: int, end: int, axis: int) -> tuple[Array, Array, tuple[int]]:
    return np.array([start]), np.array([end]), (axis,)


def _likeness(density: Value, shift: int) -> Value:
    """Return the correlation of (SIDE, SIDE) with itself, shifted along either axis."""
    varied = density - density.mean()
    down, right = (
        varied.part(*_span(shift, SIDE, axis)) * varied.part(*_span(0, SIDE - shift, axis))
        for axis in (0, 1)
    )
    return (down.mean() + right.mean()) / 2 / (varied * varied).mean().most(1e-9)


def _grown(graph: Nodes, part: Value, mask: Value) -> Value:
    """Return a part of a mask, and what of the mask lies beside, above or below it."""
    image = part.reshaped(1, 1, SIDE, SIDE)
    across = graph.op("MaxPool", image, kernel_shape=[1, 3], pads=[0, 1, 0, 1])
    down = graph.op("MaxPool", image, kernel_shape=[3, 1], pads=[1, 0, 1, 0])
    return across.most(down).reshaped(SIDE, SIDE) * mask


def _spread(part: Value) -> Value:
    """Return the diameter of the disc that is spread as widely, of SIDE; 0 of nothing."""
    places = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    area = part.sum().most(1)
    down, across = (_variance(part, axis, area) for axis in (places[:, None], places))
    return ((down + across) * 8).sqrt() / SIDE


def _variance(part: Value, places: Floats, area: Value) -> Value:
    away = (places - (part * places).sum() / area) * part
    return (away * away).sum() / area
