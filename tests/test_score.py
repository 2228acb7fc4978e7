"""Checks the table of answers: which files are meant, what a bad file does, what the CSV holds.

Flow: takes a hand-made export and painted images; gives a failure when an answer goes missing.
"""

import csv
import os
import sys

import pytest
from PIL import Image
from tiny_export import build_export

from bloodkeras.errors import BloodkerasError
from bloodkeras.runtime.classifier import Classifier
from bloodkeras.runtime.classify import (
    Row,
    classify_files,
    find_images,
    predict_table,
    write_csv,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """The path of an export that knows red, green and blue."""
    return str(build_export(tmp_path_factory.mktemp("exports") / "tiny"))


@pytest.fixture
def cells(tmp_path):
    """A folder with three images, one of them in a folder below, and a text."""
    folder = tmp_path / "cells"
    (folder / "below").mkdir(parents=True)
    for name, colour in {"b.png": "#00f", "a.JPG": "#f00", "below/c.bmp": "#0f0"}.items():
        Image.new("RGB", (40, 40), colour).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def read_csv(path) -> list[list[str]]:
    """Read a CSV back with all its quoting."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def refusal(function, *args) -> str:
    """Return the one line with which a call is refused."""
    with pytest.raises(BloodkerasError) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- which files are meant ----------------------------------------------------------------------


def test_folder_is_searched_recursively_and_sorted(cells):
    """Every image at any depth, whatever the case of its ending, and nothing else."""
    found = [path.relative_to(cells).as_posix() for path in find_images([str(cells)])]
    assert found == ["a.JPG", "b.png", "below/c.bmp"]


def test_file_is_itself(cells):
    """A named file is meant whatever its ending, and the order given is kept."""
    named = [cells / "notes.txt", cells / "a.JPG"]
    assert find_images(map(str, named)) == named


def test_folder_named_like_an_image_is_no_image(cells):
    """A folder `cell.png` is looked into, not opened."""
    (cells / "cell.png").mkdir()
    Image.new("RGB", (28, 28)).save(cells / "cell.png" / "inside.png")
    found = [path.relative_to(cells).as_posix() for path in find_images([cells])]
    assert found == ["a.JPG", "b.png", "below/c.bmp", "cell.png/inside.png"]


def test_missing_path_is_named(cells):
    """One missing path stops everything before a model is loaded."""
    message = refusal(find_images, [cells, cells / "nobody.png"])
    assert message == f"no such file or folder: {cells / 'nobody.png'}"


def test_folder_without_images_is_an_error(tmp_path):
    """An empty answer would look like success; the endings looked for are told."""
    (tmp_path / "notes.txt").write_text("no image")
    message = refusal(find_images, [tmp_path])
    assert str(tmp_path) in message
    assert ".png" in message


# --- a row a file -------------------------------------------------------------------------------


def test_bad_file_does_not_stop_the_others(cells, model):
    """The file that cannot be read has an error; those before and after it are answered."""
    (cells / "aa.png").write_bytes(b"")
    rows = list(classify_files(Classifier.load(model), find_images([cells])))
    assert [row.label for row in rows] == ["basophil", "", "erythroblast", "eosinophil"]
    assert [bool(row.error) for row in rows] == [False, True, False, False]
    assert rows[1].path == str(cells / "aa.png")
    assert rows[1].confidence is None
    assert all(row.confidence > 0.99 for row in rows if not row.error)


def test_table_is_printed(cells, model, capsys):
    """Each path stands beside its class and its confidence."""
    predict_table([str(cells)], model)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["basophil", "erythroblast", "eosinophil"]
    assert [line.split()[0] for line in lines] == [str(path) for path in find_images([cells])]
    assert all(line.endswith("1.0000") for line in lines)


@pytest.mark.parametrize("to_csv", [False, True])
def test_bad_file_fails_after_all_were_answered(cells, model, capsys, tmp_path, to_csv):
    """The exit status tells, but no answer is lost."""
    (cells / "aa.png").write_text("no image")
    out = str(tmp_path / "out.csv") if to_csv else ""
    message = refusal(predict_table, [str(cells)], model, out)
    assert message.startswith("1 of 4 files could not be read")
    answers = (tmp_path / "out.csv").read_text() if to_csv else capsys.readouterr().out
    for word in ("basophil", "erythroblast", "eosinophil", "aa.png is not an image"):
        assert word in answers


def test_missing_model_is_an_error(cells, tmp_path):
    """Nothing is written when there is no model."""
    refusal(predict_table, [str(cells)], str(tmp_path / "nowhere"), str(tmp_path / "out.csv"))
    assert not (tmp_path / "out.csv").exists()


# --- the CSV ------------------------------------------------------------------------------------


def test_csv_is_written_from_files_to_answers(cells, model, tmp_path, capsys):
    """The whole file, cell by cell."""
    predict_table([str(cells)], model, str(tmp_path / "out.csv"))
    assert read_csv(tmp_path / "out.csv") == [
        ["path", "label", "confidence", "error"],
        [str(cells / "a.JPG"), "basophil", "1.0000", ""],
        [str(cells / "b.png"), "erythroblast", "1.0000", ""],
        [str(cells / "below" / "c.bmp"), "eosinophil", "1.0000", ""],
    ]
    assert "wrote 3 rows" in capsys.readouterr().out


def test_csv_survives_any_path(tmp_path):
    """Commas, quotes, newlines and umlauts in a path come back as they were."""
    path = 'a,b"c"\nd;ü.png'
    rows = [Row(path, "monocyte", 0.98765), Row(path, error='no "image", sorry')]
    write_csv(rows, tmp_path / "out.csv")
    assert read_csv(tmp_path / "out.csv")[1:] == [
        [path, "monocyte", "0.9877", ""],
        [path, "", "", 'no "image", sorry'],
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_csv_survives_a_name_that_is_no_text(tmp_path):
    """A file name in another encoding costs its odd character, not the whole table."""
    rows = [Row(os.fsdecode(b"zell\xe4.png"), "monocyte", 0.5), Row("b.png", "platelet", 0.5)]
    write_csv(rows, tmp_path / "out.csv")
    content = (tmp_path / "out.csv").read_bytes()
    assert b"zell" in content
    assert b"b.png,platelet,0.5000" in content


@pytest.mark.parametrize("place", ["missing/out.csv", "file/out.csv", "folder", "x" * 300])
def test_unwritable_place_is_an_error(tmp_path, place):
    """A place that cannot take the file is named, and nothing is left there."""
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    message = refusal(write_csv, [Row("a.png", "monocyte", 0.5)], tmp_path / place)
    assert message.startswith(f"cannot write {tmp_path / place}: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("place", [".", "/", ".."])
def test_place_without_a_name_is_an_error(tmp_path, monkeypatch, place):
    """`--out .` is a mistake to be told, not a traceback."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert "cannot write" in refusal(write_csv, [Row("a.png", "monocyte", 0.5)], place)
    assert list(tmp_path.rglob("*")) == [tmp_path / "here"]


def test_full_disk_keeps_the_earlier_csv(tmp_path):
    """A table that breaks off halfway replaces nothing and leaves nothing."""

    def rows():
        yield Row("a.png", "monocyte", 0.5)
        raise OSError(28, "No space left on device")

    (tmp_path / "out.csv").write_text("earlier\n")
    message = refusal(write_csv, rows(), tmp_path / "out.csv")
    assert "No space left on device" in message
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert (tmp_path / "out.csv").read_text() == "earlier\n"
