"""The table of the answers: whole after every one, gone on with, and never at others' expense."""

import csv

import pytest

from bloodkeras.bloodmnist import CLASS_NAMES
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.labelling.table import Table
from bloodkeras.laboratory.labels import read_table


def lines(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [row[:2] for row in csv.reader(file)]


def test_every_answer_is_on_disk_at_once_and_undo_takes_the_last_back(tmp_path):
    table = Table(tmp_path / "labels.csv")
    assert list(tmp_path.iterdir()) == []
    table.add("a.png", "neutrophil")
    assert lines(table.path) == [["file", "label"], ["a.png", "neutrophil"]]
    table.add('b, "2".png', "basophil")
    assert lines(table.path)[2:] == [['b, "2".png', "basophil"]]
    assert table.undo().file == 'b, "2".png'
    assert lines(table.path) == [["file", "label"], ["a.png", "neutrophil"]]
    assert (table.undo().label, table.undo()) == ("neutrophil", None)
    assert lines(table.path) == [["file", "label"]]
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


def test_it_goes_on_where_it_was(tmp_path):
    first = Table(tmp_path / "labels.csv")
    first.add("a.png", "neutrophil")
    first.add("b.png", "unknown")
    second = Table(tmp_path / "labels.csv")
    assert second.rows == first.rows
    second.undo()
    second.add("b.png", "monocyte")
    assert lines(second.path)[1:] == [["a.png", "neutrophil"], ["b.png", "monocyte"]]


def test_judge_reads_it_and_leaves_out_what_has_no_label(tmp_path, capsys):
    table = Table(tmp_path / "labels.csv")
    for file, label in (("a", "neutrophil"), ("b", "unknown"), ("c", "not a cell"), ("d", "NEU")):
        table.add(file, label)
    assert read_table(table.path, CLASS_NAMES) == {"a": 6, "d": 6}
    assert "without a label, so left out: 1 as unknown, 1 as not a cell" in capsys.readouterr().err
    assert read_table(table.path, ("neutrophil", "unknown", "not a cell", "NEU"))["b"] == 1


def test_a_table_without_any_class_is_one_line(tmp_path):
    Table(tmp_path / "labels.csv").add("a.png", "unknown")
    with pytest.raises(BloodkerasError, match=r"names no cell of a class: all .* 1 as unknown$"):
        read_table(tmp_path / "labels.csv", CLASS_NAMES)


def test_a_table_that_was_begun_by_hand_is_gone_on_with(tmp_path):
    (tmp_path / "own.csv").write_text("\ufefffile,label\r\na.png,NEU\r\n", encoding="utf-8")
    table = Table(tmp_path / "own.csv")
    table.add("b.png", "monocyte")
    assert lines(table.path)[1:] == [["a.png", "NEU"], ["b.png", "monocyte"]]


def test_what_another_program_changed_is_not_written_over(tmp_path):
    table = Table(tmp_path / "labels.csv")
    table.add("a.png", "neutrophil")
    other = Table(table.path)
    other.add("b.png", "monocyte")
    for do in (lambda: table.add("c.png", "basophil"), table.undo):
        with pytest.raises(BloodkerasError, match=r"^\S+labels.csv was changed by another program"):
            do()
    assert Table(table.path).rows == other.rows
    other.path.unlink()
    with pytest.raises(BloodkerasError, match="was changed by another program"):
        other.add("d.png", "basophil")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "file,label,slide\na.png,neutrophil,7\n",
            "slide, which would be lost; give another --out",
        ),
        ("file;label;at\na.png;neutrophil;\n", "found file;label;at"),
        ("", "found nothing"),
        ("file,label\na.png,neutrophil\nb.png\n", "line 3: expected a file and its label"),
        ("file,label\na.png,\n", "line 2: expected a file and its label"),
        (
            "file,label\na.png,neutrophil\na.png,monocyte\n",
            "line 3: a.png is there twice, as neutrophil and as monocyte: keep one",
        ),
        ("file,label\na.png,neutrophil\na.png,neutrophil\n", "twice, as neutrophil: keep"),
        ('file,label\n"a.png,neutrophil\n', "is no CSV"),
    ],
)
def test_a_table_that_cannot_be_meant_is_one_line_and_stays(tmp_path, content, words):
    path = tmp_path / "labels.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BloodkerasError) as refused:
        Table(path)
    assert words in str(refused.value)
    assert str(refused.value).count("\n") == 0
    assert path.read_text(encoding="utf-8") == content


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BloodkerasError, match="expected a folder, found the file"):
        Table(tmp_path / "file" / "labels.csv")
    with pytest.raises(BloodkerasError, match="No such file or directory"):
        Table(tmp_path / "nowhere" / "labels.csv")
    with pytest.raises(UsageError, match=r"expected a name that ends in \.csv"):
        Table(tmp_path / "labels.xlsx")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(BloodkerasError, match="Is a directory"):
        Table(tmp_path / "folder.csv")
