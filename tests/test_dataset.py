"""contract.py says what MedMNIST's own package says."""

import contextlib
import io

import pytest

from bloodkeras import contract
from bloodkeras.images import synthetic

with contextlib.redirect_stdout(io.StringIO()):  # it prints a complaint without torch
    medmnist = pytest.importorskip("medmnist")
INFO = medmnist.INFO["bloodmnist"]


def test_download_facts():
    assert INFO["url"] == contract.DATA_URL
    assert INFO["MD5"] == contract.DATA_MD5
    assert INFO["license"] == contract.DATA_LICENSE


def test_sizes_and_shape():
    assert INFO["n_samples"] == contract.SPLIT_SIZES
    assert contract.IMAGE_SHAPE[-1] == INFO["n_channels"]


def test_class_names_in_order():
    for index, name in enumerate(contract.CLASS_NAMES):
        assert INFO["label"][str(index)].startswith(name)
    assert len(INFO["label"]) == contract.CLASS_COUNT


def test_drawn_cells_have_the_same_classes_in_the_same_order():
    assert tuple(synthetic.LOOKS) == contract.CLASS_NAMES
