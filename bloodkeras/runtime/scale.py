"""Finds how much of a photograph the 28x28 pixels should show, from the cell itself.

Flow: takes a photograph of unknown magnification and what is known of its framing; gives the side
of the centred square to keep, in pixels. docs/photographs.md has the reasons and measurements.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from bloodkeras.errors import UsageError
from bloodkeras.runtime.decode import rgb

TIGHTNESS = 1.0  # how much larger than in BloodMNIST a cell is to appear: the one knob of the crop
CROP_MICRONS = 19.5  # MedMNIST's 200 pixels: red cells of 7.5 micrometres span 77 of them there
NUCLEUS_SHARE = 0.522  # of BloodMNIST's frame that a white cell's nucleus spans, all classes alike
CELL_TRUST = 1 / 2  # in the nucleus; the rest in the frame, for classes differ in size
FRAME_SHARE = 3 / 4  # of a frame that is kept where no nucleus is found

# A photograph of the PBC set's kind shows 360 pixels where MedMNIST's frame shows 200.
PHOTOGRAPH_SHARE = 200 / 360
# Side of a frame: the outline (see there) beyond which it is too wide. Of BloodMNIST's test images
# 0.3 and 0.5 % have more; docs/photographs.md has the measurements.
WIDE_OUTLINE = {28: 19.5, 64: 23.5}
PALE = 0.35  # of green light, natural logarithm: about what a red cell takes; more counts as that
LEAST_ALIKE = 0.5  # correlation of neighbouring pixels: below it there is noise, and no cell

SIDE = 64  # pixels to which a photograph is shrunk to look for the nucleus
CENTRE_RADIUS = 0.2  # of the frame: the cell is in the centre
BACKGROUND, DARK = 90, 95  # percentiles: of red over the frame, of density in the centre
DENSITY_CUT = 0.6  # of the dark parts' density: red cells and cytoplasm are below it
LEAST_DENSITY = 0.1  # of red light, natural logarithm: below it there is nothing stained


@dataclass(frozen=True)
class Framing:
    """What is known of how photographs are framed; nothing, by default.

    Attributes:
        microns_per_pixel: Micrometres of the specimen a pixel shows; 0 where that is not known.
        tightness: How much larger than in BloodMNIST cells are to appear.
    """

    microns_per_pixel: float = 0.0
    tightness: float = TIGHTNESS

    def __post_init__(self):
        if self.microns_per_pixel and not 0.005 <= self.microns_per_pixel <= 2:
            raise UsageError(
                f"--microns-per-pixel is {self.microns_per_pixel:g}: expected 0.005 to 2 "
                "micrometres (the photographs of BloodMNIST have about 0.1)"
            )
        if not 0.2 <= self.tightness <= 5:
            raise UsageError(f"--tightness is {self.tightness:g}: expected 0.2 to 5, 1 for none")


UNKNOWN = Framing()


def kept_side(image: Image.Image, framing: Framing = UNKNOWN) -> int:
    """Return the side of the centred square to keep, in pixels, at most the shorter side.

    Args:
        image: A photograph, the cell in its centre.
        framing: What is known of it.
    """
    frame = min(image.size)
    if framing.microns_per_pixel:
        side = CROP_MICRONS / framing.microns_per_pixel
    else:
        span = nucleus_span(image)
        share = FRAME_SHARE
        if span:
            share = FRAME_SHARE ** (1 - CELL_TRUST) * (span / NUCLEUS_SHARE) ** CELL_TRUST
        side = frame * share
    return max(1, round(min(side / framing.tightness, frame)))


def nucleus_span(image: Image.Image) -> float | None:
    """Return the share of the frame that the nucleus in the centre spans; None without any.

    Nuclei alone take much of the red light, whatever the colour of the background. The span is the
    diameter of the disc whose pixels are spread as widely as the nucleus', all its lobes together.
    """
    frame = min(image.size)
    left, top = (image.width - frame) // 2, (image.height - frame) // 2
    square = image.crop((left, top, left + frame, top + frame))
    if frame > 4 * SIDE:  # any mode can be thinned out so, and little memory is needed
        square = square.resize((4 * SIDE, 4 * SIDE), Image.Resampling.NEAREST)
    small = rgb(square).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    red = np.asarray(small, float)[..., 0].clip(1)
    density = -np.log(red / np.percentile(red, BACKGROUND))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    middle = (SIDE - 1) / 2
    central = np.hypot(rows - middle, columns - middle) < CENTRE_RADIUS * SIDE
    cut = DENSITY_CUT * np.percentile(density[central], DARK)
    if cut < LEAST_DENSITY:
        return None
    nucleus = _connected(central & (density > cut), density > cut)
    spread = rows[nucleus].var() + columns[nucleus].var()
    return float(np.sqrt(8 * spread) / SIDE) or None


def is_wide(frame: Image.Image) -> bool:
    """Return whether much smaller cells than BloodMNIST's fill a frame: it is too wide.

    Args:
        frame: RGB, a square of 28x28 pixels or of 64x64 and more.
    """
    if frame.width > SIDE:
        frame = frame.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return outline(np.asarray(frame)) > WIDE_OUTLINE[frame.width]


def outline(pixels: np.ndarray) -> float:
    """Return how much outline there is around what is stained, by its area and the frame's side.

    Red cells count as much as nuclei. If all are half as large it is twice as much; a single disc
    whose diameter is d of the frame has about 5 / d. 0 where nothing is stained, and for noise.

    Args:
        pixels: uint8 (H, H, 3), RGB.
    """
    green = pixels[..., 1].clip(1).astype(float)
    density = (-np.log(green / np.percentile(green, BACKGROUND))).clip(0, PALE)
    steps = [np.diff(density, axis=axis) for axis in (0, 1)]
    # Of a random pair of pixels the mean square of the difference is twice the variance.
    alike = 1 - np.mean([np.mean(step**2) for step in steps]) / max(2 * density.var(), 1e-9)
    if alike < LEAST_ALIKE or not density.any():
        return 0.0
    return float(sum(np.abs(step).sum() for step in steps) / density.sum() * len(pixels))


def _connected(seed: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return what is connected to the seed within the mask, bool (H, W)."""
    while True:
        grown = seed.copy()
        grown[1:] |= seed[:-1]
        grown[:-1] |= seed[1:]
        grown[:, 1:] |= seed[:, :-1]
        grown[:, :-1] |= seed[:, 1:]
        grown &= mask
        if np.array_equal(grown, seed):
            return grown
        seed = grown
