"""Fits a last layer, a temperature and thresholds to a few labelled cells, in numpy.

Flow: takes features, logits and labels of some tens of cells; gives numbers that go into a graph.
Sources: temperature scaling, Guo et al. 2017 (arXiv:1706.04599); fitting the last layer alone under
    a shift, Kirichenko et al. 2023 (arXiv:2204.02937); accelerated gradients, Nesterov 1983.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bloodkeras.named_types import Flags, Floats, Labels

FOLDS = 5
DIVISIONS = 5  # into folds: with some tens of cells one division alone is a matter of luck
PENALTIES = tuple(10.0 ** np.arange(-1, -4.1, -0.5))  # each goes on where the one before ended
STEPS = 100  # of accelerated gradient descent, for each of them
ACCURACY = 0.95  # of the accepted answers, to be expected by the cells that were left out
CERTAINTY = 0.5  # that it is reached: with some tens of cells more cannot be asked for
ONCE = 4  # of them, where the best is not looked for
TEMPERATURES = np.exp(np.linspace(-2.5, 2.5, 251))
LOG_SPREAD = 1.0  # of the temperature's logarithm, before the cells were seen


@dataclass(frozen=True)
class Fit:
    """A last layer, as it was or fitted to some cells.

    Attributes:
        weights: float64 (F, K).
        bias: float64 (K,).
        penalty: On its distance from the exported layer; None for that layer itself.
        left_out: float64 (D, N, K): logits of each cell by a layer that had not seen it, for each
            of D divisions into folds.
    """

    weights: Floats
    bias: Floats
    penalty: float | None
    left_out: Floats


def fit_last_layer(features: Floats, labels: Labels, weights: Floats, bias: Floats) -> Fit:
    """Fit a last layer; the penalty is the one that does best on cells left out.

    A cell counts by one over the root of its class' number. Balanced accuracy gains more by that
    than accuracy loses; if all classes counted alike it would be the other way.

    Args:
        features: float (N, V, F): V views (flips and quarter turns) of each cell, the first as it
            is.
        labels: int (N,).
        weights: float (F, K), of the exported layer.
        bias: float (K,).
    """
    left_out = np.zeros((len(PENALTIES), DIVISIONS, len(labels), len(bias)))
    for division in range(DIVISIONS):
        folds = stratified_folds(labels, division)
        for fold in range(folds.max() + 1):
            seen = folds != fold
            path = _descend(features[seen], labels[seen], weights, bias)
            for place, found in enumerate(path):
                logits = features[~seen, 0] @ found[0] + found[1]
                left_out[place, division, ~seen] = logits
    counts = balanced(labels)
    losses = [[cross_entropy(logits, labels, counts) for logits in each] for each in left_out]
    best = int(np.argmin(np.mean(losses, axis=1)))
    *_, found = _descend(features, labels, weights, bias, PENALTIES[: best + 1])
    return Fit(*found, PENALTIES[best], left_out[best])


def fit_once(
    features: Floats, labels: Labels, weights: Floats, bias: Floats
) -> tuple[Floats, Floats]:
    """Fit a last layer with one penalty that usually does well: some hundredths of a second.

    Args:
        features: float (N, F), of each cell as it is.
        labels: int (N,).
        weights: float (F, K), of the layer to begin with.
        bias: float (K,).

    Returns:
        Weights and bias, float64 (F, K) and (K,).
    """
    *_, found = _descend(features[:, None], labels, weights, bias, PENALTIES[:ONCE])
    return found


def stratified_folds(labels: Labels, seed: int = 0, folds: int = FOLDS) -> Labels:
    """Return int (N,): which fold a cell is left out in; each class is spread over all."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    found = np.empty(len(labels), int)
    found[order] = np.arange(len(labels)) % min(folds, len(labels))
    return found


def cautious_temperature(logits: Floats, labels: Labels, before: float = 1.0) -> float:
    """Return the likeliest temperature, a little drawn to what it was.

    Args:
        logits: float (N, K).
        labels: int (N,).
        before: The temperature without these cells.
    """
    losses = [
        len(labels) * cross_entropy(logits / t, labels)
        + np.log(t / before) ** 2 / 2 / LOG_SPREAD**2
        for t in TEMPERATURES * before
    ]
    return float(TEMPERATURES[np.argmin(losses)] * before)


def even_odds_threshold(confidence: Floats, right: Flags) -> float:
    """Return the lowest confidence from which on enough answers should be right.

    Enough: so few mistakes as there are from there on would be seen with a probability of at most
    1 - CERTAINTY, if a share of 1 - ACCURACY were wrong.

    Args:
        confidence: float (N,).
        right: bool (N,).

    Returns:
        A threshold; 1.01, which nothing reaches, if there is none.
    """
    order = np.argsort(-confidence, kind="stable")
    mistakes = np.cumsum(~right[order])
    good = [
        place
        for place in range(len(order))
        if _at_most(int(mistakes[place]), place + 1, 1 - ACCURACY) <= 1 - CERTAINTY
        and (place + 1 == len(order) or confidence[order[place + 1]] < confidence[order[place]])
    ]
    return float(confidence[order[good[-1]]]) if good else 1.01


def balanced(labels: Labels) -> Floats:
    """Return what each of int (N,) counts: one over the root of its class' number; mean 1."""
    weights = 1 / np.sqrt(np.bincount(labels)[labels])
    found: Floats = weights / weights.mean()
    return found


def cross_entropy(logits: Floats, labels: Labels, weights: Floats | float = 1.0) -> float:
    """Return the mean negative log-likelihood of labels int (N,), by logits float (N, K)."""
    shifted = logits - logits.max(1, keepdims=True)
    likelihoods = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return float(-(weights * likelihoods[np.arange(len(labels)), labels]).mean())


def softmax(logits: Floats) -> Floats:
    """Return probabilities of logits, both float (..., K)."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    found: Floats = powers / powers.sum(-1, keepdims=True)
    return found


def _descend(
    features: Floats,
    labels: Labels,
    weights: Floats,
    bias: Floats,
    penalties: tuple[float, ...] = PENALTIES,
) -> Iterator[tuple[Floats, Floats]]:
    """Yield weights and bias that fit the views of some cells, for one penalty after the other.

    What is looked for, by accelerated gradient descent, is the change of the exported layer, for
    features that are standardised.
    """
    _, views, width = features.shape
    flat = features.reshape(-1, width).astype(np.float32)
    truth = np.eye(len(bias), dtype=np.float32)[np.repeat(labels, views)]
    centre, spread = flat.mean(0), flat.std(0)
    spread = (spread + 0.1 * spread.mean() + 1e-9) * np.sqrt(width)
    scaled = np.hstack([(flat - centre) / spread, np.ones((len(flat), 1), np.float32)])
    counts = np.repeat(balanced(labels), views).astype(np.float32)[:, None]
    before = (flat @ weights + bias).astype(np.float32)
    steepest = 0.5 * np.linalg.norm(scaled.T @ (counts * scaled), 2) / len(flat)
    change = np.zeros((width + 1, len(bias)), np.float32)
    for penalty in penalties:
        rate, ahead = 1 / (steepest + penalty), change
        for step in range(STEPS):
            wrong = scaled.T @ (counts * (softmax(before + scaled @ ahead) - truth)) / len(flat)
            moved = ahead - np.float32(rate) * (wrong + np.float32(penalty) * ahead)
            ahead = moved + np.float32(step / (step + 3)) * (moved - change)
            change = moved
        slopes = change[:-1] / spread[:, None]
        yield weights + slopes, bias + change[-1] - centre @ slopes


def _at_most(hits: int, count: int, share: float) -> float:
    """Return the probability of at most so many hits in a binomial distribution."""
    # In logarithms: 0.95 to the power of some ten thousand is 0 to a float.
    k = np.arange(hits + 1)
    steps = np.log((count - k[:-1]) / k[1:] * share / (1 - share))
    logs = count * np.log1p(-share) + np.concatenate([[0.0], np.cumsum(steps)])
    return float(np.exp(logs).sum())
