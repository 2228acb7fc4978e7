"""Cells of a slide stay together, and every class is where it can be judged."""

import numpy as np
import pytest

from bloodkeras.contract import SPLIT_NAMES
from bloodkeras.data.divide import divide

TRAIN, VAL, TEST = range(len(SPLIT_NAMES))


def test_each_cell_by_itself_is_divided_by_shares():
    """70, 10 and 20 % of each class, to the cell."""
    labels = np.repeat([0, 1, 2], [100, 50, 3])
    places = divide(labels, np.arange(len(labels)), seed=1)
    counts = [np.bincount(places[labels == k], minlength=3).tolist() for k in range(3)]
    assert counts == [[70, 10, 20], [35, 5, 10], [1, 1, 1]]


def test_groups_stay_together_and_shares_are_near():
    """Of forty patients with uneven mixes."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), random.integers(5, 40, 40))
    labels = np.where(random.random(len(groups)) < (groups % 7) / 6, 1, 0)
    places = divide(labels, groups, seed=3)
    assert all(len(set(places[groups == group])) == 1 for group in range(40))
    for k in (0, 1):
        shares = np.bincount(places[labels == k], minlength=3) / (labels == k).sum()
        assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.04)


def test_a_class_of_one_slide_is_learned_and_one_of_two_is_judged_too():
    """As Raabin's basophils, which are all of one slide."""
    groups = np.repeat(np.arange(10), 20)
    labels = np.zeros(200, int)
    labels[groups == 4] = 1
    labels[(groups == 7) | (groups == 8)] = 2
    places = divide(labels, groups, seed=0)
    assert set(places[labels == 1]) == {TRAIN}
    assert set(places[labels == 2]) == {TRAIN, TEST}
    assert VAL in places


def test_a_seed_divides_alike_and_another_otherwise():
    """Cells and groups."""
    labels = np.arange(60) % 3
    for groups in (np.arange(60), np.arange(60) // 4):
        first, again, other = (divide(labels, groups, seed).tolist() for seed in (5, 5, 6))
        assert first == again
        assert first != other
