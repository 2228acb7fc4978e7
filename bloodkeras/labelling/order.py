"""Finds the cells that a network learns most from, if somebody says what they are.

Flow: takes the features of many cells, and the answers so far; gives the places of those to ask
about next. What counts is doubt, between the two likeliest classes, of a last layer that is fitted
to the answers; and that a cell is not too like one that was asked about, or a burst of photographs
of one cell would all come. docs/label.md has the measurements, `benchmarks/clicks.py` makes them.
Source: margin sampling, Scheffer et al. 2001, doi:10.1007/3-540-44816-0_31.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from bloodkeras.laboratory.fit import fit_once, softmax
from bloodkeras.laboratory.graph import Head
from bloodkeras.named_types import Floats

LEAST_FITTED = 2  # answers; before, the exported layer itself is asked
UNLIKE = 0.3  # distance from which on it does not matter how far the nearest asked about is
LEAST_SPREAD = 0.1  # of the mean spread: a feature that hardly varies counts as one that does so


def next_cells(
    features: Floats,
    answered: Mapping[int, int],
    passed: Sequence[int],
    head: Head,
    count: int,
) -> list[int]:
    """Return what to ask about next, the most telling first.

    Args:
        features: float (N, F), what the last layer takes of each cell.
        answered: {row: class} of the cells that were named.
        passed: Rows that were asked about and are none of the classes, or nobody could tell.
        head: The exported last layer, with as many classes as are asked for.
        count: How many to return, or all that are left if there are fewer.
    """
    directions = _directions(features)
    asked = [*answered, *passed]
    nearest = _nearest(directions, asked)
    doubt = _doubt(_believed(features, answered, head))
    left = np.ones(len(features), bool)
    left[asked] = False
    chosen: list[int] = []
    while len(chosen) < count and left.any():
        worth = doubt * np.minimum(nearest / UNLIKE, 1)
        row = int(np.where(left, worth, -np.inf).argmax())
        chosen.append(row)
        left[row] = False
        nearest = np.minimum(nearest, _distance(directions, row))
    return chosen


def with_new_classes(head: Head, count: int) -> Head:
    """Return a last layer with some classes more, which are as likely as the mean of the others."""
    weights = np.repeat(head.weights.mean(1, keepdims=True), count, axis=1)
    bias = np.repeat(head.bias.mean(), count)
    return Head(
        np.hstack([head.weights, weights]), np.concatenate([head.bias, bias]), head.temperature
    )


def _believed(features: Floats, answered: Mapping[int, int], head: Head) -> Floats:
    """Return the probabilities of all cells, float (N, K), by what was answered."""
    if len(answered) < LEAST_FITTED:
        return softmax((features @ head.weights + head.bias) / head.temperature)
    labels = np.array(list(answered.values()))
    weights, bias = fit_once(features[list(answered)], labels, head.weights, head.bias)
    return softmax(features @ weights + bias)


def _doubt(probs: Floats) -> Floats:
    """Return 1 minus how far the likeliest class is before the next, float (N,)."""
    second, first = np.sort(probs, 1)[:, -2:].T
    doubt: Floats = 1 - (first - second)
    return doubt


def _directions(features: Floats) -> Floats:
    """Return standardised features of length 1."""
    spread = features.std(0)
    scaled = (features - features.mean(0)) / (spread + LEAST_SPREAD * spread.mean() + 1e-9)
    found: Floats = scaled / (np.linalg.norm(scaled, axis=1, keepdims=True) + 1e-9)
    return found


def _distance(directions: Floats, row: int) -> Floats:
    """Return how unlike all cells are to one: 0 for the same, 2 for the opposite."""
    found: Floats = np.maximum(1 - directions @ directions[row], 0)
    return found


def _nearest(directions: Floats, asked: Sequence[int]) -> Floats:
    """Return how unlike each cell is to the likest of those that were asked about; 1 without."""
    if not asked:
        return np.ones(len(directions))
    likeness: Floats = (directions @ directions[list(asked)].T).max(1)
    return np.maximum(1 - likeness, 0)
