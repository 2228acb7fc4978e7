"""Scores that tell images of no such cell from cells, and how the best of them is chosen.

Flow: takes a trained model and `Splits`; gives for each image one number a score, larger for what
is probably no cell. `publish.py` builds the chosen one into the graph.
Sources: energy, Liu et al. 2020 (arXiv:2010.03759); Mahalanobis distance of features, Lee et al.
    2018 (arXiv:1807.03888), and relative to that of cells in general, Ren et al. 2021
    (arXiv:2106.09022). docs/doubt.md compares them.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops
from sklearn.metrics import roc_auc_score

from bloodkeras.data.ood_images import cut_corners, draw_foreign
from bloodkeras.data.splits import Split
from bloodkeras.named_types import Floats, Json, Labels, Pixels, Tensor
from bloodkeras.training.colours import COLOUR_COUNT, Colours
from bloodkeras.training.gaussian import gaussian
from bloodkeras.training.models import predict_outputs

# Which of the features a distance looks at.
PARTS = {
    "pooled": slice(None, -COLOUR_COUNT),
    "colours": slice(-COLOUR_COUNT, None),
    "both": slice(None),
}
Statistics = dict[str, dict[str, Floats]]  # of each kind of features: see gaussian.py
TIE = 0.005  # of a mean AUROC: less is no difference between scores


def with_features(model: keras.Model) -> keras.Model:
    """Return the same network with two outputs: features (B, F + 15) and logits (B, K).

    The first F features are the pooled ones of the last convolution. They are averages over all
    places, so that a platelet is mostly background to them, and background mostly a platelet:
    hence 15 numbers more that say what colours there are, and which of them in the centre.
    """
    pooling = [x for x in model.layers if isinstance(x, keras.layers.GlobalAveragePooling2D)]
    features = ops.concatenate([pooling[-1].output, Colours()(model.input)], axis=-1)
    return keras.Model(model.input, [features, model.output])


def predict_features(network: keras.Model, images: Pixels) -> tuple[Floats, Floats]:
    """Return features float32 (N, F) and logits float32 (N, K) of uint8 (N, S, S, 3)."""
    features, logits = predict_outputs(network, images)
    return features, logits


def feature_statistics(features: Floats, labels: Labels) -> Statistics:
    """Return what the scores must know of the training split.

    Args:
        features: float (N, F + 15), of `with_features`.
        labels: int (N,); a class may be missing.

    Returns:
        {name of some features: `gaussian` of them}.
    """
    found = {name: gaussian(features[:, part], labels) for name, part in PARTS.items()}
    alike = gaussian(features[:, PARTS["pooled"]], np.zeros_like(labels))
    return found | {"pooled, all classes as one": alike}


def compare_scores(network: keras.Model, statistics: Statistics, cells: Split) -> Json:
    """Return {score: {kind: AUROC}} of telling foreign images, drawn and cut, from cells."""
    inside = score_images(network, statistics, cells.images)
    found: dict[str, Json] = {score: {} for score in SCORES}
    kinds = draw_foreign(side=cells.dataset.image_side) | {"corners": cut_corners(cells.images)}
    for kind, images in kinds.items():
        outside = score_images(network, statistics, images)
        truth = np.repeat([0, 1], [len(cells), len(images)])
        for name in SCORES:
            doubts = np.concatenate([inside[name], outside[name]])
            found[name][kind] = float(roc_auc_score(truth, doubts))
    return found


def choose_score(aurocs: dict[str, dict[str, float]]) -> str:
    """Return the score with the best mean of {kind: AUROC}; of those hardly worse, the last.

    On images that are far from any cell several scores are all but perfect, and the difference
    between them is luck. What decides then is how much a score looks at, because it also has to
    notice cells of a new kind, which only `held_out.py` can measure.
    """
    means = {score: np.mean(list(aurocs[score].values())) for score in aurocs}
    good = [score for score in SCORES if means[score] >= max(means.values()) - TIE]
    return good[-1]


def score_images(network: keras.Model, statistics: Statistics, images: Pixels) -> Json:
    """Return {score: float32 (N,)} of uint8 (N, S, S, 3): larger for what is no such cell."""
    answers = predict_features(network, images)
    return {name: ops.convert_to_numpy(f(*answers, statistics)) for name, f in SCORES.items()}


def _unlikelihood(features: Tensor, logits: Tensor, statistics: Statistics) -> Tensor:
    """One minus the largest probability, (B,)."""
    return 1 - ops.max(ops.softmax(logits), axis=-1)


def _energy(features: Tensor, logits: Tensor, statistics: Statistics) -> Tensor:
    """Negative log-sum-exp of the logits, (B,)."""
    return -ops.logsumexp(logits, axis=-1)


def _distance(part: str) -> Callable[[Tensor, Tensor, Statistics], Tensor]:
    """Return the score that is the distance of some of the features."""

    def score(features: Tensor, logits: Tensor, statistics: Statistics) -> Tensor:
        # A slice of everything would be a node of the graph that changes nothing.
        seen = features if part == "both" else features[:, PARTS[part]]
        return ops.sqrt(_square_distance(seen, statistics[part]))

    return score


def _relative_distance(features: Tensor, logits: Tensor, statistics: Statistics) -> Tensor:
    """How much farther from the nearest class than from cells in general, squared, (B,)."""
    pooled = features[:, PARTS["pooled"]]
    to_all = _square_distance(pooled, statistics["pooled, all classes as one"])
    return _square_distance(pooled, statistics["pooled"]) - to_all


def _square_distance(features: Tensor, fitted: dict[str, Floats]) -> Tensor:
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
    "feature distance": _distance("pooled"),
    "relative feature distance": _relative_distance,
    "colour distance": _distance("colours"),
    "distance of features and colours": _distance("both"),
}
