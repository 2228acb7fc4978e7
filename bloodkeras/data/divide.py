"""Divides cells into the three splits, those of a slide or patient together.

Flow: takes labels and groups; gives each cell's split. Every class is spread as evenly over the
splits as its groups allow; a class of one group alone is in train.
"""

import numpy as np

from bloodkeras.contract import SPLIT_NAMES
from bloodkeras.named_types import Floats, Labels

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}  # of each class, as BloodMNIST's
# What it costs that a split lacks a class, by how much worse that is than uneven shares: what is
# not in train cannot be learned, what is not in test cannot be judged.
LACKING = {"train": 100.0, "val": 1.0, "test": 2.0}
STARTS = 20  # divisions that are tried


def divide(labels: Labels, groups: Labels, seed: int) -> Labels:
    """Return int (N,): the place in SPLIT_NAMES of each cell's split.

    Args:
        labels: int (N,), 0..K-1, each of which occurs.
        groups: int (N,), 0..G-1: cells of one group stay together. All different: none do.
        seed: Of the order in which groups are dealt out.
    """
    counts = np.zeros((groups.max() + 1, labels.max() + 1))
    np.add.at(counts, (groups, labels), 1)
    kinds, kind_of = np.unique(counts, axis=0, return_inverse=True)
    random = np.random.default_rng(seed)
    if len(kinds) == len(np.unique(labels)):  # each group is of one class, and as large as others
        return _dealt(kind_of.ravel(), random)[groups]
    shares = counts / counts.sum(0)
    tried = [_settled(shares, random) for _ in range(STARTS)]
    return min(tried, key=lambda dealt: _cost(shares, dealt))[groups]


def _dealt(kinds: Labels, random: np.random.Generator) -> Labels:
    """Return a split for each group where groups of a kind are alike: by shares, exactly."""
    found = np.empty(len(kinds), int)
    ends = np.cumsum([SHARES[name] for name in SPLIT_NAMES])[:-1]
    for kind in np.unique(kinds):
        rows = random.permutation(np.flatnonzero(kinds == kind))
        bounds = np.rint(ends * len(rows)).astype(int)
        if len(rows) > 1:  # something for test, and of three or more for val too
            most = np.array([len(rows) - 2, len(rows) - 1]).clip(1)
            bounds = np.minimum(bounds.clip([1, min(2, most[1])]), most)
        found[rows] = np.searchsorted(bounds, np.arange(len(rows)), side="right")
    return found


def _settled(shares: Floats, random: np.random.Generator) -> Labels:
    """Return a split for each group from which moving one group alone gains nothing."""
    dealt = random.choice(len(SPLIT_NAMES), len(shares), p=[SHARES[n] for n in SPLIT_NAMES])
    moved = True
    while moved:
        moved = False
        for group in random.permutation(len(shares)):
            before, costs = dealt[group], []
            for place in range(len(SPLIT_NAMES)):
                dealt[group] = place
                costs.append(_cost(shares, dealt))
            dealt[group] = int(np.argmin(costs)) if min(costs) < costs[before] - 1e-9 else before
            moved |= bool(dealt[group] != before)
    return dealt


def _cost(shares: Floats, dealt: Labels) -> float:
    """Return how far a division is from the one wished for.

    Args:
        shares: float (G, K): of each class, what is in each group.
        dealt: int (G,), places in SPLIT_NAMES.
    """
    cost = 0.0
    for place, name in enumerate(SPLIT_NAMES):
        held = shares[dealt == place].sum(0)
        cost += float(((held - SHARES[name]) ** 2).sum() + LACKING[name] * (held == 0).sum())
    return cost
