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
from bloodkeras.export.colours import Colours
from bloodkeras.export.gaussian import gaussian
from bloodkeras.named_types import Floats, Json, Labels, Pixels, Tensor
from bloodkeras.training.models import predict_outputs

FEATURES = ("blocks", "pooled", "colours")  # what a network is asked for beside its logits
BLOCKS = 3  # poolings that "blocks" looks at: the last, and those of the last two blocks' attention
# Which of the features a distance looks at.
PARTS = {
    "pooled": ("pooled",),
    "colours": ("colours",),
    "both": ("pooled", "colours"),
    "blocks": ("blocks",),
}
Features = dict[str, Tensor]  # of FEATURES, each (B, F)
Statistics = dict[str, dict[str, Floats]]  # of each kind of features: see gaussian.py
TIE = 0.005  # of a mean AUROC: less is no difference between scores


def with_features(model: keras.Model) -> keras.Model:
    """Return the same network with the FEATURES as outputs, each (B, F), and then its logits.

    "pooled" are those of the last convolution. They are averages over all places, so that a
    platelet is mostly background to them, and background mostly a platelet: hence the 15 "colours",
    those of the centre too. The last convolution has forgotten what does not tell the eight classes
    apart, and a cell of another kind may differ in just that: hence "blocks".
    """
    pooling = [x for x in model.layers if isinstance(x, keras.layers.GlobalAveragePooling2D)]
    blocks = [ops.reshape(x.output, (-1, x.output.shape[-1])) for x in pooling[-BLOCKS:]]
    features = [ops.concatenate(blocks, axis=-1), pooling[-1].output, Colours()(model.input)]
    return keras.Model(model.input, [*features, model.output])


def named(outputs: list[Tensor]) -> tuple[Features, Tensor]:
    """Return features by their names, and logits, of the outputs of `with_features`."""
    *features, logits = outputs
    return dict(zip(FEATURES, features, strict=True)), logits


def predict_features(network: keras.Model, images: Pixels) -> tuple[dict[str, Floats], Floats]:
    """Return features, each float32 (N, F), and logits float32 (N, K) of uint8 (N, S, S, 3)."""
    return named(predict_outputs(network, images))


def feature_statistics(features: dict[str, Floats], labels: Labels, logits: Floats) -> Statistics:
    """Return what the scores must know of the training split.

    Args:
        features: Of `predict_features`.
        labels: int (N,); a class may be missing.
        logits: float (N, K).

    Returns:
        {name of some features: `gaussian` of them}, and "spread": the standard deviations of what
        is added up.
    """
    found = {
        name: gaussian(np.hstack([features[each] for each in part]), labels)
        for name, part in PARTS.items()
    }
    found["pooled, all classes as one"] = gaussian(features["pooled"], np.zeros_like(labels))
    parts = {"energy": _energy(features, logits, {}), "blocks": _square(features, "blocks", found)}
    return found | {
        "spread": {name: np.array(np.std(values), np.float32) for name, values in parts.items()}
    }


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


def _unlikelihood(features: Features, logits: Tensor, statistics: Statistics) -> Tensor:
    """One minus the largest probability, (B,)."""
    return 1 - ops.max(ops.softmax(logits), axis=-1)


def _energy(features: Features, logits: Tensor, statistics: Statistics) -> Tensor:
    """Negative log-sum-exp of the logits, (B,)."""
    return -ops.logsumexp(logits, axis=-1)


def _distance(part: str) -> Callable[[Features, Tensor, Statistics], Tensor]:
    """Return the score that is the distance of some of the features."""

    def score(features: Features, logits: Tensor, statistics: Statistics) -> Tensor:
        return ops.sqrt(_square(features, part, statistics))

    return score


def _relative_distance(features: Features, logits: Tensor, statistics: Statistics) -> Tensor:
    """How much farther from the nearest class than from cells in general, squared, (B,)."""
    to_all = _square_distance(features["pooled"], statistics["pooled, all classes as one"])
    return _square(features, "pooled", statistics) - to_all


def _energy_and_distance(features: Features, logits: Tensor, statistics: Statistics) -> Tensor:
    """Energy, and the squared distance of all blocks' features, each by its spread at home, (B,).

    Energy alone takes for a cell what resembles one class; the distance alone refuses what is only
    blurred.
    """
    spread = statistics["spread"]
    energy = _energy(features, logits, statistics) / spread["energy"]
    return energy + _square(features, "blocks", statistics) / spread["blocks"]


def _square(features: Features, part: str, statistics: Statistics) -> Tensor:
    """Squared distance of some of the features, (B,)."""
    names = PARTS[part]
    # To concatenate one alone would be a node of the graph that changes nothing.
    seen = [features[name] for name in names]
    return _square_distance(
        ops.concatenate(seen, axis=-1) if len(seen) > 1 else seen[0], statistics[part]
    )


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
    "energy and distance of blocks": _energy_and_distance,
}
