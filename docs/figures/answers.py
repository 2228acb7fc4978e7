"""Draws the first picture of the README: the first test images of each class, and the answers.

BLOODKERAS_DATA=bloodmnist.npz python docs/figures/answers.py docs/figures/answers.png
"""

import os
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

import bloodkeras

ROWS = 3
COLOURS = {"accepted": "darkgreen", "unsure": "darkorange", "foreign": "dimgrey"}


def main(out: str) -> None:
    with np.load(os.environ["BLOODKERAS_DATA"]) as data:
        images, labels = data["test_images"], data["test_labels"].ravel()
    classifier = bloodkeras.load("residual")
    figure, axes = plt.subplots(ROWS, len(classifier.labels), figsize=(10, 5.1))
    for column, truth in zip(axes.T, classifier.labels, strict=True):
        firsts = np.flatnonzero(labels == classifier.labels.index(truth))[:ROWS]
        answers = classifier.predict(images[firsts])
        column[0].set_title(truth.replace(" ", "\n"), fontsize=12)
        for axis, row, answer in zip(column, firsts, answers, strict=True):
            axis.imshow(images[row], interpolation="bicubic")
            axis.set_xticks([])
            axis.set_yticks([])
            sure = ">99%" if answer.confidence >= 0.995 else f"{answer.confidence:.0%}"  # never 100
            said = sure if answer.verdict == "accepted" else answer.verdict
            wrong = answer.label != truth
            axis.set_xlabel(
                f"{answer.label}: {said}" if wrong else said,
                fontsize=11,
                color="firebrick" if wrong else COLOURS[answer.verdict],
            )
    figure.tight_layout(h_pad=1.2, w_pad=0.4)
    figure.savefig(out, dpi=100, facecolor="white")


if __name__ == "__main__":
    main(*sys.argv[1:])
