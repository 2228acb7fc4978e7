"""Compares the estimated scale of photographs with the best that can be set by hand.

    python benchmarks/scales.py EXPORT FOLDER [LABELS [ONE_IN]]

Flow: takes an export and a folder of photographs, with a table of file and label (labels.csv in
the folder by default), of which one in so many rows is taken; prints, for the photographs as they
are, resized as a whole and cropped, the balanced accuracy at scales around the estimate and by
default. Needs what the runtime needs.
"""

import logging
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from bloodkeras.answers.classifier import Classifier
from bloodkeras.contract import CROP_SIDE
from bloodkeras.images.framing import CROP_MICRONS, Framing
from bloodkeras.images.preprocess import medmnist_pixels
from bloodkeras.images.scale import even_sample, measure, pooled, scale_of, with_scales
from bloodkeras.laboratory.labels import read_table

RESIZED = (1, 0.5, 0.7, 1.4, 2)
CROPPED = 0.7
STEPS = np.geomspace(0.7, 1.4, 11)  # by hand, of the estimate


def main(export: str, folder: str, labels: str = "", one_in: str = "1") -> None:
    """Print a table for each way that the photographs are changed."""
    logging.basicConfig(level=logging.WARNING)
    classifier = Classifier.load(export)
    table = read_table(Path(labels or Path(folder, "labels.csv")), classifier.labels)
    named = list(table.items())[:: int(one_in)]
    paths, classes = [Path(folder, name) for name, _ in named], np.array([k for _, k in named])
    print(f"{Path(folder).name}, {len(paths)} photographs, {Path(export).name}; balanced accuracy")
    for factor in (*RESIZED, -CROPPED):
        report(classifier, paths, classes, factor)


def report(classifier: Classifier, paths: list[Path], classes: np.ndarray, factor: float) -> None:
    """Print what the scales give; a factor below 0 crops."""
    title = f"resized by {factor:g}" if factor > 0 else f"cropped to {-factor:g}"
    measured = [measure(_changed(path, factor)) for path in even_sample(paths)]
    scales, whole = pooled(measured), scale_of(measured)
    side = classifier.dataset.image_side
    default = with_scales(Framing(image_side=side), scales)
    redness = np.median([one.redness for one in measured if one.redness])
    middle = whole.microns_per_pixel if whole else CROP_MICRONS / CROP_SIDE
    tried = [Framing(middle * step, image_side=side) for step in STEPS]
    framings = [*tried, default, Framing(image_side=side)]
    frames = np.empty((len(framings), len(paths), side, side, 3), np.uint8)
    for place, path in enumerate(paths):
        image = _changed(path, factor)
        for frame, framing in zip(frames, framings, strict=True):
            frame[place] = np.asarray(medmnist_pixels(image, framing))
    said = "; ".join(f"{size} {scale}".strip() for size, scale in scales.items())
    print(f"{title}: {said or 'framed as at home'}")
    print(f"    nuclei take {redness:.2f} times as much red light as green")
    rows = np.array([balanced(classifier.predict_proba(frame), classes) for frame in frames])
    print("    micrometres " + "".join(f"{framing.microns_per_pixel:7.4f}" for framing in tried))
    for name, row in zip(("all classes", "that occur"), rows.T, strict=True):
        print(
            f"    {name:12}" + "".join(f"{share:7.1%}" for share in row[:-2]),
            f"  best {row[:-2].max():.1%}, default {row[-2]:.1%}, without {row[-1]:.1%}",
            flush=True,
        )


def _changed(path: Path, factor: float) -> Image.Image:
    with Image.open(path) as file:
        image = file.convert("RGB")
    size = [round(length * abs(factor)) for length in image.size]
    if factor > 0:
        return image if factor == 1 else image.resize(size, Image.Resampling.BICUBIC)
    left, top = ((whole - kept) // 2 for whole, kept in zip(image.size, size, strict=True))
    return image.crop((left, top, left + size[0], top + size[1]))


def balanced(probs: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """Return balanced accuracy with all classes open, and with those that occur."""
    occur = np.unique(classes)
    open_to_all = probs.argmax(1) == classes
    open_to_some = occur[probs[:, occur].argmax(1)] == classes
    return tuple(
        float(np.mean([right[classes == k].mean() for k in occur]))
        for right in (open_to_all, open_to_some)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
