"""Calibrates an export on random cells of a laboratory, again and again, and judges it on the rest.

    python benchmarks/calibrated.py EXPORT FOLDER LABELS [FOREIGN] [--cells=50,200] [--draws=10]

Flow: takes an export, labelled photographs, and perhaps a table of cells that are none of the
classes; prints means over the draws: accuracy, balanced accuracy over the classes that occur, the
share that is accepted, how many of those are right, and what is accepted of each foreign kind.
"""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.metrics import balanced_accuracy_score

from bloodkeras.answers.answer import Thresholds
from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.session import open_session
from bloodkeras.contract import ACCEPTED, FOREIGN_NAME, INPUT_NAME, MODEL_FILE, OUTPUT_NAME
from bloodkeras.images.framing import Framing
from bloodkeras.laboratory.calibrate import fit
from bloodkeras.laboratory.graph import load_model
from bloodkeras.laboratory.labelled import Labelled, read_labelled, read_others

BATCH = 256


def main(export: str, folder: str, table: str, foreign: str, cells: str, draws: str) -> None:
    """Print a row for each number of cells."""
    classifier = Classifier.load(export)
    framing = Framing(image_side=classifier.dataset.image_side)
    known = read_labelled(folder, table, classifier.labels, framing).distinct()
    others, kinds = read_others(folder, foreign, known.framing) if foreign else (None, ())
    for count in map(int, cells.split(",")):
        found = defaultdict(list)
        for draw in range(int(draws)):
            order = np.random.default_rng(draw).permutation(len(known))
            model = load_model(Path(export, MODEL_FILE))
            facts = fit(model, known.at(order[:count]), classifier, last_layer=True)
            thresholds = Thresholds(**facts["thresholds"])
            session = open_session(model.SerializeToString())
            rest = known.at(order[count:])
            answers, accepted = ask(session, rest, thresholds)
            right = answers == rest.labels
            found["accuracy"].append(right.mean())
            found["balanced"].append(balanced_accuracy_score(rest.labels, answers))
            found["accepted"].append(accepted.mean())
            found["of those right"].append(right[accepted].mean() if accepted.any() else np.nan)
            if others is not None:
                _, passed = ask(session, others, thresholds)
                for place, kind in enumerate(kinds):
                    found[kind].append(passed[others.labels == place].mean())
        means = (f"{name} {np.nanmean(values):.1%}" for name, values in found.items())
        print(f"{Path(folder).name}, {count} cells: {', '.join(means)}", flush=True)


def ask(session, cells: Labelled, thresholds: Thresholds) -> tuple[np.ndarray, np.ndarray]:
    """Return the answers int (N,), and which of them are accepted, bool (N,)."""
    parts = [
        session.run([OUTPUT_NAME, FOREIGN_NAME], {INPUT_NAME: cells.images[start : start + BATCH]})
        for start in range(0, len(cells), BATCH)
    ]
    probs, doubt = (np.concatenate(each) for each in zip(*parts, strict=True))
    accepted = thresholds.verdicts(probs.max(1), doubt) == ACCEPTED
    return probs.argmax(1), accepted & cells.framed


if __name__ == "__main__":
    named = {"--cells": "50,200", "--draws": "10"}
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    named |= dict(word.split("=") for word in sys.argv[1:] if word.startswith("--"))
    main(*words[:3], words[3] if len(words) > 3 else "", *named.values())
