"""Finds, reads and checks BloodMNIST.

Flow: takes what the user named, or nothing; gives `Splits` (numpy) and class weights.
Sources: MedMNIST v2's file layout: keys {train,val,test}_{images,labels}, uint8.
"""

import hashlib
import io
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bloodkeras import contract
from bloodkeras.data.download import DownloadError, cached_or_downloaded
from bloodkeras.errors import BloodkerasError, UsageError, gist
from bloodkeras.images.synthetic import draw_arrays
from bloodkeras.named_types import Array, Json, Labels, Pixels

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Images and labels of one split.

    Attributes:
        images: uint8 (N, 28, 28, 3), RGB, 0..255.
        labels: int64 (N,), 0..7.
    """

    images: Pixels
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


def check_split(name: str) -> None:
    """Refuse what is no split's name.

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

    def named(self) -> dict[str, Split]:
        """Return the splits by name, in order."""
        return {name: getattr(self, name) for name in contract.SPLIT_NAMES}

    def is_published(self) -> bool:
        """Return whether these are the pixels that MedMNIST published, by the file's MD5."""
        return self.md5 == contract.DATA_MD5

    def fingerprint(self) -> Json:
        """Return what a run or an export records about its data."""
        sizes = {name: len(split) for name, split in self.named().items()}
        file = Path(self.source).name  # not the folder: it is this machine's business
        return {"file": file, "sha256": self.sha256, "synthetic": self.synthetic, "sizes": sizes}


def load_splits(data: str | None = None) -> Splits:
    """Find BloodMNIST and read it.

    Args:
        data: A file; "synthetic" for drawn cells; "auto" for BloodMNIST where it can be had and
            drawn cells elsewhere; None for the variable BLOODKERAS_DATA, then MedMNIST's cache,
            then the download.

    Raises:
        BloodkerasError: There is no data, or the file is not laid out like BloodMNIST.

    Example:
        >>> len(bloodkeras.load_splits().test)
        3421
    """
    named = os.environ.get(contract.DATA_VARIABLE) if data in (None, "", "auto") else data
    if named == "auto":
        data, named = "auto", None
    if named == "synthetic":
        return _synthetic_splits()
    if named:  # a file that the user names is never replaced by another
        return read_npz(Path(named).expanduser())
    try:
        return read_npz(cached_or_downloaded())
    except DownloadError as error:
        if data != "auto":
            raise
        LOG.warning(f"{error}: going on with drawn cells")
        return _synthetic_splits()


def read_npz(path: Path) -> Splits:
    """Read a file in MedMNIST's layout, whatever its MD5, after checking the layout.

    Raises:
        BloodkerasError: It is missing, truncated or laid out differently. Pickled arrays are
            refused unread: unpickling runs whatever code the file holds.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # a NUL byte in the name is a ValueError
        raise BloodkerasError(
            f"cannot read the data file {path}: {getattr(error, 'strerror', error)}; name another "
            f"with --data FILE or {contract.DATA_VARIABLE}"
        ) from None
    keys = [f"{split}_{part}" for split in contract.SPLIT_NAMES for part in ("images", "labels")]
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {key: file[key] for key in keys if key in file}
    except Exception as error:  # numpy, zipfile, zlib and tokenize share no base for bad files
        # What is no array at all numpy takes for a pickle, and advises to unpickle.
        known = content.startswith((b"PK", b"\x93NUMPY"))
        reason = gist(error).split(" If you trust")[0] if known else "it is another kind of file"
        raise BloodkerasError(
            f"{path} is no readable .npz of plain arrays (truncated, or pickled?): {reason}"
        ) from None
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise BloodkerasError(f"{path} lacks {', '.join(missing)}: expected MedMNIST's layout")
    splits: dict[str, Any] = {
        name: _checked_split(arrays, name, path) for name in contract.SPLIT_NAMES
    }
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Splits(**splits, source=str(path), sha256=hashlib.sha256(content).hexdigest(), md5=md5)


def class_weights(labels: Labels) -> dict[int, float]:
    """Return a weight a class, inverse to its frequency, with mean 1 over the images.

    Args:
        labels: int (N,); a class that does not occur gets a weight that no image uses.
    """
    counts = np.bincount(labels, minlength=contract.CLASS_COUNT)
    weights = len(labels) / (np.count_nonzero(counts) * counts.clip(min=1))
    return {label: float(weight) for label, weight in enumerate(weights)}


def _checked_split(arrays: dict[str, Array], name: str, path: Path) -> Split:
    """Return one split after checking types, shapes, lengths and the label range."""
    images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"]

    def require(holds: bool, key: str, expected: str, found: object) -> None:
        if not holds:
            raise BloodkerasError(f"{path}: {key} must be {expected}, found {found}")

    shape_ok = images.ndim == 4 and images.shape[1:] == contract.IMAGE_SHAPE and len(images)
    found = f"{images.dtype} {images.shape}"
    require(images.dtype == np.uint8, f"{name}_images", "uint8 (raw pixels, no NaN)", found)
    require(bool(shape_ok), f"{name}_images", "(N, 28, 28, 3) with N > 0", found)
    found = f"{labels.dtype} {labels.shape}"
    require(labels.dtype.kind in "ui", f"{name}_labels", "whole numbers", found)
    require(labels.shape in ((len(images), 1), (len(images),)), f"{name}_labels", "(N, 1)", found)
    labels = labels.reshape(-1).astype(np.int64)
    low, high = labels.min(), labels.max()
    in_range = low >= 0 and high < contract.CLASS_COUNT
    require(in_range, f"{name}_labels", f"0..{contract.CLASS_COUNT - 1}", f"{low}..{high}")
    missing = set(range(contract.CLASS_COUNT)) - set(labels.tolist())
    require(not missing, f"{name}_labels", "of all eight classes", f"none of {sorted(missing)}")
    return Split(images, labels)


def _synthetic_splits() -> Splits:
    arrays = draw_arrays()
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()
    path = Path("synthetic")
    splits: dict[str, Any] = {
        name: _checked_split(arrays, name, path) for name in contract.SPLIT_NAMES
    }
    return Splits(**splits, source="synthetic", sha256=digest, synthetic=True)
