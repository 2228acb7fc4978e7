"""The files in exports/ on real photographs: they score what their cards say."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from bloodkeras.answers.classifier import Classifier
from bloodkeras.data.audit import audit
from bloodkeras.data.splits import read_npz
from bloodkeras.evaluation.evaluate import evaluate

pytestmark = pytest.mark.needs_data
EXPORTS = Path(__file__).parents[1] / "exports"
# The accuracy and macro F1 to reach on test: the reference design's; for the strong network ours,
# for the tiny one those of the reference design's `deeper`. One seed of ours may fall short of the
# bar that the mean over seeds holds by one standard error of 3,421 images.
REFERENCE = {
    "simple": (0.8325, 0.787),
    "deeper": (0.9404, 0.9319),
    "residual": (0.98, 0.978),
    "tiny": (0.9404, 0.9319),
}
ONE_STANDARD_ERROR = 0.004


@pytest.fixture(scope="module")
def splits(real_data):
    return read_npz(real_data)


@pytest.fixture(scope="module", params=REFERENCE)
def judged(request, splits):
    """Return (name, card, report on test) of a committed export."""
    classifier = Classifier.load(EXPORTS / request.param)
    report = evaluate(classifier.predict_proba, splits, "test", request.param, "onnx")
    return request.param, classifier.card, report


def test_the_card_says_what_the_file_scores(judged, splits):
    _, card, report = judged
    if card["evaluated_on"]["sha256"] != splits.sha256:
        pytest.skip("the card was written for another file of BloodMNIST")
    for key, number in card["metrics"]["test"]["headline"].items():
        # Another processor adds up in another order, and may call an image on the edge otherwise.
        assert report.value(key) == pytest.approx(number["value"], abs=1e-3), key


def test_the_file_holds_the_reference_designs_score(judged):
    name, _, report = judged
    accuracy, macro_f1 = REFERENCE[name]
    assert report.value("accuracy") > accuracy - ONE_STANDARD_ERROR
    assert report.value("macro_f1") > macro_f1 - ONE_STANDARD_ERROR


def test_exports_were_trained_on_photographs_with_the_recipe_that_the_docs_name():
    from bloodkeras.recipe import Recipe, override
    from bloodkeras.recipes import RECIPES, taught

    # docs/accuracy.md, "Commands"
    otherwise = {
        "residual": {"epochs": "40", "label_smoothing": "0.05"},
    }

    for name in REFERENCE:
        card = json.loads((EXPORTS / name / "card.json").read_text(encoding="utf-8"))
        assert not card["training_data"]["synthetic"]
        # bfloat16 is what "auto" was where these were trained
        recipe = dataclasses.replace(Recipe(**card["recipe"]), train_precision="auto")
        plain = taught(RECIPES[name]) if name == "tiny" else RECIPES[name]
        expected = override(plain, otherwise.get(name, {}))
        assert recipe == dataclasses.replace(expected, train_precision="auto")


def test_published_pixels_are_recognised(real_data):
    path = real_data.parent / "published32.npz"
    if not path.is_file():
        pytest.skip("needs published32.npz beside the real data")
    with np.load(path) as file:
        images, labels = file["images"], file["labels"].ravel()
    for name in REFERENCE:
        found = Classifier.load(EXPORTS / name).predict_proba(images).argmax(1)
        expected = REFERENCE[name][0]
        # 32 images: three standard errors below the score on the test split.
        allowed = expected - 3 * np.sqrt(expected * (1 - expected) / 32)
        assert (found == labels).mean() > allowed, name


def test_photographs_are_classified_as_well_as_the_test_split(photographs):
    with open(photographs / "labels.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    answers = Classifier.load(EXPORTS / "deeper").predict([photographs / r["file"] for r in rows])
    right = sum(a.label.startswith(r["class"]) for a, r in zip(answers, rows, strict=True))
    assert right / len(rows) > 0.9404 - 3 * np.sqrt(0.94 * 0.06 / len(rows))


def test_the_audit_finds_the_known_flaws(splits):
    if splits.is_published():
        pytest.skip("the known flaws were counted in the rebuilt file")
    findings = audit(splits)
    assert len(findings["duplicates"]) == 17
    assert findings["across_splits"] == 3
    assert findings["with_different_labels"] == 1
