"""Somebody's own cells: tables as people write them, numbers by hand, and the page of mistakes."""

import csv
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from drawn_field import field
from PIL import Image
from test_imports import run_blocked
from tiny_export import build_export, write_sums

from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.predict import score
from bloodkeras.bloodmnist import CLASS_NAMES
from bloodkeras.cli.judging import judge as judge_cells
from bloodkeras.contract import CARD_FILE
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.laboratory.judge import ROWS, evaluate_photos, judge, wilson
from bloodkeras.laboratory.judge_table import table
from bloodkeras.laboratory.labelled import read_labelled
from bloodkeras.laboratory.labels import read_table
from bloodkeras.laboratory.shift_score import colours, describe_colours, judge_colours, sentence

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 90, 90)
CELLS = (  # colour, true class, as it is written; red, green, blue are called classes 0, 1, 2
    (RED, "basophil"),
    (RED, "Basophils"),
    (GREEN, "1"),
    (RED, "eosinophil"),
    (BLUE, "6"),
)


@pytest.fixture
def export(tmp_path):
    return build_export(tmp_path / "export")


@pytest.fixture
def lab(tmp_path):
    """A folder of five photographs of one colour, one of them below another folder."""
    folder = tmp_path / "lab"
    (folder / "more").mkdir(parents=True)
    lines = ["file,label,remark"]
    for number, (colour, label) in enumerate(CELLS):
        name = f"{'more/' * (number == 4)}{number}.png"
        Image.new("RGB", (28, 28), colour).save(folder / name)
        lines.append(f"{name},{label},x")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def judged(export, lab, tmp_path):
    return evaluate_photos(
        Classifier.load(export), str(lab), str(lab / "labels.csv"), tmp_path / "out"
    )


def test_numbers_by_hand(export, lab, tmp_path):
    found = judged(export, lab, tmp_path)
    assert found["images"] == 5
    assert found["present"] == ["basophil", "eosinophil", "neutrophil"]
    assert found["all_classes"]["accuracy"] == pytest.approx(3 / 5)
    assert found["all_classes"]["balanced_accuracy"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    # Blue can be no erythroblast now, and the three that are left are equally probable.
    assert found["present_classes"]["accuracy"] == pytest.approx(3 / 5)
    assert found["present_classes"]["coverage"] == pytest.approx(4 / 5)
    assert found["present_classes"]["selective_accuracy"] == pytest.approx(3 / 4)
    assert found["recall"] == {"basophil": 1.0, "eosinophil": 0.5, "neutrophil": 0.0}
    expected = np.zeros((8, 8), int)
    expected[0, 0], expected[1, 1], expected[1, 0], expected[6, 2] = 2, 1, 1, 1
    assert np.array_equal(found["confusion"], expected)
    assert json.loads((tmp_path / "out/photos.json").read_text(encoding="utf-8")) == found
    text = (tmp_path / "out/photos.txt").read_text(encoding="utf-8")
    assert "all classes open" in text
    assert "0.6000" in text
    assert "Always to say basophil would be 40.0% right" in text


def test_the_scale_is_that_of_the_labelled_cells(export, tmp_path):
    """Others in the folder, of another zoom, do not count; it is recorded."""
    lab = tmp_path / "zoomed"
    lab.mkdir()
    for number in range(16):
        field(1, 500 if number < 8 else 1100).save(lab / f"{number}.png")
    rows = "".join(f"{number}.png,neutrophil\n" for number in range(8))
    (lab / "labels.csv").write_text(f"file,label\n{rows}", encoding="utf-8")
    found = judged(export, lab, tmp_path)
    assert found["framing"]["scales"] == {"": pytest.approx(19.5 / 200 * 360 / 500, rel=0.12)}
    assert found == json.loads((tmp_path / "out" / "photos.json").read_text(encoding="utf-8"))


def test_what_the_user_knows_is_judged_too(export, lab, tmp_path, capsys):
    (tmp_path / "prior.csv").write_text(
        "class,weight\neosinophil,1\nneutrophil,1\n", encoding="utf-8"
    )
    words = Classifier.load(export), str(lab), str(lab / "labels.csv"), tmp_path / "out"
    by_file = evaluate_photos(*words, prior=str(tmp_path / "prior.csv"))
    assert "as you weigh them" in capsys.readouterr().out
    by_names = evaluate_photos(*words, classes="eosinophil,neutrophil")
    cells = read_labelled(str(lab), str(lab / "labels.csv"), CLASS_NAMES)
    answers = Classifier.load(export).answer(cells.images, ["eosinophil", "neutrophil"])
    right = (answers.probs.argmax(1) == cells.labels).mean()
    assert by_names["asked"]["accuracy"] == by_file["asked"]["accuracy"] == right
    assert "asked" not in judged(export, lab, tmp_path)


def test_the_judge_says_the_same_as_predict_of_cells_whose_frame_is_in_doubt(
    export, lab, tmp_path, capsys
):
    field(1).resize((28, 28), Image.Resampling.BICUBIC).save(lab / "wide.png")
    field(2).save(lab / "wider.png")
    with open(lab / "labels.csv", "a", encoding="utf-8") as table:
        table.write("wide.png,eosinophil,x\nwider.png,eosinophil,x\n")
    found = judged(export, lab, tmp_path)
    assert "unsure because their frame is in doubt, as in predict: 2" in capsys.readouterr().out
    score([str(lab)], str(export), str(tmp_path / "answers.csv"))
    with open(tmp_path / "answers.csv", encoding="utf-8", newline="") as file:
        predicted = Counter(row["verdict"] for row in csv.DictReader(file))
    assert predicted == {"accepted": 5, "unsure": 2}
    assert found["doubtful"] == 2
    assert found["verdicts"] == {name: predicted[name] / 7 for name in found["verdicts"]}
    assert found["all_classes"]["coverage"] == 5 / 7
    assert all(found[key]["coverage"] <= 5 / 7 for key in ROWS if key in found)
    page = (tmp_path / "out/mistakes.html").read_text(encoding="utf-8")
    assert set(re.findall(r'data-v="unsure" title="(wide\w*)', page)) == {"wide", "wider"}


def test_the_page_shows_the_mistakes_and_nothing_else(export, lab, tmp_path):
    judged(export, lab, tmp_path)
    page = (tmp_path / "out/mistakes.html").read_text(encoding="utf-8")
    assert "2 of 5 cells" in page
    assert re.findall(r'title="([^"]*)"', page) == ["3.png", "more/4.png"]
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_the_page_calls_what_is_foreign_nothing(export, lab, tmp_path):
    """It is not a mistake of naming, and shown apart."""
    card = {"model": "tiny", "thresholds": {"foreign": -1e9}}
    (export / CARD_FILE).write_text(json.dumps(card), encoding="utf-8")
    write_sums(export)
    judged(export, lab, tmp_path)
    page = (tmp_path / "out/mistakes.html").read_text(encoding="utf-8")
    assert "0 of 5 cells are named wrongly" in page
    assert "5 more are foreign" in page
    assert re.findall(r"<h2>(\w+)", page) == ["Foreign"]
    captions = re.findall("<figcaption>(<b>.*?)<span>", page)
    assert "<b>foreign</b><i>nearest: basophil</i><i>is eosinophil</i>" in captions
    assert len(captions) == 5
    assert 'alt="3.png: foreign, nearest basophil, is eosinophil"' in page


def test_intervals_of_shares():
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-3)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-3)
    assert wilson(10, 10) == pytest.approx((0.7225, 1), abs=1e-3)


def test_what_has_no_label_is_counted_and_what_is_damaged_ends_in_an_error(
    export, lab, tmp_path, capsys
):
    Image.new("RGB", (28, 28)).save(lab / "extra.png")
    (lab / "2.png").write_text("no image", encoding="utf-8")
    with pytest.raises(BloodkerasError, match="could not be read: 1, see above"):
        judged(export, lab, tmp_path)
    assert "1 more have no label" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/photos.json").read_text(encoding="utf-8"))["images"] == 4


def test_a_table_from_a_spreadsheet(tmp_path):
    (tmp_path / "t.csv").write_text("Nr;File;Label \n1;a.png;Monocytes\n", encoding="utf-8-sig")
    assert read_table(tmp_path / "t.csv", CLASS_NAMES) == {"a.png": 5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\n", "columns file and label, once each, found name, label"),
        ("", "found nothing"),
        ("file,label\n", "no row"),
        ("file,label\na.png,monocite\n", "line 2: unknown class 'monocite': did you mean 'mono"),
        ("file,label\na.png,8\n", "line 2: label 8: expected 0 to 7"),
        ("file,label\na.png,1\na.png,2\n", "line 3: a.png is there twice"),
        ("file,label\na.png,1\n./a.png,2\n", "line 3: a.png is there twice"),
        ("file,label,label\na.png,1,2\n", "once each"),
        ('file,label\n"a.png' + "x" * 200_000, "is no CSV"),
        ("file,label\n,1\n", "line 2: no file"),
    ],
)
def test_a_bad_table_is_one_line(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(BloodkerasError, match=re.escape(message)) as caught:
        read_table(tmp_path / "t.csv", CLASS_NAMES)
    assert "\n" not in str(caught.value)


def test_copies_are_counted(export, lab, tmp_path, capsys):
    before = judged(export, lab, tmp_path)["copies"]  # flat colours: some are alike
    shutil.copy(lab / "1.png", lab / "again.png")
    with (lab / "labels.csv").open("a") as table:
        table.write("again.png,1\n")
    assert judged(export, lab, tmp_path)["copies"] == before + 1
    assert f"6 photographs of lab, {before + 1} of them copies of others" in capsys.readouterr().out


def test_results_of_other_photographs_are_not_written_over(export, lab, tmp_path):
    for _ in range(2):
        judged(export, lab, tmp_path)  # the same again may be
    before = (tmp_path / "out/photos.json").read_bytes()
    other = shutil.copytree(lab, tmp_path / "other")
    with pytest.raises(BloodkerasError, match=r"holds the results of .*lab: choose another --runs"):
        judged(export, other, tmp_path)
    assert (tmp_path / "out/photos.json").read_bytes() == before


def test_a_full_disk_leaves_earlier_results_whole_and_says_the_new(
    export, lab, tmp_path, monkeypatch, capsys
):
    judged(export, lab, tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    capsys.readouterr()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BloodkerasError, match="No space left"):
        judged(export, lab, tmp_path)
    assert "all classes open" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_place_that_cannot_be_written_is_said_first(export, lab, tmp_path, monkeypatch):
    (tmp_path / "out").write_text("no folder", encoding="utf-8")
    monkeypatch.setattr(Classifier, "answer", None)  # would fail with a TypeError
    with pytest.raises(BloodkerasError, match="cannot write the folder"):
        judged(export, lab, tmp_path)


def test_missing_files_and_folders_are_named(tmp_path, lab):
    with (lab / "labels.csv").open("a") as table:
        table.write("gone.png,1\n")
    with pytest.raises(BloodkerasError, match=r"1 of the 6 files .* gone\.png"):
        read_labelled(str(lab), str(lab / "labels.csv"), CLASS_NAMES)
    with pytest.raises(BloodkerasError, match="no such folder"):
        read_labelled(str(tmp_path / "no"), str(lab / "labels.csv"), CLASS_NAMES)
    with pytest.raises(BloodkerasError, match="cannot read"):
        read_labelled(str(lab), str(tmp_path / "no.csv"), CLASS_NAMES)


# --- do these images look like the training data? ------------------------------------------------


def test_colours_are_those_of_the_graph(drawn):
    from bloodkeras.export.colours import Colours

    images = drawn.test.images[:20]
    expected = np.asarray(Colours()(images.astype(np.float32)))
    assert colours(images) == pytest.approx(expected, abs=5e-5)


@pytest.fixture
def described(drawn):
    from bloodkeras.export.gaussian import gaussian

    fitted = gaussian(colours(drawn.train.images), drawn.train.labels)
    return describe_colours(fitted, drawn.val.images, drawn.val.labels)


def test_images_of_the_same_laboratory_look_alike_and_yellow_ones_do_not(described, drawn):
    described = json.loads(json.dumps(described))
    same = judge_colours(described, drawn.test.images)
    assert not same["shifted"]
    assert same["unusual"] < 0.15
    assert "look like the training data" in sentence(same, "x")
    yellow = (drawn.test.images * [1, 0.95, 0.75]).astype(np.uint8)
    other = judge_colours(described, yellow)
    assert other["shifted"]
    assert other["unusual"] > 0.9
    assert "do not look like the training data" in sentence(other, "x")


def test_an_old_card_says_what_to_do(export, lab, tmp_path):
    found = judged(export, lab, tmp_path)
    assert found["shift"] is None
    assert "bloodkeras export tiny" in found["sentence"]


def test_the_card_of_an_export_is_asked(export, lab, described):
    (export / "card.json").write_text(
        json.dumps({"model": "tiny", "colours": described}), encoding="utf-8"
    )
    write_sums(export)
    cells = read_labelled(str(lab), str(lab / "labels.csv"), CLASS_NAMES)
    classifier = Classifier.load(export)
    found = judge(classifier, cells, classifier.answer(cells.images))
    assert found["shift"]["shifted"]
    assert "R/G/B 153/51/51" in found["sentence"]


# --- several exports, several laboratories, cells that are none -------------------------------


@pytest.fixture
def strangers(lab):
    """Add three photographs, one of which at least the network takes for a class."""
    for place in (0, 3, 2):
        shutil.copy(lab / f"{place}.png", lab / f"strange{place}.png")
    path = lab.parent / "strangers.csv"
    rows = ("file,label", "strange0.png,blast", "strange3.png,blast", "strange2.png,smudge cell")
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def test_foreign_cells_that_are_accepted_are_counted(export, lab, strangers, tmp_path):
    shown = read_labelled(str(lab), str(strangers), ("blast", "smudge cell")).images
    taken = Classifier.load(export).answer(shown).verdicts == "accepted"
    labels = str(lab / "labels.csv")
    out, others = tmp_path / "out", str(strangers)
    found = evaluate_photos(Classifier.load(export), str(lab), labels, out, foreign=others)
    assert found["foreign"] == {
        "blast": {"cells": 2, "accepted": taken[:2].mean()},
        "smudge cell": {"cells": 1, "accepted": taken[2]},
    }
    assert taken.any()
    text = (tmp_path / "out/photos.txt").read_text(encoding="utf-8")
    assert f"accepted as one:\n{taken[:2].mean():>8.1%} of 2 blast\n" in text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0.png,NEU", "NEU is one of the classes"),
        ("0.png,6", "6 is one of the classes"),
        ("0.png,blast", r"0\.png is in both"),
        ("9.png,blast", "1 of the 1 files that .* names are not in"),
    ],
)
def test_a_cell_of_a_class_is_not_foreign(row, message, export, lab, tmp_path):
    strange = tmp_path / "strange.csv"
    strange.write_text(f"file,label\n{row}\n", encoding="utf-8")
    options = {"labels": str(lab / "labels.csv"), "foreign": str(strange)}
    with pytest.raises(BloodkerasError, match=message):
        judge_cells(str(export), photos=str(lab), runs=str(tmp_path / "runs"), **options)
    assert not (tmp_path / "runs").exists()


def test_an_error_in_the_last_folder_comes_before_the_first_is_judged(
    export, lab, tmp_path, capsys
):
    table = tmp_path / "typo.csv"
    table.write_text("file,label\n0.png,neutrofil\n", encoding="utf-8")
    other = shutil.copytree(lab, tmp_path / "other")
    with pytest.raises(BloodkerasError, match="neutrofil"):
        judge_cells(
            str(export),
            photos=f"{lab},{other}",
            labels=f"{lab / 'labels.csv'},{table}",
            runs=str(tmp_path / "runs"),
        )
    assert not capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def test_folders_of_one_name_do_not_meet(export, lab, tmp_path):
    other = shutil.copytree(lab, tmp_path / "second" / "lab")
    tables = f"{lab / 'labels.csv'},{other / 'labels.csv'}"
    runs = tmp_path / "runs"
    judge_cells(str(export), photos=f"{lab}, {other}", labels=tables, runs=str(runs))
    (results,) = runs.iterdir()
    names = {path.name for path in results.iterdir()}
    assert names == {f"photos-{tmp_path.name}-lab-labels", "photos-second-lab-labels"}


def numbers(model, photos, accuracy, **more):
    found = {"accuracy": accuracy, "balanced_accuracy": 0.5, "coverage": 0.25}
    found["selective_accuracy"] = more.pop("right", 1.0)
    both = {"all_classes": found, "present_classes": found}
    return {"model": model, "photos": photos, "images": 40} | both | more


def test_the_table_has_a_mean_over_seeds_alone():
    foreign = {"blast": {"cells": 30, "accepted": 0.1}, "smudge": {"cells": 10, "accepted": 0.5}}
    text = table(
        [
            numbers("robust", "/near", 0.7, foreign=foreign),
            numbers("robust", "/near", 0.9, foreign=foreign),
            numbers("tiny", "/near", 0.1),
            numbers("tiny", "/far", 0.2, right=None),
        ]
    )
    lines = [line.split() for line in text.splitlines()]
    assert ["robust", "40", "70.0%", "50.0%", "50.0%", "25.0%", "100.0%", "20.0%"] in lines
    assert ["tiny", "40", "20.0%", "50.0%", "50.0%", "25.0%", "-", "-"] in lines
    (mean,) = (line for line in lines if line[:1] == ["mean"])
    assert mean[:7] == ["mean", "of", "2", "40", "80.0%", "±", "14.1"]
    assert [line[0] for line in lines if line[:1] in (["/near"], ["/far"])] == ["/near", "/far"]


def test_several_folders_with_a_table_each(export, lab, strangers, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(lab / "more", other / "neutrophil")
    judge_cells(
        str(export),
        photos=f"{lab},{other}",
        labels=f"{lab / 'labels.csv'},",
        foreign=f"{strangers},",
        runs=str(tmp_path / "runs"),
    )
    said = capsys.readouterr().out
    rows = said[said.index("occurring") :].splitlines()
    assert [line for line in rows if line.startswith(str(tmp_path))] == [str(lab), str(other)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "a.csv"}, "--labels names 1 table for 2 folders"),
        ({"foreign": "a,b,c"}, "--foreign names 3 tables for 2 folders"),
        ({}, "nowhere is not a folder"),
        ({"photos": "a,a"}, "--photos a is named twice"),
        ({"photos": "a,"}, "on both sides of a comma"),
        ({"photos": "a", "labels": "a.csv,b.csv"}, "--labels names 2 tables for 1 folder:"),
    ],
)
def test_tables_that_do_not_fit_the_folders(options, message, export, lab, tmp_path):
    with pytest.raises(UsageError, match=message):
        judge_cells(
            str(export), **{"photos": f"{lab},nowhere", "runs": str(tmp_path / "runs")} | options
        )
    assert not (tmp_path / "runs").exists()


def test_no_export_to_judge(lab):
    with pytest.raises(UsageError, match="judge needs an export"):
        judge_cells(photos=str(lab))


# --- the command ------------------------------------------------------------------------------


def test_it_works_without_the_training_side(export, lab, tmp_path):
    words = [
        "judge",
        str(export),
        "--photos",
        str(lab),
        "--labels",
        str(lab / "labels.csv"),
        "--microns-per-pixel",
        "0.2",
        "--views",
        "--runs",
        str(tmp_path / "runs"),
    ]
    done = run_blocked(f"sys.argv[1:] = {words!r}\nfrom bloodkeras.__main__ import main; main()")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name == f"onnx-{tmp_path.name}-export"  # another one than exports/export
    names = {path.name for path in (folder / "photos-lab-labels-0.2um-views").iterdir()}
    assert names == {"photos.json", "photos.txt", "mistakes.html"}


@pytest.mark.parametrize(
    "words",
    [
        ["--photos", "x"],
        ["--labels", "x"],
        ["--tightness", "1.4"],
        ["--classes", "monocyte"],
        ["--photos", "x", "--labels", "y", "--prior", "blood"],
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(words):
    command = [sys.executable, "-m", "bloodkeras", "judge", "tiny", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "--photos" in done.stderr
