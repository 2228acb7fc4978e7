"""Metrics against numbers worked out by hand, and against MedMNIST's and scikit-learn's own."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from bloodkeras.evaluation import metrics

# 3 classes, 6 images: rows are true classes, called 0 0 1 | 1 2 | 2.
LABELS = np.array([0, 0, 0, 1, 1, 2])
CALLED = np.array([0, 0, 1, 1, 2, 2])
PROBS = np.eye(3)[CALLED] * 0.7 + 0.1  # the called class .8, the others .1
ONES = np.ones((1, 6))


def random_answers(count=500, classes=8, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)) + 2 * np.eye(classes)[labels]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return labels, probs


def test_confusion_matrix_by_hand():
    expected = [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert metrics.confusion_matrix(LABELS, PROBS).tolist() == expected


def test_scores_by_hand():
    assert metrics.accuracy(LABELS, PROBS, ONES) == pytest.approx([4 / 6])
    assert metrics.macro_precision(LABELS, PROBS, ONES) == pytest.approx([(1 + 1 / 2 + 1 / 2) / 3])
    assert metrics.macro_recall(LABELS, PROBS, ONES) == pytest.approx([(2 / 3 + 1 / 2 + 1) / 3])
    assert metrics.macro_f1(LABELS, PROBS, ONES) == pytest.approx([(4 / 5 + 1 / 2 + 2 / 3) / 3])


def test_calibration_error_by_hand():
    # All six are answered with .8, four of them rightly: the one bin is off by .8 - 4/6.
    error = metrics.expected_calibration_error(LABELS, PROBS, ONES)
    assert error == pytest.approx([0.8 - 4 / 6])


def test_calibration_error_of_full_confidence():
    assert metrics.expected_calibration_error(LABELS, np.eye(3)[LABELS], ONES) == pytest.approx([0])


def test_auc_by_hand():
    # Class 2: its positive scores .8, the negatives .1 four times and .8 once: (4 + .5) / 5.
    only_two = np.where(LABELS == 2, 1, 0)
    probs = np.stack([1 - PROBS[:, 2], PROBS[:, 2]], axis=1)
    assert metrics.auc(only_two, probs, ONES) == pytest.approx([4.5 / 5])


def test_a_weight_of_two_is_the_image_twice():
    labels, probs = random_answers()
    twice = np.concatenate([np.arange(500), np.arange(100)])
    weights = np.bincount(twice, minlength=500)[None].astype(float)
    for name, statistic in metrics.HEADLINE.items():
        repeated = statistic(labels[twice], probs[twice], np.ones((1, 600)))
        assert statistic(labels, probs, weights) == pytest.approx(repeated), name


def test_agrees_with_medmnist_and_scikit_learn():
    labels, probs = random_answers()
    called, ones = probs.argmax(1), np.ones((1, 500))
    official = metrics.summarise(labels, probs, tuple("abcdefgh"))["official"]
    assert official["AUC"] == pytest.approx(roc_auc_score(labels, probs, multi_class="ovr"))
    assert official["ACC"] == accuracy_score(labels, called)
    for ours, theirs in (
        (metrics.macro_precision, precision_score),
        (metrics.macro_recall, recall_score),
        (metrics.macro_f1, f1_score),
    ):
        assert ours(labels, probs, ones) == pytest.approx([theirs(labels, called, average="macro")])


def test_resamples_draw_every_image_about_once():
    weights = metrics.resample_weights(200, resamples=300)
    assert weights.shape == (300, 200)
    assert (weights.sum(1) == 200).all()
    assert weights.mean(0) == pytest.approx(np.ones(200), abs=0.3)
    assert np.array_equal(weights, metrics.resample_weights(200, resamples=300))


def test_interval_has_the_width_statistics_promises():
    labels, probs = random_answers(2000)
    number = metrics.summarise(labels, probs, tuple("abcdefgh"))["headline"]["accuracy"]
    deviation = np.sqrt(number["value"] * (1 - number["value"]) / 2000)
    assert number["low"] < number["value"] < number["high"]
    assert number["high"] - number["low"] == pytest.approx(2 * 1.96 * deviation, rel=0.15)


def test_a_wrong_label_order_is_visible():
    labels, probs = random_answers()
    right = metrics.accuracy(labels, probs, np.ones((1, 500)))[0]
    swapped = metrics.accuracy(labels, probs[:, ::-1], np.ones((1, 500)))[0]
    assert right > 0.5 > swapped


def test_a_class_that_does_not_occur_counts_in_no_mean():
    """A laboratory's test split may lack one: the means are over those that are there."""
    labels = np.array([0, 0, 1, 1])
    probs = np.array([[0.8, 0.1, 0.1], [0.2, 0.1, 0.7], [0.1, 0.8, 0.1], [0.1, 0.6, 0.3]])
    headline = metrics.summarise(labels, probs, ("a", "b", "c"))["headline"]
    assert headline["macro_recall"]["value"] == pytest.approx(0.75)
    assert headline["macro_precision"]["value"] == pytest.approx(1.0)
    assert headline["auc"]["value"] == pytest.approx(1.0)
