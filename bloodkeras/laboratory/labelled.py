"""Reads somebody's own cells: a folder of photographs, and what each shows.

Flow: takes a folder, and a CSV file with the columns file and label or a folder for each class;
gives `Labelled`.
"""

import dataclasses
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bloodkeras.errors import BloodkerasError
from bloodkeras.images.arrays import Item
from bloodkeras.images.folder import PassedOver, walk
from bloodkeras.images.framing import UNKNOWN, Framing
from bloodkeras.images.preprocess import doubt_of, read_image
from bloodkeras.images.scale import scaled
from bloodkeras.images.sources import read_ahead
from bloodkeras.laboratory.labels import (
    find_files,
    folder_of,
    identity,
    kinds_of,
    read_folders,
    read_table,
)
from bloodkeras.named_types import Labels, Pixels
from bloodkeras.progress import Progress

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labelled:
    """Cells with labels.

    Attributes:
        files: Names as the table gives them, or below the folder.
        images: uint8 (N, S, S, 3).
        labels: int64 (N,), places in the class names.
        errors: Why others could not be read, a line each.
        unlabelled: How many images of the folder have no label.
        doubts: Why each cell's frame is in doubt, "" where it is not; none at all where nobody
            knows. An answer to such a cell is unsure, as in `predict`.
        framing: By which the photographs were cut.
    """

    files: tuple[str, ...]
    images: Pixels
    labels: Labels
    errors: tuple[str, ...] = ()
    unlabelled: int = 0
    doubts: tuple[str, ...] = ()
    framing: Framing = UNKNOWN

    def __len__(self) -> int:
        return len(self.files)

    @property
    def framed(self) -> np.ndarray:
        """Whether each cell's frame is not in doubt, bool (N,)."""
        return np.array([not doubt for doubt in self.doubts or [""] * len(self)], bool)

    def distinct(self) -> "Labelled":
        """Return the cells without those that show the same pixels as an earlier one."""
        flat = self.images.reshape(len(self), -1)
        return self.at(np.sort(np.unique(flat, axis=0, return_index=True)[1]))

    def at(self, rows: Labels) -> "Labelled":
        """Return the cells of some rows, int (M,)."""
        return dataclasses.replace(
            self,
            files=tuple(self.files[row] for row in rows),
            images=self.images[rows],
            labels=self.labels[rows],
            doubts=tuple(self.doubts[row] for row in rows if self.doubts),
        )


def read_labelled(
    photos: str, table: str, class_names: tuple[str, ...], framing: Framing = UNKNOWN
) -> Labelled:
    """Read photographs and their labels; say on stderr what was understood and passed over.

    Args:
        photos: A folder.
        table: CSV with the columns file (below the folder, or beside the table, or an absolute
            path) and label (a class name or a common abbreviation, or its place from 0, as in
            BloodMNIST); other columns are ignored. "": the folder has a folder for each class.
        class_names: All class names.
        framing: What is known of the photographs' magnification.

    Raises:
        BloodkerasError: The folder or the table cannot be read, a column is missing, a class or a
            file that is named does not exist, or no photograph can be read.
    """
    folder = folder_of(photos)
    passed = PassedOver(table)
    there = list(walk(photos, passed))
    images = [Path(path) for path, error in there if not error]
    if table:
        places = read_table(Path(table), class_names)
        paths = find_files(folder, Path(table), places)
        top = folder.resolve()
        if elsewhere := sum(top not in path.resolve().parents for path in paths.values()):
            said = f"{elsewhere} of the {len(paths)} photographs in {table} are not in {photos}"
            LOG.warning(said)
        errors = []
    else:
        places = read_folders(folder, images, class_names)
        paths = {name: folder / name for name in places}
        errors = [error for _, error in there if error]
    framing = scaled([photos], framing, paths=paths.values())
    read: list[Pixels | str] = []
    with Progress(lambda: len(paths)) as progress:
        for _, pixels in read_ahead(partial(read_first, path, framing) for path in paths.values()):
            read.append(pixels)
            progress.add(1)
    good = [row for row, pixels in enumerate(read) if not isinstance(pixels, str)]
    errors += [pixels for pixels in read if isinstance(pixels, str)]
    if not good:
        raise BloodkerasError(f"none of {len(read)} photographs can be read: {errors[0]}")
    passed.say()
    names, labels = list(places), np.array(list(places.values()))
    labelled = {identity(path) for path in paths.values()}
    return Labelled(
        tuple(names[row] for row in good),
        np.stack([np.asarray(read[row]) for row in good]),
        labels[good],
        tuple(errors),
        sum(identity(path) not in labelled for path in images),
        tuple(doubt_of(read[row]) for row in good),
        framing,
    )


def read_others(photos: str, table: str, framing: Framing) -> tuple[Labelled, tuple[str, ...]]:
    """Read photographs of what is none of the classes.

    Args:
        photos: A folder.
        table: CSV with the columns file and label; a label is any word, such as blast.
        framing: By which the photographs are cut.

    Returns:
        The photographs, and the words, whose places their labels are.

    Raises:
        BloodkerasError: As `read_labelled`.
    """
    kinds = kinds_of(Path(table))
    return read_labelled(photos, table, kinds, framing), kinds


def read_first(path: Path, framing: Framing) -> list[Item]:
    """Return the first photograph in a file."""
    try:
        return [(str(path), read_image(path, framing))]
    except BloodkerasError as error:
        return [(str(path), str(error))]
