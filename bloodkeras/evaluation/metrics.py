"""Turns labels and probabilities into numbers, each with a bootstrap interval.

Flow: takes labels (N,) and probabilities (N, K); gives a dict of numbers. Pure numpy.
Sources: medmnist.evaluator.getAUC / getACC (the benchmark's official metrics, which ours equal:
    tests/test_metrics.py); expected calibration error after Guo et al. 2017, 15 equal bins of
    confidence; percentile bootstrap.

A bootstrap resample is a weight for every image: how often it was drawn. Every statistic below
takes such weights, float (R, N), and returns (R,): one code path for the value (all ones) and for
its interval.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from bloodkeras.named_types import Floats, Json, Labels, Probs

Statistic = Callable[[Labels, Probs, Floats], Floats]  # labels, probs, weights (R, N) -> (R,)
ECE_BINS = 15
RESAMPLES = 1000
INTERVAL = (0.025, 0.975)


def summarise(labels: Labels, probs: Probs, class_names: tuple[str, ...]) -> Json:
    """Return every number that a report shows.

    Args:
        labels: int (N,), 0..K-1.
        probs: float (N, K), rows sum to 1.
        class_names: The K names.

    Returns:
        "headline": {name: {"value", "low", "high"}} with a 95 % interval for accuracy,
        macro_precision, macro_recall, macro_f1, auc and ece; "official": AUC and ACC as MedMNIST
        defines them; "per_class": {class: {"precision", "recall", "f1", "support"}}; "confusion":
        counts, K rows of true classes.
    """
    resampled = resample_weights(len(labels))
    headline = {
        name: interval(partial(statistic, labels, probs), resampled)
        for name, statistic in HEADLINE.items()
    }
    confusion = confusion_matrix(labels, probs)
    scores = np.stack(_class_scores(confusion[None].astype(float)))[:, 0]
    per_class = {
        name: dict(zip(("precision", "recall", "f1"), map(float, scores[:, k]), strict=True))
        | {"support": int(confusion[k].sum())}
        for k, name in enumerate(class_names)
    }
    return {
        "headline": headline,
        "official": {
            "AUC": headline["auc"]["value"],
            "ACC": headline["accuracy"]["value"],
        },
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }


def resample_weights(count: int, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Return float (R, N): how often each of N images occurs in each of R bootstrap resamples."""
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    offsets = np.arange(resamples)[:, None] * count
    counts = np.bincount((drawn + offsets).ravel(), minlength=resamples * count)
    return counts.reshape(resamples, count).astype(float)


def interval(statistic: Callable[[Floats], Floats], resampled: Floats) -> Json:
    """Return the "value" of what maps weights to (R,), and its 95 % interval, "low" to "high"."""
    low, high = np.nanquantile(statistic(resampled), INTERVAL)
    value = statistic(np.ones((1, resampled.shape[1])))[0]
    return {"value": float(value), "low": float(low), "high": float(high)}


def confusion_matrix(labels: Labels, probs: Probs) -> Labels:
    """Return int (K, K): images of true class (row) called a class (column)."""
    ones = np.ones((1, len(labels)))
    found: Labels = _confusions(labels, probs, ones)[0].astype(int)
    return found


def accuracy(labels: Labels, probs: Probs, weights: Floats) -> Floats:
    """Return the share of images whose most probable class is the true one, (R,)."""
    found: Floats = weights @ (probs.argmax(1) == labels) / weights.sum(1)
    return found


def macro_precision(labels: Labels, probs: Probs, weights: Floats) -> Floats:
    """Return the mean over classes of the share of calls of a class that are right, (R,)."""
    found: Floats = _occurring_scores(labels, probs, weights)[0].mean(1)
    return found


def macro_recall(labels: Labels, probs: Probs, weights: Floats) -> Floats:
    """Return the mean over classes of the share of a class that is found, (R,)."""
    found: Floats = _occurring_scores(labels, probs, weights)[1].mean(1)
    return found


def macro_f1(labels: Labels, probs: Probs, weights: Floats) -> Floats:
    """Return the mean over classes of the harmonic mean of precision and recall, (R,)."""
    found: Floats = _occurring_scores(labels, probs, weights)[2].mean(1)
    return found


def auc(labels: Labels, probs: Probs, weights: Floats) -> Floats:
    """Return the mean over classes of the area under the one-against-rest ROC curve, (R,).

    NaN for a resample in which one does not occur that does among the labels. With weights of
    one it equals MedMNIST's.
    """
    areas = []
    for k in np.unique(labels):
        order = np.argsort(probs[:, k], kind="stable")
        score, positive = probs[order, k], (labels[order] == k)
        drawn = weights[:, order]
        below = np.cumsum(np.pad(drawn * ~positive, ((0, 0), (1, 0))), axis=1)
        # A positive beats the negatives scored below it, and half of those scored the same.
        first, last = (np.searchsorted(score, score[positive], side) for side in ("left", "right"))
        beaten = (below[:, first] + below[:, last]) / 2
        wins = (drawn[:, positive] * beaten).sum(1)
        with np.errstate(invalid="ignore"):
            areas.append(wins / (drawn[:, positive].sum(1) * below[:, -1]))
    found: Floats = np.mean(areas, axis=0)
    return found


def expected_calibration_error(labels: Labels, probs: Probs, weights: Floats) -> Floats:
    """Return the mean gap between confidence and accuracy over bins of confidence, (R,)."""
    confidence = probs.max(1)
    gap = (probs.argmax(1) == labels) - confidence
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gap_in_bin = gap[:, None] * (bins[:, None] == np.arange(ECE_BINS))
    found: Floats = np.abs(weights @ gap_in_bin).sum(1) / weights.sum(1)
    return found


HEADLINE = {
    "accuracy": accuracy,
    "macro_precision": macro_precision,
    "macro_recall": macro_recall,
    "macro_f1": macro_f1,
    "auc": auc,
    "ece": expected_calibration_error,
}


def _confusions(labels: Labels, probs: Probs, weights: Floats) -> Floats:
    """Return float (R, K, K): a weighted confusion matrix for each row of weights."""
    count = probs.shape[1]
    cell = labels * count + probs.argmax(1)
    one_hot = (cell[:, None] == np.arange(count * count)).astype(float)
    found: Floats = (weights @ one_hot).reshape(-1, count, count)
    return found


def _occurring_scores(labels: Labels, probs: Probs, weights: Floats) -> Floats:
    """Return precision, recall and F1 of the classes that occur among the labels, (3, R, K')."""
    scores = np.stack(_class_scores(_confusions(labels, probs, weights)))
    return scores[..., np.unique(labels)]


def _class_scores(confusions: Floats) -> tuple[Floats, Floats, Floats]:
    """Return precision, recall and F1, each (R, K); 0 where a class is never called or absent."""
    hits = np.diagonal(confusions, axis1=1, axis2=2)
    called, true = confusions.sum(1), confusions.sum(2)

    def share(part: Floats, whole: Floats) -> Floats:
        return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)

    return share(hits, called), share(hits, true), share(2 * hits, called + true)
