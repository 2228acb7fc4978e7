"""Finds, reads and checks a data set: BloodMNIST, or any file in MedMNIST's layout.

Flow: takes what the user named, or nothing; gives `Splits` (numpy) and class weights.
Sources: MedMNIST v2's file layout: keys {train,val,test}_{images,labels}, uint8. A file may say in
    further arrays what it is (TEXTS); one that names no classes is BloodMNIST.
"""

import hashlib
import io
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bloodkeras import contract
from bloodkeras.bloodmnist import BLOODMNIST, CLASS_NAMES, MD5S, SPLIT_SIZES, bloodmnist, unnamed
from bloodkeras.data.download import DownloadError, cached_or_downloaded
from bloodkeras.dataset import SIDES, DataSet
from bloodkeras.errors import BloodkerasError, UsageError, gist
from bloodkeras.images.synthetic import draw_arrays
from bloodkeras.named_types import Array, Json, Labels, Pixels

LOG = logging.getLogger(__name__)

# Arrays of text that a file may hold: fields of its `DataSet`; class_names and credits are lists.
TEXTS = ("name", "class_names", "licence", "credits", "limits")
LARGE = 100  # pixels a side, from which on it is said what the images take


@dataclass(frozen=True)
class Split:
    """Images and labels of one split.

    Attributes:
        images: uint8 (N, S, S, 3), RGB, 0..255.
        labels: int64 (N,), 0..K-1.
        dataset: What they are part of: says S, and what the K classes are called.
    """

    images: Pixels
    labels: Labels
    dataset: DataSet = BLOODMNIST

    def __len__(self) -> int:
        return len(self.labels)


def check_split(name: str) -> None:
    """Refuse what is not a split's name.

    Raises:
        UsageError: It is not one of SPLIT_NAMES.
    """
    if name not in contract.SPLIT_NAMES:
        names = ", ".join(contract.SPLIT_NAMES)
        raise UsageError(f"unknown split {name!r}: expected one of {names}")


@dataclass(frozen=True)
class Splits:
    """The three splits, and where they came from.

    Attributes:
        source: The file they were read from, or "synthetic".
        sha256: Of the file, or of the drawn pixels.
        md5: Of the file: what MedMNIST publishes to compare with; "" for drawn cells.
        synthetic: Whether the cells were drawn by code.
    """

    train: Split
    val: Split
    test: Split
    source: str
    sha256: str
    md5: str = ""
    synthetic: bool = False

    @property
    def dataset(self) -> DataSet:
        """What these are the splits of."""
        return self.train.dataset

    def named(self) -> dict[str, Split]:
        """Return the splits by name, in order."""
        return {name: getattr(self, name) for name in contract.SPLIT_NAMES}

    def is_published(self) -> bool:
        """Return whether these are the pixels that MedMNIST published, by the file's MD5."""
        return self.md5 != "" and self.md5 == self.dataset.md5

    def fingerprint(self) -> Json:
        """Return what a run or an export records about its data."""
        sizes = {name: len(split) for name, split in self.named().items()}
        file = Path(self.source).name  # not the folder: it is this machine's business
        return {"file": file, "sha256": self.sha256, "synthetic": self.synthetic, "sizes": sizes}


def load_splits(data: str | None = None, size: int = 0) -> Splits:
    """Find a data set and read it.

    Args:
        data: A file in MedMNIST's layout; "synthetic" for drawn cells; "auto" for
            BloodMNIST where it can be had and drawn cells elsewhere; None for the variable
            BLOODKERAS_DATA, then BloodMNIST in MedMNIST's cache, then its download.
        size: Side of the images, in pixels: 28, 64, 128 or 224, as MedMNIST publishes them; of
            drawn cells and of a file of one's own any. 0: the file's, or else 28.

    Raises:
        BloodkerasError: There is no data, the file is not laid out like MedMNIST's, or its images
            have another side than `size`.
        UsageError: There are no images of such a side.

    Example:
        >>> len(bloodkeras.load_splits().test)
        3421
    """
    named = named_data(data)
    if size and size not in (SIDES if named else MD5S):
        published = ", ".join(map(str, MD5S))
        raise UsageError(
            f"--size is {size}: MedMNIST publishes {published}; drawn cells (--data synthetic) "
            f"and a file of your own (--data FILE) may have {SIDES[0]} to {SIDES[-1]}"
        )
    if size >= LARGE and named in ("", "synthetic"):
        LOG.info(_what_they_take(size))
    if named == "synthetic":
        return _synthetic_splits(size)
    if named:
        return _named_splits(Path(os.path.expanduser(named)), size, named == data)
    try:
        return read_npz(cached_or_downloaded(bloodmnist(size)) if size else cached_or_downloaded())
    except DownloadError as error:
        if "auto" not in (data, os.environ.get(contract.DATA_VARIABLE)):
            raise
        LOG.warning(f"{error}: going on with drawn cells")
        return _synthetic_splits(size)


def named_data(data: str | None) -> str:
    """Return the file, or "synthetic", that an option or else BLOODKERAS_DATA names; "" for none.

    Args:
        data: As in `load_splits`.
    """
    named = os.environ.get(contract.DATA_VARIABLE) if data in (None, "", "auto") else data
    return "" if not named or named == "auto" else named


def read_npz(path: Path) -> Splits:
    """Read a file in MedMNIST's layout, whatever its MD5, after checking the layout.

    Raises:
        BloodkerasError: It is missing, truncated or laid out differently. Pickled arrays are
            refused unread: unpickling runs whatever code the file holds.
    """
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:  # a NUL byte in the name is a ValueError
        raise BloodkerasError(
            f"cannot read the data file {path}: {getattr(error, 'strerror', error)}; name another "
            f"with --data FILE or {contract.DATA_VARIABLE}"
        ) from None
    keys = [f"{split}_{part}" for split in contract.SPLIT_NAMES for part in ("images", "labels")]
    with file:
        sha256, md5 = (_digest(file, kind) for kind in ("sha256", "md5"))
        known = file.read(6).startswith((b"PK", b"\x93NUMPY"))
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as held:
                arrays = {key: held[key] for key in (*keys, *TEXTS) if key in held}
        except Exception as error:  # numpy, zipfile, zlib and tokenize share no base for bad files
            # What is not an array at all numpy takes for a pickle, and advises to unpickle.
            why = gist(error).split(" If you trust")[0] if known else "it is another kind of file"
            raise BloodkerasError(
                f"{path} is not a readable .npz of plain arrays (truncated, or pickled?): {why}"
            ) from None
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise BloodkerasError(f"{path} lacks {', '.join(missing)}: expected MedMNIST's layout")
    dataset = _described(arrays, path)
    splits: dict[str, Any] = {
        name: _checked_split(arrays, name, path, dataset) for name in contract.SPLIT_NAMES
    }
    return Splits(**splits, source=str(path), sha256=sha256, md5=md5)


def _digest(file: io.BufferedReader, kind: str) -> str:
    """Return a digest of an open file, which is then at its beginning again."""
    found = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    file.seek(0)
    return found


def class_weights(labels: Labels, class_count: int = BLOODMNIST.class_count) -> dict[int, float]:
    """Return one weight for each class, inverse to its frequency, with mean 1 over the images.

    Args:
        labels: int (N,); a class that does not occur gets a weight that no image uses.
        class_count: Of the data set.
    """
    counts = np.bincount(labels, minlength=class_count)
    weights = len(labels) / (np.count_nonzero(counts) * counts.clip(min=1))
    return {label: float(weight) for label, weight in enumerate(weights)}


def _described(arrays: dict[str, Array], path: Path) -> DataSet:
    """Return the data set that a file says it is; one that names no classes is BloodMNIST."""
    shape = arrays["train_images"].shape
    side = shape[1] if len(shape) == 4 else BLOODMNIST.image_side
    said = {name: arrays[name] for name in TEXTS if name in arrays}
    for name, text in said.items():
        if text.dtype.kind != "U" or text.ndim != (name in ("class_names", "credits")):
            raise BloodkerasError(f"{path}: {name} must be text, found {text.dtype} {text.shape}")
    if "class_names" not in said:
        return unnamed(CLASS_NAMES, side if side in MD5S else BLOODMNIST.image_side)
    try:
        return DataSet.from_dict(
            {"name": path.stem, "image_side": side, "credits": []}
            | {name: text.tolist() for name, text in said.items()}
        )
    except BloodkerasError as error:
        raise BloodkerasError(f"{path}: {error}") from None


def _checked_split(arrays: dict[str, Array], name: str, path: Path, dataset: DataSet) -> Split:
    """Return one split after checking types, shapes, lengths and the label range."""
    images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"]

    def require(holds: bool, key: str, expected: str, found: object) -> None:
        if not holds:
            raise BloodkerasError(f"{path}: {key} must be {expected}, found {found}")

    side, count = dataset.image_side, dataset.class_count
    shape_ok = images.ndim == 4 and images.shape[1:] == dataset.image_shape and len(images)
    wanted = f"(N, {side}, {side}, 3) with N > 0"
    if dataset == BLOODMNIST:
        wanted += " (other images need class_names in the file, text in the order of the labels)"
    found = f"{images.dtype} {images.shape}"
    require(images.dtype == np.uint8, f"{name}_images", "uint8 (raw pixels, no NaN)", found)
    require(bool(shape_ok), f"{name}_images", wanted, found)
    found = f"{labels.dtype} {labels.shape}"
    require(labels.dtype.kind in "ui", f"{name}_labels", "whole numbers", found)
    require(labels.shape in ((len(images), 1), (len(images),)), f"{name}_labels", "(N, 1)", found)
    labels = labels.reshape(-1).astype(np.int64)
    low, high = labels.min(), labels.max()
    require(low >= 0 and high < count, f"{name}_labels", f"0..{count - 1}", f"{low}..{high}")
    _check_classes(labels, name, path, dataset)
    return Split(images, labels, dataset)


def _check_classes(labels: Labels, name: str, path: Path, dataset: DataSet) -> None:
    """Refuse a class that cannot be learned, or is missing from BloodMNIST; say which others are.

    A laboratory's rare cells may all be of one patient, whose cells are in one split.
    """
    counts = np.bincount(labels, minlength=dataset.class_count)
    missing = [dataset.class_names[k] for k in np.flatnonzero(counts == 0)]
    if not missing:
        return
    if name == "train" or dataset.name == BLOODMNIST.name:
        raise BloodkerasError(
            f"{path}: {name}_labels must be of all {dataset.class_count} classes, found none of "
            f"{', '.join(missing)}"
        )
    LOG.warning(f"{path}: {name} holds no {', '.join(missing)}: it says nothing of them")


def _named_splits(path: Path, size: int, by_option: bool) -> Splits:
    """Read a file that the user names, which is never replaced by another.

    The variable BLOODKERAS_DATA may name one of several: beside bloodmnist.npz lies
    bloodmnist_64.npz, as in MedMNIST's cache, and it is read where 64 pixels are asked for.
    """
    splits = read_npz(path)
    side = splits.dataset.image_side
    if size and side != size:
        sides = "|".join(map(str, MD5S))
        stem = re.sub(f"_({sides})$", "", path.stem)
        beside = path.with_stem(stem + f"_{size}" * (size != min(MD5S)))
        if not by_option and beside.exists():
            return _named_splits(beside, size, by_option=True)
        where = "with --data" if by_option else f"with --data, or put it at {beside}"
        raise BloodkerasError(
            f"{path} holds images of {side}x{side} pixels, expected {size}x{size}: give --size "
            f"{side}, or name the file that has them {where}"
        )
    return splits


def _what_they_take(size: int) -> str:
    """Return the sentence that warns of large images."""
    gigabytes = sum(SPLIT_SIZES.values()) * size * size * 3 / 1e9
    times = round((size / BLOODMNIST.image_side) ** 2)
    return (
        f"images of {size} pixels: BloodMNIST's take {gigabytes:.1f} GB of memory (training twice "
        f"that) and a download of nearly as much where they are not here; there are {times} times "
        f"as many pixels as with {BLOODMNIST.image_side}, and most steps take as many times as long"
    )


def _synthetic_splits(size: int) -> Splits:
    dataset = bloodmnist(size) if size else BLOODMNIST
    arrays = draw_arrays(dataset=dataset) if size else draw_arrays()
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()
    path = Path("synthetic")
    splits: dict[str, Any] = {
        name: _checked_split(arrays, name, path, dataset) for name in contract.SPLIT_NAMES
    }
    return Splits(**splits, source="synthetic", sha256=digest, synthetic=True)
