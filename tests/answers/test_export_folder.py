"""A new export gets its name when it is whole; what was there before stays until then."""

import os
import shutil
from pathlib import Path

import pytest
from tiny_export import build_export

from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.export_folder import new_export, write_checksums
from bloodkeras.errors import BloodkerasError


@pytest.fixture
def earlier(tmp_path):
    folder = build_export(tmp_path / "exports/mine")
    (folder / "MODEL_CARD.md").write_text("# earlier\n", encoding="utf-8")
    write_checksums(folder)
    return folder


def fill(staging, made):
    for path in made.iterdir():
        shutil.copy(path, staging)
    return staging


def test_a_whole_export_takes_the_place_of_the_earlier_one(earlier, tmp_path):
    made = build_export(tmp_path / "made")
    with new_export(earlier) as staging:
        assert Classifier.load(earlier)  # still there
        fill(staging, made)
    assert (earlier / "MODEL_CARD.md").read_text(encoding="utf-8") == "# tiny\n"
    assert os.listdir(earlier.parent) == ["mine"]
    assert earlier.stat().st_mode & 0o055 == 0o055  # others may read it


def spoil(staging):
    (staging / "card.json").write_text("{}", encoding="utf-8")  # not what the sums say


def unlist(staging):
    (staging / "SHA256SUMS").write_text("", encoding="utf-8")


def fail(staging):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("happens", "message"),
    [(spoil, "SHA-256"), (unlist, "does not list"), (fail, "cannot write .*No space left")],
)
def test_what_is_not_whole_leaves_the_earlier_one_and_nothing_else(
    earlier, tmp_path, happens, message
):
    made = build_export(tmp_path / "made")
    with pytest.raises(BloodkerasError, match=message), new_export(earlier) as staging:
        happens(fill(staging, made))
    assert (earlier / "MODEL_CARD.md").read_text(encoding="utf-8") == "# earlier\n"
    assert os.listdir(earlier.parent) == ["mine"]
    assert Classifier.load(earlier)


def test_an_earlier_export_comes_back_where_the_new_one_cannot_take_its_place(
    earlier, tmp_path, monkeypatch
):
    made, honest = build_export(tmp_path / "made"), Path.rename

    def rename(path, target):
        if target == earlier and not path.name.endswith(".earlier"):
            raise PermissionError(13, "Permission denied")
        return honest(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(BloodkerasError, match=r"cannot write .*mine: Permission denied"):  # noqa: SIM117
        with new_export(earlier) as staging:
            fill(staging, made)
    assert (earlier / "MODEL_CARD.md").read_text(encoding="utf-8") == "# earlier\n"
    assert os.listdir(earlier.parent) == ["mine"]


def test_what_is_no_exports_does_not_vanish(earlier, tmp_path):
    (earlier / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(BloodkerasError, match=r"notes\.txt"), new_export(earlier):
        pytest.fail("nothing may be computed for it")
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(BloodkerasError, match="is a file"), new_export(tmp_path / "file"):
        pytest.fail("nothing may be computed for it")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"
