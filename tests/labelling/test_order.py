"""Whom to ask about next: by hand, in a plane where likeness and doubt can be seen."""

import numpy as np
import pytest

from bloodkeras.labelling.order import next_cells, with_new_classes
from bloodkeras.laboratory.graph import Head

# Two classes, told apart by the first feature: far from 0 there is no doubt.
HEAD = Head(np.array([[4.0, -4.0], [0.0, 0.0]]), np.zeros(2), 1.0)
SURE_LEFT, SURE_RIGHT, UP, DOWN, UP_AGAIN = [0.5, 0], [-0.5, 0.1], [0.1, 2], [-0.1, -2], [0.1, 2]
PLANE = np.array([SURE_LEFT, SURE_RIGHT, UP, DOWN, UP_AGAIN], np.float32)


def asked(answered, passed=(), count=1, features=PLANE, head=HEAD):
    return next_cells(features, answered, list(passed), head, count)


def test_the_doubtful_come_first_and_a_copy_comes_last():
    order = asked({}, count=5)
    assert set(order[:2]) in ({2, 3}, {3, 4})  # both in doubt, and opposite to each other
    assert order[-1] in (2, 4)  # what shows the same as another tells nothing more
    assert sorted(order) == [0, 1, 2, 3, 4]


def test_what_was_asked_is_not_asked_again_and_nothing_is_left_at_the_end():
    assert set(asked({0: 0, 1: 1}, [2], count=9)) == {3, 4}
    assert asked({0: 0, 1: 1, 2: 0, 3: 1, 4: 0}) == []
    assert asked({}, range(5)) == []


def test_like_what_nobody_could_tell_is_put_off():
    """Cells 2 and 4 are the same: after one was skipped, the other is no longer first."""
    assert asked({}, [2]) == [3]
    assert asked({}, [3])[0] in (2, 4)


def test_answers_move_the_doubt():
    """Where the answers change from one class to the other, there is the doubt."""
    rng = np.random.default_rng(0)
    line = np.stack([np.linspace(-3, 3, 61), rng.normal(size=61) / 100], 1).astype(np.float32)
    (before,) = asked({}, features=line)
    assert abs(line[before, 0]) < 0.5
    told = {row: int(line[row, 0] < 1.5) for row in range(0, 61, 3)}  # a border at 1.5, not at 0
    (after,) = asked(told, features=line)
    assert line[after, 0] == pytest.approx(1.5, abs=0.6)


def test_the_same_answers_give_the_same_order():
    assert asked({0: 0}, count=4) == asked({0: 0}, count=4)


def test_a_new_class_is_as_likely_as_the_mean_of_the_others():
    more = with_new_classes(HEAD, 2)
    logits = PLANE @ more.weights + more.bias
    assert logits.shape == (5, 4)
    assert np.array_equal(logits[:, :2], PLANE @ HEAD.weights)
    assert logits[:, 2] == pytest.approx(logits[:, :2].mean(1))
    assert len(asked({0: 0, 1: 1, 2: 3}, count=2, head=more)) == 2
