"""Checks the answers to many images: their order, what a bad one does, and that none is lost.

Flow: takes a hand-made export and painted images; gives a failure when an answer goes missing, an
interrupted table does not become the uninterrupted one, or a file is overwritten.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from drawn_field import field
from PIL import Image
from tiny_export import build_export, write_sums

from bloodkeras import contract
from bloodkeras.answers import predict as score_module
from bloodkeras.answers.formats import columns
from bloodkeras.answers.predict import score
from bloodkeras.answers.table import BATCH_SIZE
from bloodkeras.bloodmnist import CLASS_NAMES
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.framing import CROP_MICRONS
from bloodkeras.progress import Progress, duration

COLUMNS = list(columns(CLASS_NAMES))
COLOURS = {"a.JPG": "#f00", "b.png": "#00f", "below/c.bmp": "#0f0"}
LABELS = ["basophil", "erythroblast", "eosinophil"]  # of these three


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """The path of an export that knows red, green and blue."""
    return str(build_export(tmp_path_factory.mktemp("exports") / "tiny"))


@pytest.fixture(scope="module")
def doubting(tmp_path_factory) -> str:
    """An export that accepts nothing below 0.9."""
    folder = build_export(tmp_path_factory.mktemp("exports") / "doubting")
    card = {"model": "doubting", "thresholds": {"confidence": 0.9}}
    (folder / contract.CARD_FILE).write_text(json.dumps(card), encoding="utf-8")
    write_sums(folder)
    return str(folder)


@pytest.fixture
def cells(tmp_path):
    """A folder with three images, one of them in a folder below, and a text."""
    folder = tmp_path / "cells"
    (folder / "below").mkdir(parents=True)
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 40), colour).save(folder / name)
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    return folder


@pytest.fixture
def many(tmp_path) -> str:
    """1,500 random images whose answers all differ, in one array: five batches and a piece."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 50, (1500, 28, 28, 3), np.uint8)
    images += rng.integers(0, 50, (1500, 1, 1, 3), np.uint8)
    np.save(tmp_path / "many.npy", images)
    return str(tmp_path / "many.npy")


def read_csv(path) -> list[dict[str, str]]:
    """Read a CSV back with all its quoting."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_jsonl(path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def refusal(*args, error=BloodkerasError, **options) -> str:
    """Return the one line with which `score` ends."""
    with pytest.raises(error) as caught:
        score(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- a row an image -----------------------------------------------------------------------------


def test_csv_from_files_to_answers(cells, model, tmp_path, capsys):
    """The whole table, and what is said of it."""
    score([str(cells)], model, str(tmp_path / "out.csv"))
    rows = read_csv(tmp_path / "out.csv")
    assert list(rows[0]) == COLUMNS
    assert COLUMNS[6] == "prob_immature_granulocyte"
    assert [row["path"] for row in rows] == [str(cells / name) for name in COLOURS]
    assert [row["label"] for row in rows] == LABELS
    for row, label in zip(rows, LABELS, strict=True):
        assert row["confidence"] == row[f"prob_{label}"]
        assert sum(float(row[name]) for name in COLUMNS[3:11]) == pytest.approx(1, abs=1e-5)
        assert (row["verdict"], row["error"]) == ("accepted", "")
    assert "wrote 3 rows" in capsys.readouterr().out


def test_json_lines_say_the_same(cells, model, tmp_path):
    (cells / "aa.png").write_bytes(b"")
    for name in ("out.csv", "out.jsonl"):
        refusal([str(cells)], model, str(tmp_path / name))
    texts, objects = read_csv(tmp_path / "out.csv"), read_jsonl(tmp_path / "out.jsonl")
    assert list(objects[0]) == COLUMNS
    for text, found in zip(texts, objects, strict=True):
        for name in COLUMNS:
            value = text[name] and (float(text[name]) if name in COLUMNS[2:11] else text[name])
            assert found[name] == (value or None if value == "" else value)
    assert objects[1]["confidence"] is None


def test_parquet_says_the_same(cells, model, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    (cells / "aa.png").write_bytes(b"")
    for name in ("out.jsonl", "out.parquet"):
        refusal([str(cells)], model, str(tmp_path / name))
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == COLUMNS
    for found, row in zip(table.to_pylist(), read_jsonl(tmp_path / "out.jsonl"), strict=True):
        assert found == {k: pytest.approx(v) if k in COLUMNS[2:11] else v for k, v in row.items()}
    assert not list(tmp_path.glob("out.parquet.rows*"))


def test_parquet_without_pyarrow_names_the_install(cells, model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = refusal([str(cells)], model, str(tmp_path / "out.parquet"))
    assert "pip install 'bloodkeras[parquet]'" in message
    assert [path.name for path in tmp_path.iterdir()] == ["cells"]


def test_the_table_is_printed(cells, model, capsys):
    """Each path stands beside its class, its verdict and its confidence."""
    score([str(cells)], model)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == [str(cells / name) for name in COLOURS]
    assert [line[1:] for line in lines] == [[label, "accepted", "1.0000"] for label in LABELS]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_format_can_be_printed(cells, model, tmp_path, capsys, kind):
    score([str(cells)], model, kind=kind)
    printed = capsys.readouterr().out
    score([str(cells)], model, str(tmp_path / f"out.{kind}"))
    assert printed == (tmp_path / f"out.{kind}").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "kind"), [("z.csv", "csv"), ("z.ndjson", "jsonl")])
def test_the_format_may_be_said_twice(cells, model, tmp_path, name, kind):
    score([str(cells)], model, str(tmp_path / name), kind=kind)
    assert len((tmp_path / name).read_text(encoding="utf-8").splitlines()) >= 3


@pytest.mark.parametrize("name", ["out", "out.txt"])
def test_the_format_of_a_file_can_be_said(cells, model, tmp_path, name):
    score([str(cells)], model, str(tmp_path / name), kind="jsonl")
    assert len(read_jsonl(tmp_path / name)) == 3


def test_verdicts_are_the_classifiers(tmp_path, doubting):
    """Pure red is sure, grey could be anything."""
    for name, colour in {"red.png": "#f00", "grey.png": "#888"}.items():
        Image.new("RGB", (28, 28), colour).save(tmp_path / name)
    score([str(tmp_path / "*.png")], doubting, str(tmp_path / "out.csv"))
    assert [row["verdict"] for row in read_csv(tmp_path / "out.csv")] == ["unsure", "accepted"]


def test_order_is_kept_across_batches_and_bad_files(tmp_path, model, many):
    """Rows and files and errors come in the order they were given."""
    good = tmp_path / "good.png"
    Image.new("RGB", (28, 28), "#0f0").save(good)
    (tmp_path / "bad.png").write_text("no image", encoding="utf-8")
    words = [str(good), str(tmp_path / "bad.png"), many, str(tmp_path / "bad.png"), str(good)]
    message = refusal(words, model, str(tmp_path / "out.csv"))
    assert message.startswith("2 of 1,504 files could not be read")
    rows = read_csv(tmp_path / "out.csv")
    expected = words[:2] + [f"{many}#{row}" for row in range(1500)] + words[3:]
    assert [row["path"] for row in rows] == expected
    assert [i for i, row in enumerate(rows) if row["error"]] == [1, 1502]
    assert rows[0]["label"] == rows[-1]["label"] == "eosinophil"


@pytest.mark.parametrize("to_csv", [False, True])
def test_a_bad_file_fails_after_all_were_answered(cells, model, capsys, tmp_path, to_csv):
    """The exit status tells, but no answer is lost."""
    (cells / "aa.png").write_text("no image", encoding="utf-8")
    out = str(tmp_path / "out.csv") if to_csv else ""
    assert refusal([str(cells)], model, out).startswith("1 of 4 files could not be read")
    answers = (
        (tmp_path / "out.csv").read_text(encoding="utf-8") if to_csv else capsys.readouterr().out
    )
    for word in (*LABELS, "aa.png is not an image"):
        assert word in answers


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_any_name_survives(tmp_path, model, kind):
    """Commas, quotes, newlines and umlauts come back; what is not text costs its odd byte."""
    folder = tmp_path / "odd"
    folder.mkdir()
    names = ['a,b"c"\nd;ü.png', os.fsdecode(b"zell\xe4.png")]
    for name in names:
        Image.new("RGB", (28, 28)).save(folder / name)
    (folder / "\nz.png").write_text("no image", encoding="utf-8")
    out = tmp_path / f"out.{kind}"
    refusal([str(folder)], model, str(out))
    rows = read_csv(out) if kind == "csv" else read_jsonl(out)
    found = [row["path"] for row in rows]
    assert found == [f"{folder}/\nz.png", f"{folder}/{names[0]}", rf"{folder}/zell\udce4.png"]
    assert "\n" not in rows[0]["error"]


def test_names_cannot_move_the_cursor(tmp_path, model, capsys):
    (tmp_path / "x\x1b[2J\ny.png").write_bytes(b"")
    refusal([str(tmp_path)], model)
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert printed.count("\n") == 1


# --- refusals -----------------------------------------------------------------------------------


def test_a_missing_model_leaves_nothing(cells, tmp_path):
    refusal([str(cells)], str(tmp_path / "nowhere"), str(tmp_path / "out.csv"))
    assert [path.name for path in tmp_path.iterdir()] == ["cells"]


@pytest.mark.parametrize("place", ["missing/out.csv", "file/out.csv", "folder", "x" * 300])
def test_an_unwritable_place_is_an_error(cells, model, tmp_path, place):
    """A place that cannot take the file is named, and nothing is left there."""
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    message = refusal([str(cells)], model, str(tmp_path / place))
    assert message.startswith(f"cannot write {tmp_path / place}: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells", "file", "folder"]


def test_a_folder_that_is_missing_is_named(cells, model, tmp_path):
    message = refusal([str(cells)], model, str(tmp_path / "missing/out.csv"))
    assert message.endswith(f": make the folder {tmp_path / 'missing'} first")


@pytest.mark.parametrize("place", [".", "/", ".."])
def test_a_place_without_a_name_is_an_error(cells, model, tmp_path, monkeypatch, place):
    """`--out .` is a mistake to be told, not a traceback."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert "cannot write" in refusal([str(cells)], model, place)
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error(many, model, tmp_path):
    (tmp_path / "out.csv").symlink_to("/dev/full")
    assert "cannot write" in refusal([many], model, str(tmp_path / "out.csv"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "x.txt"}, "--format"),
        ({"kind": "xml"}, "'xml'"),
        ({"resume": True}, "--out"),
        ({"kind": "parquet"}, "--out"),
        ({"out": "z.csv", "kind": "jsonl"}, "named as csv, and --format says jsonl"),
        ({"out": "Z.JSON", "kind": "csv"}, "named as jsonl, and --format says csv"),
        ({"out": "z.parquet", "kind": "csv"}, "--format says csv"),
        ({"report": "x.pdf"}, "ends in .html"),
        ({"report": "page"}, "ends in .html"),
        ({"out": "z.csv", "report": "x.csv"}, "ends in .html"),
    ],
)
def test_options_that_contradict_each_other_are_refused(cells, options, message):
    """Before the model is looked for."""
    assert message in refusal([str(cells)], "nowhere", error=UsageError, **options)


def test_standard_input_can_be_read_once(cells):
    assert "once" in refusal(["-", "-"], "nowhere", error=UsageError)


def test_an_empty_list_is_an_error(model, monkeypatch, tmp_path):
    """An empty answer would look like success."""
    with open(os.devnull, encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert refusal(["-"], model) == "no image was given"


# --- interruptions ------------------------------------------------------------------------------

SLOW = """
import sys, time
from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers import predict as score_module
from bloodkeras.answers.predict import score
answer = Classifier.answer
def slow(self, images, *settings):
    time.sleep(0.2)
    return answer(self, images, *settings)
Classifier.answer = slow
score([sys.argv[1]], sys.argv[2], sys.argv[3])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_resumed_after_a_kill_equals_uninterrupted(many, model, tmp_path, kind):
    """To the last byte, wherever the kill hit; at most one batch had to be done again."""
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    whole, broken = tmp_path / f"whole.{kind}", tmp_path / f"broken.{kind}"
    rows = tmp_path / f"broken.{kind}.rows.jsonl" if kind == "parquet" else broken
    score([many], model, str(whole))
    killed = subprocess.Popen([sys.executable, "-c", SLOW, many, model, str(broken)])
    while not rows.exists() or rows.read_bytes().count(b"\n") < 2 * BATCH_SIZE:
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = rows.read_bytes().count(b"\n")
    assert 2 * BATCH_SIZE <= done < 1500
    score([many], model, str(broken), resume=True)
    assert broken.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("kept", [0, 1, 50, 200, 40_000, 80_000, 10**9])
def test_a_torn_table_is_mended(many, model, tmp_path, kind, kept):
    """Cut after any byte, in the header, in a row or nowhere, it becomes the whole again."""
    out = tmp_path / f"out.{kind}"
    score([many], model, str(out))
    whole = out.read_bytes()
    out.write_bytes(whole[:kept])
    score([many], model, str(out), resume=True)
    assert out.read_bytes() == whole


def test_a_torn_row_of_several_lines_is_mended(tmp_path, model):
    """A name with newlines and quotes spans lines in a CSV: half of it is not a row."""
    folder = tmp_path / "odd"
    folder.mkdir()
    cell = Image.new("RGB", (28, 28))
    for i in range(300):
        cell.save(folder / f'{i:03}\n"\n.png')
    out = tmp_path / "out.csv"
    score([str(folder)], model, str(out))
    whole = out.read_bytes()
    for kept in range(len(whole) * 9 // 10, len(whole), 997):
        out.write_bytes(whole[:kept])
        score([str(folder)], model, str(out), resume=True)
        assert out.read_bytes() == whole


def test_resume_counts_what_was_there(many, model, tmp_path, capsys):
    score([many], model, str(tmp_path / "out.csv"))
    first = capsys.readouterr().out
    score([many], model, str(tmp_path / "out.csv"), resume=True)
    assert capsys.readouterr().out == first


def test_a_resumed_table_keeps_its_scale(model, tmp_path, caplog):
    """It is read from beside the table, not estimated again."""
    folder, out, again = tmp_path / "photos", tmp_path / "out.csv", tmp_path / "again.csv"
    folder.mkdir()
    for number in range(6):
        field(1, 500 + 2 * number).save(folder / f"{number}.png")
    score([str(folder)], model, str(out))
    origin = tmp_path / "out.csv.origin.json"
    begun = json.loads(origin.read_text(encoding="utf-8"))
    assert begun["microns_per_pixel"] == 0
    assert begun["scales"][""] == pytest.approx(CROP_MICRONS / 200 * 360 / 500, rel=0.12)
    origin.write_text(json.dumps(begun | {"scales": {"": 0.04}}), encoding="utf-8")
    out.write_bytes(out.read_bytes().splitlines(keepends=True)[0])  # stopped before its first row
    score([str(folder)], model, str(out), resume=True)
    score([str(folder)], model, str(again), microns_per_pixel=0.04)
    assert out.read_bytes() == again.read_bytes()
    said = refusal([str(folder)], model, str(out), resume=True, microns_per_pixel=0.05)
    assert "begun with microns per pixel none, this is 0.05" in said
    (folder / "microns_per_pixel.txt").write_text("0.05", encoding="utf-8")
    assert "this is 0.05" in refusal([str(folder)], model, str(out), resume=True)


def test_resume_without_a_table_starts_one(cells, model, tmp_path):
    """So the same command can be repeated until it is done."""
    (tmp_path / "empty.csv").touch()
    for name in ("out.csv", "empty.csv"):
        score([str(cells)], model, str(tmp_path / name), resume=True)
        assert len(read_csv(tmp_path / name)) == 3


def test_a_table_is_not_overwritten(cells, model, tmp_path):
    (tmp_path / "out.csv").write_text("a night's work\n", encoding="utf-8")
    assert "--resume" in refusal([str(cells)], model, str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "a night's work\n"


@pytest.mark.parametrize("change", ["model", "header", "row", "origin", "images"])
def test_resume_refuses_what_does_not_fit(many, model, doubting, tmp_path, change):
    """Another model, another table, other images: nothing is touched."""
    out = tmp_path / "out.csv"
    score([many], model, str(out))
    words = [many]
    if change == "model":
        model = doubting
    elif change == "header":
        out.write_bytes(out.read_bytes().replace(b"confidence", b"certainty", 1))
    elif change == "row":
        out.write_bytes(out.read_bytes().replace(b"accepted", b"acc,epted", 1))
    elif change == "origin":
        (tmp_path / "out.csv.origin.json").unlink()
    else:
        np.save(tmp_path / "others.npy", np.zeros((1500, 28, 28, 3), np.uint8))
        words = [str(tmp_path / "others.npy")]
    before = out.read_bytes()
    assert "resume" in refusal(words, model, str(out), resume=True)
    assert out.read_bytes() == before


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_short_table_of_other_images_is_left_alone(cells, model, tmp_path, kind):
    """It holds no whole batch, so all of its rows are made again: if they are of these images."""
    out = tmp_path / f"out.{kind}"
    score([str(cells)], model, str(out))
    if kind == "parquet":
        assert "complete" in refusal([str(cells)], model, str(out), resume=True)
        return
    before = out.read_bytes()
    one = next(path for path in sorted(cells.iterdir()) if path.suffix == ".png")
    assert "give the same ones" in refusal([str(one)], model, str(out), resume=True)
    assert out.read_bytes() == before
    score([str(cells)], model, str(out), resume=True)
    assert out.read_bytes() == before


def test_answers_are_written_as_they_come(model, tmp_path):
    """A reader that is never done keeps no answer back but the last two batches."""
    pipe_read, pipe_write = os.pipe()
    Image.new("RGB", (28, 28)).save(tmp_path / "cell.png")
    code = "import sys; from bloodkeras.answers.predict import score; score(['-'], *sys.argv[1:])"
    words = [sys.executable, "-c", code, model, str(tmp_path / "out.csv")]
    running = subprocess.Popen(words, stdin=pipe_read)
    try:
        lines = f"{tmp_path / 'cell.png'}\n".encode() * (6 * BATCH_SIZE)
        threading.Thread(target=os.write, args=(pipe_write, lines)).start()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            out = tmp_path / "out.csv"
            if out.exists() and out.read_bytes().count(b"\n") > 3 * BATCH_SIZE:
                break
            time.sleep(0.02)
        else:
            pytest.fail("nothing was written before the end")
    finally:
        running.kill()
        running.wait()


# --- copies -------------------------------------------------------------------------------------


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_images_are_copied_into_class_folders(cells, tmp_path, doubting):
    """As they are, unsure ones apart; bad files nowhere."""
    Image.new("RGB", (28, 28), "#888").save(cells / "grey.png")
    (cells / "bad.png").write_bytes(b"")
    refusal([str(cells)], doubting, sort_into=str(tmp_path / "sorted"))
    sources = {name: (cells / name).read_bytes() for name in (*COLOURS, "grey.png")}
    assert tree(tmp_path / "sorted") == {
        "basophil/a.JPG": sources["a.JPG"],
        "erythroblast/b.png": sources["b.png"],
        "eosinophil/c.bmp": sources["below/c.bmp"],
        "unsure/grey.png": sources["grey.png"],
    }


def test_nothing_is_overwritten(cells, tmp_path, model):
    """Another file of that name stays, and so does a link; a copy that is there is not repeated."""
    target = tmp_path / "sorted"
    (target / "basophil").mkdir(parents=True)
    (target / "basophil" / "a.JPG").write_text("somebody else's", encoding="utf-8")
    (target / "erythroblast").mkdir()
    (target / "erythroblast" / "b.png").symlink_to(tmp_path / "nowhere")
    for _ in range(2):
        score([str(cells)], model, sort_into=str(target))
    found = tree(target)
    assert found["basophil/a.JPG"] == b"somebody else's"
    assert found["basophil/a-2.JPG"] == (cells / "a.JPG").read_bytes()
    assert sorted(found) == [
        "basophil/a-2.JPG",
        "basophil/a.JPG",
        "eosinophil/c.bmp",
        "erythroblast/b-2.png",
    ]
    assert not (tmp_path / "nowhere").exists()


def test_rows_and_pages_are_copied_as_the_network_saw_them(tmp_path, model):
    images = np.zeros((2, 28, 28, 3), np.uint8)
    images[:, :, :, 0] = 255
    np.savez(tmp_path / "x.npz", some_images=images)
    score([str(tmp_path / "x.npz")], model, sort_into=str(tmp_path / "sorted"))
    copies = sorted((tmp_path / "sorted" / "basophil").iterdir())
    assert [path.name for path in copies] == [f"x.npz#some_images-{row}.png" for row in range(2)]
    assert np.array_equal(np.asarray(Image.open(copies[0])), images[0])


def test_copies_below_what_is_read_are_refused(cells, model):
    """They would be found and classified, too."""
    message = refusal([str(cells)], model, error=UsageError, sort_into=str(cells / "sorted"))
    assert "move it out" in message
    assert not (cells / "sorted").exists()


# --- progress -----------------------------------------------------------------------------------


def test_a_line_now_and_then(capsys, monkeypatch):
    """Plain text elsewhere, a bar on a terminal; both say how many, how fast, how long."""
    clock = iter([0.0, 1.0, 6.0, 12.0])
    monkeypatch.setattr("bloodkeras.progress.time.monotonic", lambda: next(clock))
    with Progress(None, bar=False) as progress:
        progress._total = 3000
        for _ in range(3):
            progress.add(400)
    assert capsys.readouterr().err.splitlines() == [
        "800 of 3,000 images, 133 a second, 16 s left",
        "1,200 of 3,000 images, 100 a second, 18 s left",
    ]


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    clock = iter([0.0, 1.0])
    monkeypatch.setattr("bloodkeras.progress.time.monotonic", lambda: next(clock))
    with Progress(None, bar=True) as progress:
        progress._total = 1000
        progress.add(500)
    shown = capsys.readouterr().err
    assert f"\r[{'#' * 15}{'.' * 15}] 500 of 1,000" in shown
    assert "\n" not in shown
    assert shown.endswith("\r\x1b[K")


def test_durations_are_rounded():
    assert [duration(s) for s in (0.4, 99, 600, 9000)] == ["0 s", "99 s", "10 min", "2.5 h"]


# --- memory -------------------------------------------------------------------------------------

PEAK = """
import sys
from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers import predict as score_module
from bloodkeras.answers.predict import score
def peak():  # ru_maxrss would count the parent's peak, inherited by fork
    status = open("/proc/self/status").read().split("VmHWM:")[1]
    return int(status.split()[0]) // 1024
Classifier.load(sys.argv[2])
before = peak()
score([sys.argv[1]], sys.argv[2], sys.argv[3], report=sys.argv[3] + ".html")
print(peak() - before, peak())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_memory_does_not_grow_with_the_images(model, tmp_path):
    """100,000 images are 235 MB; all of it together stays far below."""
    with open(tmp_path / "many.npy", "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (100_000, 28, 28, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 100_000 * 2352)
    command = [
        sys.executable,
        "-c",
        PEAK,
        str(tmp_path / "many.npy"),
        model,
        str(tmp_path / "out.csv"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    grown, peak = map(int, done.stdout.split()[-2:])
    assert grown < 150, done.stdout
    assert peak < 600
    with open(tmp_path / "out.csv", "rb") as rows:
        assert sum(1 for _ in rows) == 100_001


def test_a_page_that_is_there_already_is_not_written_over(cells, model, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("somebody's", encoding="utf-8")
    assert "there already" in refusal([str(cells)], model, report=str(page))
    assert page.read_text(encoding="utf-8") == "somebody's"


@pytest.mark.parametrize("place", ["x.csv", "x.csv.origin.json", "./x.csv"])
def test_the_page_does_not_take_the_tables_place(cells, model, tmp_path, place):
    with pytest.raises(UsageError, match="is where the table goes"):
        score([str(cells)], model, str(tmp_path / "x.csv"), report=str(tmp_path / place))
    assert not (tmp_path / "x.csv").exists()


def test_resume_writes_over_a_page_of_its_own_only(cells, model, tmp_path):
    out, page = tmp_path / "x.csv", tmp_path / "page.html"
    page.write_text("somebody's", encoding="utf-8")
    with pytest.raises(BloodkerasError, match="there already"):
        score([str(cells)], model, str(out), resume=True, report=str(page))
    assert page.read_text(encoding="utf-8") == "somebody's"
    page.unlink()
    for _ in range(2):
        score([str(cells)], model, str(out), resume=True, report=str(page))
    assert "classified by" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("out", ["there.csv", "no/folder.csv"])
def test_a_place_that_cannot_be_is_said_before_all_images_are_read(
    cells, model, tmp_path, monkeypatch, out
):
    (tmp_path / "there.csv").write_text("somebody's", encoding="utf-8")
    monkeypatch.setattr(score_module, "answer_batches", None)  # would fail with a TypeError
    with pytest.raises(BloodkerasError, match=r"there already|No such file"):
        score([str(cells)], model, str(tmp_path / out), prior="estimate")


@pytest.mark.parametrize(
    ("thresholds", "counts", "said"),
    [
        ({"foreign": 1e9}, (3, 0, 0), ""),
        ({"foreign": -1e9}, (0, 0, 3), "100% are unlike the training data"),
        ({"confidence": 1.1}, (0, 3, 0), "100% are not accepted"),
    ],
)
def test_it_says_how_many_were_what_and_when_something_is_wrong_with_all(
    cells, tmp_path, capsys, thresholds, counts, said
):
    folder = build_export(tmp_path / "strict")
    card = {"model": "strict", "thresholds": thresholds}
    (folder / contract.CARD_FILE).write_text(json.dumps(card), encoding="utf-8")
    write_sums(folder)
    score([str(cells)], str(folder))
    printed, err = capsys.readouterr()
    accepted, unsure, foreign = counts
    assert f"3 images: {accepted} accepted, {unsure} unsure, {foreign} foreign" in err
    assert ("judge EXPORT --photos DIR" in err) == bool(said)
    assert said in err
    hints = [f"foreign nearest: {label}" for label in LABELS] if foreign else []
    assert [line for line in map(words_of, printed.splitlines()) if "foreign" in line] == hints


def words_of(line: str) -> str:
    """Return a printed row without its path, its words one space apart."""
    return " ".join(line.split()[1:])
