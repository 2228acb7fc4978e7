"""One's own photographs become a data set, and what is wrong with them is said."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bloodkeras.__main__ import COMMANDS
from bloodkeras.bloodmnist import bloodmnist
from bloodkeras.data.splits import read_npz
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.synthetic import draw_arrays

SIDE = 64
NAMES = {0: "NEU", 1: "blast", 2: "lymphocyte"}  # as a laboratory may write them
CELLS = 12  # of each
gather = COMMANDS["gather"]


@pytest.fixture
def cells(tmp_path) -> dict[str, int]:
    """Drawn cells of three kinds in a folder: {file: kind}."""
    arrays = draw_arrays({"train": 200, "val": 8, "test": 8}, dataset=bloodmnist(SIDE))
    labels = arrays["train_labels"].ravel()
    found = {}
    (tmp_path / "cells").mkdir()
    for kind in NAMES:
        for row in np.flatnonzero(labels == kind)[:CELLS]:
            name = f"{row:03}.png"
            Image.fromarray(arrays["train_images"][row]).save(tmp_path / "cells" / name)
            found[name] = kind
    return found


def write(path: Path, rows: list[tuple[str, ...]], heads: tuple[str, ...]) -> str:
    """Write a table; return its path."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([heads, *rows])
    return str(path)


def rows_of(cells: dict[str, int]) -> list[tuple[str, ...]]:
    """A row a cell: four slides, on each of which all kinds are."""
    return [(file, NAMES[kind], f"s{n % 4}") for n, (file, kind) in enumerate(cells.items())]


def test_a_table_becomes_a_data_set(tmp_path, cells, capsys):
    """Classes in BloodMNIST's order, then new ones; slides stay together; pixels as they are."""
    rows = rows_of(cells)
    last, *_ = rows.pop()
    undecided = [*rows, (last, "not a cell", "s1")]  # as `label` writes it: left out
    table = write(tmp_path / "labels.csv", undecided, ("file", "label", "Slide"))
    out = tmp_path / "mine.npz"
    gather(str(tmp_path / "cells"), out=str(out), labels=table, group="slide", name="Mine")
    splits = read_npz(out)
    assert splits.dataset.class_names == ("lymphocyte", "neutrophil", "blast")
    assert (splits.dataset.name, splits.dataset.image_side) == ("Mine", SIDE)
    assert "wrote" in capsys.readouterr().out
    slide, kind = ({row[0]: row[column] for row in rows} for column in (2, 1))
    meant = {"NEU": "neutrophil", "blast": "blast", "lymphocyte": "lymphocyte"}
    seen: list[set[str]] = []
    with np.load(out) as held:
        for name, split in splits.named().items():
            files = held[f"{name}_files"].tolist()
            seen.append({slide[file] for file in files})
            for file, image, label in zip(files, split.images, split.labels, strict=True):
                assert splits.dataset.class_names[label] == meant[kind[file]]
                assert np.array_equal(image, np.asarray(Image.open(tmp_path / "cells" / file)))
    assert sum(map(len, seen)) == 4  # no slide in two splits
    assert sum(map(len, splits.named().values())) == len(cells) - 1


def test_folders_for_classes_and_two_laboratories(tmp_path, cells, capsys):
    """Without a table, and with a folder more; without --group it is said what that means."""
    for n, (file, kind) in enumerate(cells.items()):
        place = tmp_path / ("a", "b")[n % 2] / NAMES[kind]
        place.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cells" / file).rename(place / file)
    out = tmp_path / "mine.npz"
    gather(str(tmp_path / "a"), str(tmp_path / "b"), out=str(out), size=SIDE)
    assert sum(map(len, read_npz(out).named().values())) == len(cells)
    said = capsys.readouterr().err
    assert "classes of their own, which BloodMNIST does not have: blast" in said
    assert "--group COLUMN" in said


def test_copies_are_left_out_and_contradictions_named(tmp_path, cells, capsys):
    """A copy with the same label is dropped, one with another takes both along."""
    rows, (first, second, *_) = rows_of(cells), cells
    for source, copy, label in ((first, "same.png", "NEU"), (second, "other.png", "blast")):
        (tmp_path / "cells" / copy).write_bytes((tmp_path / "cells" / source).read_bytes())
        rows.append((copy, label, "s0"))
    table = write(tmp_path / "labels.csv", rows, ("file", "label", "slide"))
    out = tmp_path / "mine.npz"
    gather(str(tmp_path / "cells"), out=str(out), labels=table)
    assert sum(map(len, read_npz(out).named().values())) == len(cells) - 1
    said = capsys.readouterr().err
    assert f"several labels: {second} (neutrophil) = other.png (blast)" in said
    assert "they show the same as others: 1" in said


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda rows: [*rows[:-1], (rows[-1][0], "lymphocite", "s1")], {}, "1 of lymphocite"),
        (lambda rows: [*rows[:-1], (rows[-1][0], "B", "s1")], {}, "write it out"),
        (lambda rows: [*rows[:-1], (*rows[-1][:2], "")], {"group": "slide"}, "no slide for"),
        (
            lambda rows: rows,
            {"group": "patient"},
            "--group patient: .*must have the columns file and patient",
        ),
        (lambda rows: [*rows, ("gone.png", "NEU", "s1")], {}, "such as gone.png"),
        (lambda rows: rows[:CELLS], {}, "all cells are neutrophil"),
        (lambda rows: rows, {"out": "mine.csv"}, "ends in .npz"),
        (lambda rows: rows, {"out": "there.npz"}, "is there already"),
        (lambda rows: rows, {"out": "gone/mine.npz"}, "no such folder"),
        (lambda rows: rows, {"size": 5}, "--size is 5: expected 16 to 512"),
        (lambda rows: rows, {"labels": "", "group": "slide"}, "name one with --labels"),
        (lambda rows: rows, {"labels": "a.csv,b.csv"}, "--labels names 2 tables for"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(
    tmp_path, cells, monkeypatch, change, options, said
):
    """Of every kind."""
    monkeypatch.chdir(tmp_path)
    Path("there.npz").write_text("mine")
    write(Path("labels.csv"), change(rows_of(cells)), ("file", "label", "slide"))
    before = sorted(Path().iterdir())
    with pytest.raises((BloodkerasError, UsageError), match=said) as caught:
        gather("cells", **{"out": "mine.npz", "labels": "labels.csv"} | options)
    assert "\n" not in str(caught.value)
    assert sorted(Path().iterdir()) == before
    assert Path("there.npz").read_text() == "mine"
