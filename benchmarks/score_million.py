"""Scores a million images through `predict`'s own code: memory, speed, and what of it is lost.

Flow: takes an export; writes a temporary .npy, scores it into a CSV, gives peak memory, images/s
and the ratio to the bare network. The two take turns on the same images (50 batches the one, 50
the other), so that a machine that is busy now and then is so for both; every turn of the scoring
starts with nothing read ahead and ends with all of it written.

    python benchmarks/score_million.py --model exports/deeper --count 1000000
"""

import argparse
import json
import resource
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.predict import answer_batches
from bloodkeras.answers.table import BATCH_SIZE, Table
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.images.arrays import count_rows as rows_in
from bloodkeras.images.sources import stream

TURN_BATCHES = 50  # batches in a turn
MEGABYTE = 1_000_000


def write_images(path: Path, count: int) -> None:
    """Write random images as one .npy, a slice at a time; the network takes as long for any."""
    rng = np.random.default_rng(0)
    with open(path, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *BLOODMNIST.image_shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, 10_000):
            size = (min(10_000, count - start), *BLOODMNIST.image_shape)
            file.write(rng.integers(0, 256, size, np.uint8).tobytes())


def bare_seconds(classifier: Classifier, images: Path, first: int, size: int) -> float:
    """Return how long the network alone takes for these rows, which are in memory before."""
    image_bytes = int(np.prod(BLOODMNIST.image_shape))
    offset = images.stat().st_size - (rows_in(str(images)) - first) * image_bytes
    pixels = np.fromfile(images, np.uint8, size * image_bytes, offset=offset)
    pixels = pixels.reshape(size, *BLOODMNIST.image_shape)
    started = time.perf_counter()
    for start in range(0, size, BATCH_SIZE):
        classifier.answer(pixels[start : start + BATCH_SIZE])
    return time.perf_counter() - started


def scored_seconds(
    classifier: Classifier, images: Path, first: int, size: int, table: Table
) -> float:
    """Return how long it takes to read, answer and write these rows, starting with nothing read."""
    started = time.perf_counter()
    items = stream([str(images)], skip=first)
    for batch in answer_batches(classifier, islice(items, size)):
        table.write(batch)
    seconds = time.perf_counter() - started
    items.close()  # what was read ahead beyond this turn
    return seconds


def main() -> None:
    """Run it and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="exports/deeper", help="folder of an export")
    parser.add_argument("--count", type=int, default=1_000_000, help="images")
    parser.add_argument("--threads", type=int, help="of the network; its own choice without")
    options = parser.parse_args()
    classifier = Classifier.load(options.model, options.threads)
    with tempfile.TemporaryDirectory() as folder:
        images, out = Path(folder) / "images.npy", Path(folder) / "answers.csv"
        write_images(images, options.count)
        result = measure(classifier, images, out, options.count)
        with open(out, "rb") as rows:
            result["csv_rows"] = sum(1 for _ in rows) - 1
    print(json.dumps(result, indent=2))


def measure(classifier: Classifier, images: Path, out: Path, count: int) -> dict:
    """Score all images turn by turn, the bare network answering each turn's before or after."""
    turn_size = TURN_BATCHES * BATCH_SIZE
    bare = scored = bare_seconds(classifier, images, 0, BATCH_SIZE) * 0  # warms up
    with Table(str(out), "csv", {"labels": classifier.labels}) as table:
        for first in range(0, count, turn_size):
            turn = classifier, images, first, min(turn_size, count - first)
            if first // turn_size % 2:
                bare += bare_seconds(*turn)
                scored += scored_seconds(*turn, table)
            else:
                scored += scored_seconds(*turn, table)
                bare += bare_seconds(*turn)
        table.finish()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
    return {
        "images": count,
        "scored_images_per_second": round(count / scored),
        "bare_images_per_second": round(count / bare),
        "ratio": round(bare / scored, 3),
        "peak_memory_mb": round(peak / MEGABYTE),
    }


if __name__ == "__main__":
    main()
