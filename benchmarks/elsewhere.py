"""Compares trained networks on another laboratory's photographs, at scales that are set by hand.

    python benchmarks/elsewhere.py FOLDER LABELS MICRONS[,MICRONS...] RUN [RUN...] [--unsharpened]

Flow: takes labelled photographs, a table of file and label, the micrometres of a pixel to try (0:
the estimate, as by default), and runs of any size, to be asked without their sharpening if that is
asked for; prints balanced accuracy over the classes that occur, with all classes open and
with those alone: of each run, and the mean and standard deviation of the runs of each size.
"""

import sys
from pathlib import Path

import numpy as np
from scales import balanced

from bloodkeras.images.framing import Framing
from bloodkeras.laboratory.labelled import read_labelled
from bloodkeras.training.models import predict_proba
from bloodkeras.training.run_folder import Run, load_run

UNSHARPENED = "--unsharpened"


def main(folder: str, table: str, microns: str, *runs: str) -> None:
    """Print a table for each size."""
    scales = [float(word) for word in microns.split(",")]
    opened = [load_run(Path(run)) for run in runs if run != UNSHARPENED]
    if UNSHARPENED in runs:
        for run in opened:
            focus = run.model.get_layer("focus")
            focus.set_weights([np.zeros_like(weight) for weight in focus.get_weights()])
    print(
        f"{Path(folder).name}; micrometres a pixel: {', '.join(f'{scale:g}' for scale in scales)}"
    )
    for side in sorted({run.dataset.image_side for run in opened}):
        same = [run for run in opened if run.dataset.image_side == side]
        report(folder, table, scales, same)


def report(folder: str, table: str, scales: list[float], runs: list[Run]) -> None:
    """Print what runs of one size say at each scale."""
    side = runs[0].dataset.image_side
    found = np.empty((2, len(runs), len(scales)))
    for column, scale in enumerate(scales):
        cells = read_labelled(
            folder, table, runs[0].dataset.class_names, Framing(scale, image_side=side)
        )
        for row, run in enumerate(runs):
            found[:, row, column] = balanced(predict_proba(run.model, cells.images), cells.labels)
    for name, table_of in zip(("all classes open", "those that occur"), found, strict=True):
        print(f"{side} pixels, {name}")
        for run, shares in zip(runs, table_of, strict=True):
            print("    " + "".join(f"{share:13.1%}" for share in shares), f"  {run.folder.name}")
        means, spreads = table_of.mean(axis=0), table_of.std(axis=0, ddof=min(1, len(runs) - 1))
        said = (f"{mean:5.1%} ± {spread:4.1%}" for mean, spread in zip(means, spreads, strict=True))
        print("    " + "".join(f"{text:>13}" for text in said), "  mean", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
