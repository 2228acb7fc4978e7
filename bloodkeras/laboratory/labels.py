"""Reads what somebody's cells are: from a table, or from the folders that they lie in.

Flow: takes a folder of photographs and the path of a CSV file with the columns file and label;
gives {file: place of its class} and {file: path}, for `labelled.py`.
"""

import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from bloodkeras.answers.class_names import class_name, spells_out
from bloodkeras.answers.spreadsheet import parse_rows, read_text
from bloodkeras.contract import FOREIGN, UNSURE
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.folder import walk

LOG = logging.getLogger(__name__)

UNKNOWN, NOT_A_CELL = "unknown", "not a cell"  # what `label` writes of such a photograph
# Of folders and in tables: what has no label.
NO_CLASS = (UNSURE, FOREIGN, "unlabelled", "unlabeled", UNKNOWN, NOT_A_CELL)
PLACE = re.compile(r"(\d+)(?:[.,]0+)?")  # of a class; some programs save 6 as 6.0


def check_tables(photos: str, table: str, foreign: str, class_names: tuple[str, ...]) -> None:
    """Refuse, before a photograph is read, what `read_labelled` and `read_others` would refuse.

    Args:
        photos: A folder.
        table: Of its cells; "" where each class has a folder.
        foreign: Of its cells that are none of the classes; "" without any.
        class_names: All class names.

    Raises:
        BloodkerasError: Also if a kind of foreign cells is a class, or a file is in both tables.
    """
    folder = folder_of(photos)
    named: set[tuple[Any, ...]] = set()
    if table:
        found = find_files(folder, Path(table), read_table(Path(table), class_names, said=False))
        named = {identity(path) for path in found.values()}
    if not foreign:
        return
    kinds = kinds_of(Path(foreign))
    for kind in kinds:
        if PLACE.fullmatch(kind) or _means_class(kind, class_names):
            raise BloodkerasError(
                f"{foreign}: {kind} is one of the classes: expected cells that are none of them, "
                "such as blast; list this one in --labels"
            )
    others = find_files(folder, Path(foreign), read_table(Path(foreign), kinds, said=False))
    if twice := [name for name, path in others.items() if identity(path) in named]:
        raise BloodkerasError(f"{twice[0]} is in both {table} and {foreign}: a cell is one or none")


def folder_of(photos: str) -> Path:
    """Return the folder of photographs.

    Raises:
        BloodkerasError: There is none.
    """
    folder = Path(photos)
    if not folder.is_dir():
        found = "it is a file" if folder.exists() else "there is no such folder"
        raise BloodkerasError(f"{photos}: expected a folder of photographs; {found}")
    return folder


def kinds_of(table: Path) -> tuple[str, ...]:
    """Return the labels of a table, each once."""
    words = {label for _, (_, label) in parse_rows(read_text(table), table, ("file", "label"))}
    return tuple(sorted(filter(None, words)))


def words_of(photos: str, table: str) -> tuple[str, ...]:
    """Return what a laboratory calls its classes, each once.

    Args:
        photos: A folder of photographs.
        table: CSV with the columns file and label; "" where each class has a folder.

    Raises:
        BloodkerasError: Neither can be read.
    """
    if table:
        words = set(kinds_of(Path(table)))
    else:
        folder = folder_of(photos)
        found = (Path(path).relative_to(folder).parts for path, error in walk(photos) if not error)
        words = {parts[0] for parts in found if len(parts) > 1}
    return tuple(sorted(word for word in words if word.casefold() not in NO_CLASS))


def _means_class(word: str, class_names: tuple[str, ...]) -> bool:
    try:
        return bool(class_name(word, class_names))
    except UsageError:
        return False


# --- labels from a table --------------------------------------------------------------------------


def read_table(path: Path, class_names: tuple[str, ...], said: bool = True) -> dict[str, int]:
    """Return {file: place of its class} of a table, and say what was understood.

    Rows of NO_CLASS are left out; see `read_labelled`.
    """
    places: dict[str, int] = {}
    left: Counter[str] = Counter()
    names: set[str] = set()
    understood: Counter[tuple[str, str]] = Counter()
    for line, (name, label) in parse_rows(read_text(path), path, ("file", "label")):
        where = f"{path}, line {line}"
        if not name:
            raise BloodkerasError(f"{where}: no file")
        if not label:
            raise BloodkerasError(f"{where}: no label for {name}: add it, or remove the row")
        name = os.path.normpath(name)  # ./a.png is a.png
        if name in names:
            raise BloodkerasError(f"{where}: {name} is there twice")
        names.add(name)
        if label.casefold() in NO_CLASS and label not in class_names:
            left[f"as {label}"] += 1
            continue
        places[name] = _place(label, class_names, where, understood)
    if not places:
        raise BloodkerasError(f"{path} names no cell of a class: all its rows are {_listed(left)}")
    if said:
        _say_understood(understood, "row")
        _say_left(left)
    return places


def _place(
    label: str, class_names: tuple[str, ...], where: str, understood: Counter[tuple[str, str]]
) -> int:
    if number := PLACE.fullmatch(label):
        if int(number[1]) < len(class_names):
            return int(number[1])
        raise BloodkerasError(f"{where}: label {label}: expected 0 to {len(class_names) - 1}")
    try:
        meant = class_name(label, class_names)
    except UsageError as error:
        raise BloodkerasError(f"{where}: {error}") from None
    if not spells_out(label, meant):
        understood[label, meant] += 1
    return class_names.index(meant)


def _say_understood(understood: Counter[tuple[str, str]], counted: str) -> None:
    """Say once which abbreviations were taken for which classes."""
    said = [
        f"{written} as {meant} ({count:,} {counted}{'s' * (count != 1)})"
        for (written, meant), count in understood.items()
    ]
    if said:
        LOG.info(f"understood {', '.join(said)}")


def _say_left(left: Counter[str]) -> None:
    if left:
        LOG.warning(f"without a label, so left out: {_listed(left)}")


def _listed(left: Counter[str]) -> str:
    return ", ".join(f"{count:,} {where}" for where, count in left.items())


def find_files(folder: Path, table: Path, names: dict[str, int]) -> dict[str, Path]:
    """Return {name: path} of what a table names.

    Raises:
        BloodkerasError: A file is not there, or named twice.
    """
    finder = _Finder(folder, table)
    found = {name: finder.find(name) for name in names}
    paths = {name: path for name, path in found.items() if path}
    missing = [name for name in names if name not in paths]
    if missing:
        raise BloodkerasError(
            f"{len(missing)} of the {len(names)} files that {table} names are not in {folder}, "
            f"such as {missing[0]}: expected paths below that folder, with their endings"
        )
    first: dict[tuple[Any, ...], str] = {}
    for name, path in paths.items():
        if (other := first.setdefault(identity(path), name)) != name:
            raise BloodkerasError(f"{table}: {other} and {name} are one file, which is there twice")
    return paths


class _Finder:
    """Finds files, however a table spells their paths.

    Below the folder of photographs, else beside the table, else from where the command was called;
    a path of another machine counts from that folder's name on. A file name that one system
    composed otherwise, or wrote in letters of another size, is found too if it is the only one.
    """

    def __init__(self, folder: Path, table: Path) -> None:
        self._folder, self._bases = folder, (folder, table.parent, Path())

    def find(self, name: str) -> Path | None:
        """Return the file, or None."""
        spellings = dict.fromkeys((name, name.replace("\\", "/")))
        below = [tail for spelt in spellings for tail in self._tails(spelt)]
        tried = [base / spelt for spelt in spellings for base in self._bases]
        tried += [self._folder / tail for tail in below]
        if found := next(filter(os.path.isfile, tried), None):
            return found
        for tail in (*spellings, *below):
            among = self._by_folded_name.get(_folded(tail), [])
            same = [path for path in among if _composed(path) == _composed(tail)] or among
            if len(same) == 1:
                return self._folder / same[0]
        return None

    def _tails(self, name: str) -> Iterator[str]:
        """Yield what comes after the folder's own name in a path."""
        parts = name.split("/")
        own = _folded(self._folder.resolve().name)
        yield from (
            "/".join(parts[k + 1 :]) for k, part in enumerate(parts[:-1]) if _folded(part) == own
        )

    @cached_property
    def _by_folded_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = Path(folder, name).relative_to(self._folder).as_posix()
                found.setdefault(_folded(path), []).append(path)
        return found


def _composed(name: str) -> str:
    """Return a name with its accents composed: macOS takes them apart."""
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return _composed(_composed(name).casefold())


def identity(path: Path) -> tuple[Any, ...]:
    """Return what tells a file from any other, however its path is spelt."""
    try:
        found = path.stat()
    except OSError:  # a link that leads nowhere
        return (str(path),)
    return found.st_dev, found.st_ino, _folded(path.name)


# --- labels from folders --------------------------------------------------------------------------


def read_folders(folder: Path, images: list[Path], class_names: tuple[str, ...]) -> dict[str, int]:
    """Return {file: place of its class} where each class has a folder; say what has no label.

    Raises:
        BloodkerasError: A folder is named by no class, or none is.
    """
    places, meant = {}, {}
    understood: Counter[tuple[str, str]] = Counter()
    left: Counter[str] = Counter()
    for path in images:
        name = path.relative_to(folder)
        top = name.parts[0] if len(name.parts) > 1 else ""
        if not top or top.casefold() in NO_CLASS:
            left[f"in {top}/" if top else "beside the folders"] += 1
            continue
        if top not in meant:
            meant[top] = _folder_class(folder, top, class_names)
        if not spells_out(top, meant[top]):
            understood[top, meant[top]] += 1
        places[name.as_posix()] = class_names.index(meant[top])
    if not places:
        raise BloodkerasError(
            f"{folder} has no folder with images that is named by a class, such as "
            f"{class_names[0]}/ or {class_names[-1]}/: make them, or give --labels CSV"
        )
    _say_understood(understood, "image")
    _say_left(left)
    return places


def _folder_class(folder: Path, name: str, class_names: tuple[str, ...]) -> str:
    try:
        return class_name(name, class_names)
    except UsageError as error:
        raise BloodkerasError(
            f"the folder {folder / name}: {error}; rename it, move it out, or give --labels CSV"
        ) from None
