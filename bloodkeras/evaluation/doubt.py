"""Judges a classifier's doubt: are its confident answers right, and does it refuse what is no cell?

Flow: takes a `Classifier` and `Splits`; gives numbers for the card and the curves of the figures.
"""

from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from bloodkeras.answers.answer import Answers
from bloodkeras.answers.classifier import Classifier
from bloodkeras.contract import ACCEPTED, VERDICTS
from bloodkeras.data.ood_images import cut_corners, cut_margins, draw_foreign
from bloodkeras.data.splits import Split
from bloodkeras.named_types import Floats, Json, Labels, Pixels


def judge_doubt(classifier: Classifier, split: Split, margins: Path | None = None) -> Json:
    """Return how the verdicts fare on one split and on images that are no cells.

    The margins of a folder of photographs are a further kind of such images.

    Returns:
        "coverage": share of cells accepted; "selective_accuracy": share of those that are right;
        "verdicts": {verdict: share of cells}; "foreign": {kind: {"auroc", "refused", "images"}},
        refused being the share that is not accepted.
    """
    answers = classifier.answer(split.images)
    judged = answers.judged(split.labels)
    kinds = draw_foreign(
        seed=1, side=split.dataset.image_side
    )  # not the images by which the score was chosen
    kinds["corners"] = cut_corners(split.images, seed=1)
    if margins is not None:
        kinds["margins of photographs"] = cut_margins(margins, split.dataset.image_side)
    return {
        "coverage": judged["coverage"],
        "selective_accuracy": judged["selective_accuracy"],
        "verdicts": {name: float((answers.verdicts == name).mean()) for name in VERDICTS},
        "foreign": {kind: _refusal(classifier, answers, images) for kind, images in kinds.items()},
    }


def risk_coverage(answers: Answers, labels: Labels) -> tuple[Floats, Floats]:
    """Return coverage and error rate of the most confident answers, each float (N,)."""
    order = np.argsort(-answers.probs.max(1), kind="stable")
    wrong = (answers.probs.argmax(1) != labels)[order]
    accepted = np.arange(1, len(order) + 1)
    return accepted / len(order), np.cumsum(wrong) / accepted


def doubt_table(doubt: Json) -> str:
    """Return the numbers as text."""
    accuracy = doubt["selective_accuracy"]
    right = "none accepted" if accuracy is None else f"{accuracy:.4f} of them right"
    rows = [f"accepted {doubt['coverage']:.4f} of the cells, {right}"]
    rows.append(f"{'images that are no cells':28}{'AUROC':>8}{'refused':>9}{'images':>8}")
    for kind, found in doubt["foreign"].items():
        rows.append(f"{kind:28}{found['auroc']:>8.4f}{found['refused']:>9.4f}{found['images']:>8}")
    return "\n".join(rows)


def _refusal(classifier: Classifier, cells: Answers, images: Pixels) -> Json:
    outside = classifier.answer(images)
    truth = np.repeat([0, 1], [len(cells.foreign), len(images)])
    return {
        "auroc": float(roc_auc_score(truth, np.concatenate([cells.foreign, outside.foreign]))),
        "refused": float((outside.verdicts != ACCEPTED).mean()),
        "images": len(images),
    }
