"""What the user knows: names as people write them, probabilities by hand, and the record of it."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from tiny_export import build_export, expected_probs

from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.predict import score
from bloodkeras.answers.prior import (
    class_name,
    class_weights,
    describe,
    estimate_shares,
    read_prior,
)
from bloodkeras.bloodmnist import CLASS_NAMES, HEALTHY_BLOOD
from bloodkeras.contract import ACCEPTED, UNSURE
from bloodkeras.errors import BloodkerasError, UsageError

HARDLY = ("immature granulocyte", "erythroblast", "platelet")  # in healthy blood


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
    """Pure red is class 0 with certainty; where it cannot be, the rest is not an answer."""
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
    found = read_prior("", str(file), CLASS_NAMES)
    assert found.by_class == {"lymphocyte": 0.25, "neutrophil": 1.0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "a,b\n1,2\n",
        "\xff\xfe",
        'class,weight\n"monocyte' + "x" * 200_000,
        '{"a":' * 100_000,
        "class,weight\nmonocyte,1\nMonocytes,2\n",
        '{"monocyte": 1, "monocyte": 2}',
        "class,weight\n",
    ],
)
def test_a_bad_file_is_one_line(tmp_path, text):
    (tmp_path / "prior").write_text(text, encoding="latin-1")
    with pytest.raises(BloodkerasError, match=r"prior") as caught:
        read_prior("", str(tmp_path / "prior"), CLASS_NAMES)
    assert "\n" not in str(caught.value)


def test_semicolons_separate_too_as_in_a_table_of_labels(tmp_path):
    (tmp_path / "prior.csv").write_text(
        "class;weight\nmonocyte;1\nplatelet;0.5\n", encoding="utf-8"
    )
    found = read_prior("", str(tmp_path / "prior.csv"), CLASS_NAMES)
    assert found.by_class == {"monocyte": 1, "platelet": 0.5}


def test_a_mistyped_word_is_told_what_was_meant():
    with pytest.raises(BloodkerasError, match="did you mean 'blood'"):
        read_prior("", "Bloood", CLASS_NAMES)


def test_both_options_are_refused():
    with pytest.raises(UsageError, match="give one of them"):
        read_prior("monocyte", "file", CLASS_NAMES)


def test_the_choice_in_words():
    assert describe(None) == ""
    assert describe({"monocyte": 1.0, "platelet": 1.0}) == "monocyte; platelet"
    assert describe({"monocyte": 1.0, "platelet": 0.25}) == "monocyte times 1; platelet times 0.25"


@pytest.fixture
def cell(tmp_path):
    Image.new("RGB", (28, 28), (40, 30, 0)).save(tmp_path / "cell.png")
    return str(tmp_path / "cell.png")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_the_table_records_the_choice_and_resumes_with_the_same_only(export, cell, tmp_path, kind):
    out = tmp_path / f"x.{kind}"
    score([cell], str(export), str(out), classes="eosinophils,monocyte")
    if kind == "csv":
        (row,) = csv.DictReader(out.read_text(encoding="utf-8").splitlines())
    else:
        row = json.loads(out.read_text(encoding="utf-8"))
    assert row["prior"] == "eosinophil; monocyte"
    assert row["label"] == "eosinophil"
    assert float(row["prob_basophil"]) == 0
    origin = json.loads((tmp_path / f"x.{kind}.origin.json").read_text(encoding="utf-8"))
    assert origin["prior"] == {"eosinophil": 1.0, "monocyte": 1.0}
    score([cell], str(export), str(out), resume=True, classes="eosinophils,monocyte")
    with pytest.raises(BloodkerasError, match="prior"):
        score([cell], str(export), str(out), resume=True, classes="monocyte")


def test_without_a_choice_there_is_no_such_column(export, cell, tmp_path):
    score([cell], str(export), str(tmp_path / "x.csv"))
    assert "prior" not in (tmp_path / "x.csv").read_text(encoding="utf-8")


def test_what_is_printed_and_the_page_say_it_too(export, cell, tmp_path, capsys):
    page = tmp_path / "x.html"
    score([cell], str(export), classes="eosinophil,monocyte", report=str(page))
    assert "possible answers: eosinophil; monocyte" in capsys.readouterr().out
    assert "eosinophil; monocyte" in page.read_text(encoding="utf-8")


# --- shares from the images themselves --------------------------------------------------------


def two_kinds(count: int, share: float) -> np.ndarray:
    """Return true probabilities, prior one half, of which of two classes a number is from."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(np.where(rng.random(count) < share, 1.0, -1.0))
    first = 1 / (1 + np.exp(-2 * numbers))
    return np.stack([first, 1 - first], 1).astype(np.float32)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.97])
def test_shares_are_found_where_probabilities_are_true(share):
    found = estimate_shares(two_kinds(4000, share), np.array([0.5, 0.5]))
    assert found == pytest.approx([share, 1 - share], abs=0.02)


def test_what_the_network_expects_is_taken_out():
    """The same numbers, seen by a network that was trained where the first class is rare."""
    odds = two_kinds(4000, 0.7) * [0.1, 0.9]
    found = estimate_shares(odds / odds.sum(1, keepdims=True), np.array([0.1, 0.9]))
    assert found == pytest.approx([0.7, 0.3], abs=0.02)


def test_few_images_say_little_and_none_nothing():
    own = np.full(8, 1 / 8)
    assert estimate_shares(np.empty((0, 8), np.float32), own) == pytest.approx(own)
    sure = np.eye(8, dtype=np.float32)[:1]
    assert 1 / 8 < estimate_shares(sure, own)[0] < 0.3
    assert estimate_shares(np.repeat(sure, 1000, 0), own)[0] > 0.98


def test_a_class_that_cannot_occur_gets_no_share():
    own = np.full(8, 1 / 8)
    weights = np.array([0, 1, 1, 0, 0, 0, 0, 0])
    found = estimate_shares(np.eye(8, dtype=np.float32), own, weights)
    assert (found > 0).tolist() == weights.astype(bool).tolist()
    assert found.sum() == pytest.approx(1)


def test_what_hardly_occurs_is_unsure_but_what_is_rare_is_not(export):
    """Pure red is class 0 with certainty."""
    classifier = Classifier.load(export)
    rare, hardly = ({CLASS_NAMES[0]: weight, CLASS_NAMES[1]: 1} for weight in (0.1, 0.001))
    assert classifier.predict(flat(255, 0, 0), prior=rare)[0].verdict == ACCEPTED
    assert classifier.predict(flat(255, 0, 0), prior=hardly)[0].verdict == UNSURE


def test_the_estimate_is_recorded_and_resumed(export, tmp_path):
    for number in range(30):
        Image.new("RGB", (28, 28), (200, number, 0)).save(tmp_path / f"{number}.png")
    out = tmp_path / "x.csv"
    score([str(tmp_path)], str(export), str(out), prior="estimate", classes="basophil,eosinophil")
    known = json.loads((tmp_path / "x.csv.origin.json").read_text(encoding="utf-8"))["prior"]
    assert known["basophil"] == 1
    assert 0 < known["eosinophil"] < 0.2
    score(
        [str(tmp_path)],
        str(export),
        str(out),
        resume=True,
        prior="estimate",
        classes="basophil,eosinophil",
    )
    with pytest.raises(UsageError, match="reads the images twice"):
        score(["-"], str(export), prior="estimate")


def test_where_nothing_can_be_read_the_estimate_is_no_obstacle(export, tmp_path, capsys):
    (tmp_path / "bad.png").write_text("no image", encoding="utf-8")
    with pytest.raises(BloodkerasError, match="1 of 1 files could not be read"):
        score([str(tmp_path / "bad.png")], str(export), prior="estimate")
    assert "bad.png" in capsys.readouterr().out


def test_healthy_blood_weighs_by_its_shares_over_the_networks_own(export):
    """A network that expects all classes alike is weighed by the shares as they are."""
    classifier = Classifier.load(export)
    known = classifier.prior_of(HEALTHY_BLOOD).by_class
    assert known["neutrophil"] == 1
    assert known["lymphocyte"] == pytest.approx(2500 / 3650, abs=1e-4)
    assert known["platelet"] == pytest.approx(10 / 3650, rel=1e-3)
    assert classifier.prior_of(HEALTHY_BLOOD, ["platelet"]).by_class == {"platelet": 1}
    classifier.card["class_shares"] = [HEALTHY_BLOOD[name] for name in CLASS_NAMES]
    assert classifier.prior_of(HEALTHY_BLOOD).by_class == dict.fromkeys(CLASS_NAMES, 1)


@pytest.mark.parametrize(
    "own",
    [{}, dict.fromkeys(CLASS_NAMES, 0) | {"monocyte": 1}, HEALTHY_BLOOD],
    ids=["all alike", "one only", "as in blood"],
)
def test_what_healthy_blood_hardly_holds_is_unsure_whatever_the_network_expects(export, own):
    """Pure red is class 0 with certainty, whatever that is called."""
    classifier = Classifier.load(export)
    classifier.card["class_shares"] = [own[name] for name in CLASS_NAMES] if own else None
    for first in CLASS_NAMES:
        classifier.labels = (first, *(name for name in CLASS_NAMES if name != first))
        (found,) = classifier.predict(flat(255, 0, 0), prior="blood")
        assert (found.label, found.verdict) == (first, UNSURE if first in HARDLY else ACCEPTED)


def test_no_class_of_very_many_images_is_weighed_to_nothing(export):
    probs = np.repeat(np.eye(8, dtype=np.float32)[:1], 100_000, 0)
    found = Classifier.load(export).estimate_prior(probs)
    assert set(found.by_class) == set(CLASS_NAMES)
    assert min(found.by_class.values()) > 0


def test_the_word_blood_means_the_same_everywhere(export, tmp_path):
    classifier = Classifier.load(export)
    red = flat(255, 0, 0)  # basophil with certainty
    by_word, by_weights = (
        classifier.answer(red, prior) for prior in ("blood", classifier.prior_of(HEALTHY_BLOOD))
    )
    assert np.array_equal(by_word.probs, by_weights.probs)
    Image.fromarray(red[0]).save(tmp_path / "a.png")
    score([str(tmp_path / "a.png")], str(export), str(tmp_path / "x.csv"), prior="blood")
    known = json.loads((tmp_path / "x.csv.origin.json").read_text(encoding="utf-8"))["prior"]
    assert known == classifier.prior_of(HEALTHY_BLOOD).by_class
    row = next(csv.DictReader((tmp_path / "x.csv").open()))
    assert float(row["confidence"]) == pytest.approx(by_word.probs.max(), abs=1e-4)
    score(
        [str(tmp_path / "a.png")],
        str(export),
        str(tmp_path / "y.csv"),
        prior="blood",
        classes="lymphocyte,monocyte",
    )
    known = json.loads((tmp_path / "y.csv.origin.json").read_text(encoding="utf-8"))["prior"]
    assert known == {"lymphocyte": 1, "monocyte": pytest.approx(430 / 2500, abs=1e-4)}
