"""Finds how much of a photograph the network's pixels should show, from the cell itself.

Flow: takes a photograph of unknown magnification and what is known of its framing; gives the side
of the centred square to keep, in pixels. docs/photographs.md has the reasons and measurements.
"""

from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.errors import UsageError
from bloodkeras.images.decode import rgb
from bloodkeras.named_types import Flags, Floats, Json

TIGHTNESS = 1.0  # how much larger than in BloodMNIST a cell is to appear: the one knob of the crop
CROP_MICRONS = 19.5  # MedMNIST's 200 pixels: red cells of 7.5 micrometres span 77 of them there
NUCLEUS_SHARE = 0.522  # of BloodMNIST's frame that a white cell's nucleus spans, all classes alike
CELL_TRUST = 1 / 2  # in the nucleus; the rest in the frame, for classes differ in size
FRAME_SHARE = 3 / 4  # of a frame that is kept where no nucleus is found

# A photograph of the PBC set's kind shows 360 pixels where MedMNIST's frame shows 200.
PHOTOGRAPH_SHARE = 200 / 360
# A frame that is finer is too wide: docs/photographs.md has the measurements. Of one of few
# pixels, blurred by being enlarged, it is also asked that it resembles itself little.
TOO_FINE, TOO_FINE_SMALL, MOST_ALIKE_SMALL = 0.69, 0.30, 0.75
NEAR, FAR = 3, 5  # of SIDE pixels, over which a frame is compared with itself
NEAR_WEIGHT, FAR_WEIGHT = -5.7, 3.4  # of the likeness; 1 is the outline's
PALE = 0.35  # of green light, natural logarithm: about what a red cell takes; more counts as that
LEAST_ALIKE = 0.2  # likeness over NEAR; below it there is noise, and no cell

SIDE = 64  # pixels to which a photograph is shrunk to look for the nucleus
CENTRE_RADIUS = 0.2  # of the frame: the cell is in the centre
BACKGROUND, DARK = 90, 95  # percentiles: of red over the frame, of density in the centre
DENSITY_CUT = 0.6  # of the dark parts' density: red cells and cytoplasm are below it
LEAST_DENSITY = 0.1  # of red light, natural logarithm: below it there is nothing stained


@dataclass(frozen=True)
class Framing:
    """What is known of how photographs are framed, and what is made of them.

    Attributes:
        microns_per_pixel: Micrometres of the specimen a pixel shows; 0 where that is not known.
        tightness: How much larger than in BloodMNIST cells are to appear.
        image_side: Of the pixels that the network takes.
        scales: Estimated microns per pixel of photographs by their size, ("WxH", scale) each; ""
            stands for all other sizes that are not framed as at home.
    """

    microns_per_pixel: float = 0.0
    tightness: float = TIGHTNESS
    image_side: int = BLOODMNIST.image_side
    scales: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if self.microns_per_pixel and not 0.005 <= self.microns_per_pixel <= 2:
            raise UsageError(
                f"the microns per pixel are {self.microns_per_pixel:g}: expected 0.005 to 2 (the "
                "photographs of BloodMNIST have about 0.1)"
            )
        if not 0.2 <= self.tightness <= 5:
            raise UsageError(f"the tightness is {self.tightness:g}: expected 0.2 to 5, 1 for none")

    def described(self) -> Json:
        """Return it for a record."""
        return asdict(self) | {"scales": dict(self.scales)}


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
    dark, central = dark_parts(-np.log(red / np.percentile(red, BACKGROUND)))
    if not dark.any():
        return None
    rows, columns = np.nonzero(_connected(central & dark, dark))
    return float(np.sqrt(8 * (rows.var() + columns.var())) / SIDE) or None


def dark_parts(density: Floats) -> tuple[Flags, Flags]:
    """Return what is as dark as the nucleus in the centre, and where the centre is.

    Args:
        density: (H, W), how much red light is taken, natural logarithm.
    """
    rows, columns = np.indices(density.shape)
    height, width = density.shape
    away = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
    central = away < CENTRE_RADIUS * min(height, width)
    cut = DENSITY_CUT * np.percentile(density[central], DARK)
    return density > (cut if cut >= LEAST_DENSITY else np.inf), central


def is_wide(frame: Image.Image) -> bool:
    """Return whether a frame shows more of the specimen than BloodMNIST's: its cells are small.

    Args:
        frame: RGB, a square.
    """
    small = BLOODMNIST.image_side  # whatever network's pixels: they are judged as those measured
    if frame.width >= SIDE:
        return fineness(_density(frame)) > TOO_FINE
    if frame.width != small:
        frame = frame.resize((small, small), Image.Resampling.BILINEAR)
    density = _density(frame)
    return fineness(density) > TOO_FINE_SMALL and _likeness(density, NEAR) < MOST_ALIKE_SMALL


def fineness(density: Floats) -> float:
    """Return how finely a frame is structured, red cells and nuclei alike; -inf where by nothing.

    Where all cells are half as large there is twice as much outline around what is stained, by
    its area, and the frame resembles itself less when it is shifted a little. Platelets in the
    right frame have much outline too, but large red cells around them. The weights are those of
    Fisher's discriminant between the two, rounded.

    Args:
        density: float (SIDE, SIDE), how much green light is taken: natural logarithm, up to PALE.
    """
    near, far = _likeness(density, NEAR), _likeness(density, FAR)
    if near < LEAST_ALIKE:  # of an empty frame it is 0
        return -np.inf
    steps = sum(np.abs(np.diff(density, axis=axis)).sum() for axis in (0, 1))
    outline = np.log(steps / density.sum() * SIDE)
    return float(outline + NEAR_WEIGHT * near + FAR_WEIGHT * far)


def _density(frame: Image.Image) -> Floats:
    """Return how much green light an RGB square takes; see `fineness`."""
    how = Image.Resampling.BICUBIC if frame.width < SIDE else Image.Resampling.BILINEAR
    green = np.asarray(frame.resize((SIDE, SIDE), how))[..., 1].clip(1).astype(float)
    found: Floats = (-np.log(green / np.percentile(green, BACKGROUND))).clip(0, PALE)
    return found


def _likeness(density: Floats, shift: int) -> float:
    """Return the correlation of an image with itself, shifted along either axis."""
    varied = density - density.mean()
    down, right = varied[shift:] * varied[:-shift], varied[:, shift:] * varied[:, :-shift]
    return float((down.mean() + right.mean()) / 2 / max(varied.var(), 1e-9))


def _connected(seed: Flags, mask: Flags) -> Flags:
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
