"""Draws blood cells in MedMNIST's layout: the offline demo and the tests' data.

Flow: takes a size per split and a seed; gives a dict of uint8 image and label arrays.

Sources: the classes' looks after Acevedo et al. 2020, https://doi.org/10.1016/j.dib.2020.105474,
the layout after MedMNIST v2, https://doi.org/10.1038/s41597-022-01721-8. No pixel is copied.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.dataset import DataSet
from bloodkeras.errors import BloodkerasError
from bloodkeras.named_types import Floats, Pixels

SIZES = {"train": 4000, "val": 600, "test": 1200}
FRAME = BLOODMNIST.image_side  # what a frame measures, whatever its pixels: the unit of all lengths
AT_ONCE = 800  # cells of a side of FRAME that are drawn in one go; of larger ones fewer: memory
OVERSAMPLE = 2  # drawn at twice the side and averaged down: thin lobes and granules survive
BACKGROUND, RED_CELL = (249, 221, 200), (207, 170, 160)
NUCLEUS = (88, 45, 124)  # one stain for all classes: colour alone must not name the cell
RED_CELLS = 6  # per image; about half fall outside the frame
CHROMATIN = 0.22  # 0..1: how far the pale patches of a nucleus fade towards the cytoplasm
SHIFT = 1.8  # standard deviation of the cell's place in each axis
LOBE_MELT = 1.6  # 1/length: lower melts neighbouring lobes of a nucleus into one body
Complexes = NDArray[np.complex64]
Range = tuple[float, float]  # lowest, highest
Colour = tuple[float, float, float]  # RGB, 0..255


class Look(NamedTuple):
    """What sets a class apart. Ranges are drawn from uniformly; FRAME is the image's side."""

    train_count: int  # images in BloodMNIST's training split: the class shares
    body_radius: Range
    lobes: tuple[int, int]  # (0, 0) is a cell without a nucleus
    lobe_radius: Range  # in body radii
    arc_radius: Range  # in body radii: how far the lobes' centres lie from the arc's centre
    arc_step: Range  # degrees between neighbouring lobes; small steps make a kidney
    nucleus_shade: float  # times NUCLEUS: lower is darker
    cytoplasm: Colour
    granule: Colour
    granule_cover: Range  # 0..1 opacity over the cytoplasm
    granule_over_nucleus: float  # 0..1, times granule_cover
    granule_grain: int  # smoothing passes: 1 is fine, 3 is coarse


# A class a line, in the order of BloodMNIST's labels; the columns are Look's fields.
_LOOKS = """
 852, 7.0 10.2, 2 3, .50 .68, .15 .40,  70 130,  1.0, 154 108 158,    52 22 92, .50 .95, .85, 3
2181, 7.2 10.5, 2 2, .36 .50, .42 .56, 110 180,  1.0, 194 130 152, 212 114 114, .35 .90, .10, 2
1085,  4.6 8.4, 1 1, .52 .74, .00 .22,     0 0,  .78, 172 146 176, 150 126 168, .00 .30, .00, 3
2026, 7.4 11.6, 2 3, .52 .72, .16 .36,   45 90, 1.05, 164 124 168,  118 62 134, .25 .75, .45, 1
 849,  5.8 8.6, 1 1, .82 .97, .00 .10,     0 0,  .90, 148 122 178, 140 112 170, .00 .20, .00, 3
 993, 8.6 12.6, 4 5, .32 .44, .40 .52,   40 56,  1.1, 162 138 174, 140 112 164, .00 .30, .30, 2
2330, 7.2 10.8, 3 5, .22 .31, .40 .52,   54 76,  1.0, 200 160 172, 182 128 158, .15 .60, .05, 1
1643,  2.2 5.0, 0 0, .00 .00, .00 .00,     0 0,  1.0, 164 120 162,   98 50 124, .35 .95, .00, 1
"""


def _read_look(line: str) -> Look:
    cells = [
        [float(word) if "." in word else int(word) for word in cell.split()]
        for cell in line.split(",")
    ]
    return Look(*(tuple(cell) if len(cell) > 1 else cell[0] for cell in cells))  # type: ignore[arg-type]


LOOKS = dict(zip(BLOODMNIST.class_names, map(_read_look, _LOOKS.strip().splitlines()), strict=True))


def draw_arrays(
    sizes: dict[str, int] | None = None, seed: int = 0, dataset: DataSet = BLOODMNIST
) -> dict[str, NDArray[np.uint8]]:
    """Draw all three splits, each from its own random stream.

    Args:
        sizes: images per split; a split left out has its size in SIZES.
        seed: the same seed draws the same bytes; a split never depends on another's size.
        dataset: which classes, and how large; one that LOOKS does not know looks like one that the
            data set has not.

    Returns:
        For each split, `{split}_images` uint8 (N, S, S, 3), RGB, 0..255, and
        `{split}_labels` uint8 (N, 1), numbered in the order of the data set's classes.

    Raises:
        ValueError: a split is unknown, or too small to hold one image of each class.
        BloodkerasError: there are more classes than LOOKS.
    """
    looks, sizes = _looks(dataset), SIZES | (sizes or {})
    if len(sizes) > len(SIZES) or min(sizes.values()) < len(looks):
        raise ValueError(f"{list(SIZES)} need at least {len(looks)} images each, received {sizes}")
    grid = _grid(dataset.image_side)
    arrays = {}
    for split, rng in zip(SIZES, np.random.default_rng(seed).spawn(len(SIZES)), strict=True):
        counts = _class_counts(sizes[split], looks)
        cells = [
            _draw_class(look, n, grid, rng)
            for look, count in zip(looks, counts, strict=True)
            for n in _portions(count, dataset.image_side)
        ]
        labels = np.repeat(np.arange(len(looks), dtype=np.uint8), counts)[:, None]
        order = rng.permutation(len(labels))
        arrays[f"{split}_images"] = np.concatenate(cells)[order]
        arrays[f"{split}_labels"] = labels[order]
    return arrays


def _portions(count: int, side: int) -> list[int]:
    """Return how many cells to draw in one go, again and again, until there are `count`."""
    most = count if side <= FRAME else max(1, AT_ONCE * FRAME**2 // side**2)
    return [min(most, count - drawn) for drawn in range(0, count, most)]


def _looks(dataset: DataSet) -> list[Look]:
    """Return the look of each class: its own, or else the next that no class has."""
    if dataset.class_count > len(LOOKS):
        raise BloodkerasError(f"cells of {len(LOOKS)} classes can be drawn, not {dataset.name}'s")
    free = (look for name, look in LOOKS.items() if name not in dataset.class_names)
    return [LOOKS.get(name) or next(free) for name in dataset.class_names]


def _grid(side: int) -> Complexes:
    """Return where the drawing's pixels lie, x + iy from the frame's centre, complex64 (H, W).

    A complex factor is a rotation.
    """
    axis = (np.arange(side * OVERSAMPLE, dtype=np.float32) + 0.5) / OVERSAMPLE - side / 2
    axis *= FRAME / side
    return axis + 1j * axis[:, None]


def _class_counts(size: int, looks: list[Look]) -> NDArray[np.int64]:
    """Share out `size` images: one per class first, the rest as in BloodMNIST."""
    upto = np.cumsum([look.train_count for look in looks])
    found: NDArray[np.int64] = 1 + np.diff(
        np.rint((size - len(looks)) * upto / upto[-1]).astype(int), prepend=0
    )
    return found


def _draw_class(look: Look, n: int, grid: Complexes, rng: np.random.Generator) -> Pixels:
    """Paint n cells of one class from the back to the front, uint8 (n, S, S, 3)."""
    radius, place = _uniform(rng, look.body_radius, n), _cell_grid(n, grid, rng)
    body = _coverage(np.abs(place) - radius)
    nucleus = _coverage(_nucleus_distance(look, radius, place, rng)) * body
    texture = rng.standard_normal(body.shape, dtype=np.float32)
    for _ in range(look.granule_grain):
        texture = _box_blur(texture)
    texture /= texture.std()  # granules where it is high, pale chromatin where it is low
    granules = np.clip(texture + 0.4, 0, 1) * _uniform(rng, look.granule_cover, n) * body
    granules *= 1 - nucleus * (1 - look.granule_over_nucleus)
    nucleus *= 1 - CHROMATIN * np.clip(-texture, 0, 1.5)
    canvas = np.zeros((*body.shape, 3), np.float32)
    _paint(canvas, 1.0, BACKGROUND, 4, rng)
    _paint(canvas, _red_cells(radius, grid, rng), RED_CELL, 7, rng)
    _paint(canvas, body, look.cytoplasm, 11, rng)
    _paint(canvas, nucleus, np.multiply(NUCLEUS, look.nucleus_shade), 9, rng)
    _paint(canvas, granules, look.granule, 10, rng)
    return _photograph(canvas, rng)


def _cell_grid(n: int, grid: Complexes, rng: np.random.Generator) -> Complexes:
    """Give each image its cell's own axes: shifted, rotated, stretched, wobbled."""
    shift = rng.normal(0, SHIFT, (n, 1, 1)) + 1j * rng.normal(0, SHIFT, (n, 1, 1))
    place = (grid - shift.astype(np.complex64)) * np.exp(1j * _uniform(rng, (0, 2 * np.pi), n))
    stretch = np.exp(_uniform(rng, (-0.16, 0.16), n))
    x, y = place.real * stretch, place.imag / stretch
    # A slow wave in each axis dents body and nucleus together: no outline is a clean ellipse.
    wave, phase = _uniform(rng, (0.0, 0.9), n), _uniform(rng, (0, 2 * np.pi), n)
    waves = np.sin(0.42 * y + phase) + 1j * np.sin(0.36 * x + 2 * phase)
    found: Complexes = x + 1j * y + wave * waves
    return found


def _nucleus_distance(
    look: Look, radius: Floats, place: Complexes, rng: np.random.Generator
) -> Floats:
    """Measure the signed distance to a nucleus of lobes strung on an arc, negative inside."""
    n = len(radius)
    count = rng.integers(*look.lobes, (n, 1, 1), endpoint=True).astype(np.float32)
    step = np.radians(_uniform(rng, look.arc_step, n))
    arc, size = _uniform(rng, look.arc_radius, n), _uniform(rng, look.lobe_radius, n)
    melted = np.full(place.shape, 1e-9, np.float32)
    for lobe in range(look.lobes[1]):
        angle = step * (lobe - (count - 1) / 2) + _uniform(rng, (-0.15, 0.15), n)
        lobe_radius = radius * size * _uniform(rng, (0.88, 1.12), n)
        away = np.abs(place - radius * arc * np.exp(1j * angle)) - lobe_radius
        melted += np.exp(-LOBE_MELT * away) * (lobe < count)
    return -np.log(melted) / LOBE_MELT


def _red_cells(radius: Floats, grid: Complexes, rng: np.random.Generator) -> Floats:
    """Scatter pale rings and discs around the cell, 0..1."""
    n = len(radius)
    cover = np.zeros((n, *grid.shape), np.float32)
    for _ in range(RED_CELLS):
        size = _uniform(rng, (2.8, 4.8), n)
        # The crop's centre is the white cell's: neighbours touch it at most.
        reach = np.maximum(radius + size, 9) + _uniform(rng, (-1.0, 8.0), n)
        away = np.abs(grid - reach * np.exp(1j * _uniform(rng, (0, 2 * np.pi), n)))
        pallor = _uniform(rng, (0.0, 0.9), n) * _coverage(away - 0.5 * size, softness=2.0)
        np.maximum(cover, _coverage(away - size) * (1 - pallor), out=cover)
    return cover


def _photograph(canvas: Floats, rng: np.random.Generator) -> Pixels:
    """Turn the painting into a photograph: average down, focus, stain, light, noise."""
    n, side = len(canvas), canvas.shape[1] // OVERSAMPLE
    small = canvas.reshape(n, side, OVERSAMPLE, side, OVERSAMPLE, 3).mean((2, 4))
    small += _uniform(rng, (0.0, 0.6), n)[..., None] * (_box_blur(small) - small)
    # Absorption is exponential (Beer-Lambert): a stain twice as strong squares the transmission.
    stain = np.exp(rng.normal(0, 0.16, (n, 1, 1, 1)).astype(np.float32))
    light = np.exp(rng.normal(0, 0.035, (n, 1, 1, 1)) + rng.normal(0, 0.012, (n, 1, 1, 3)))
    small = 255 * (small.clip(1, 255) / 255) ** stain * light.astype(np.float32)
    found: Pixels = (small + rng.normal(0, 4, small.shape)).clip(0, 255).round().astype(np.uint8)
    return found


def _paint(
    canvas: Floats,
    cover: Floats | float,
    mean: Colour | Floats,
    spread: float,
    rng: np.random.Generator,
) -> None:
    """Lay one colour an image, drawn around the mean, over the canvas as far as cover says."""
    colour = rng.normal(mean, spread, (len(canvas), 1, 1, 3)).astype(np.float32)
    for channel in range(3):
        canvas[..., channel] += cover * (colour[..., channel] - canvas[..., channel])


def _coverage(distance: Floats, softness: float = 0.8) -> Floats:
    """Turn a signed distance into opacity, 1 inside and 0 outside."""
    found: Floats = np.clip(0.5 - distance / softness, 0, 1)
    return found


def _box_blur(images: Floats) -> Floats:
    """Average each pixel with its 8 neighbours (axes 1 and 2); the frame wraps around."""
    for axis in (1, 2):
        images = (images + np.roll(images, 1, axis) + np.roll(images, -1, axis)) / 3
    return images


def _uniform(rng: np.random.Generator, bounds: Range, n: int) -> Floats:
    """Draw one number an image, float32 (n, 1, 1)."""
    return rng.uniform(*bounds, (n, 1, 1)).astype(np.float32)
