"""Doubt: distances by hand, colours by hand, and foreign images that are told from cells."""

import keras
import numpy as np
import pytest
from PIL import Image

from bloodkeras.data.ood_images import CORNER_SIDE, cut_corners, cut_margins
from bloodkeras.errors import BloodkerasError
from bloodkeras.export.colours import COLOUR_COUNT, Colours
from bloodkeras.export.gaussian import gaussian
from bloodkeras.export.ood_score import (
    SCORES,
    choose_score,
    feature_statistics,
    predict_features,
    with_features,
)
from bloodkeras.recipes import RECIPES
from bloodkeras.training.models import MODELS, build_model


def mahalanobis(features: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Compute the squared distance to the nearest class mean with a matrix inverse, (N,)."""
    means = np.stack([features[labels == k].mean(0) for k in np.unique(labels)])
    left = features - means[labels]
    covariance = np.cov(left.T)
    covariance = 0.95 * covariance + 0.05 * np.diag(np.diag(covariance))
    offsets = asked[:, None] - means
    return np.einsum("nkf,fg,nkg->nk", offsets, np.linalg.inv(covariance), offsets).min(1)


def parted(features: np.ndarray) -> dict[str, np.ndarray]:
    """Return features as a network gives them: its blocks' are here those it pools."""
    pooled, colours = features[:, :-COLOUR_COUNT], features[:, -COLOUR_COUNT:]
    parts = {"blocks": pooled, "pooled": pooled, "colours": colours}
    return {name: part.astype(np.float32) for name, part in parts.items()}


@pytest.fixture
def cloud():
    """Features of three classes, far from zero, and their labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    spread = rng.normal(size=(20, 20))
    return 100 + labels[:, None] + rng.normal(size=(600, 20)) @ spread, labels


def test_distances_are_mahalanobis_distances(cloud):
    features, labels = cloud
    logits = np.random.default_rng(1).normal(size=(600, 8)).astype(np.float32)
    statistics = feature_statistics(parted(features), labels, logits)
    asked, logits = np.concatenate([features[:50], features[:50] * 1.05]), logits[:100]
    seen = parted(asked)
    found = {n: np.asarray(SCORES[n](seen, logits, statistics)) for n in SCORES}
    parts = {
        "distance of features and colours": slice(None),
        "feature distance": slice(None, -COLOUR_COUNT),
        "colour distance": slice(-COLOUR_COUNT, None),
    }
    for name, part in parts.items():
        expected = mahalanobis(features[:, part], labels, asked[:, part])
        assert found[name] ** 2 == pytest.approx(expected, rel=1e-2), name
    pooled = features[:, :-COLOUR_COUNT], asked[:, :-COLOUR_COUNT]
    relative = mahalanobis(pooled[0], labels, pooled[1]) - mahalanobis(
        pooled[0], 0 * labels, pooled[1]
    )
    assert found["relative feature distance"] == pytest.approx(relative, rel=0.05, abs=0.05)
    energy, far = statistics["spread"]["energy"], statistics["spread"]["blocks"]
    squares = mahalanobis(features[:, :-COLOUR_COUNT], labels, asked[:, :-COLOUR_COUNT])
    expected = -np.log(np.exp(logits).sum(1)) / energy + squares / far
    assert found["energy and distance of blocks"] == pytest.approx(expected, rel=1e-2)
    assert far == pytest.approx(
        mahalanobis(features[:, :-COLOUR_COUNT], labels, features[:, :-COLOUR_COUNT]).std(),
        rel=1e-2,
    )


def test_a_feature_that_never_varies_does_no_harm(cloud):
    features, labels = cloud
    fitted = gaussian(np.pad(features, ((0, 0), (0, 1))), labels)
    assert all(np.isfinite(array).all() for array in fitted.values())


def test_a_class_may_be_missing(cloud):
    features, labels = cloud
    assert gaussian(features[labels != 1], labels[labels != 1])["means"].shape == (2, 20)


def test_colours_by_hand():
    images = np.full((1, 28, 28, 3), 255, np.float32)
    images[0, 10, 10] = 0, 51, 102
    mean, deviation, centre_mean, centre_deviation, darkest = np.asarray(Colours()(images)).reshape(
        5, 3
    )
    assert mean == pytest.approx(1 - np.array([1, 0.8, 0.6]) / 784, abs=1e-5)
    assert centre_mean == pytest.approx(1 - np.array([1, 0.8, 0.6]) / 196, abs=1e-5)
    assert deviation == pytest.approx(images.std((1, 2))[0] / 255, abs=1e-4)
    assert centre_deviation == pytest.approx(images[:, 7:21, 7:21].std((1, 2))[0] / 255, abs=1e-4)
    assert darkest == pytest.approx([0, 0.2, 0.4], abs=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_gives_features_and_its_own_logits(name, drawn):
    model = build_model(RECIPES[name])
    images = drawn.test.images[:4].astype(np.float32)
    features, logits = predict_features(with_features(model), images.astype(np.uint8))
    assert features["colours"] == pytest.approx(np.asarray(Colours()(images)), abs=1e-5)
    pooled = features["pooled"].shape[1]
    assert features["blocks"][:, -pooled:] == pytest.approx(features["pooled"], abs=1e-5)
    assert (features["blocks"].shape[1] > pooled) == (name in ("residual", "tiny"))
    assert logits == pytest.approx(model.predict(images, verbose=0), abs=1e-6)
    keras.backend.clear_session()


def test_corners_are_corners(drawn):
    flat = np.zeros((3, 28, 28, 3), np.uint8)
    flat[:, CORNER_SIDE:-CORNER_SIDE] = flat[:, :, CORNER_SIDE:-CORNER_SIDE] = 255
    pieces = cut_corners(flat, count=40)
    assert pieces.shape == (40, 28, 28, 3)
    assert not pieces.any()
    assert np.array_equal(cut_corners(drawn.val.images, 9), cut_corners(drawn.val.images, 9))
    assert not np.array_equal(
        cut_corners(drawn.val.images, 9), cut_corners(drawn.val.images, 9, seed=1)
    )


def test_of_equally_good_scores_the_one_that_looks_at_most_is_chosen():
    *first, colour, joint = SCORES
    aurocs = {name: {"a": 0.9, "b": 0.8} for name in first}
    aurocs |= {colour: {"a": 1.0, "b": 0.99}, joint: {"a": 1.0, "b": 0.984}}
    assert choose_score(aurocs) == joint
    assert choose_score(aurocs | {joint: {"a": 1.0, "b": 0.97}}) == colour


def test_margins_are_cut_of_photographs_and_what_is_none_is_named(tmp_path):
    with pytest.raises(BloodkerasError, match="no photograph in"):
        cut_margins(tmp_path)
    Image.new("RGB", (360, 363), "pink").save(tmp_path / "a.jpg")
    (tmp_path / ".b.jpg").write_bytes(b"left by a Mac")
    assert cut_margins(tmp_path).shape == (4, 28, 28, 3)
    (tmp_path / "c.jpg").write_bytes(b"no picture")
    with pytest.raises(BloodkerasError, match=r"c\.jpg is not an image"):
        cut_margins(tmp_path)
