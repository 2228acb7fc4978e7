"""What the user knows: names as people write them, probabilities by hand, and the record of it."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from tiny_export import build_export, expected_probs

from bloodkeras.contract import ACCEPTED, CLASS_NAMES, UNSURE
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.runtime.classifier import Classifier
from bloodkeras.runtime.prior import class_name, class_weights, describe, read_prior
from bloodkeras.runtime.score import score


@pytest.fixture
def export(tmp_path):
    return build_export(tmp_path / "export")


def flat(*colour):
    return np.full((1, 28, 28, 3), colour, np.uint8)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("neutrophil", "neutrophil"),
        ("Neutrophils", "neutrophil"),
        ("immature_granulocyte", "immature granulocyte"),
        (" Immature-Granulocytes ", "immature granulocyte"),
    ],
)
def test_names_as_people_write_them(written, meant):
    assert class_name(written, CLASS_NAMES) == meant


def test_a_wrong_name_is_told_what_was_meant():
    with pytest.raises(UsageError, match="did you mean 'lymphocyte'"):
        class_weights(["lymfocyte"], CLASS_NAMES)
    with pytest.raises(UsageError, match="expected basophil, "):
        class_weights(["zebra"], CLASS_NAMES)


@pytest.mark.parametrize("weight", [-1, "many", float("nan"), float("inf"), None])
def test_a_wrong_weight_is_refused(weight):
    with pytest.raises(UsageError, match="number from 0 up"):
        class_weights({"monocyte": weight}, CLASS_NAMES)


@pytest.mark.parametrize("prior", [[], {}, {"monocyte": 0}])
def test_no_class_left_is_refused(prior):
    with pytest.raises(UsageError, match="no class is left"):
        class_weights(prior, CLASS_NAMES)


@pytest.mark.parametrize(
    "prior", [["basophil", "erythroblast"], {"basophil": 1, "eosinophil": 0.5}, {"platelet": 3}]
)
def test_probabilities_are_multiplied_and_sum_to_one(export, prior):
    images = np.concatenate([flat(30, 20, 10), flat(9, 9, 9)])
    classifier = Classifier.load(export)
    weights = prior if isinstance(prior, dict) else dict.fromkeys(prior, 1)
    expected = expected_probs(images) * [weights.get(name, 0) for name in CLASS_NAMES]
    expected /= expected.sum(1, keepdims=True)
    assert classifier.answer(images, prior).probs == pytest.approx(expected, abs=1e-6)
    assert classifier.answer(images).probs == pytest.approx(expected_probs(images), abs=1e-6)
    answer = classifier.predict(images, prior=prior)[0]
    assert answer.label == CLASS_NAMES[expected[0].argmax()]
    assert answer.confidence == pytest.approx(expected[0].max(), abs=1e-6)


def test_what_lies_mostly_outside_is_unsure(export):
    """Pure red is class 0 with certainty; where it cannot be, the rest is no answer."""
    classifier = Classifier.load(export)
    (alone,) = classifier.predict(flat(255, 0, 0), prior=["eosinophil"])
    assert (alone.label, alone.verdict) == ("eosinophil", UNSURE)
    assert alone.confidence == pytest.approx(1)
    assert classifier.predict(flat(255, 0, 0), prior=["basophil"])[0].verdict == ACCEPTED


def test_probabilities_of_nothing_are_numbers(export):
    classifier = Classifier.load(export)
    probs = classifier.answer(flat(255, 0, 0), {"platelet": 1e-30, "monocyte": 1e-30}).probs
    assert np.isfinite(probs).all()
    assert probs.sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_a_file_says_the_same_as_a_mapping(tmp_path, kind):
    file = tmp_path / "prior.txt"
    text = {
        "json": '{"Neutrophils": 4, "lymphocyte": 1}',
        "csv": "class,weight\nNeutrophils,4\nlymphocyte,1\n",
    }
    file.write_text(text[kind], encoding="utf-8-sig")
    assert read_prior("", str(file), CLASS_NAMES) == {"lymphocyte": 0.25, "neutrophil": 1.0}


@pytest.mark.parametrize("text", ["", "{", "a,b\n1,2\n", "\xff\xfe"])
def test_a_bad_file_is_one_line(tmp_path, text):
    (tmp_path / "prior").write_text(text, encoding="latin-1")
    with pytest.raises(BloodkerasError, match=r"prior") as caught:
        read_prior("", str(tmp_path / "prior"), CLASS_NAMES)
    assert "\n" not in str(caught.value)


def test_both_options_are_refused():
    with pytest.raises(UsageError, match="give one of them"):
        read_prior("monocyte", "file", CLASS_NAMES)


def test_the_choice_in_words():
    assert describe(None) == ""
    assert describe({"monocyte": 1.0, "platelet": 1.0}) == "monocyte; platelet"
    assert describe({"monocyte": 1.0, "platelet": 0.25}) == "monocyte 1; platelet 0.25"


@pytest.fixture
def cell(tmp_path):
    Image.new("RGB", (28, 28), (40, 30, 0)).save(tmp_path / "cell.png")
    return str(tmp_path / "cell.png")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_the_table_records_the_choice_and_resumes_with_the_same_only(export, cell, tmp_path, kind):
    out = tmp_path / f"x.{kind}"
    score([cell], str(export), str(out), classes="eosinophils,monocyte")
    if kind == "csv":
        (row,) = csv.DictReader(out.read_text().splitlines())
    else:
        row = json.loads(out.read_text())
    assert row["prior"] == "eosinophil; monocyte"
    assert row["label"] == "eosinophil"
    assert float(row["prob_basophil"]) == 0
    origin = json.loads((tmp_path / f"x.{kind}.origin.json").read_text())
    assert origin["prior"] == {"eosinophil": 1.0, "monocyte": 1.0}
    score([cell], str(export), str(out), resume=True, classes="eosinophils,monocyte")
    with pytest.raises(BloodkerasError, match="prior"):
        score([cell], str(export), str(out), resume=True, classes="monocyte")


def test_without_a_choice_there_is_no_such_column(export, cell, tmp_path):
    score([cell], str(export), str(tmp_path / "x.csv"))
    assert "prior" not in (tmp_path / "x.csv").read_text()


def test_what_is_printed_and_the_page_say_it_too(export, cell, tmp_path, capsys):
    page = tmp_path / "x.html"
    score([cell], str(export), classes="eosinophil,monocyte", report=str(page))
    assert "possible answers: eosinophil; monocyte" in capsys.readouterr().out
    assert "eosinophil; monocyte" in page.read_text()
