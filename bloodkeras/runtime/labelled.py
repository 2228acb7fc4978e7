"""Reads somebody's own cells: a folder of photographs, and a table that says what each shows.

Flow: takes a folder and a CSV file with the columns file and label; gives `Labelled`.
"""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.runtime.preprocess import IMAGE_SUFFIXES, read_image
from bloodkeras.runtime.prior import class_name
from bloodkeras.runtime.progress import Progress
from bloodkeras.runtime.scale import UNKNOWN, Framing
from bloodkeras.runtime.spreadsheet import parse_rows, read_text


@dataclass(frozen=True)
class Labelled:
    """Cells with labels.

    Attributes:
        files: Names as the table gives them, below the folder.
        images: uint8 (N, 28, 28, 3).
        labels: int64 (N,), places in the class names.
        errors: Why others could not be read, a line each.
        unlabelled: How many images of the folder the table does not name.
    """

    files: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    errors: tuple[str, ...] = ()
    unlabelled: int = 0

    def __len__(self) -> int:
        return len(self.files)

    def distinct(self) -> "Labelled":
        """Return the cells without those that show the same pixels as an earlier one."""
        flat = self.images.reshape(len(self), -1)
        rows = np.sort(np.unique(flat, axis=0, return_index=True)[1])
        files = tuple(self.files[row] for row in rows)
        return dataclasses.replace(
            self, files=files, images=self.images[rows], labels=self.labels[rows]
        )


def read_labelled(
    photos: str,
    table: str,
    class_names: tuple[str, ...],
    framing: Framing = UNKNOWN,
) -> Labelled:
    """Read photographs and their labels.

    Args:
        photos: A folder.
        table: CSV with the columns file (below the folder) and label (a class name, or its place
            from 0, as in BloodMNIST); other columns are ignored, commas or semicolons separate.
        class_names: All class names.
        framing: What is known of the photographs' magnification.

    Raises:
        BloodkerasError: The folder or the table cannot be read, has not these columns, names a
            class or a file that there is not, or not one photograph can be read.
    """
    folder = Path(photos)
    if not folder.is_dir():
        raise BloodkerasError(f"{photos} is {'no' if folder.exists() else 'no such'} folder")
    places = read_table(Path(table), class_names)
    missing = [name for name in places if not _is_file(folder / name)]
    if missing:
        raise BloodkerasError(
            f"{table} names {len(missing)} of {len(places)} files that are not in {photos}, such "
            f"as {missing[0]}: expected paths below that folder, with their endings"
        )
    found, count = [], len(places)
    with ThreadPoolExecutor(thread_name_prefix="read") as pool, Progress(lambda: count) as progress:
        for pixels in pool.map(lambda name: _read(folder / name, framing), places):
            found.append(pixels)
            progress.add(1)
    good = [row for row, pixels in enumerate(found) if not isinstance(pixels, str)]
    errors = tuple(pixels for pixels in found if isinstance(pixels, str))
    if not good:
        raise BloodkerasError(f"none of {len(found)} photographs can be read: {errors[0]}")
    names, labels = list(places), np.array(list(places.values()))
    there = {p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES}
    return Labelled(
        tuple(names[row] for row in good),
        np.stack([found[row] for row in good]),
        labels[good],
        errors,
        len(there - {folder / name for name in names}),
    )


def read_table(path: Path, class_names: tuple[str, ...]) -> dict[str, int]:
    """Return {file: place of its class} of a table; see `read_labelled`."""
    places = {}
    for line, (name, label) in parse_rows(read_text(path), path, ("file", "label")):
        where = f"{path}, line {line}"
        if not name:
            raise BloodkerasError(f"{where}: no file")
        name = os.path.normpath(name)  # ./a.png is a.png
        if name in places:
            raise BloodkerasError(f"{where}: {name} is there twice")
        places[name] = _place(label, class_names, where)
    return places


def _place(label: str, class_names: tuple[str, ...], where: str) -> int:
    if label.isdecimal():
        if int(label) < len(class_names):
            return int(label)
        raise BloodkerasError(f"{where}: label {label}: expected 0 to {len(class_names) - 1}")
    try:
        return class_names.index(class_name(label, class_names))
    except UsageError as error:
        raise BloodkerasError(f"{where}: {error}") from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than any file's
        return False


def _read(path: Path, framing: Framing) -> np.ndarray | str:
    try:
        return read_image(path, framing)
    except BloodkerasError as error:
        return str(error)
