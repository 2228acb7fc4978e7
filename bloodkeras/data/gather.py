"""Gathers one's own photographs into a data set in MedMNIST's layout.

Flow: takes folders, and for each a table or a folder a class; gives a .npz file that every command
takes as --data: cells framed as `predict` frames them, in splits that share no slide and no cell.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bloodkeras.answers.class_names import check_clear, class_name
from bloodkeras.answers.spreadsheet import parse_rows, read_text
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.contract import SPLIT_NAMES
from bloodkeras.data.divide import divide
from bloodkeras.dataset import DataSet
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.framing import Framing
from bloodkeras.laboratory.labelled import Labelled, read_labelled
from bloodkeras.laboratory.labels import PLACE, read_table, words_of
from bloodkeras.named_types import Labels
from bloodkeras.whole_file import whole_file

LOG = logging.getLogger(__name__)

LEAST = 3  # cells of a class: one for each split
NAMED = 5  # files that a message names at most


def gather(
    photos: Sequence[str],
    tables: Sequence[str],
    out: str,
    framing: Framing,
    group: str = "",
    name: str = "",
    seed: int = 0,
) -> Path:
    """Write a data set of labelled photographs.

    Args:
        photos: Folders.
        tables: For each a CSV with the columns file and label; "" where each class has a folder.
            Labels that are no class of BloodMNIST's are classes of their own.
        out: The .npz file, which must not exist.
        framing: Side of the images, and what is known of the photographs' magnification.
        group: A column of the tables, such as slide or patient: cells that share what it says are
            in one split. "": each cell by itself.
        name: What the data set is called; "" for the file's name.
        seed: Of the division into splits.

    Returns:
        The file.

    Raises:
        UsageError: The options cannot be.
        BloodkerasError: Something cannot be read or written, or a class has too few cells.
    """
    path = _checked_place(out)
    if group and not all(tables):
        raise UsageError(f"--group {group} is a column of the tables: name one with --labels")
    classes = _class_names(photos, tables)
    if all(tables):  # before all photographs are read
        said = [read_table(Path(table), classes, said=False) for table in tables]
        _check_counts(classes, np.array([place for each in said for place in each.values()]))
    read, groups = [], []
    for folder, table in zip(photos, tables, strict=True):
        grouped = _groups(Path(table), group) if group else {}
        cells = read_labelled(folder, table, classes, framing)
        read.append(cells)
        groups += [(grouped[file],) if group else (folder, file) for file in cells.files]
    cells = _joined(read)
    kept = _distinct(cells, classes)
    cells, groups = cells.at(kept), [groups[row] for row in kept]
    _check_counts(classes, cells.labels)
    occurring, labels = np.unique(cells.labels, return_inverse=True)
    known: dict[tuple[str, ...], int] = {}
    places = divide(labels, np.array([known.setdefault(g, len(known)) for g in groups]), seed)
    dataset = DataSet(name or path.stem, tuple(classes[k] for k in occurring), framing.image_side)
    _write(path, dataset, cells, labels, places)
    if not group:
        LOG.warning(
            "cells of one slide or patient may be in several splits, which flatters: --group "
            "COLUMN keeps together what that column of the table says"
        )
    if cells.errors:
        LOG.warning(f"could not be read: {len(cells.errors)}, first: {cells.errors[0]}")
    return path


def _checked_place(out: str) -> Path:
    path = Path(out)
    if path.suffix != ".npz":
        raise UsageError(f"--out {out}: expected a name that ends in .npz")
    if path.exists():
        raise BloodkerasError(f"{out} is there already: name a file that is not")
    if not path.parent.is_dir():
        raise BloodkerasError(f"cannot write {out}: there is no such folder {path.parent}")
    return path


def _class_names(photos: Sequence[str], tables: Sequence[str]) -> tuple[str, ...]:
    """Return BloodMNIST's classes and then those that only these labels name, and say them."""
    classes = list(BLOODMNIST.class_names)
    for folder, table in zip(photos, tables, strict=True):
        for word in words_of(folder, table):
            if PLACE.fullmatch(word):
                continue
            check_clear(word)
            try:
                class_name(word, tuple(classes))
            except UsageError:
                classes.append(word)
    if new := classes[BLOODMNIST.class_count :]:
        LOG.info(f"classes of their own, which BloodMNIST does not have: {', '.join(new)}")
    return tuple(classes)


def _groups(table: Path, column: str) -> dict[str, str]:
    """Return {file: what a column of the table says}."""
    try:
        rows = parse_rows(read_text(table), table, ("file", column))
    except BloodkerasError as error:
        raise BloodkerasError(f"--group {column}: {error}; every table needs that column") from None
    found = {}
    for line, (file, word) in rows:
        if not word:
            raise BloodkerasError(f"{table}, line {line}: no {column} for {file}")
        found[str(Path(file))] = word
    return found


def _joined(read: Sequence[Labelled]) -> Labelled:
    """Return the cells of several folders as those of one."""
    return Labelled(
        tuple(file for cells in read for file in cells.files),
        np.concatenate([cells.images for cells in read]),
        np.concatenate([cells.labels for cells in read]),
        tuple(error for cells in read for error in cells.errors),
    )


def _distinct(cells: Labelled, classes: Sequence[str]) -> Labels:
    """Return the rows that are kept: one of each set of equal images, none where labels differ."""
    same: dict[bytes, list[int]] = defaultdict(list)
    for row, image in enumerate(cells.images):
        same[image.tobytes()].append(row)
    kept, copies, contradictions = [], 0, []
    for rows in same.values():
        if len({int(cells.labels[row]) for row in rows}) > 1:
            said = (f"{cells.files[row]} ({classes[cells.labels[row]]})" for row in rows)
            contradictions.append(" = ".join(said))
        else:
            kept.append(rows[0])
            copies += len(rows) - 1
    if contradictions:
        LOG.warning(
            "left out, for the same cell has several labels: "
            + "; ".join(contradictions[:NAMED])
            + f"; and {len(contradictions) - NAMED} more" * (len(contradictions) > NAMED)
        )
    if copies:
        LOG.warning(f"left out, for they show the same as others: {copies}")
    return np.array(kept, int)


def _check_counts(classes: Sequence[str], labels: Labels) -> None:
    """Refuse too few cells of a class that occurs, and too few classes."""
    counts = np.bincount(labels)
    occurring = np.flatnonzero(counts).tolist()
    if few := [f"{counts[k]} of {classes[k]}" for k in occurring if counts[k] < LEAST]:
        raise BloodkerasError(
            f"expected {LEAST} cells of each class or more, one for each split; found "
            f"{', '.join(few)}: correct its name, add cells, or remove its rows"
        )
    if len(occurring) < 2:
        raise BloodkerasError(
            f"all cells are {classes[occurring[0]]}: expected two classes or more"
        )


def _write(path: Path, dataset: DataSet, cells: Labelled, labels: Labels, places: Labels) -> None:
    """Write the file; beside what MedMNIST's have, each split's file names."""
    arrays: dict[str, Any] = {
        "name": np.array(dataset.name),
        "class_names": np.array(dataset.class_names),
    }
    for place, split in enumerate(SPLIT_NAMES):
        rows = np.flatnonzero(places == place)
        arrays[f"{split}_images"] = cells.images[rows]
        arrays[f"{split}_labels"] = labels[rows].astype(np.uint8)[:, None]
        arrays[f"{split}_files"] = np.array([cells.files[row] for row in rows], str)
    with whole_file(path) as file:
        np.savez_compressed(file, **arrays)
