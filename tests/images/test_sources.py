"""Checks which images the words mean, in which order, and that a bad one is an error among them.

Flow: takes painted images and hand-made arrays; gives a failure when one is lost, met twice or
read whole.
"""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bloodkeras.errors import BloodkerasError
from bloodkeras.images import decode, sources
from bloodkeras.images.arrays import count_rows
from bloodkeras.images.sources import check_words, count_images, find_paths, stream

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux' files")


@pytest.fixture
def cells(tmp_path):
    """A folder with three images, one of them in a folder below, and a text."""
    folder = tmp_path / "cells"
    (folder / "below").mkdir(parents=True)
    for name, colour in {"b.png": "#00f", "a.JPG": "#f00", "below/c.bmp": "#0f0"}.items():
        Image.new("RGB", (40, 40), colour).save(folder / name)
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    return folder


def numbered(count: int) -> np.ndarray:
    """Return images that can be told apart: the first pixel holds the number."""
    images = np.zeros((count, 28, 28, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
    return images


def number(pixels: np.ndarray) -> int:
    return int(pixels[0, 0, 0]) + 256 * int(pixels[0, 0, 1])


def below(folder: Path, paths) -> list[str]:
    return [Path(path).relative_to(folder).as_posix() for path in paths]


def answers(*words) -> dict[str, bool]:
    """Return the name of every item, and whether it is an image."""
    items = list(stream(map(str, words)))
    for _, found in items:
        assert isinstance(found, str) or (found.shape == (28, 28, 3) and found.dtype == np.uint8)
    return {Path(name).name: not isinstance(found, str) for name, found in items}


def refusal(words) -> str:
    with pytest.raises(BloodkerasError) as caught:
        check_words(map(str, words))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- which files are meant ----------------------------------------------------------------------


def test_a_folder_is_searched_recursively_and_sorted(cells):
    """Every image at any depth, whatever the case of its ending, and nothing else."""
    found = [name for name, _ in stream([str(cells)])]
    assert below(cells, found) == ["a.JPG", "b.png", "below/c.bmp"]


def test_a_file_is_itself_and_the_order_given_is_kept(cells):
    named = [str(cells / "notes.txt"), str(cells / "a.JPG"), str(cells / "a.JPG")]
    assert [name for name, _ in stream(named)] == named


def test_a_glob_is_its_matches_sorted(cells):
    (cells / "[1].png").write_bytes((cells / "b.png").read_bytes())
    found = [name for name, _ in stream([str(cells / "**" / "*.[bp]*")])]
    assert below(cells, found) == ["[1].png", "b.png", "below/c.bmp"]
    assert answers(cells / "[1].png") == {"[1].png": True}  # a file of that name comes first


def test_standard_input_is_a_list_of_paths(cells, monkeypatch):
    """One a line, of files and folders; a missing one is an error among the others."""
    lines = f"\ufeff{cells / 'b.png'}\n\n{cells / 'none.png'}\r\n{cells / 'below'}".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines), encoding="utf-8"))
    assert answers("-") == {"b.png": True, "none.png": False, "c.bmp": True}


def test_a_folder_named_like_an_image_is_looked_into(cells):
    """Its images are found; without any it has an error of its own."""
    (cells / "cell.png").mkdir()
    assert answers(cells)["cell.png"] is False
    Image.new("RGB", (28, 28)).save(cells / "cell.png" / "inside.png")
    assert answers(cells) == {"a.JPG": True, "b.png": True, "c.bmp": True, "inside.png": True}


def test_words_that_mean_nothing_are_refused_before_the_start(cells, tmp_path):
    assert refusal([cells, cells / "nobody.png"]).endswith(str(cells / "nobody.png"))
    assert refusal([cells / "*.gif"]).startswith("no file matches")
    (tmp_path / "empty").mkdir()
    assert ".png" in refusal([tmp_path / "empty"])
    check_words([str(cells), str(cells / "*.png"), "-"])


@pytest.mark.parametrize("skip", [0, 1, 3, 5, 300, 556, 557, 558])
def test_what_was_answered_is_skipped(tmp_path, skip):
    """The items after `skip` are the same, pages and rows included."""
    pages = [Image.new("RGB", (28, 28), (i, 0, 0)) for i in range(4)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    np.save(tmp_path / "b.npy", numbered(300))
    np.savez(tmp_path / "c.npz", images=numbered(253))
    words = [str(tmp_path / name) for name in ("a.tif", "b.npy", "c.npz")]
    everything = [name for name, _ in stream(words)]
    assert len(everything) == 557
    assert [name for name, _ in stream(words, skip=skip)] == everything[skip:]


def test_the_total_is_counted_without_reading(cells, tmp_path):
    np.save(tmp_path / "b.npy", numbered(300))
    assert count_images([str(cells), str(tmp_path / "b.npy")]) == 303
    assert count_rows(str(tmp_path / "none.npz")) == 1


def test_reading_runs_only_a_little_ahead(cells, monkeypatch):
    """A million files are not opened before the first one is asked for."""
    opened = []
    monkeypatch.setattr(
        sources, "read_file", lambda path, framing: opened.append(path) or [(path, "")]
    )
    items = stream([str(cells / "b.png")] * 10_000, threads=2)
    next(items)
    assert len(opened) < 100
    items.close()


# --- pages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png"])
def test_every_page_is_an_image(tmp_path, suffix):
    frames = [Image.new("RGB", (28, 28), (80 * i, 0, 0)) for i in range(3)]
    path = tmp_path / f"many.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    items = list(stream([str(path)]))
    assert [name for name, _ in items] == [f"{path}#{page}" for page in range(3)]
    assert [pixels[9, 9, 0] for _, pixels in items] == [0, 80, 160]


def test_pages_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MAX_PAGES", 2)
    monkeypatch.setattr(sources, "MAX_PAGES", 2)
    frames = [Image.new("L", (28, 28), i) for i in range(5)]
    frames[0].save(tmp_path / "many.tif", save_all=True, append_images=frames[1:])
    assert answers(tmp_path / "many.tif") == {
        "many.tif#0": True,
        "many.tif#1": True,
        "many.tif": False,
    }


def test_a_page_that_is_too_large_is_an_error_among_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MAX_PIXELS", 30 * 30)
    frames = [Image.new("L", (side, side)) for side in (28, 40, 28)]
    frames[0].save(tmp_path / "many.tif", save_all=True, append_images=frames[1:])
    assert list(answers(tmp_path / "many.tif").values()) == [True, False, True]


# --- arrays -------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])
def test_an_array_gives_its_rows(tmp_path, save):
    """In order and across slices; .npz names the array, too."""
    path = tmp_path / ("x.npy" if save is np.save else "x.npz")
    save(path, numbered(600))
    items = list(stream([str(path)]))
    prefix = f"{path}#" if save is np.save else f"{path}#arr_0/"
    assert [name for name, _ in items] == [f"{prefix}{row}" for row in range(600)]
    assert [number(pixels) for _, pixels in items] == list(range(600))


def test_all_image_arrays_of_an_npz_are_read_and_nothing_else(drawn_file):
    names = [name for name, _ in stream([str(drawn_file)])]
    assert len(names) == 640
    assert {name.split("#")[1].split("/")[0] for name in names} == {
        "train_images",
        "val_images",
        "test_images",
    }


def damaged(path: Path, kind: str) -> Path:
    """Write an array that is none, or not one of images, as `kind` says."""
    if kind in ("float", "grey", "objects", "fortran"):
        array = {
            "float": np.zeros((2, 28, 28, 3)),
            "grey": np.zeros((2, 28, 28), np.uint8),
            "objects": np.array([{}], object),
            "fortran": np.asfortranarray(numbered(2)),
        }[kind]
        np.save(path, array, allow_pickle=True)
    else:
        path.write_bytes({"empty": b"", "text": b"no array", "header": b"\x93NUMPY\x01\x00"}[kind])
    return path


@pytest.mark.parametrize("kind", ["float", "grey", "objects", "fortran", "empty", "text", "header"])
@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_bad_array_is_one_error(tmp_path, kind, name):
    path = damaged(tmp_path / "made.npy", kind).rename(tmp_path / "x.npy")
    if name == "x.npz":
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.write(path, "images.npy")
    assert answers(tmp_path / name) == {name: False}


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.npy", b"file,label\na.png,1\n"), ("x.npy", b""), ("x.npz", b"no array"), ("x.npz", b"")],
)
def test_text_under_an_arrays_name_is_said_to_be_no_array(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    ((_, reason),) = stream([str(tmp_path / name)])
    wrote = "numpy.savez" if name == "x.npz" else "numpy.save"
    assert f"{name} is no" in reason
    assert f"that {wrote} wrote" in reason
    assert "magic" not in reason


def test_a_truncated_array_gives_what_it_holds(tmp_path):
    np.save(tmp_path / "x.npy", numbered(10))
    os.truncate(tmp_path / "x.npy", 128 + 7 * 2352 + 5)
    assert list(answers(tmp_path / "x.npy").values()) == [True] * 7 + [False]


def test_a_header_that_promises_too_much_is_one_error(tmp_path):
    with open(tmp_path / "x.npy", "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 28, 28, 3)}
        np.lib.format.write_array_header_1_0(file, header)
    assert list(answers(tmp_path / "x.npy").values()) == [False]


def test_a_changed_byte_in_an_npz_is_an_error(tmp_path):
    np.savez(tmp_path / "x.npz", images=numbered(20))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[5000] ^= 255
    (tmp_path / "x.npz").write_bytes(content)
    assert False in answers(tmp_path / "x.npz").values()


# --- bad files ----------------------------------------------------------------------------------


@linux
def test_what_is_no_regular_file_is_not_opened(cells):
    """A pipe would wait for ever, a device never end."""
    os.mkfifo(cells / "pipe.png")
    (cells / "zero.png").symlink_to("/dev/zero")
    (cells / "dangling.png").symlink_to("nowhere")
    (cells / "loop.png").symlink_to("loop.png")
    (cells / "up.png").symlink_to("..")
    (cells / "up").symlink_to("..")
    assert answers(cells) == {
        "a.JPG": True,
        "b.png": True,
        "c.bmp": True,
        "pipe.png": False,
        "zero.png": False,
        "dangling.png": False,
        "loop.png": False,
        "up.png": False,
    }


@linux
def test_odd_names_are_names(tmp_path):
    """A newline, bytes that are no UTF-8, quotes and wildcards are read like any."""
    names = [b"new\nline.png", b"zell\xe4.png", b"a,\"b'.png", b"*.png", b" .png", b"-x.png"]
    cell = io.BytesIO()
    Image.new("RGB", (28, 28)).save(cell, "PNG")
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(cell.getvalue())
    assert answers(tmp_path) == {os.fsdecode(name): True for name in sorted(names)}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_unreadable_files_and_folders_are_errors(cells):
    (cells / "b.png").chmod(0)
    (cells / "below").chmod(0)
    try:
        assert answers(cells) == {"a.JPG": True, "b.png": False, "below": False}
    finally:
        (cells / "below").chmod(0o755)


def test_a_folder_that_vanishes_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_expand", lambda word: [word])
    monkeypatch.setattr(os.path, "isdir", lambda path: True)
    ((path, error),) = find_paths([str(tmp_path / "gone")])
    assert path == str(tmp_path / "gone")
    assert "No such file" in error


def test_a_reader_that_fails_in_its_own_way_stops_nothing(cells, monkeypatch):
    """Whatever Pillow's readers raise becomes a row."""

    def broken(image, framing):
        if image.size == (29, 28):
            raise IndexError("list index out of range")
        return np.zeros((28, 28, 3), np.uint8)

    Image.new("RGB", (29, 28)).save(cells / "b.png")
    monkeypatch.setattr(sources, "medmnist_pixels", broken)
    assert answers(cells) == {"a.JPG": True, "b.png": False, "c.bmp": True}


# --- memory -------------------------------------------------------------------------------------

PEAK = """
import sys
from bloodkeras.images.sources import stream
def peak():  # ru_maxrss would count the parent's peak, inherited by fork
    status = open("/proc/self/status").read().split("VmHWM:")[1]
    return int(status.split()[0]) // 1024
before = peak()
count = sum(1 for _ in stream([sys.argv[1]]))
print(count, peak() - before)
"""


@linux
@pytest.mark.parametrize("name", ["many.npy", "many.npz"])
def test_an_array_is_never_held_whole(tmp_path, name):
    """100,000 images are 235 MB; reading them takes a fraction of that."""
    with open(tmp_path / "many.npy", "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (100_000, 28, 28, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 100_000 * 2352)
    if name == "many.npz":
        with zipfile.ZipFile(
            tmp_path / name, "w", zipfile.ZIP_DEFLATED, compresslevel=1
        ) as archive:
            archive.write(tmp_path / "many.npy", "images.npy")
    command = [sys.executable, "-c", PEAK, str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    count, megabytes = map(int, done.stdout.split())
    assert count == 100_000
    assert megabytes < 100
