"""The page of the report: the answer first, tables as tables, the full text last."""

import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from bloodkeras.answers.page_style import picture
from bloodkeras.bloodmnist import BLOODMNIST, CLASS_NAMES
from bloodkeras.contract import SYNTHETIC_STAMP
from bloodkeras.evaluation.evaluate import Report
from bloodkeras.evaluation.metrics import summarise
from bloodkeras.recipes import RECIPES
from bloodkeras.studies.report import write_report

LABELS = np.repeat(np.arange(8), 10)
DATA = {"file": "x.npz", "sha256": "0" * 64, "synthetic": False, "sizes": {"test": 80}}


def report_of(model: str, wrong: list[int], data: dict) -> Report:
    """Return a report whose answers to these rows are those of the next class."""
    called = LABELS.copy()
    called[wrong] = (called[wrong] + 1) % 8
    probs = np.full((80, 8), 0.01, np.float32)
    probs[np.arange(80), called] = 0.93
    metrics = summarise(LABELS, probs, CLASS_NAMES)
    return Report(model, "keras", "test", data, metrics, LABELS, probs)


def page_of(folder, wrong: dict[str, list[int]], data: dict = DATA) -> str:
    """Write a report of models that are wrong in these rows; return the page."""
    runs = []
    for name in wrong:
        run = SimpleNamespace(
            recipe=RECIPES[name], data=data, folder=folder / name, best_epoch=3, dataset=BLOODMNIST
        )
        run.info = {"parameters": 1234, "multiply_adds": 56789, "seconds": 90.0}
        (run.folder / "evaluation").mkdir(parents=True)
        for path in (f"learning_curves_{name}.png", f"evaluation/confusion_matrix_{name}.png"):
            (run.folder / path).write_bytes(b"PNG")
        runs.append(run)
    reports = [report_of(name, rows, data) for name, rows in wrong.items()]
    write_report(runs, reports, [None] * len(reports), folder, folder)
    return (folder / "report.html").read_text(encoding="utf-8")


class Tables(HTMLParser):
    """Collects the cells of each row."""

    def __init__(self):
        super().__init__()
        self.rows, self._open = [], False

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        self._open = tag in ("th", "td")
        if self._open:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._open = False

    def handle_data(self, data):
        if self._open:
            self.rows[-1][-1] += data


def rows_of(page: str) -> list[list[str]]:
    tables = Tables()
    tables.feed(page)
    return tables.rows


def test_the_answer_comes_first_and_the_text_last(tmp_path):
    # Wrong: four basophils, two platelets; and then one monocyte.
    page = page_of(tmp_path, {"simple": [0, 1, 2, 3, 70, 71], "residual": [50]})
    opening, *sections = page.split("<h2>")
    assert re.findall(r"<b>([\d.]+%)</b>", opening) == ["92.50%", "98.75%"]
    assert "6 of 80 test images wrong" in opening
    assert "+6.25 points compared with simple" in opening
    assert opening.count("95 % interval") == 2
    assert "1 mistakes instead of 6" in opening
    titles = [re.match("[A-Z][A-Za-z ]*", section)[0].strip() for section in sections]
    assert titles[0] == "Which classes improved"
    assert titles[1:3] == ["Confusion matrices", "Learning curves"]
    assert titles[-1] == "Full text"
    assert "BloodMNIST study\n=====" in sections[-1]
    assert (tmp_path / "results.txt").read_text(encoding="utf-8").count("residual on test") == 1


def test_the_classes_stand_by_what_they_gained(tmp_path):
    rows = rows_of(page_of(tmp_path, {"simple": [0, 1, 2, 3, 70, 71], "residual": [50]}))
    assert rows[0] == ["class", "simple", "residual", "gain of residual"]
    gains = {row[0]: row[-1] for row in rows[1:9]}
    assert set(gains) == set(CLASS_NAMES)
    numbers = [float(gain.split()[-1]) for gain in gains.values()]
    assert numbers == sorted(numbers, reverse=True)
    assert next(iter(gains)) == "basophil"
    assert gains["basophil"].startswith("▲ +0.")
    assert gains["monocyte"].startswith("▼ -0.")
    assert gains["lymphocyte"] == "+0.0000"


def test_all_numbers_of_the_text_are_in_tables(tmp_path):
    rows = rows_of(page_of(tmp_path, {"simple": [0, 1], "deeper": [0], "residual": []}))
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    accuracies = [m["keras"]["headline"]["accuracy"]["value"] for m in results["models"]]
    assert ["accuracy", *(f"{a:.4f}" for a in accuracies), "+0.0250"] in rows
    assert ["parameters", "1,234", "1,234", "1,234"] in rows
    assert ["same labels by ONNX", "no export", "no export", "no export", ""] in rows


@pytest.mark.parametrize("wrong", [{"simple": [0, 70]}, {"simple": [0], "deeper": [0, 1]}])
def test_one_model_or_a_loss_is_no_gain(tmp_path, wrong):
    page = page_of(tmp_path, wrong, DATA | {"synthetic": True})
    assert "class=gain" not in page
    assert ("-1.25 points compared with simple" in page) == (len(wrong) == 2)
    assert f"<p class=warn>{SYNTHETIC_STAMP}" in page.split("<h2>")[0]


def test_the_page_needs_nothing_else_and_fits_a_phone_and_paper(tmp_path):
    page = page_of(tmp_path, {"simple": [0], "deeper": []})
    assert page.count("data:image/png;base64,") == 4
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert 'name="viewport"' in page
    assert "@media print" in page
    assert page.count("<table") == page.count("<div class=scroll><table")
    assert set(re.findall('alt="([^"]*)"', page)) == {
        f"{kind} {name}"
        for kind in ("confusion matrix", "learning curves")
        for name in ("simple", "deeper")
    }


def test_what_a_picture_shows_cannot_smuggle_anything_in():
    assert '<b "' not in picture(b"", '"><b "')
