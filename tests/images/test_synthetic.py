"""Checks the drawn cells: their layout, their repeatability, and that no cheap trick names them.

Flow: takes small drawn splits; gives a failure when they leave BloodMNIST's layout or get trivial.

Sources: the class shares are the label counts of BloodMNIST's training split, MedMNIST v2,
https://doi.org/10.1038/s41597-022-01721-8.
"""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bloodkeras.images.synthetic import LOOKS, SIZES, draw_arrays

K = 8
TINY = {"train": 24, "val": 8, "test": 16}
BLOODMNIST_TRAIN = np.array([852, 2181, 1085, 2026, 849, 993, 2330, 1643])


@pytest.fixture(scope="module")
def arrays():
    """Draw enough cells for a linear classifier to find a trick, if there is one."""
    return draw_arrays({"train": 1500, "val": 8, "test": 600}, seed=3)


def linear_accuracy(arrays, features) -> float:
    """Fit a linear classifier on features(images) of train and score it on test."""
    train, test = (features(arrays[f"{split}_images"] / 255.0) for split in ("train", "test"))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    model.fit(train, arrays["train_labels"].ravel())
    return model.score(test, arrays["test_labels"].ravel())


def test_layout_is_bloodmnists():
    """Keys, shapes and dtypes are those of the published file."""
    arrays = draw_arrays(TINY)
    assert set(arrays) == {f"{split}_{kind}" for split in TINY for kind in ("images", "labels")}
    for split, size in TINY.items():
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        assert (images.shape, images.dtype) == ((size, 28, 28, 3), np.uint8)
        assert (labels.shape, labels.dtype) == ((size, 1), np.uint8)


def test_left_out_split_has_default_size():
    """A caller may name only the splits to shrink."""
    arrays = draw_arrays({"train": 8, "test": 8})
    assert len(arrays["val_images"]) == SIZES["val"] == 600


def test_same_seed_same_bytes():
    """A seed names one data set; another seed names another."""
    once, again, other = draw_arrays(TINY, 5), draw_arrays(TINY, 5), draw_arrays(TINY, 6)
    for key in once:
        assert once[key].tobytes() == again[key].tobytes()
    for split in TINY:
        assert (once[f"{split}_images"] != other[f"{split}_images"]).mean() > 0.5


def test_splits_do_not_depend_on_each_other():
    """The test split stays put when train and val grow, and shares no image with train."""
    small, large = draw_arrays(TINY), draw_arrays(TINY | {"train": 100, "val": 50})
    for kind in ("images", "labels"):
        np.testing.assert_array_equal(small[f"test_{kind}"], large[f"test_{kind}"])
    drawn = [image.tobytes() for key in small if "images" in key for image in small[key]]
    assert len(set(drawn)) == sum(TINY.values())


@pytest.mark.parametrize("size", [8, 9, 15, 50])
def test_tiny_splits_hold_every_class(size):
    """Even eight images show all eight classes, in no sorted order."""
    labels = draw_arrays({"train": size, "val": 8, "test": 8})["train_labels"].ravel()
    assert set(labels) == set(range(K))
    assert (np.diff(labels.astype(int)) < 0).any()


def test_class_shares_are_bloodmnists(arrays):
    """A class is as rare here as there, to one percentage point."""
    shares = np.bincount(arrays["train_labels"].ravel(), minlength=K) / 1500
    np.testing.assert_allclose(shares, BLOODMNIST_TRAIN / BLOODMNIST_TRAIN.sum(), atol=0.01)
    assert [look.train_count for look in LOOKS.values()] == BLOODMNIST_TRAIN.tolist()


@pytest.mark.parametrize("sizes", [{"test": 7}, {"train": 0}, {"val": -1}])
def test_too_small_split_is_refused(sizes):
    """The error says how many images are needed."""
    with pytest.raises(ValueError, match="at least 8 images"):
        draw_arrays(sizes)


def test_unknown_split_is_refused():
    """A misspelt split is not silently drawn at its default size."""
    with pytest.raises(ValueError, match="trian"):
        draw_arrays({"trian": 8})


def test_mean_colour_does_not_name_the_class(arrays):
    """Three numbers a cell beat guessing but stay under 60 %."""
    assert 0.25 < linear_accuracy(arrays, lambda images: images.mean((1, 2))) < 0.60


@pytest.mark.parametrize(
    ("row", "column"), [(14, 14), (10, 18), (9, 15), (18, 10), (8, 12), (2, 25)]
)
def test_single_pixel_does_not_name_the_class(arrays, row, column):
    """No pixel's colour reaches one half: the centre, the cytoplasm's ring, a corner."""
    assert linear_accuracy(arrays, lambda images: images[:, row, column]) < 0.50


def test_shape_is_needed_and_there(arrays):
    """Raw pixels help a linear classifier, but leave work for a convolution."""
    accuracy = linear_accuracy(
        arrays, lambda images: images[:, 2::4, 2::4].reshape(len(images), -1)
    )
    assert 0.50 < accuracy < 0.85


def test_classes_differ_as_described(arrays):
    """Known looks: a platelet covers least, eosinophils are redder than neutrophils."""
    images, labels = arrays["train_images"].astype(float), arrays["train_labels"].ravel()
    dark = (images[..., 1] < 100).mean((1, 2))
    by_class = {name: dark[labels == k].mean() for k, name in enumerate(LOOKS)}
    assert min(by_class, key=by_class.get) == "platelet"
    centre = images[:, 8:20, 8:20].mean((1, 2))
    redness = centre[:, 0] - centre[:, 2]
    eosinophil, neutrophil = redness[labels == 1], redness[labels == 6]
    assert eosinophil.mean() > neutrophil.mean()
