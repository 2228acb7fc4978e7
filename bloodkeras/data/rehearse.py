"""Mixes earlier cells into one's own, so that a network that begins with them forgets none.

Flow: takes a training split and the `Splits` that a start was trained on; gives the split to train.
Source: Robins 1995, Catastrophic forgetting, rehearsal and pseudorehearsal,
    doi:10.1080/09540099550039318.
"""

from dataclasses import replace

import numpy as np

from bloodkeras.data.splits import Split, Splits
from bloodkeras.dataset import DataSet
from bloodkeras.errors import BloodkerasError

REHEARSED = 200  # cells of each class, at most: docs/recipes.md


def check_rehearsed(ours: DataSet, earlier: Splits) -> None:
    """Refuse earlier cells that cannot be mixed in.

    Raises:
        BloodkerasError: Their images have another side, or no class is in both.
    """
    theirs = earlier.dataset
    if ours.image_side != theirs.image_side:
        raise BloodkerasError(
            f"--rehearse {earlier.source} has images of {theirs.image_side} pixels, and the data "
            f"have {ours.image_side}: name the file that has them at that size"
        )
    if set(ours.class_names).isdisjoint(theirs.class_names):
        raise BloodkerasError(f"--rehearse {earlier.source} has no class of {ours.described()}")


def rehearsing(train: Split, earlier: Splits, seed: int) -> Split:
    """Return a training split with earlier cells mixed in, so that they are not forgotten.

    Args:
        train: One's own.
        earlier: What a start was trained on. Up to REHEARSED cells of each class that both have.
        seed: Of which ones.

    Raises:
        BloodkerasError: As `check_rehearsed`.
    """
    check_rehearsed(train.dataset, earlier)
    names = earlier.dataset.class_names
    random, rows, labels = np.random.default_rng(seed), [], []
    for place, name in enumerate(train.dataset.class_names):
        if name in names:
            there = np.flatnonzero(earlier.train.labels == names.index(name))
            rows.append(random.permutation(there)[:REHEARSED])
            labels.append(np.full(len(rows[-1]), place))
    images = earlier.train.images[np.concatenate(rows)]
    return replace(
        train,
        images=np.concatenate([train.images, images]),
        labels=np.concatenate([train.labels, *labels]),
    )
