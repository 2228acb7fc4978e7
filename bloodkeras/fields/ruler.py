"""Estimates how many micrometres a pixel of whole fields shows, by their red cells and nuclei.

Flow: takes files; measures the red cells of an even sample, finds the white cells by that, measures
their nuclei as `predict` measures those of single cells; gives one scale for all, and says it.
"""

import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.morphology import remove_small_holes

from bloodkeras.cores import core_count
from bloodkeras.errors import BloodkerasError
from bloodkeras.fields.nuclei import find_cells, stained
from bloodkeras.fields.squares import cut
from bloodkeras.images.decode import opened, rgb
from bloodkeras.images.preprocess import NEARLY_SQUARE
from bloodkeras.images.red_cells import red_cell_diameters
from bloodkeras.images.refusal import refusals
from bloodkeras.images.scale import (
    CONTRADICTED,
    LEAST_REDS,
    RED_MICRONS,
    Measured,
    even_sample,
    measure,
    scale_of,
)
from bloodkeras.named_types import Pixels

LOG = logging.getLogger(__name__)

SAMPLE = 60  # fields that are measured, at most
SIDES = (128, 256, 512, 1024)  # pixels of the shorter side at which red cells are looked for
MORE = 1.3  # times as many red cells as on the coarser picture: the finer one is needed
NARROW = 50.0  # micrometres that a square photograph of a single cell shows, at most
NUCLEI_A_RED = 4  # that are measured, at most: red cells must be more than chance among them
LEAST_WIDTHS = 3  # of such parts
LEAST_SPAN = 12  # pixels: what is smaller is no reliable circle
WIDE = 75  # percentile of the widths of pale parts that is a red cell's, where none lies free
HOLE = 0.02  # of the picture: what is paler inside a cell is smaller
HOW = "give --microns-per-pixel (0.065 to 0.1 with most cameras on an objective of 100x)"


def field_scale(paths: Iterable[str | os.PathLike[str]]) -> float:
    """Return the micrometres a pixel shows, estimated from an even sample of fields; say it.

    Raises:
        BloodkerasError: No field can be read, they show too few red cells, or fields of different
            sizes in pixels clearly have different scales.
    """
    sample = even_sample(paths, SAMPLE)
    with ThreadPoolExecutor(core_count(), "measure") as pool:
        spans, sizes = _red_cells(sample, pool)
        if not sizes:
            raise BloodkerasError(f"no field can be read: {_reason(sample)}")
        spans = _of_fields(spans, sizes)
        reds = np.concatenate([np.empty(0), *spans.values()])
        if len(reds) < LEAST_REDS:
            return _by_width(sample, pool)
        first = RED_MICRONS / float(np.median(reds))
        _refuse_mixed(spans, sizes, first)
        kept = [sample[place] for place in spans]
        nuclei = [one for part in pool.map(partial(_nuclei, scale=first), kept) for one in part]
    nuclei = nuclei[: NUCLEI_A_RED * len(reds)]
    scale = scale_of([Measured((0, 0), tuple(reds), 0.0, 0.0), *nuclei], least=1)
    if not scale:
        raise BloodkerasError(f"cannot tell the scale: what is round differs too much; {HOW}")
    LOG.info(str(scale))
    return float(f"{scale.microns_per_pixel:.4g}")


def _red_cells(
    sample: list[str | os.PathLike[str]], pool: ThreadPoolExecutor
) -> tuple[dict[int, np.ndarray], dict[int, tuple[int, int]]]:
    """Return the diameters of red cells in pixels, and the size, of each field of a sample.

    They are looked for on a small picture first; on finer ones where those show more.
    """
    best: dict[int, np.ndarray] = {}
    sizes: dict[int, tuple[int, int]] = {}
    for side in SIDES:
        found = list(pool.map(partial(_reds, side=side), sample))
        spans = {place: one[1] for place, one in enumerate(found) if one}
        sizes |= {place: one[0] for place, one in enumerate(found) if one}
        count, before = (sum(map(len, part.values())) for part in (spans, best))
        if before >= LEAST_REDS and count < MORE * before:
            break
        if count > before:
            best = spans
    return best, sizes


def _of_fields(
    spans: dict[int, np.ndarray], sizes: dict[int, tuple[int, int]]
) -> dict[int, np.ndarray]:
    """Return the red cells of fields, without those of single cells' photographs among them."""
    kept = {}
    for place, own in spans.items():
        same = np.concatenate([spans[each] for each in spans if sizes[each] == sizes[place]])
        scale = RED_MICRONS / float(np.median(same)) if len(same) else np.inf
        if not is_narrow(sizes[place], scale):
            kept[place] = own
    return kept or spans


def is_narrow(size: tuple[int, ...], scale: float) -> bool:
    """Return whether a picture is as narrow as a photograph of one cell.

    Args:
        size: Its two sides in pixels.
        scale: Micrometres a pixel.
    """
    short, long = sorted(size)
    return long <= NEARLY_SQUARE * short and short * scale < NARROW


def _by_width(sample: list[str | os.PathLike[str]], pool: ThreadPoolExecutor) -> float:
    """Return a rough scale of few fields whose red cells lie on each other, and say it.

    Raises:
        BloodkerasError: They show nothing that could be red cells.
    """
    widths = np.concatenate([np.empty(0), *pool.map(_widths, sample)])
    if len(widths) < LEAST_WIDTHS:
        raise BloodkerasError(
            f"cannot tell the scale: no red cells are seen; are these fields of blood? if so, {HOW}"
        )
    scale = RED_MICRONS / float(np.percentile(widths, WIDE))
    LOG.warning(
        f"{scale:.3g} micrometres a pixel, roughly: fewer than {LEAST_REDS} red cells lie free; "
        "--microns-per-pixel says it better"
    )
    return float(f"{scale:.4g}")


def _widths(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the widths of what is pale in a field, in pixels."""
    image = _read(path)
    if image is None:
        return np.empty(0)
    ratio = max(1.0, min(image.size) / SIDES[0])
    size = (round(image.width / ratio), round(image.height / ratio))
    stain = stained(image.resize(size, Image.Resampling.BOX))
    if not stain.pale:
        return np.empty(0)
    pale = remove_small_holes(stain.green > stain.pale / 2, max_size=round(HOLE * stain.green.size))
    depth = ndimage.distance_transform_edt(pale)
    depth[ndimage.binary_dilation(stain.nuclear > 1, iterations=3)] = 0
    depth = ndimage.gaussian_filter(depth, 1)
    least = SIDES[0] // 16
    tops = peak_local_max(depth, min_distance=least, exclude_border=least)
    found: np.ndarray = 2 * depth[tuple(tops.T)] * ratio
    return found


def _reds(path: str | os.PathLike[str], side: int) -> tuple[tuple[int, int], np.ndarray] | None:
    """Return a field's size, and the diameters of its red cells; None of one that is unreadable."""
    image = _read(path)
    if image is None:
        return None
    ratio = max(1.0, min(image.size) / side)
    size = (round(image.width / ratio), round(image.height / ratio))
    stain = stained(image.resize(size, Image.Resampling.BOX))
    spans = np.array(red_cell_diameters(stain.green, stain.nuclear > 1), float)
    return image.size, spans[spans >= LEAST_SPAN] * ratio


def _nuclei(path: str | os.PathLike[str], scale: float) -> list[Measured]:
    """Return what the squares around the white cells of a field show, but for their red cells."""
    image = _read(path)
    if image is None:
        return []
    field: Pixels = np.asarray(image)
    cells = [cell for cell in find_cells(field, scale) if not cell.at_edge]
    squares = (cut(cell, field.shape, scale) for cell in cells)
    return [replace(measure(image.crop(square)), reds=()) for square in squares]


def _read(path: str | os.PathLike[str]) -> Image.Image | None:
    try:
        return _opened(path)
    except BloodkerasError:
        return None  # it is said when it is looked through


def _opened(path: str | os.PathLike[str]) -> Image.Image:
    with refusals(path), opened(path) as pictures:
        return rgb(pictures.load(pictures.pages[0]))


def _reason(sample: list[str | os.PathLike[str]]) -> str:
    """Return why the first of files that cannot be read is one of them."""
    try:
        _opened(next(iter(sample)))
    except BloodkerasError as error:
        return str(error)
    return "no file was given"


def _refuse_mixed(
    spans: dict[int, np.ndarray], sizes: dict[int, tuple[int, int]], scale: float
) -> None:
    """Refuse fields of several sizes in pixels whose red cells differ, too.

    Raises:
        BloodkerasError: The message names the sizes.
    """
    said = {}
    for size in dict.fromkeys(sizes.values()):
        own = [spans[place] for place in spans if sizes[place] == size]
        reds = np.concatenate([np.empty(0), *own])
        if len(reds) >= LEAST_REDS:
            said[size] = RED_MICRONS / float(np.median(reds))
    if any(abs(np.log(found / scale)) > CONTRADICTED for found in said.values()):
        found = ", ".join(f"{found:.3g} where they are {w}x{h}" for (w, h), found in said.items())
        raise BloodkerasError(
            f"the fields differ in scale: {found} micrometres a pixel; give one kind at a time"
        )
