"""Makes a network's confidence mean something, and teaches it to doubt.

Flow: takes a trained model and `Splits`; gives a `Calibration` that `publish.py` builds into the
graph: a temperature, thresholds, and a score for images that are no such cell. The thresholds are
chosen on the validation split alone.
Sources: temperature scaling, Guo et al. 2017 (arXiv:1706.04599); selection with guaranteed risk,
    Geifman & El-Yaniv 2017 (arXiv:1705.08500).
"""

import dataclasses

import keras
import numpy as np
from keras import ops
from scipy.optimize import minimize_scalar
from scipy.stats import beta

from bloodkeras.answers.answer import Thresholds
from bloodkeras.data.splits import Splits
from bloodkeras.export.ood_score import (
    SCORES,
    choose_score,
    compare_scores,
    feature_statistics,
    predict_features,
    with_features,
)
from bloodkeras.laboratory.fit import cross_entropy, softmax
from bloodkeras.named_types import Floats, Labels, Probs
from bloodkeras.recipe import Recipe
from bloodkeras.training.pipeline import as_elsewhere

SELECTIVE_ACCURACY = 0.995  # of the accepted answers
SELECTIVE_ACCURACY_ELSEWHERE = 0.99  # the same, of cells as other laboratories might show them
BOUND_CONFIDENCE = 0.9  # that the accepted answers are that accurate on other images
TRUE_ACCEPTANCE = 0.95  # share of real cells that must not be called foreign


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What is built into an exported graph beside the network.

    Attributes:
        temperature: Logits are divided by it before the softmax.
        score: Which of SCORES tells foreign images from cells.
        aurocs: {score: {kind of foreign image: AUROC against the validation split}}.
        statistics: {name of some features: `gaussian` of them on the training split}.
        thresholds: Where an answer is unsure or foreign.
        coverage: Share of the validation split that is accepted.
        selective_accuracy: Of the accepted, for which the confidence threshold was chosen.
        elsewhere: Whether cells as other laboratories might show them were used too.
    """

    temperature: float
    score: str
    aurocs: dict[str, dict[str, float]]
    statistics: dict[str, dict[str, Floats]]
    thresholds: Thresholds
    coverage: float
    selective_accuracy: float
    elsewhere: bool


def fit_calibration(model: keras.Model, splits: Splits, recipe: Recipe) -> Calibration:
    """Fit temperature, thresholds and the foreign score of a trained model.

    A network that was trained for other laboratories is calibrated for them too: on cells as they
    might look there. Otherwise every other stain would be foreign to it. Where foreign begins is
    set by the photographs as they are all the same: by cells that are drawn as if from elsewhere,
    leukaemic ones of a real elsewhere pass. What cells look like is learned on train, everything
    else on val.
    """
    network = with_features(model)
    train, val = as_elsewhere(splits.train, recipe), as_elsewhere(splits.val, recipe)
    features, logits = predict_features(network, train.images)
    statistics = feature_statistics(features, train.labels, logits)
    answers = predict_features(network, val.images)
    temperature = likeliest_temperature(answers[1], val.labels)
    aurocs = compare_scores(network, statistics, val)
    score = choose_score(aurocs)

    def judge(features: dict[str, Floats], logits: Floats) -> tuple[Floats, Floats]:
        doubt = ops.convert_to_numpy(SCORES[score](features, logits, statistics))
        return softmax(logits / temperature), doubt

    probs, _ = judge(*answers)
    elsewhere = val is not splits.val
    wanted = SELECTIVE_ACCURACY_ELSEWHERE if elsewhere else SELECTIVE_ACCURACY
    confidence = guaranteed_threshold(probs, val.labels, wanted)
    # Coverage, and what is foreign, are those of the photographs as they are.
    at_home = predict_features(network, splits.val.images) if elsewhere else answers
    probs, doubt = judge(*at_home)
    thresholds = Thresholds(confidence, float(np.quantile(doubt, TRUE_ACCEPTANCE)))
    accepted = (probs.max(1) >= thresholds.confidence) & (doubt <= thresholds.foreign)
    coverage = float(accepted.mean())
    return Calibration(
        temperature, score, aurocs, statistics, thresholds, coverage, wanted, elsewhere
    )


def likeliest_temperature(logits: Floats, labels: Labels) -> float:
    """Return the temperature with the least negative log-likelihood.

    Args:
        logits: float (N, K).
        labels: int (N,).
    """

    def loss(log_temperature: float) -> float:
        return cross_entropy(logits / np.exp(log_temperature), labels)

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def guaranteed_threshold(
    probs: Probs, labels: Labels, accuracy: float = SELECTIVE_ACCURACY
) -> float:
    """Return the lowest confidence from which on answers are accurate enough.

    Not the share of right answers on these images has to reach the accuracy but its lower
    confidence bound (Clopper-Pearson), so that other images keep it too.

    Args:
        probs: float (N, K), calibrated.
        labels: int (N,).
        accuracy: To be reached by the answers at or above the threshold.

    Returns:
        0..1; above 1 when no threshold is good enough, so that nothing is accepted.
    """
    confidence, right = probs.max(1), probs.argmax(1) == labels
    order = np.argsort(-confidence, kind="stable")
    accepted = np.arange(1, len(order) + 1)
    errors = np.cumsum(~right[order])
    bound = beta.ppf(1 - BOUND_CONFIDENCE, accepted - errors, errors + 1)
    good = np.flatnonzero(bound >= accuracy)
    return float(confidence[order[good[-1]]]) if len(good) else 1.01
