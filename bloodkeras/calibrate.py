"""Makes a network's confidence mean something, and teaches it to doubt.

Flow: takes a trained model and `Splits`; gives a `Calibration` that `export.py` builds into the
graph: a temperature, thresholds, and a score for images that are no such cell. The thresholds are
chosen on the validation split alone.
Sources: temperature scaling, Guo et al. 2017 (arXiv:1706.04599); selection with guaranteed risk,
    Geifman & El-Yaniv 2017 (arXiv:1705.08500); energy, Liu et al. 2020 (arXiv:2010.03759);
    Mahalanobis distance of features, Lee et al. 2018 (arXiv:1807.03888).
"""

import dataclasses

import keras
import numpy as np
from keras import ops
from scipy.optimize import minimize_scalar
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from bloodkeras.contract import CLASS_COUNT
from bloodkeras.data import Split, Splits
from bloodkeras.foreign import draw_foreign
from bloodkeras.runtime.classifier import Thresholds

SELECTIVE_ACCURACY = 0.995  # of the accepted answers
BOUND_CONFIDENCE = 0.9  # that the accepted answers are that accurate on other images
TRUE_ACCEPTANCE = 0.95  # share of real cells that must not be called foreign
SHRINKAGE = 0.05  # of the features' covariance towards its diagonal: it is to be inverted


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What is built into an exported graph beside the network.

    Attributes:
        temperature: Logits are divided by it before the softmax.
        score: Which of SCORES tells foreign images from cells.
        aurocs: {score: {kind of foreign image: AUROC against the validation split}}.
        statistics: {"means": (8, F), "whitening": (F, F)} of the training features.
        thresholds: Where an answer is unsure or foreign.
        coverage: Share of the validation split that is accepted.
    """

    temperature: float
    score: str
    aurocs: dict[str, dict[str, float]]
    statistics: dict[str, np.ndarray]
    thresholds: Thresholds
    coverage: float


def calibrate(model: keras.Model, splits: Splits) -> Calibration:
    """Fit temperature, thresholds and the foreign score of a trained model."""
    network = with_features(model)
    statistics = feature_statistics(_features(network, splits.train.images), splits.train.labels)
    features, logits = _predict(network, splits.val.images)
    temperature = fit_temperature(logits, splits.val.labels)
    probs = _softmax(logits / temperature)
    aurocs = compare_scores(network, statistics, splits.val)
    best = max(aurocs, key=lambda score: np.mean(list(aurocs[score].values())))
    doubt = ops.convert_to_numpy(SCORES[best](features, logits, statistics))
    thresholds = Thresholds(
        confidence=confidence_threshold(probs, splits.val.labels),
        foreign=float(np.quantile(doubt, TRUE_ACCEPTANCE)),
    )
    accepted = (probs.max(1) >= thresholds.confidence) & (doubt <= thresholds.foreign)
    return Calibration(temperature, best, aurocs, statistics, thresholds, float(accepted.mean()))


def with_features(model: keras.Model) -> keras.Model:
    """Return the same network with two outputs: pooled features (B, F) and logits (B, 8)."""
    pooling = [x for x in model.layers if isinstance(x, keras.layers.GlobalAveragePooling2D)]
    return keras.Model(model.inputs, [pooling[-1].output, model.output])


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature with the least negative log-likelihood.

    Args:
        logits: float (N, 8).
        labels: int (N,).
    """

    def loss(log_temperature: float) -> float:
        probs = _softmax(logits / np.exp(log_temperature))
        return -np.log(probs[np.arange(len(labels)), labels] + 1e-12).mean()

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def confidence_threshold(
    probs: np.ndarray, labels: np.ndarray, accuracy: float = SELECTIVE_ACCURACY
) -> float:
    """Return the lowest confidence from which on answers are accurate enough.

    Not the share of right answers on these images has to reach the accuracy but its lower
    confidence bound (Clopper-Pearson), so that other images keep it too.

    Args:
        probs: float (N, 8), calibrated.
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


def feature_statistics(features: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return class means and the matrix that whitens what is left when they are subtracted.

    Args:
        features: float (N, F).
        labels: int (N,).

    Returns:
        "means": float32 (8, F); "whitening": float32 (F, F).
    """
    means = np.stack([features[labels == k].mean(0) for k in range(CLASS_COUNT)])
    covariance = np.cov((features - means[labels]).T)
    diagonal = np.diag(np.diag(covariance)) + 1e-6 * np.eye(len(covariance))
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * diagonal
    whitening = np.linalg.cholesky(np.linalg.inv(covariance))
    return {"means": means.astype(np.float32), "whitening": whitening.astype(np.float32)}


def compare_scores(network: keras.Model, statistics: dict, cells: Split) -> dict:
    """Return {score: {kind: AUROC}} of telling drawn foreign images from cells."""
    inside = _predict(network, cells.images)
    found = {score: {} for score in SCORES}
    for kind, images in draw_foreign().items():
        outside = _predict(network, images)
        truth = np.repeat([0, 1], [len(cells), len(images)])
        for name, score in SCORES.items():
            doubts = [ops.convert_to_numpy(score(*pair, statistics)) for pair in (inside, outside)]
            found[name][kind] = float(roc_auc_score(truth, np.concatenate(doubts)))
    return found


def _unlikelihood(features, logits, statistics):
    """One minus the largest probability, (B,)."""
    return 1 - ops.max(ops.softmax(logits), axis=-1)


def _energy(features, logits, statistics):
    """Negative log-sum-exp of the logits, (B,)."""
    return -ops.logsumexp(logits, axis=-1)


def _distance(features, logits, statistics):
    """Mahalanobis distance of the features to the nearest class mean, (B,)."""
    white = ops.matmul(features, statistics["whitening"])
    means = ops.matmul(statistics["means"], statistics["whitening"])
    square = (
        ops.sum(white**2, axis=-1, keepdims=True)
        - 2 * ops.matmul(white, ops.transpose(means))
        + ops.sum(means**2, axis=-1)
    )
    return ops.sqrt(ops.maximum(ops.min(square, axis=-1), 0.0))


SCORES = {"one minus confidence": _unlikelihood, "energy": _energy, "feature distance": _distance}


def _predict(network: keras.Model, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features float32 (N, F) and logits float32 (N, 8) of uint8 (N, 28, 28, 3)."""
    return network.predict(images.astype(np.float32), batch_size=256, verbose=0)


def _features(network: keras.Model, images: np.ndarray) -> np.ndarray:
    return _predict(network, images)[0]


def _softmax(logits: np.ndarray) -> np.ndarray:
    return ops.convert_to_numpy(ops.softmax(logits))
