"""Folders as people have them: what systems leave there is passed over, and one line says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_export import build_export

from bloodkeras.errors import BloodkerasError
from bloodkeras.images.folder import PassedOver, is_left_over, walk
from bloodkeras.images.sources import check_words, count_images, find_paths

ROOT = Path(__file__).parents[2]
LEFT_OVER = (
    ".hidden.png",
    "._cell.jpg",
    "__MACOSX/._cell.jpg",
    "@eaDir/cell.png/SYNOPHOTO_THUMB_XL.jpg",
    ".ipynb_checkpoints/cell-checkpoint.png",
    ".Trash/cell.png",
    ".thumbnails/cell.png",
    "$RECYCLE.BIN/S-1-5/cell.png",
    "#recycle/cell.png",
    "lost+found/cell.png",
    ".git/cell.png",
    "@Recycle/cell.png",
    "@__thumb/cell.png",
    "Previews.lrdata/cell.jpg",
    "CaptureOne/cell.jpg",
    "System Volume Information/cell.png",
    "deep/down/@EADIR/cell.jpg",
    ".AppleDouble/cell.jpg",
)
IMAGES = ("cell.png", "saved.jfif", "scan.JPE", "deep/down/more.TIFF", "photo.pjpeg")


@pytest.fixture
def folder(tmp_path):
    """Five images, and what systems leave beside them: 18 images more, and other files."""
    top = tmp_path / "photos"
    for name in (*LEFT_OVER, *IMAGES):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (28, 28), "red").save(path, "TIFF" if "TIFF" in name else "PNG")
    for name in (
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        "phone.HEIC",
        "noext",
        "a.npy",
        "b.txt",
        "deep/c.txt",
        "deep/cells.zip",
        "Dr. No and others",
    ):
        (top / name).write_bytes(b"x")
    return top


def images_in(*words, passed=None) -> list[str]:
    return [path for path, error in find_paths(map(str, words), passed) if not error]


def test_a_folder_gives_its_images_and_nothing_that_systems_leave(folder):
    found = [Path(path).relative_to(folder).as_posix() for path in images_in(folder)]
    assert sorted(found) == sorted(IMAGES)
    assert count_images([str(folder)]) == len(IMAGES)


def test_one_line_says_what_was_passed_over(folder):
    passed = PassedOver()
    images_in(folder, passed=passed)
    files, folders = str(passed).split("; and ")
    assert files.startswith("passed over 12 files: ")
    assert set(files.removeprefix("passed over 12 files: ").split(", ")) == {
        "5 hidden or a system's",
        "2 .txt",
        "2 without ending",
        "1 .zip (unpack it)",
        "1 .heic (not supported: convert to JPEG)",
        "1 .npy (read if you name it)",
    }
    assert folders.startswith("16 folders of a system's or hidden: ")
    assert "$RECYCLE.BIN" in folders


def test_nothing_passed_over_is_nothing_said(tmp_path):
    Image.new("RGB", (28, 28)).save(tmp_path / "a.png")
    passed = PassedOver()
    assert images_in(tmp_path, passed=passed)
    assert str(passed) == ""


@pytest.mark.parametrize("name", LEFT_OVER)
def test_what_is_named_is_read(folder, name):
    """The file itself, or the folder that it lies in."""
    path = folder / name
    assert images_in(path) == [str(path)]
    assert str(path) in images_in(path.parent) or path.name.startswith(".")


def test_a_glob_matches_nothing_that_systems_leave_unless_it_names_it(folder):
    found = images_in(folder / "**" / "*.[jp]*")
    assert {Path(path).name for path in found} == {"cell.png", "saved.jfif", "photo.pjpeg"}
    assert images_in(folder / "@eaDir" / "*" / "*.jpg")
    assert images_in(folder / ".*.png") == [str(folder / ".hidden.png")]


def test_a_hidden_folder_above_the_images_does_not_matter(tmp_path):
    deep = tmp_path / ".cache" / "@eaDir"
    deep.mkdir(parents=True)
    Image.new("RGB", (28, 28)).save(deep / "a.png")
    assert images_in(deep) == [str(deep / "a.png")]
    assert images_in(deep / "*.png") == [str(deep / "a.png")]


def test_a_folder_of_nothing_else_is_refused_with_what_there_is(tmp_path):
    (tmp_path / "a.heic").touch()
    (tmp_path / "._b.jpg").touch()
    with pytest.raises(BloodkerasError, match=r"no image .*1 \.heic \(not supported: convert"):
        check_words([str(tmp_path)])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows' links need rights")
def test_a_link_to_a_folder_is_not_followed_and_counted(folder, tmp_path):
    (folder / "again").symlink_to(folder / "deep")
    passed = PassedOver()
    assert len(images_in(folder, passed=passed)) == len(IMAGES)
    assert "1 link to a folder (not followed)" in str(passed)


def test_very_many_kinds_are_still_one_short_line(tmp_path):
    for number in range(40):
        (tmp_path / f"x.k{number}").touch()
    (tmp_path / "odd.\u202e\n").touch()
    passed = PassedOver()
    assert not list(walk(str(tmp_path), passed))
    assert "33 of other kinds" in str(passed)
    assert str(passed).isprintable()


@pytest.mark.parametrize("name", ["cell.png", "@cell.png", "#1.png", "thumbs.png", "_x.png", "git"])
def test_names_that_only_look_alike_are_read(name):
    assert not is_left_over(name)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "bloodkeras", *words],
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
        env=environment,
        timeout=120,
    )


def test_every_command_that_searches_a_folder_does_so_and_says_so_once(folder, tmp_path):
    build_export(tmp_path / "export")
    (tmp_path / "labels.csv").write_text("file,label\ncell.png,0\nsaved.jfif,0\n", encoding="utf-8")
    model = ["--model", "export"]
    for words in (
        ["predict", "photos", *model, "--prior", "estimate", "--sort-into", "sorted"],
        ["predict", "photos", *model, "--out", "x.csv", "--report", "x.html"],
        ["score", "photos", *model, "--out", "answers"],
        ["judge", "export", "--photos", "photos", "--labels", "labels.csv"],
    ):
        if words[0] == "score":
            pytest.importorskip("pyarrow")
        done = run(tmp_path, *words)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("passed over 12 files: ") == 1
        assert "passed over" not in done.stdout
        if words[0] == "evaluate":
            assert "2 photographs, 1 of them copies of others, 3 more have no label" in done.stdout
    rows = (tmp_path / "x.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + len(IMAGES)
    assert len([path for path in (tmp_path / "sorted").rglob("*") if path.is_file()]) == 5


def test_what_lies_beside_one_photograph_on_real_machines(real_data, tmp_path):
    cases = real_data.parent / "cases" / "junk-folder"
    if not cases.is_dir():
        pytest.skip("needs cases/junk-folder beside the real data")
    passed = PassedOver()
    found = [Path(path).name for path in images_in(cases, passed=passed)]
    assert found == ["BA_100102.jpg", "saved.jfif", "scan.jpe"]
    assert "1 .heic (not supported: convert to JPEG)" in str(passed)
    assert "1 without ending" in str(passed)
    assert "3 folders" in str(passed)
