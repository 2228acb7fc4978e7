"""Answers test images with ONNX files on this processor and on an emulated one without VNNI.

Flow: takes ONNX files of exports; gives a line a file: the largest sum of two products that its
weights allow, accuracy here and there, the largest difference of a probability.

    python benchmarks/without_vnni.py exports/*/model.int8.onnx --images 500

Needs Linux on x86-64 and qemu's user emulation (Debian, Ubuntu: apt-get install qemu-user), which
runs Python and onnxruntime as on a Haswell of 2013: AVX2, no AVX-512, no VNNI. That takes some 30
to 60 times as long, so its seconds say nothing; its answers are those of the real processor.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

from bloodkeras.contract import PAIR_LIMIT
from bloodkeras.data.splits import load_splits
from bloodkeras.errors import BloodkerasError
from bloodkeras.export.quantise import largest_pair

EMULATOR = ("qemu-x86_64", "-cpu", "Haswell")
ANSWER = """
import pathlib, sys, numpy
from bloodkeras.answers.session import open_session
session, images = open_session(pathlib.Path(sys.argv[1]), threads=1), numpy.load(sys.argv[2])
batches = [images[start : start + 16] for start in range(0, len(images), 16)]
answers = [session.run(["probs"], {"images": batch})[0] for batch in batches]
numpy.save(sys.argv[3], numpy.concatenate(answers))
"""


def answer(file: str, images: Path, emulator: tuple[str, ...] = ()) -> np.ndarray:
    """Return the probabilities of the images in a .npy, float32 (N, 8), from a fresh process.

    Raises:
        BloodkerasError: The process failed.
    """
    probs = images.with_name("probs.npy")
    words = [*emulator, sys.executable, "-c", ANSWER, file, str(images), str(probs)]
    done = subprocess.run(
        words, capture_output=True, encoding="utf-8", errors="replace", env=os.environ
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise BloodkerasError(f"{file} was not answered: {said[-1]}")
    return np.load(probs)


def main() -> None:
    """Print a line a file; the exit status is 1 where a file answers otherwise there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("files", nargs="+", help="such as exports/tiny/model.int8.onnx")
    parser.add_argument("--data", help="a .npz file; default: BLOODKERAS_DATA or MedMNIST's cache")
    parser.add_argument("--images", type=int, default=500, help="of the test split; 0: all")
    options = parser.parse_args()
    if shutil.which(EMULATOR[0]) is None:
        raise BloodkerasError(f"{EMULATOR[0]} is not installed: apt-get install qemu-user")
    test = load_splits(options.data).test
    drawn = np.random.default_rng(0).permutation(len(test))[: options.images or None]
    labels, apart = test.labels[drawn], False
    print(f"{len(labels):,} images; two products may sum to {PAIR_LIMIT:,} at most")
    print(f"{'file':40} {'pair':>7} {'here':>9} {'no VNNI':>9} {'apart':>9}")
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images.npy")
        np.save(images, test.images[drawn])
        for file in options.files:
            here, there = answer(file, images), answer(file, images, EMULATOR)
            scores = [f"{(probs.argmax(1) == labels).mean():9.2%}" for probs in (here, there)]
            difference = np.abs(here - there).max()
            apart |= bool((here.argmax(1) != there.argmax(1)).any())
            pair = largest_pair(onnx.load(file))
            print(f"{file:40} {pair:7,} {' '.join(scores)} {difference:9.1e}", flush=True)
    sys.exit(int(apart))


if __name__ == "__main__":
    try:
        main()
    except BloodkerasError as error:
        sys.exit(f"without_vnni: {error}")
