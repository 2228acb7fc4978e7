"""Makes a network's confidence mean something, and teaches it to doubt.

Flow: takes a trained model and `Splits`; gives a `Calibration` that `export.py` builds into the
graph: a temperature, thresholds, and a score for images that are no such cell. The thresholds are
chosen on the validation split alone.
Sources: temperature scaling, Guo et al. 2017 (arXiv:1706.04599); selection with guaranteed risk,
    Geifman & El-Yaniv 2017 (arXiv:1705.08500); energy, Liu et al. 2020 (arXiv:2010.03759);
    Mahalanobis distance of features, Lee et al. 2018 (arXiv:1807.03888), and relative to that of
    cells in general, Ren et al. 2021 (arXiv:2106.09022). docs/doubt.md compares them.
"""

import dataclasses

import keras
import numpy as np
from keras import ops
from scipy.optimize import minimize_scalar
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from bloodkeras.contract import IMAGE_SIDE
from bloodkeras.data import Split, Splits
from bloodkeras.foreign import cut_corners, draw_foreign
from bloodkeras.models import predict_outputs
from bloodkeras.runtime.classifier import Thresholds

SELECTIVE_ACCURACY = 0.995  # of the accepted answers
BOUND_CONFIDENCE = 0.9  # that the accepted answers are that accurate on other images
TRUE_ACCEPTANCE = 0.95  # share of real cells that must not be called foreign
SHRINKAGE = 0.05  # of the features' covariance towards its diagonal: it is to be inverted
TIE = 0.005  # of a mean AUROC: less is no difference between scores
CENTRE = slice(IMAGE_SIDE // 4, 3 * IMAGE_SIDE // 4)  # rows and columns where the cell lies
COLOUR_COUNT = 15  # the last columns of what `with_features` adds


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
    """

    temperature: float
    score: str
    aurocs: dict[str, dict[str, float]]
    statistics: dict[str, dict[str, np.ndarray]]
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
    best = choose_score(aurocs)
    doubt = ops.convert_to_numpy(SCORES[best](features, logits, statistics))
    thresholds = Thresholds(
        confidence=confidence_threshold(probs, splits.val.labels),
        foreign=float(np.quantile(doubt, TRUE_ACCEPTANCE)),
    )
    accepted = (probs.max(1) >= thresholds.confidence) & (doubt <= thresholds.foreign)
    return Calibration(temperature, best, aurocs, statistics, thresholds, float(accepted.mean()))


def with_features(model: keras.Model) -> keras.Model:
    """Return the same network with two outputs: features (B, F + 15) and logits (B, 8).

    The first F features are the pooled ones of the last convolution. They are averages over all
    places, so that a platelet is mostly background to them, and background mostly a platelet:
    hence 15 numbers more that say what colours there are, and which of them in the centre.
    """
    pooling = [x for x in model.layers if isinstance(x, keras.layers.GlobalAveragePooling2D)]
    features = ops.concatenate([pooling[-1].output, colours(model.input)], axis=-1)
    return keras.Model(model.input, [features, model.output])


def colours(images):
    """Return mean and deviation of each channel, those of the centre, and its darkest values.

    Args:
        images: float (B, 28, 28, 3), 0..255.

    Returns:
        float (B, 15), of pixels scaled to 0..1.
    """
    pixels = images / 255.0
    centre = pixels[:, CENTRE, CENTRE, :]
    moments = [f(part, axis=(1, 2)) for part in (pixels, centre) for f in (ops.mean, ops.std)]
    return ops.concatenate([*moments, ops.min(centre, axis=(1, 2))], axis=-1)


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


def feature_statistics(features: np.ndarray, labels: np.ndarray) -> dict[str, dict]:
    """Return what the scores must know of the training split.

    Args:
        features: float (N, F + 15), of `with_features`.
        labels: int (N,); a class may be missing.

    Returns:
        {name of some features: `gaussian` of them}.
    """
    pooled, alike = features[:, :-COLOUR_COUNT], np.zeros_like(labels)
    return {
        "pooled": gaussian(pooled, labels),
        "pooled, all classes as one": gaussian(pooled, alike),
        "colours": gaussian(features[:, -COLOUR_COUNT:], labels),
        "both": gaussian(features, labels),
    }


def gaussian(features: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Fit one normal distribution a class, all with the same covariance.

    Args:
        features: float (N, F).
        labels: int (N,), of K classes.

    Returns:
        "centre": float32 (F,), to be subtracted first, because float32 forgets small differences
        of large numbers; "whitening": float32 (F, F), to be multiplied with next; "means": float32
        (K, F), of the classes after both.
    """
    centre = features.mean(0)
    features = features - centre
    classes, members = np.unique(labels, return_inverse=True)
    means = np.stack([features[members == k].mean(0) for k in range(len(classes))])
    covariance = np.cov((features - means[members]).T)
    # A feature that never varies must not make it singular; colours vary by .01 and less.
    diagonal = np.diag(np.diag(covariance)) + 1e-6 * np.eye(len(covariance))
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * diagonal
    whitening = np.linalg.cholesky(np.linalg.inv(covariance))
    found = {"centre": centre, "whitening": whitening, "means": means @ whitening}
    return {name: array.astype(np.float32) for name, array in found.items()}


def compare_scores(network: keras.Model, statistics: dict, cells: Split) -> dict:
    """Return {score: {kind: AUROC}} of telling foreign images, drawn and cut, from cells."""
    inside = score_images(network, statistics, cells.images)
    found = {score: {} for score in SCORES}
    kinds = draw_foreign() | {"corners": cut_corners(cells.images)}
    for kind, images in kinds.items():
        outside = score_images(network, statistics, images)
        truth = np.repeat([0, 1], [len(cells), len(images)])
        for name in SCORES:
            doubts = np.concatenate([inside[name], outside[name]])
            found[name][kind] = float(roc_auc_score(truth, doubts))
    return found


def choose_score(aurocs: dict[str, dict[str, float]]) -> str:
    """Return the score with the best mean AUROC; of those hardly worse, the last of SCORES.

    On images that are far from any cell several scores are all but perfect, and the difference
    between them is luck. What decides then is how much a score looks at, because it also has to
    notice cells of a new kind, which only `held_out.py` can measure.

    Args:
        aurocs: {score: {kind of foreign image: AUROC}}.
    """
    means = {score: np.mean(list(aurocs[score].values())) for score in aurocs}
    good = [score for score in SCORES if means[score] >= max(means.values()) - TIE]
    return good[-1]


def score_images(network: keras.Model, statistics: dict, images: np.ndarray) -> dict:
    """Return {score: float32 (N,)} of uint8 (N, 28, 28, 3): larger for what is no such cell."""
    answers = _predict(network, images)
    return {name: ops.convert_to_numpy(f(*answers, statistics)) for name, f in SCORES.items()}


def _unlikelihood(features, logits, statistics):
    """One minus the largest probability, (B,)."""
    return 1 - ops.max(ops.softmax(logits), axis=-1)


def _energy(features, logits, statistics):
    """Negative log-sum-exp of the logits, (B,)."""
    return -ops.logsumexp(logits, axis=-1)


def _pooled_distance(features, logits, statistics):
    """Distance of the network's own features alone, (B,)."""
    return ops.sqrt(_square_distance(features[:, :-COLOUR_COUNT], statistics["pooled"]))


def _relative_distance(features, logits, statistics):
    """How much farther from the nearest class than from cells in general, squared, (B,)."""
    pooled = features[:, :-COLOUR_COUNT]
    to_all = _square_distance(pooled, statistics["pooled, all classes as one"])
    return _square_distance(pooled, statistics["pooled"]) - to_all


def _colour_distance(features, logits, statistics):
    """Distance of the colours alone, (B,)."""
    return ops.sqrt(_square_distance(features[:, -COLOUR_COUNT:], statistics["colours"]))


def _joint_distance(features, logits, statistics):
    """Distance of features and colours together, (B,)."""
    return ops.sqrt(_square_distance(features, statistics["both"]))


def _square_distance(features, fitted: dict[str, np.ndarray]):
    """Squared Mahalanobis distance to the nearest class mean, (B,)."""
    white = ops.matmul(features - fitted["centre"], fitted["whitening"])
    means = fitted["means"]
    square = (
        ops.sum(white**2, axis=-1, keepdims=True)
        - 2 * ops.matmul(white, ops.transpose(means))
        + ops.sum(means**2, axis=-1)
    )
    return ops.maximum(ops.min(square, axis=-1), 0.0)


SCORES = {  # what looks at more comes later
    "one minus confidence": _unlikelihood,
    "energy": _energy,
    "feature distance": _pooled_distance,
    "relative feature distance": _relative_distance,
    "colour distance": _colour_distance,
    "distance of features and colours": _joint_distance,
}


def _predict(network: keras.Model, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features float32 (N, F) and logits float32 (N, 8) of uint8 (N, 28, 28, 3)."""
    features, logits = predict_outputs(network, images)
    return features, logits


def _features(network: keras.Model, images: np.ndarray) -> np.ndarray:
    return _predict(network, images)[0]


def _softmax(logits: np.ndarray) -> np.ndarray:
    return ops.convert_to_numpy(ops.softmax(logits))
