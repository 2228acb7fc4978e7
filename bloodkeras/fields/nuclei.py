"""Finds the white cells in a field of view by the stain of their nuclei.

Flow: takes a field, uint8 (H, W, 3), and its micrometres a pixel; gives the boxes of the nuclei.
Sources: how much light a stain takes, and telling stains apart by it, after Ruifrok and Johnston
2001, Analytical and Quantitative Cytology and Histology 23, 291; thresholds after Otsu 1979,
doi:10.1109/TSMC.1979.4310076; touching nuclei by the watershed of scikit-image, van der Walt et al.
2014, doi:10.7717/peerj.453. docs/fields.md has the measurements.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops
from skimage.morphology import disk, h_maxima, opening
from skimage.segmentation import expand_labels, watershed

from bloodkeras.images.red_cells import DEEPEST, FAINT
from bloodkeras.images.scale import RED_MICRONS
from bloodkeras.named_types import Array, Flags, Floats, Pixels

WORKING = 0.25  # micrometres a pixel at which is looked: a nucleus has thirty of these pixels
SHARPER = 90  # percentile of outlines: there are blurred ones in every field
BACKGROUND = 95  # percentile of each colour that is taken for glass
DARKEST = 2.0  # of light taken, natural logarithm, that counts: deeper black tells no more
BLUE_MOST = 3.0  # times the blue light that is taken off; more would enlarge the noise
STAINED = 0.6  # of what red cells take of red and green: more is the stain of nuclei
THINNEST = 1.0  # micrometres; thinner strands are no nucleus
GAP = 3.0  # micrometres between lobes of one nucleus, at most
LONGEST = 20.0  # micrometres that one nucleus spans, burst ones included: up to 19.4 were seen
WHOLE = RED_MICRONS / 2 - 0.1  # a part that holds a disc of this radius is a nucleus by itself
NECK = 0.78  # of the smaller of two such discs: a wider neck joins two lobes, not two cells
DIP = 0.3  # micrometres by which the neck is narrower, at least: less is a rough outline
# Area in square micrometres times stain in units of STAINED: platelets have up to 50, large ones up
# to 120; white cells 130 or more, and half of that where red cells are dark. A cut one has less.
LEAST, LEAST_CUT, LEAST_LOBE = 75.0, 60.0, 8.0

Box = tuple[int, int, int, int]  # top, left, bottom, right


@dataclass(frozen=True)
class Cell:
    """A white cell: the box around its nucleus, in pixels of the field."""

    left: int
    top: int
    right: int
    bottom: int
    at_edge: bool  # the field cuts the nucleus

    @property
    def centre(self) -> tuple[float, float]:
        """Where it is, x and y."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


@dataclass(frozen=True)
class Stained:
    """How much light a field takes.

    Attributes:
        nuclear: (H, W), what is left where red cells are taken off; 1 is the least of nuclei.
        green: (H, W), natural logarithm.
        pale: What red cells take of green; 0 where nothing is stained.
    """

    nuclear: Floats
    green: Floats
    pale: float


def find_cells(field: Pixels, microns_per_pixel: float) -> list[Cell]:
    """Return the white cells of a field, from the top down.

    Args:
        field: uint8 (H, W, 3), RGB.
        microns_per_pixel: Of the specimen.
    """
    return cells_of(stained_at(field, microns_per_pixel), (field.shape[1], field.shape[0]))


def stained_at(field: Pixels, microns_per_pixel: float) -> Stained:
    """Return how much light a field takes, at the working scale."""
    ratio = microns_per_pixel / WORKING
    size = max(1, round(field.shape[1] * ratio)), max(1, round(field.shape[0] * ratio))
    how = Image.Resampling.BOX if ratio < 1 else Image.Resampling.BICUBIC
    return stained(Image.fromarray(field).resize(size, how))


def stained(image: Image.Image) -> Stained:
    """Return how much light an RGB picture takes.

    Red cells show how much of each colour their stain takes: so many times as much red and green
    as blue. What takes more red and green than that is the stain of nuclei, whatever the lamp.
    """
    light = np.asarray(image, np.float32).clip(1)
    taken = -np.log(light / np.percentile(light, BACKGROUND, (0, 1))).clip(None, DARKEST)
    red, green, blue = (ndimage.gaussian_filter(taken[..., k], 1) for k in range(3))
    pale = green.clip(0, DEEPEST)
    cut = threshold_otsu(pale) if pale.min() < pale.max() else 0.0
    if cut < FAINT:
        return Stained(np.zeros_like(red), taken[..., 1], 0.0)
    cells = green > cut
    cells &= green < 1.5 * np.median(green[cells])  # the rest is deeper: nuclei
    of_red, of_green, of_blue = (float(np.median(part[cells])) for part in (red, green, blue))
    times = np.clip((of_red + of_green) / max(of_blue, 0.01), 0, BLUE_MOST)
    unit = STAINED * max(of_red + of_green, FAINT)
    return Stained((red + green - times * blue) / unit, taken[..., 1], of_green)


def outline_width(stain: Stained) -> float:
    """Return over how many micrometres the sharper outlines of cells rise; inf without any.

    Args:
        stain: At the working scale.
    """
    cells = np.pad(stain.green > stain.pale / 2, 1, mode="edge")
    outline = (cells ^ ndimage.binary_erosion(cells, border_value=1))[1:-1, 1:-1]
    if not stain.pale or not outline.any():
        return float("inf")
    steep = np.hypot(*np.gradient(stain.green / stain.pale, WORKING))
    return float(1 / np.percentile(steep[outline], SHARPER))


def cells_of(stain: Stained, size: tuple[int, int]) -> list[Cell]:
    """Return the white cells of what is stained.

    Args:
        stain: Of a field.
        size: The field's width and height.
    """
    thin = disk(max(1, round(THINNEST / 2 / WORKING)))
    dark = ndimage.binary_fill_holes(opening(stain.nuclear > 1, thin))
    nuclei = _joined(_parted(dark), stain.nuclear)
    height, width = nuclei.shape
    across, down = size[0] / width, size[1] / height
    found = []
    for region in regionprops(nuclei, stain.nuclear):
        top, left, bottom, right = region.bbox
        cut = top == 0 or left == 0 or bottom == height or right == width
        if _weight(region) >= (LEAST_CUT if cut else LEAST):
            x, y = (
                (round(left * across), round(right * across)),
                (round(top * down), round(bottom * down)),
            )
            found.append(Cell(x[0], y[0], x[1], y[1], cut))
    return sorted(found, key=lambda cell: (cell.top, cell.left))


def _weight(region: Any) -> float:
    return float(region.intensity_mean * region.area * WORKING**2)


def _parted(dark: Flags) -> Array:
    """Return the number of each part of what is dark, nuclei that touch parted, int (H, W)."""
    parts, count = label(dark, return_num=True)
    for region in regionprops(parts):
        if region.area * WORKING**2 < 2 * np.pi * WHOLE**2:
            continue
        inside = np.pad(region.image_filled, 1)
        depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(inside) * WORKING, 1)
        pieces = watershed(-depth, label(h_maxima(depth, DIP)), mask=inside)
        kept = _apart(pieces, depth)
        top, left, bottom, right = region.bbox
        window = parts[top:bottom, left:right]
        own = window == region.label
        window[own] = count + kept[1:-1, 1:-1][own]
        count += int(kept.max())
    found: Array = parts
    return found


def _apart(pieces: Array, depth: Floats) -> Array:
    """Return pieces of a nucleus with those joined that are lobes of one."""
    joined = np.arange(pieces.max() + 1)
    radii = ndimage.maximum(depth, pieces, joined)
    for one, other, touching in _neighbours(pieces):
        neck = float(depth[touching].max())
        smaller = min(radii[one], radii[other])
        if smaller < WHOLE or neck > NECK * smaller:
            joined[joined == joined[other]] = joined[one]
    found: Array = joined[pieces]
    return found


def _neighbours(pieces: Array) -> Iterator[tuple[int, int, Flags]]:
    """Yield two numbers of pieces that touch, and where, bool (H, W)."""
    for one in range(1, int(pieces.max()) + 1):
        around = ndimage.binary_dilation(pieces == one)
        for other in np.unique(pieces[around]):
            if other > one:
                yield one, int(other), around & (pieces == other)


def _joined(parts: Array, nuclear: Floats) -> Array:
    """Return the number of each nucleus: parts too small for a lobe left out, lobes of one joined.

    Lobes of one lie close together, only one of them is large, and a nucleus is only so long.
    """
    lobes = [one for one in regionprops(parts, nuclear) if _weight(one) >= LEAST_LOBE]
    names = np.zeros(int(parts.max()) + 1, int)
    names[[one.label for one in lobes]] = [one.label for one in lobes]
    boxes = {one.label: one.bbox for one in lobes}
    whole = {one.label: _radius(one) >= WHOLE for one in lobes}
    for one, other in _close(names[parts]):
        keep, drop = names[one], names[other]
        box = _around(boxes[keep], boxes[drop])
        longest = max(box[2] - box[0], box[3] - box[1]) * WORKING
        if keep != drop and longest < LONGEST and not (whole[keep] and whole[drop]):
            boxes[keep], whole[keep] = box, whole[keep] or whole[drop]
            names[names == drop] = keep
    found: Array = names[parts]
    return found


def _radius(region: Any) -> float:
    """Return the radius of the largest disc within a part, in micrometres."""
    return float(ndimage.distance_transform_edt(np.pad(region.image, 1)).max()) * WORKING


def _close(lobes: Array) -> list[tuple[int, int]]:
    """Return the pairs of parts with no more than GAP between them."""
    grown, pairs = expand_labels(lobes, GAP / 2 / WORKING), set()
    for one, other in ((grown[:, 1:], grown[:, :-1]), (grown[1:], grown[:-1])):
        touching = (one != other) & (one > 0) & (other > 0)
        pairs |= set(zip(one[touching].tolist(), other[touching].tolist(), strict=True))
    return sorted(pairs)


def _around(one: Box, other: Box) -> Box:
    """Return the box around two boxes."""
    low, high = map(min, one[:2], other[:2]), map(max, one[2:], other[2:])
    return *low, *high  # type: ignore[return-value]
