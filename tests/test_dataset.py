"""A data set is a value: what it refuses, what it is by default, and who knows that."""

import ast
import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from test_imports import PACKAGE

from bloodkeras import bloodmnist as described
from bloodkeras.answers.class_names import class_name
from bloodkeras.answers.classifier import Classifier
from bloodkeras.bloodmnist import BLOODMNIST, CLASS_NAMES, MD5S, bloodmnist, unnamed
from bloodkeras.data.splits import read_npz
from bloodkeras.dataset import DataSet
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.synthetic import LOOKS, draw_arrays

EXPORTS = Path(__file__).parents[1] / "exports"
FIVE = DataSet("Five kinds", ("round", "lobed", "CD4+", "small", "giant cell"), 40, "CC0")


# --- what MedMNIST says --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def info():
    return pytest.importorskip("medmnist").INFO["bloodmnist"]


@pytest.mark.parametrize("side", MD5S)
def test_every_published_file_is_medmnists(info, side):
    size = "" if side == 28 else f"_{side}"
    published = bloodmnist(side)
    assert published.url == info[f"url{size}"]
    assert published.md5 == info[f"MD5{size}"]
    assert published.file_name in published.url
    assert published.licence == info["license"]
    assert published.image_shape == (side, side, info["n_channels"])


def test_the_classes_are_medmnists_in_order(info):
    assert BLOODMNIST.class_count == len(info["label"])
    for index, name in enumerate(BLOODMNIST.class_names):
        assert info["label"][str(index)].startswith(name)
    assert info["n_samples"] == described.SPLIT_SIZES


def test_all_that_is_said_of_classes_is_said_of_these():
    for said in (LOOKS, described.HEALTHY_BLOOD, described.ABBREVIATIONS):
        assert set(said) == set(CLASS_NAMES)
    assert tuple(LOOKS) == CLASS_NAMES


# --- the value -----------------------------------------------------------------------------------


def test_it_survives_json():
    import json

    for one in (BLOODMNIST, FIVE):
        assert DataSet.from_dict(json.loads(json.dumps(one.as_dict()))) == one
    assert DataSet.from_dict(FIVE.as_dict() | {"of a later version": 1}) == FIVE
    with pytest.raises(BloodkerasError, match="class_names"):
        DataSet.from_dict({"name": "x", "image_side": 28})


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("only",), "2 to 256"),
        (("a", "../b"), "'../b'"),
        (("a", "b,c"), "'b,c'"),
        (("a", ""), "''"),
        (("a", "7"), "a letter among them"),
        (("a", "b\nc"), "cannot be the name"),
        (("a", " b"), "cannot be the name"),
        (("a", "Foreign"), "cannot be the name"),
        (("a", "unsure"), "cannot be the name"),
        (("blast", "Blast"), "2 classes called 'blast'"),
        (("blast cell", "blast_cells"), "2 classes called 'blastcell'"),
    ],
)
def test_names_that_cannot_be_folders_columns_or_options_are_refused(names, said):
    with pytest.raises(BloodkerasError) as caught:
        DataSet("mine", names, 40)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [0, 15, 513, 28.5, "28"])
def test_a_side_that_no_network_takes_is_refused(side):
    with pytest.raises(BloodkerasError, match="expected 16 to 512"):
        DataSet("mine", ("a", "b"), side)


def test_names_of_one_letter_and_of_other_alphabets_are_names():
    assert (
        DataSet("mine", ("a", "B", "лимфоцит", "cellule géante", "CD4+ (T)"), 16).class_count == 5
    )


def test_what_was_made_for_other_images_says_so():
    BLOODMNIST.check_fits(dataclasses.replace(BLOODMNIST, name="mine"), "it")
    for other in (bloodmnist(64), FIVE):
        with pytest.raises(BloodkerasError, match=r"runs/x is for Bl.*28x28.*--data"):
            BLOODMNIST.check_fits(other, "runs/x")


# --- a file --------------------------------------------------------------------------------------


def write(path, dataset=FIVE, **changes):
    sizes = dict.fromkeys(("train", "val", "test"), 10)
    arrays = draw_arrays(sizes, dataset=dataset) | {"class_names": FIVE.class_names} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def test_a_file_says_what_it_is(tmp_path):
    splits = read_npz(write(tmp_path / "five.npz", name=FIVE.name, licence="CC0"))
    assert splits.dataset == FIVE
    assert all(split.dataset == FIVE for split in splits.named().values())
    assert not splits.is_published()
    unsaid = read_npz(write(tmp_path / "five.npz"))
    assert unsaid.dataset == dataclasses.replace(FIVE, name="five", licence="")


@pytest.mark.parametrize("side", [28, 64])
def test_a_file_of_medmnist_says_nothing_and_is_bloodmnist(tmp_path, side):
    path = write(tmp_path / "x.npz", bloodmnist(side), class_names=None)
    assert read_npz(path).dataset == bloodmnist(side)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"class_names": None},
            r"\(N, 28, 28, 3\).*class_names in the file",
        ),  # 40 is not a side of BloodMNIST
        ({"class_names": ["a", "b"]}, "0..1"),
        ({"class_names": [f"kind {k}" for k in "abcdef"]}, "all 6 classes, found none of kind f"),
        ({"class_names": [1, 2, 3, 4, 5]}, "class_names must be text"),
        ({"class_names": "round"}, "class_names must be text"),
        ({"name": ["Five", "kinds"]}, "name must be text"),
        ({"name": "Five\nkinds"}, "expected one line"),
        ({"class_names": ["a", "b", "c", "d", "../e"]}, "'../e'"),
        ({"val_images": np.zeros((10, 28, 28, 3), np.uint8)}, r"val_images .*\(N, 40, 40, 3\)"),
    ],
)
def test_a_file_that_cannot_be_what_it_says_is_refused(tmp_path, changes, said):
    with pytest.raises(BloodkerasError, match=said) as caught:
        read_npz(write(tmp_path / "five.npz", **changes))
    assert "five.npz" in str(caught.value)


def test_the_page_about_it_shows_what_happens(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[1] / "docs/data_set.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out.strip() == code.splitlines()[-1].partition("  # ")[2]


# --- what was made before ------------------------------------------------------------------------


@pytest.mark.parametrize("export", sorted(EXPORTS.iterdir()), ids=lambda path: path.name)
def test_a_committed_export_is_bloodmnists(export):
    """Those made before it was a value do not say so."""
    made_since = export.name in ("residual-64", "robust-64", "tiny")
    classifier = Classifier.load(export)
    assert ("dataset" in classifier.card) == made_since
    assert classifier.dataset == bloodmnist(64 if export.name.endswith("-64") else 28)


def test_of_an_unnamed_set_the_classes_and_the_side_are_known():
    assert unnamed(CLASS_NAMES, 28) == BLOODMNIST
    assert unnamed(CLASS_NAMES, 40).url == ""
    assert (unnamed(("a", "b"), 40).credits, unnamed(("a", "b"), 40).image_side) == ((), 40)


# --- nobody else knows ---------------------------------------------------------------------------


def constants(path: Path) -> list:
    """Return all numbers and texts in a module but its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [node.value for node in found if id(node) not in said]


MODULES = [path for path in PACKAGE.rglob("*.py") if path.name != "bloodmnist.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_knows_the_side_or_a_class_of_bloodmnist(path):
    for value in constants(path):
        if isinstance(value, str):
            assert "28x28" not in value
            assert "28, 28" not in value
            assert not set(CLASS_NAMES) & {value.strip().casefold(), value.rstrip("s")}
        else:
            assert value is True or value != 28


def test_the_search_would_find_them():
    found = constants(PACKAGE / "bloodmnist.py")
    assert 28 in found
    assert set(CLASS_NAMES) < set(found)


def test_abbreviations_and_their_doubts_are_those_of_known_classes():
    assert class_name("neu", CLASS_NAMES) == "neutrophil"
    with pytest.raises(UsageError, match="normoblast"):
        class_name("n", CLASS_NAMES)
    for word in ("neu", "n"):
        with pytest.raises(UsageError, match=f"unknown class '{word}': .*round"):
            class_name(word, FIVE.class_names)
    assert class_name("cd4+", FIVE.class_names) == "CD4+"
