"""Imitates another laboratory on the test split: light, stain, focus, compression and framing.

Flow: takes a `Classifier`'s answers and a `Split`; gives accuracy, coverage and accuracy of the
accepted for nine corruptions at five strengths each, as JSON and text. To its users they are the
shifts of `evaluate --shifts`.
Sources: the kinds follow MedMNIST-C (Di Salvo et al. 2024, arXiv:2406.17536) and ImageNet-C
    (Hendrycks & Dietterich 2019, arXiv:1903.12261); here they act on the small images.

Nothing is drawn by chance. A corruption that has two directions (warmer and cooler, say) takes one
for the even rows and the other for the odd ones; directions in the plane go round with the row.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from scipy import ndimage

from bloodkeras.answers.answer import Answers
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.data.splits import Split
from bloodkeras.named_types import Floats, Json, Pixels
from bloodkeras.progress import Progress

STRENGTHS = (1, 2, 3, 4, 5)
FRAME = BLOODMNIST.image_side  # pixels of an image, in which the lengths of SHIFTS are meant
PORTION = 256  # images that are shifted at once; their directions go round with the row, in eights
GREEN_PART = 0.35  # of a change of the lamp's colour: green lies between red and blue
DISC_STEPS = 9  # points a pixel and axis, of which a blur's kernel is made


def shifts_file(split: str) -> str:
    """Return the name of the file that holds the results on a split."""
    return "shifts.json" if split == "test" else f"shifts_{split}.json"


def judge_shifts(answer: Callable[[Pixels], Answers], split: Split) -> Json:
    """Return how a classifier, given by its `answer`, fares under every corruption.

    Returns:
        "images": how many; "clean": numbers without a shift; "shifts": {shift: one of these a
        strength}; "by_shift": {shift: mean accuracy}; "mean_accuracy": over all shifts. Numbers
        are {"accuracy", "coverage", "selective_accuracy"}, the last None where none is accepted.
    """
    found: dict[str, list[Json]] = {name: [] for name in SHIFTS}
    asked = [(name, shift, value) for name, (shift, values) in SHIFTS.items() for value in values]
    with Progress(lambda: len(asked) * len(split)) as progress:
        for name, shift, value in asked:
            images = _in_portions(shift, split.images, value)
            found[name].append(answer(images).judged(split.labels))
            progress.add(len(split))
    means = {
        name: float(np.mean([n["accuracy"] for n in numbers])) for name, numbers in found.items()
    }
    return {
        "images": len(split),
        "clean": answer(split.images).judged(split.labels),
        "shifts": found,
        "by_shift": means,
        "mean_accuracy": float(np.mean(list(means.values()))),
    }


def _in_portions(shift: Callable[[Pixels, Any], Pixels], images: Pixels, value: float) -> Pixels:
    """Return shifted images; as numbers with a point, all large ones at once fill the memory."""
    starts = range(0, len(images), PORTION)
    return np.concatenate([shift(images[start : start + PORTION], value) for start in starts])


def shifts_table(results: Json) -> str:
    """Return the accuracies as text: one row for each shift, one column for each strength."""
    heads = "".join(f"{strength:>9}" for strength in STRENGTHS)
    rows = [f"{'accuracy at strength':22}{heads}{'mean':>9}{'accepted':>10}{'right':>9}"]
    for name, numbers in results["shifts"].items():
        cells = "".join(f"{n['accuracy']:>9.4f}" for n in numbers)
        coverage = float(np.mean([n["coverage"] for n in numbers]))
        accepted = sum(n["coverage"] for n in numbers if n["selective_accuracy"] is not None)
        right = sum(n["coverage"] * (n["selective_accuracy"] or 0.0) for n in numbers)
        selective = f"{right / accepted:>9.4f}" if accepted else f"{'-':>9}"
        mean = results["by_shift"][name]
        rows.append(f"{name:22}{cells}{mean:>9.4f}{coverage:>10.4f}{selective}")
    clean = results["clean"]["accuracy"]
    rows.append(
        f"mean over all {results['mean_accuracy']:.4f}, without a shift {clean:.4f}; accepted is "
        "the share of images over all strengths, right the share of those"
    )
    return "\n".join(rows)


def white_balance(images: Pixels, loss: float) -> Pixels:
    """Make the light yellower (even rows) or bluer: the other end of the spectrum loses a share."""
    yellow = 1 - loss * np.array([0, GREEN_PART, 1])
    gains = _alternate(len(images), yellow, yellow[::-1])
    return _to_pixels(images * gains[:, None, None])


def stain_strength(images: Pixels, change: float) -> Pixels:
    """Divide (even rows) or multiply all optical densities by 1 + change."""
    density = -np.log(np.maximum(images, 1) / 255)
    factors = _alternate(len(images), [1 / (1 + change)], [1 + change])
    return _to_pixels(255 * np.exp(-density * factors[:, None, None]))


def brightness(images: Pixels, change: float) -> Pixels:
    """Make images darker (even rows) or brighter by a share; what is above white is cut off."""
    gains = _alternate(len(images), [1 - change], [1 + change])
    return _to_pixels(images * gains[:, None, None])


def contrast(images: Pixels, change: float) -> Pixels:
    """Draw pixels to their image's mean (even rows) or away from it, by a share."""
    mean = images.mean((1, 2), keepdims=True)
    gains = _alternate(len(images), [1 - change], [1 + change])
    return _to_pixels(mean + (images - mean) * gains[:, None, None])


def defocus(images: Pixels, radius: float) -> Pixels:
    """Blur by a disc of this radius, of FRAME."""
    return _blur(images, disc(radius * images.shape[1] / FRAME))


def motion(images: Pixels, length: float) -> Pixels:
    """Blur along a line of this length, of FRAME; four directions go round with the row."""
    moved, length = np.empty_like(images), length * images.shape[1] / FRAME
    for turn in range(4):
        moved[turn::4] = _blur(images[turn::4], line(length, turn * np.pi / 4))
    return moved


def jpeg(images: Pixels, quality: int) -> Pixels:
    """Compress and unpack as JPEG of this quality."""
    unpacked = np.empty_like(images)
    for row, image in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as compressed:
            unpacked[row] = np.asarray(compressed.convert("RGB"))
    return unpacked


def scale(images: Pixels, factor: float) -> Pixels:
    """Make cells smaller (even rows) or larger by this factor, about the centre."""
    zoomed = np.empty_like(images)
    for start, step in ((0, factor), (1, 1 / factor)):
        zoomed[start::2] = _sample(images[start::2], step)
    return zoomed


def translation(images: Pixels, pixels: float) -> Pixels:
    """Move cells by this far, of FRAME; eight directions go round with the row."""
    moved, pixels = np.empty_like(images), pixels * images.shape[1] / FRAME
    for turn in range(8):
        angle = turn * np.pi / 4
        offset = (pixels * np.sin(angle), pixels * np.cos(angle))
        moved[turn::8] = _sample(images[turn::8], 1.0, offset)
    return moved


SHIFTS: dict[
    str, tuple[Callable[[Pixels, Any], Pixels], tuple[float, ...]]
] = {  # the five values of each are its strengths
    "white balance": (white_balance, (0.05, 0.1, 0.2, 0.3, 0.4)),
    "stain strength": (stain_strength, (0.15, 0.3, 0.5, 0.75, 1.0)),
    "brightness": (brightness, (0.05, 0.1, 0.2, 0.3, 0.4)),
    "contrast": (contrast, (0.1, 0.2, 0.3, 0.45, 0.6)),
    "defocus blur": (defocus, (0.75, 1.0, 1.5, 2.0, 2.5)),
    "motion blur": (motion, (2, 3, 4, 5, 7)),
    "JPEG": (jpeg, (50, 30, 20, 12, 7)),
    "scale": (scale, (1.1, 1.2, 1.3, 1.45, 1.6)),
    "translation": (translation, (1, 2, 3, 4, 6)),
}


def disc(radius: float) -> Floats:
    """Return a round kernel float (S, S) with sum 1; the rim's pixels count in part."""
    reach = int(np.ceil(radius - 0.5))
    fine = (np.arange((2 * reach + 1) * DISC_STEPS) + 0.5) / DISC_STEPS - reach - 0.5
    inside = fine[:, None] ** 2 + fine**2 <= radius**2
    side = 2 * reach + 1
    kernel = inside.reshape(side, DISC_STEPS, side, DISC_STEPS).mean((1, 3))
    found: Floats = kernel / kernel.sum()
    return found


def line(length: float, angle: float) -> Floats:
    """Return a straight kernel float (S, S) with sum 1, at an angle in radians."""
    reach = int(np.ceil(length / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    along = np.linspace(-(length - 1) / 2, (length - 1) / 2, 8 * int(np.ceil(length)) + 1)
    rows, columns = reach + along * np.sin(angle), reach + along * np.cos(angle)
    np.add.at(kernel, (np.rint(rows).astype(int), np.rint(columns).astype(int)), 1)
    found: Floats = kernel / kernel.sum()
    return found


def _alternate(count: int, even: ArrayLike, odd: ArrayLike) -> Floats:
    """Return float (count, 1 or 3): one for even rows, the other for odd ones."""
    return np.stack([np.asarray(even), np.asarray(odd)])[np.arange(count) % 2]


def _blur(images: Pixels, kernel: Floats) -> Pixels:
    blurred = ndimage.convolve(images.astype(float), kernel[None, :, :, None], mode="nearest")
    return _to_pixels(blurred)


def _sample(images: Pixels, step: float, offset: tuple[float, float] = (0, 0)) -> Pixels:
    """Return images seen with another step between pixels; what is outside repeats the rim."""
    middle = (np.array(images.shape[1:3]) - 1) / 2
    start = middle - step * (middle + np.asarray(offset))
    matrix, start = (1, step, step, 1), (0, *start, 0)
    seen = ndimage.affine_transform(images.astype(float), matrix, start, order=1, mode="nearest")
    return _to_pixels(seen)


def _to_pixels(values: Floats) -> Pixels:
    found: Pixels = np.rint(values.clip(0, 255)).astype(np.uint8)
    return found
