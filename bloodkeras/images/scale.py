"""Estimates how many micrometres a pixel of many photographs shows, from what they show.

Flow: takes files; measures an even sample of them with two rulers, red cells and nuclei; gives a
`Framing` by which all of them are cut, and says it. docs/framing.md has the measurements.
"""

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from bloodkeras.cores import core_count
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.decode import opened, rgb
from bloodkeras.images.folder import SCALE_FILE
from bloodkeras.images.framing import CROP_MICRONS, Framing, dark_parts, nucleus_span
from bloodkeras.images.preprocess import known_side
from bloodkeras.images.red_cells import FAINT, red_cell_diameters
from bloodkeras.images.refusal import refusals, shown
from bloodkeras.images.sources import STDIN, find_paths, is_array
from bloodkeras.named_types import Json

LOG = logging.getLogger(__name__)

SAMPLE = 200  # photographs that are measured, at most
SIDE = 128  # pixels to which the shorter side is brought to look for red cells
# What home's photographs measure: CROP_MICRONS there are 200 pixels, red cells span 74.7.
RED_MICRONS = 74.7 / 200 * CROP_MICRONS
# Of three other laboratories' frames that are right; home's own nuclei are smaller.
NUCLEUS_MICRONS, NUCLEUS_QUANTILE = 0.61 * CROP_MICRONS, 60
RED_SPREAD, RED_BIAS = 0.15, 0.05  # natural logarithms: of a cell, of a laboratory
NUCLEUS_SPREAD, NUCLEUS_BIAS = 0.30, 0.15  # the mix of the classes counts as bias
LEAST_REDS, REDS_A_PHOTOGRAPH, WIDEST = 6, 0.2, 0.35  # fewer, or more uneven, are something else
LEAST_NUCLEI = 20  # without red cells
LEAST_PHOTOGRAPHS = 5  # fewer show too little of how a laboratory's look
# Nuclei that take little red light, as on telephones, look to the networks like platelets unless
# they are shown larger: by this power of how pink they are compared with home's, up to a limit.
HOME_REDNESS, PINK_POWER, PINK_MOST = 0.61, 0.215, 0.15
CONTRADICTED = 0.2  # logarithm: a size like home's is only doubted by more

NEAREST = Image.Resampling.NEAREST
EVERYWHERE = ""  # the size that stands for all others


@dataclass(frozen=True)
class Measured:
    """What one photograph shows, in its own pixels."""

    size: tuple[int, int]
    reds: tuple[float, ...]  # diameters
    nucleus: float  # 0 without any
    redness: float  # of the nucleus: red light taken, by green


@dataclass(frozen=True)
class Scale:
    """An estimate for photographs that look alike."""

    microns_per_pixel: float
    spread: float  # standard error of its logarithm
    reds: int
    nuclei: int

    def __str__(self) -> str:
        low, high = (self.microns_per_pixel * np.exp(2 * k * self.spread) for k in (-1, 1))
        by = [f"{self.reds:,} red cells"] * bool(self.reds) + [f"{self.nuclei:,} nuclei"]
        return (
            f"{self.microns_per_pixel:.3g} micrometres a pixel ({low:.3g} to {high:.3g}), by "
            + " and ".join(by)
        )


def scaled(
    words: Sequence[str],
    framing: Framing,
    recorded: Json | None = None,
    paths: Iterable[str | os.PathLike[str]] | None = None,
) -> Framing:
    """Return the framing by which all that the words mean is to be cut, and say it.

    What is known already counts: the framing's own microns per pixel, or the file
    `microns_per_pixel.txt` beside the photographs. A list on standard input comes only once, so
    its photographs are cut one by one.

    Args:
        words: Files, folders, globs, arrays, `-`.
        framing: What is known.
        recorded: What an interrupted job was begun with: it is not estimated again.
        paths: Those of the photographs that are looked at; all by default.

    Raises:
        UsageError: The file beside the photographs holds no scale, or not that of all folders.
    """
    if framing.microns_per_pixel:
        return framing
    if STDIN in words:
        LOG.info("a list on standard input: each photograph is framed by what it shows itself")
        return framing
    if known := read_beside(words):
        return replace(framing, microns_per_pixel=known)
    if recorded is not None:
        return replace(framing, scales=tuple(recorded.get("scales", {}).items()))
    if paths is None:
        paths = (path for path, error in find_paths(words) if not error and not is_array(path))
    return estimated(paths, framing)


def describe(framing: Framing) -> str:
    """Return by which scale photographs are cut, in one line."""
    if framing.microns_per_pixel:
        return f"{framing.microns_per_pixel:g} micrometres a pixel, as given"
    said = [
        f"{scale:.3g}{f' where they are {size}' * bool(size)}" for size, scale in framing.scales
    ]
    if not said:
        return "each photograph is framed by its size and what it shows"
    return f"{', '.join(said)} micrometres a pixel, estimated from all"


def read_beside(words: Sequence[str]) -> float:
    """Return what the files `microns_per_pixel.txt` beside photographs say, and say it; or 0.

    Raises:
        UsageError: One holds no scale, or they differ.
    """
    folders = {word if os.path.isdir(word) else os.path.dirname(word) or "." for word in words}
    found = {}
    for folder in sorted(folders):
        place = Path(folder, SCALE_FILE)
        try:
            text = place.read_text(encoding="utf-8-sig").strip()
        except FileNotFoundError:
            found[folder] = 0.0
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {shown(place)}: {error}") from None
        try:
            found[folder] = Framing(float(text)).microns_per_pixel or float("nan")
            if np.isnan(found[folder]):
                raise ValueError("0")
        except (ValueError, UsageError):
            raise UsageError(
                f"{shown(place)}: expected one number of micrometres, 0.005 to 2, such as 0.065; "
                f"found {text[:40]!r}"
            ) from None
    if len(set(found.values())) > 1:
        said = ", ".join(f"{shown(folder)} {scale or 'none'}" for folder, scale in found.items())
        raise UsageError(
            f"the photographs have different scales in {SCALE_FILE}: {said[:200]}; ask for one "
            "folder at a time"
        )
    known = next(iter(found.values()), 0.0)
    if known:
        LOG.info(f"{known:g} micrometres a pixel, by {SCALE_FILE}")
    return known


def estimated(paths: Iterable[str | os.PathLike[str]], framing: Framing) -> Framing:
    """Return a framing with the scales that an even sample of photographs shows, and say them."""
    sample = even_sample(paths)
    if len(sample) < LEAST_PHOTOGRAPHS:
        return framing
    with ThreadPoolExecutor(core_count(), "measure") as pool:
        found = list(pool.map(partial(_measured, side=framing.image_side), sample))
    scales = pooled([one for one in found if one])
    for size, scale in scales.items():
        LOG.info(f"{scale}{f', in photographs of {size}' * bool(size)}")
    return with_scales(framing, scales)


def _measured(path: str | os.PathLike[str], side: int) -> Measured | None:
    """Return what a photograph shows; None of one that is not cut or cannot be read."""
    try:
        with refusals(path), opened(path) as pictures:
            image = pictures.load(pictures.pages[0])
            return None if image.size == (side, side) else measure(image)
    except BloodkerasError:
        return None  # it is said when it is read to be answered


def with_scales(framing: Framing, scales: Mapping[str, Scale]) -> Framing:
    """Return a framing that goes by what `pooled` found."""
    found = [(size, float(f"{scale.microns_per_pixel:.4g}")) for size, scale in scales.items()]
    return replace(framing, scales=tuple(found))


def even_sample(
    paths: Iterable[str | os.PathLike[str]], count: int = SAMPLE
) -> list[str | os.PathLike[str]]:
    """Return up to `count` paths, evenly spread over however many come; few are held."""
    kept, step = [], 1
    for place, path in enumerate(paths):
        if place % step:
            continue
        kept.append(path)
        if len(kept) > 2 * count:
            kept, step = kept[::2], 2 * step
    chosen = np.linspace(0, len(kept) - 1, min(count, len(kept))).round().astype(int)
    return [kept[place] for place in chosen]


def pooled(measured: Sequence[Measured]) -> dict[str, Scale]:
    """Return the scales of photographs: {"WxH" or "" for all other sizes: scale}.

    A size has its own where its photographs clearly differ from the others; and one that is framed
    as at home by its size where its red cells clearly say otherwise.
    """
    groups = defaultdict(list)
    for one in measured:
        groups[one.size].append(one)
    found: dict[str, Scale] = {}
    strange = [one for one in measured if not known_side(*one.size)]
    if all_others := scale_of(strange):
        found[EVERYWHERE] = all_others
    for (width, height), group in groups.items():
        scale, usual = scale_of(group), known_side(width, height)
        if not scale or (usual and not scale.reds):
            continue
        others = CROP_MICRONS / usual if usual else all_others and all_others.microns_per_pixel
        off = abs(np.log(scale.microns_per_pixel / others)) if others else np.inf
        if off > max(CONTRADICTED, 2 * scale.spread):
            found[f"{width}x{height}"] = scale
    return found


def scale_of(measured: Sequence[Measured], least: int = LEAST_PHOTOGRAPHS) -> Scale | None:
    """Return the scale of photographs that look alike; None where they show too little.

    Args:
        measured: What each shows.
        least: Photographs that are needed.
    """
    if len(measured) < least:
        return None
    reds = np.log([span for one in measured for span in one.reds])
    nuclei = np.log([one.nucleus for one in measured if one.nucleus])
    rulers = []
    enough = max(LEAST_REDS, REDS_A_PHOTOGRAPH * len(measured))
    if len(reds) >= enough and np.subtract(*np.percentile(reds, [75, 25])) < WIDEST:
        spread = np.hypot(RED_SPREAD / np.sqrt(len(reds)), RED_BIAS)
        rulers.append((np.log(RED_MICRONS) - np.median(reds), spread))
    else:
        reds = reds[:0]
    if len(nuclei) >= (1 if rulers else LEAST_NUCLEI):
        spread = np.hypot(NUCLEUS_SPREAD / np.sqrt(len(nuclei)), NUCLEUS_BIAS)
        span = np.percentile(nuclei, NUCLEUS_QUANTILE)
        rulers.append((np.log(NUCLEUS_MICRONS) - span, spread))
    if not rulers:
        return None
    says, spreads = np.array(rulers).T
    weights = spreads**-2 / (spreads**-2).sum()
    redness = np.median([one.redness for one in measured if one.redness] or [HOME_REDNESS])
    pink = np.clip(PINK_POWER * np.log(HOME_REDNESS / redness), 0, PINK_MOST)
    microns = float(np.exp(weights @ says + pink))
    return Scale(microns, float((spreads**-2).sum() ** -0.5), len(reds), len(nuclei))


def measure(image: Image.Image) -> Measured:
    """Measure the nucleus in the centre and the red cells of a photograph."""
    ratio = min(image.size) / SIDE
    size = (round(image.width / ratio), round(image.height / ratio))
    thinner = min(image.size) // (8 * SIDE)
    thin = image
    if thinner > 1:  # any mode can be thinned out: less memory
        thin = image.resize((image.width // thinner, image.height // thinner), NEAREST)
    small = rgb(thin).resize(size, Image.Resampling.BILINEAR)
    light = np.asarray(small, float).clip(1)
    density = -np.log(light / np.percentile(light, 95, (0, 1)))
    red, green = density[..., 0], density[..., 1]
    nuclei, central = dark_parts(red)
    nucleus = nuclei & central
    redness = float(np.median(red[nucleus] / green[nucleus].clip(FAINT))) if nucleus.any() else 0.0
    spans = tuple(float(span * ratio) for span in red_cell_diameters(green, nuclei))
    span = (nucleus_span(image) or 0.0) * min(image.size)
    return Measured(image.size, spans, span, max(redness, 0.0))
