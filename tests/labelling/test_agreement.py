"""How far two tables agree: Cohen's kappa by hand, and what cannot be compared."""

import subprocess
import sys

import pytest

from bloodkeras.errors import BloodkerasError
from bloodkeras.labelling.agreement import agree


def write(path, labels, names="abcdefghijklmnopqrstuvwxyz"):
    rows = "".join(f"{name}.png,{label}\n" for name, label in zip(names, labels, strict=False))
    path.write_text(f"file,label\n{rows}", encoding="utf-8")
    return path


@pytest.fixture
def tables(tmp_path):
    """Ten cells: 4 and 3 are seen alike, so 0.7; by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5."""
    first = write(tmp_path / "ann.csv", ["neutrophil"] * 5 + ["monocyte"] * 5)
    second = write(
        tmp_path / "bob.csv",
        ["NEU"] * 4 + ["monocytes"] + ["6", "6"] + ["Monocyte"] * 3,
    )
    return first, second


def test_kappa_by_hand(tables):
    found = agree(*tables)
    assert len(found.same) == 7
    assert found.kappa == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert found.same["a.png"] == "neutrophil"
    assert "e.png" not in found.same


def test_not_a_cell_is_an_answer_and_unknown_is_none(tmp_path):
    first = write(tmp_path / "ann.csv", ["neutrophil", "not a cell", "unknown", "blast", "blast"])
    second = write(tmp_path / "bob.csv", ["neutrophil", "neutrophil", "monocyte", "Blast"])
    found = agree(first, second)
    assert found.pairs["b.png"] == ("not a cell", "neutrophil")
    assert (len(found.pairs), len(found.same), found.untold, found.alone) == (3, 2, 1, (1, 0))


def test_full_agreement_in_one_class_has_no_kappa(tmp_path):
    same = [write(tmp_path / f"{name}.csv", ["neutrophil"] * 3) for name in ("ann", "bob")]
    assert agree(*same).kappa is None
    mixed = [write(tmp_path / f"{name}.csv", ["neutrophil", "blast"]) for name in ("ann", "bob")]
    assert agree(*mixed).kappa == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\nx.png,neutrophil\n", "have no file in common: "),
        ("file,label\na.png,unknown\n", "none of 1 photographs could be told by both"),
        ("file,label\na.png,neutrophil\n./a.png,monocyte\n", "line 3: ./a.png is there twice"),
        ("file,label\na.png,\n", "line 2: expected a file and its label"),
        ("name,kind\na.png,b\n", "must have the columns file and label"),
    ],
)
def test_what_cannot_be_compared_is_one_line(tables, tmp_path, text, words):
    (tmp_path / "other.csv").write_text(text, encoding="utf-8")
    with pytest.raises(BloodkerasError) as refused:
        agree(tables[0], tmp_path / "other.csv")
    assert words in str(refused.value)
    assert str(refused.value).count("\n") == 0


def run(*words, cwd):
    command = [sys.executable, "-m", "bloodkeras", "agree", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60)


def test_the_command_says_what_differs_and_writes_what_is_agreed(tables, tmp_path):
    done = run("ann.csv", "bob.csv", "--out", "agreed.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "agree in 7 of 10 photographs: 70.0%" in done.stdout
    assert "Cohen's kappa: 0.400" in done.stdout
    assert "    2  monocyte / neutrophil\n    1  neutrophil / monocyte" in done.stdout
    assert "e.png: neutrophil / monocyte" in done.stdout
    agreed = (tmp_path / "agreed.csv").read_text(encoding="utf-8").splitlines()
    assert (agreed[:2], len(agreed)) == (["file,label", "a.png,neutrophil"], 8)
    again = run("ann.csv", "bob.csv", "--out", "agreed.csv", cwd=tmp_path)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "agreed.csv is there already" in again.stderr
    assert run("ann.csv", "bob.csv", "--out", "agreed.txt", cwd=tmp_path).returncode == 2
    assert "cannot read none.csv" in run("ann.csv", "none.csv", cwd=tmp_path).stderr
