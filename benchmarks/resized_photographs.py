"""Measures what becomes of photographs that somebody resized as a whole, of true frames, and of
frames that must be enlarged.

    python benchmarks/resized_photographs.py exports/residual CROPS DATA [DATA_64]

Flow: takes an export, a folder of original photographs with labels.csv, bloodmnist.npz and, where
it is at hand, bloodmnist_64.npz; prints a table a question. Needs what the runtime needs.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from bloodkeras.answers.classifier import Classifier
from bloodkeras.contract import ACCEPTED
from bloodkeras.images.framing import is_wide

ENLARGED = (28, 25, 21, 18, 14)  # pixels of a frame, which is enlarged to what the network takes
SIDES = (28, 64, 128, 200, 224, 256, 299, 512)
BILINEAR = Image.Resampling.BILINEAR
CROP = 200  # of a photograph, which MedMNIST keeps


def main(export: str, crops: str, data: str, data_64: str = "") -> None:
    """Print the tables."""
    classifier = Classifier.load(export)
    with open(Path(crops) / "labels.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    photographs = [Image.open(Path(crops) / row["file"]).convert("RGB") for row in table]
    labels = np.array([int(row["label"]) for row in table])
    print(f"{'':34}   right accepted wrong of these  unsure for its frame")
    report(classifier, "as they are", photographs, labels)
    for side in SIDES:
        whole = [
            photograph.resize((side, side), Image.Resampling.BICUBIC) for photograph in photographs
        ]
        report(classifier, f"whole photograph at {side}x{side}", whole, labels)
    for side in SIDES[1:5]:
        crop = [
            _middle(image).resize((side, side), Image.Resampling.BICUBIC) for image in photographs
        ]
        report(classifier, f"MedMNIST's crop at {side}x{side}", crop, labels)
    for path in (data, data_64)[: 1 + bool(data_64)]:
        with np.load(path, allow_pickle=False) as held:
            images, labels = held["test_images"], held["test_labels"].ravel()
        frames = [Image.fromarray(image) for image in images]
        side = frames[0].width
        report(classifier, f"MedMNIST's test split at {side}x{side}", frames, labels)
        wide = np.array([is_wide(frame) for frame in frames])
        shares = [f"{wide[labels == k].mean():.1%}" for k in range(len(classifier.labels))]
        print(f"   taken for too wide, of each class: {' '.join(shares)}; of all {wide.mean():.2%}")
    with np.load(data, allow_pickle=False) as held:
        images, labels = held["val_images"], held["val_labels"].ravel()
    network = classifier.dataset.image_shape[:2]
    for side in ENLARGED:
        small = [Image.fromarray(image).resize((side, side), BILINEAR) for image in images]
        frames = [np.asarray(frame.resize(network, BILINEAR)) for frame in small]
        report(classifier, f"validation from {side}x{side}, enlarged", frames, labels)


def report(classifier: Classifier, title: str, images: list, labels: np.ndarray) -> None:
    """Print one line: how the images are answered."""
    answers = classifier.predict(images)
    asked = [classifier.labels[label] for label in labels]
    right = np.array([answer.label == name for answer, name in zip(answers, asked, strict=True)])
    accepted = np.array([answer.verdict == ACCEPTED for answer in answers])
    doubted = sum(bool(answer.reason) for answer in answers)
    print(
        f"{title:34} {right.mean():7.1%} {accepted.sum():8} {(accepted & ~right).sum():14} "
        f"{doubted:21}"
    )


def _middle(image: Image.Image) -> Image.Image:
    left, top = ((length - CROP) // 2 for length in image.size)
    return image.crop((left, top, left + CROP, top + CROP))


if __name__ == "__main__":
    main(*sys.argv[1:])
