"""Checks which data is taken, that a bad file is told, and the numbers computed from labels.

Flow: takes tiny made-up files; gives a failure when the wrong file is read, or read unchecked.
"""

import dataclasses
import hashlib
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bloodkeras.bloodmnist import BLOODMNIST, CLASS_NAMES
from bloodkeras.data import splits as data
from bloodkeras.data.audit import audit
from bloodkeras.data.download import DownloadError
from bloodkeras.data.splits import Split, Splits, class_weights, load_splits, read_npz
from bloodkeras.errors import BloodkerasError

SPLITS = ("train", "val", "test")
LABELS = np.arange(8, dtype=np.uint8)[:, None]  # one image a class


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Return the smallest set that is laid out like BloodMNIST."""
    rng = np.random.default_rng(seed)
    made = {f"{s}_images": rng.integers(0, 256, (8, 28, 28, 3), np.uint8) for s in SPLITS}
    return made | {f"{split}_labels": LABELS for split in SPLITS}


@pytest.fixture
def file(tmp_path) -> Path:
    """A well-formed file that a test may damage."""
    path = tmp_path / "cells.npz"
    np.savez_compressed(path, **arrays())
    return path


@pytest.fixture
def nowhere(monkeypatch):
    """A machine without a cached file and without a network."""

    def fail():
        raise DownloadError("no network")

    monkeypatch.setattr(data, "cached_or_downloaded", fail)
    monkeypatch.setattr(data, "draw_arrays", arrays)  # thousands of cells are not needed here


def refusal(path) -> str:
    """Return the one line with which a file is refused, naming it."""
    with pytest.raises(BloodkerasError) as caught:
        read_npz(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


# --- which data is taken ------------------------------------------------------------------------


def test_named_file_then_variable_then_cache(tmp_path, monkeypatch):
    """Of three files, each is taken when those before it in the order are not given."""
    named, variable, cached = (tmp_path / f"{name}.npz" for name in ("named", "variable", "cached"))
    for seed, path in enumerate((named, variable, cached)):
        np.savez(path, **arrays(seed))
    monkeypatch.setattr(data, "cached_or_downloaded", lambda: cached)
    monkeypatch.setenv("BLOODKERAS_DATA", str(variable))
    assert load_splits(str(named)).source == str(named)
    for nothing_named in (None, "", "auto"):
        assert load_splits(nothing_named).source == str(variable)
    monkeypatch.delenv("BLOODKERAS_DATA")
    for nothing_named in (None, "", "auto"):
        assert load_splits(nothing_named).source == str(cached)
    np.testing.assert_array_equal(load_splits().test.images, arrays(2)["test_images"])


def test_home_is_expanded(tmp_path, monkeypatch):
    """`~` means the home folder, as in a shell."""
    np.savez(tmp_path / "cells.npz", **arrays())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_splits("~/cells.npz").source == str(tmp_path / "cells.npz")


@pytest.mark.parametrize("by_variable", [False, True])
def test_synthetic_asks_for_nothing(nowhere, monkeypatch, by_variable):
    """Drawn cells need no file and no network, and say what they are."""
    if by_variable:
        monkeypatch.setenv("BLOODKERAS_DATA", "synthetic")
    splits = load_splits(None if by_variable else "synthetic")
    assert splits.synthetic
    assert splits.source == "synthetic"
    assert not splits.is_published()
    np.testing.assert_array_equal(splits.val.images, arrays()["val_images"])


def test_synthetic_beats_the_variable(nowhere, monkeypatch, file):
    """What the command names goes before the variable."""
    monkeypatch.setenv("BLOODKERAS_DATA", str(file))
    assert load_splits("synthetic").synthetic


def test_synthetic_digest_tells_other_cells(nowhere, monkeypatch):
    """The digest is of the pixels: the same cells have the same, others another."""
    first, again = load_splits("synthetic").sha256, load_splits("synthetic").sha256
    monkeypatch.setattr(data, "draw_arrays", lambda: arrays(seed=1))
    assert first == again != load_splits("synthetic").sha256
    assert len(first) == 64


def test_auto_draws_cells_without_network(nowhere):
    """Only "auto" may fall back."""
    assert load_splits("auto").synthetic
    with pytest.raises(DownloadError, match="no network"):
        load_splits()


@pytest.mark.parametrize("by_variable", [False, True])
def test_named_file_is_never_replaced(nowhere, monkeypatch, tmp_path, by_variable):
    """A missing file that the user named is an error, even under "auto"."""
    missing = str(tmp_path / "missing.npz")
    if by_variable:
        monkeypatch.setenv("BLOODKERAS_DATA", missing)
    with pytest.raises(BloodkerasError, match=r"missing\.npz: No such file"):
        load_splits("auto" if by_variable else missing)


def test_auto_does_not_hide_a_foreign_cache(nowhere, monkeypatch):
    """Anything but a failed download is told, not replaced by drawn cells."""

    def foreign():
        raise BloodkerasError("is not MedMNIST's file")

    monkeypatch.setattr(data, "cached_or_downloaded", foreign)
    with pytest.raises(BloodkerasError, match="not MedMNIST's"):
        load_splits("auto")


# --- what is read -------------------------------------------------------------------------------


def test_read_gives_the_files_arrays(file):
    """Pixels and labels come out as they went in, each under its split."""
    splits = read_npz(file)
    for name, split in splits.named().items():
        np.testing.assert_array_equal(split.images, arrays()[f"{name}_images"])
        assert split.labels.tolist() == list(range(8))
        assert split.labels.dtype == np.int64
        assert len(split) == 8
    assert list(splits.named()) == ["train", "val", "test"]
    assert not splits.synthetic


def test_flat_labels_are_read_too(tmp_path):
    """(N,) instead of MedMNIST's (N, 1)."""
    flat = {key: a.ravel() if "labels" in key else a for key, a in arrays().items()}
    np.savez(tmp_path / "flat.npz", **flat)
    assert read_npz(tmp_path / "flat.npz").val.labels.tolist() == list(range(8))


def test_digests_are_the_files(file):
    """SHA-256 and MD5 are of the bytes on disk; MedMNIST's MD5 marks its own file."""
    content = file.read_bytes()
    splits = read_npz(file)
    assert splits.sha256 == hashlib.sha256(content).hexdigest()
    assert splits.md5 == hashlib.md5(content).hexdigest()
    assert not splits.is_published()
    dataset = dataclasses.replace(BLOODMNIST, md5=splits.md5)
    train = dataclasses.replace(splits.train, dataset=dataset)
    assert dataclasses.replace(splits, train=train).is_published()


def test_fingerprint_keeps_the_folder_to_itself(file):
    """A run records the file's name and digest, not where this machine has it."""
    fingerprint = read_npz(file).fingerprint()
    assert fingerprint == {
        "file": "cells.npz",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "synthetic": False,
        "sizes": {"train": 8, "val": 8, "test": 8},
    }


def test_drawn_file_is_laid_out_like_bloodmnist(drawn):
    """The tests' own data goes through the same checks."""
    assert drawn.fingerprint()["sizes"] == {"train": 400, "val": 120, "test": 120}


@pytest.mark.needs_data
def test_real_data_has_bloodmnists_sizes(real_data):
    """The class counts published by MedMNIST, of the training split."""
    splits = read_npz(real_data)
    assert splits.fingerprint()["sizes"] == {"train": 11_959, "val": 1_712, "test": 3_421}
    counts = np.bincount(splits.train.labels).tolist()
    assert counts == [852, 2181, 1085, 2026, 849, 993, 2330, 1643]


# --- files that are laid out differently --------------------------------------------------------

NAN = np.full((8, 28, 28, 3), np.nan, np.float32)
BAD_ARRAYS = {
    "no images": ({"val_images": None}, "lacks val_images"),
    "no labels": ({"train_labels": None, "test_labels": None}, "lacks train_labels, test_labels"),
    "grey": ({"train_images": np.zeros((8, 28, 28), np.uint8)}, r"train_images .*\(8, 28, 28\)"),
    "64 px": ({"val_images": np.zeros((8, 64, 64, 3), np.uint8)}, r"val_images .*\(8, 64, 64, 3\)"),
    "channels first": ({"test_images": np.zeros((8, 3, 28, 28), np.uint8)}, "test_images must be"),
    "no image": ({"val_images": np.zeros((0, 28, 28, 3), np.uint8)}, "val_images .* N > 0"),
    "scalar": ({"val_images": np.uint8(1)}, "val_images must be"),
    "NaN": ({"test_images": NAN}, "test_images must be uint8 .*float32"),
    "16 bits": ({"test_images": np.zeros((8, 28, 28, 3), np.uint16)}, "test_images must be uint8"),
    "too high": ({"val_labels": LABELS + 1}, r"val_labels must be 0\.\.7, found 1\.\.8"),
    "negative": ({"val_labels": LABELS.astype(int) - 1}, r"val_labels .* found -1\.\.6"),
    "huge": ({"val_labels": LABELS.astype(np.uint64) - np.uint64(1)}, "val_labels must be 0"),
    "float labels": ({"test_labels": LABELS / 1}, "test_labels must be whole numbers"),
    "text labels": ({"test_labels": LABELS.astype(str)}, "test_labels must be whole numbers"),
    "one hot": ({"train_labels": np.eye(8, dtype=int)}, r"train_labels .*\(8, 8\)"),
    "fewer labels": ({"train_labels": LABELS[:7]}, r"train_labels .*\(7, 1\)"),
    "more labels": ({"val_labels": np.vstack([LABELS, LABELS])}, r"val_labels .*\(16, 1\)"),
    "no platelet": (
        {"test_labels": np.minimum(LABELS, 6)},
        r"test_labels .*all 8 .*platelet",
    ),
}


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_other_layout_is_refused(tmp_path, case):
    """The message names the array, what was expected and what was found."""
    changes, message = BAD_ARRAYS[case]
    changed = {key: a for key, a in (arrays() | changes).items() if a is not None}
    np.savez(tmp_path / "bad.npz", **changed)
    with pytest.raises(BloodkerasError, match=message):
        read_npz(tmp_path / "bad.npz")
    refusal(tmp_path / "bad.npz")


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.6, 0.999])
def test_truncated_file_is_refused(file, kept):
    """An interrupted copy, from no byte to nearly all."""
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    refusal(file)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7])
def test_flipped_bytes_are_refused(tmp_path, compressed, place):
    """A file of the right length with wrong bytes inside."""
    path = tmp_path / "flipped.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays())
    content = bytearray(path.read_bytes())
    start = int(place * len(content))
    content[start : start + 64] = bytes(byte ^ 0xFF for byte in content[start : start + 64])
    path.write_bytes(content)
    refusal(path)


def test_compressed_pixels_that_do_not_unpack_are_refused(file):
    """Damage at the very start of a compressed array, where zlib itself gives up."""
    content = bytearray(file.read_bytes())
    name, extra = (int.from_bytes(content[place : place + 2], "little") for place in (26, 28))
    start = 30 + name + extra  # the first local header is 30 bytes, a name and an extra field
    content[start : start + 8] = b"\xff" * 8
    file.write_bytes(content)
    refusal(file)


@pytest.mark.parametrize(("place", "bit"), [(6, 255), (8, 1), (8, 32), (10, 99)])
def test_zip_beyond_us_is_refused(file, place, bit):
    """Newer zip version, encrypted, patched, unknown compression: zipfile has an error for each."""
    content = bytearray(file.read_bytes())
    entry = content.index(b"PK\x01\x02")  # the first in the table of contents
    content[entry + place] |= bit
    file.write_bytes(content)
    refusal(file)


@pytest.mark.parametrize(
    "shape",
    ["(100000000000000, 28, 28, 3)", "(8, 28, 28, 3)" + " " * 20_000, "(8, 28"],
    ids=["huge", "long", "cut"],
)
def test_array_header_that_lies_is_refused(tmp_path, shape):
    """More pixels than any memory holds, a header without end, a header that breaks off."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}".encode()
    header += b"}\n" if shape.rstrip().endswith(")") else b"\n"
    magic = b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little")
    with zipfile.ZipFile(tmp_path / "lies.npz", "w") as lies:
        lies.writestr("train_images.npy", magic + header + bytes(100))
    refusal(tmp_path / "lies.npz")


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"<html>429 Too Many Requests</html>"])
def test_no_npz_is_refused(tmp_path, content):
    """An error page saved under the data's name is not data."""
    path = tmp_path / "cells.npz"
    path.write_bytes(content)
    refusal(path)


def test_single_array_is_refused(tmp_path):
    """A .npy file is not a set of arrays."""
    np.save(tmp_path / "cells.npy", arrays()["train_images"])
    refusal(tmp_path / "cells.npy")


def test_folder_and_missing_file_are_refused(tmp_path):
    """The message says how to name another."""
    for path in (tmp_path, tmp_path / "missing.npz"):
        message = refusal(path)
        assert "--data FILE" in message
        assert "BLOODKERAS_DATA" in message


class Payload:
    """An object that leaves a folder behind when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("key", ["val_images", "val_labels", "extra"])
def test_pickled_array_is_not_unpickled(tmp_path, key):
    """Code inside a data file is not run; the same file does run it where pickles are allowed."""
    path, trace = tmp_path / "evil.npz", tmp_path / "trace"
    np.savez(path, **(arrays() | {key: np.array([Payload(trace)], dtype=object)}))
    if key == "extra":
        read_npz(path)  # an array that is not ours is not even looked at
    else:
        refusal(path)
    assert not trace.exists()
    with np.load(path, allow_pickle=True) as unsafe:
        unsafe[key]
    assert trace.exists()


def test_pickle_under_the_datas_name_is_not_unpickled(tmp_path):
    """Nor is a file that is a pickle as a whole."""
    path, trace = tmp_path / "evil.npz", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Payload(trace)))
    refusal(path)
    assert not trace.exists()


# --- numbers computed from labels ---------------------------------------------------------------


def test_class_weights_known_answer():
    """Nine basophils and one of each other: 16/(8*9) and 16/(8*1), mean 1 over the images."""
    labels = np.array([0] * 9 + [1, 2, 3, 4, 5, 6, 7])
    weights = class_weights(labels)
    assert weights == pytest.approx({0: 2 / 9} | dict.fromkeys(range(1, 8), 2.0))
    assert np.mean([weights[label] for label in labels]) == pytest.approx(1)


def test_balanced_classes_weigh_one():
    """Where all classes are alike, weighting changes nothing."""
    assert class_weights(np.repeat(np.arange(8), 3)) == dict.fromkeys(range(8), 1.0)


def made_up(pairs) -> Split:
    """Return one image of one shade for each (shade, label)."""
    shades, labels = zip(*pairs, strict=True)
    images = np.empty((len(pairs), 28, 28, 3), np.uint8)
    images[:] = np.array(shades, np.uint8)[:, None, None, None]
    return Split(images, np.array(labels))


def test_audit_known_answer():
    """Four planted sets of duplicates, each of another kind, are found with their places."""
    splits = Splits(
        train=made_up([(10, 0), (10, 0), (20, 1), (40, 4), (1, 7)]),
        val=made_up([(20, 1), (30, 2), (2, 7)]),
        test=made_up([(30, 3), (40, 4), (40, 4), (3, 7), (4, 7)]),
        source="made up",
        sha256="",
    )
    found = audit(splits)
    groups = sorted(sorted(group) for group in found["duplicates"])
    assert groups == sorted(
        [
            [("train", 0, "basophil"), ("train", 1, "basophil")],
            [("train", 2, "eosinophil"), ("val", 0, "eosinophil")],
            [("test", 0, "immature granulocyte"), ("val", 1, "erythroblast")],
            [("test", 1, "lymphocyte"), ("test", 2, "lymphocyte"), ("train", 3, "lymphocyte")],
        ]
    )
    assert found["within_splits"] == 2
    assert found["across_splits"] == 3
    assert found["with_different_labels"] == 1
    assert found["classes"]["train"] == dict.fromkeys(CLASS_NAMES, 0) | {
        "basophil": 2,
        "eosinophil": 1,
        "lymphocyte": 1,
        "platelet": 1,
    }
    assert [sum(counts.values()) for counts in found["classes"].values()] == [5, 3, 5]


def test_audit_of_distinct_images_finds_nothing(file):
    """No false alarm: an image that differs in one bit is another image."""
    splits = read_npz(file)
    splits.test.images[0] = splits.train.images[0]
    splits.test.images[0, 0, 0, 0] ^= 1
    found = audit(splits)
    assert found["duplicates"] == []
    assert (found["within_splits"], found["across_splits"]) == (0, 0)
    assert found["with_different_labels"] == 0
    splits.test.images[0, 0, 0, 0] ^= 1
    assert audit(splits)["across_splits"] == 1


def test_a_data_set_of_ones_own_may_lack_a_class_in_val_or_test(tmp_path, capsys):
    """A rare cell may be one patient's; it is said, and what is not in train is refused."""
    own = {"class_names": [f"kind {k}" for k in range(8)], "name": "Mine"}
    path = tmp_path / "own.npz"
    np.savez(path, **own, **(arrays() | {"test_labels": np.minimum(LABELS, 6)}))
    assert 7 not in read_npz(path).test.labels
    assert "test holds no kind 7: it says nothing of them" in capsys.readouterr().err
    np.savez(path, **own, **(arrays() | {"train_labels": np.minimum(LABELS, 6)}))
    with pytest.raises(BloodkerasError, match=r"train_labels .*found none of kind 7"):
        read_npz(path)
