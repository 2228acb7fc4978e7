"""The table of the cells that were found; of a field without any a row says why.

Flow: takes the boxes of one field after the other; gives CSV that an interrupted job goes on with.
"""

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from bloodkeras.answers.copies import NO_NAME
from bloodkeras.errors import BloodkerasError

FILE_NAME = re.compile(r"(.+)\.[^.#]+(#\d+)?")  # of a field, or of one page of a file
TABLE = "boxes.csv"  # in the folder of the crops


class Box(NamedTuple):
    """A white cell of a field, or a field without any.

    Left, top, right and bottom are the nucleus', in the field's pixels; crop_left and crop_top are
    where in the field the crop begins.
    """

    field: str
    crop: str = ""
    left: int | str = ""
    top: int | str = ""
    right: int | str = ""
    bottom: int | str = ""
    at_edge: str = ""  # "yes" where the field cuts the nucleus, else "no"
    crop_left: int | str = ""
    crop_top: int | str = ""
    remark: str = ""  # what is wrong with the field
    error: str = ""  # why it was left out


class Boxes:
    """The table while it is written. Use as a context manager.

    Attributes:
        kept: The rows that were there before, of whole fields.
    """

    def __init__(self, folder: Path, resume: bool) -> None:
        """Create the table, or open an interrupted one.

        Args:
            folder: Where it lies.
            resume: Go on with the table that is there.

        Raises:
            BloodkerasError: It cannot be written, or what is there is no such table.
        """
        self.path = folder / TABLE
        self.kept: list[Box] = []
        try:
            size = self._keep() if resume and self.path.exists() else 0
            self._file = open(self.path, "r+b" if size else "wb")  # noqa: SIM115
            self._file.truncate(size)
            self._file.seek(size)
            if not size:
                self._write([Box._fields])
        except OSError as error:
            raise BloodkerasError(f"cannot write {self.path}: {error.strerror}") from None

    def __enter__(self) -> "Boxes":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _keep(self) -> int:
        """Read what is whole; return its length in bytes.

        The last field is made again: whether all its rows are there is not known.
        """
        lines = list(_whole_lines(self.path))
        rows = list(parsed(lines, self.path))
        if rows:
            rows = [row for row in rows if row.field != rows[-1].field]
        self.kept = rows
        return sum(map(len, lines[: 1 + len(rows)]))

    def add(self, boxes: Iterable[Box]) -> None:
        """Write the rows of a field; they are in the file, whatever happens, on return.

        Raises:
            BloodkerasError: They cannot be written.
        """
        try:
            self._write(boxes)
        except OSError as error:
            raise BloodkerasError(f"cannot write {self.path}: {error.strerror}") from None

    def _write(self, rows: Iterable[tuple[object, ...]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._file.write(text.getvalue().encode())
        self._file.flush()

    def finish(self) -> None:
        """Make what was written last."""
        os.fsync(self._file.fileno())


def _whole_lines(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from (line for line in file if line.endswith(b"\n"))


def parsed(lines: Iterable[bytes], path: Path) -> Iterator[Box]:
    """Yield the rows of a table, below its header.

    Raises:
        BloodkerasError: It is no such table.
    """
    table = csv.reader(line.decode("utf-8", "replace") for line in lines)
    if tuple(next(table, Box._fields)) != Box._fields:
        raise BloodkerasError(f"{path} has another header: it is no table of `find`")
    for row in table:
        if len(row) != len(Box._fields):
            raise BloodkerasError(
                f"{path}, line {table.line_num}, is damaged: choose another --out"
            )
        yield Box(*row)


def read_boxes(folder: Path) -> list[Box]:
    """Return all rows of the table in a folder."""
    path = folder / TABLE
    return list(parsed(_whole_lines(path), path))


class Stems:
    """Gives each field a name that its crops can bear: no two fields the same on any system."""

    def __init__(self, kept: Iterable[Box]) -> None:
        """Begin with the fields that had their names before."""
        self._taken: set[str] = set()
        for field, rows in groupby(kept, key=lambda row: row.field):
            if crop := next(rows).crop:
                self._taken.add(crop.rpartition("-")[0].casefold())
            else:
                self.name(field)

    def name(self, field: str) -> str:
        """Return the name of a field: its file's, or that with a number."""
        said = FILE_NAME.fullmatch(os.path.basename(field))
        wanted = NO_NAME.sub("-", f"{said[1]}{said[2] or ''}" if said else os.path.basename(field))
        stem, number = wanted, 1
        while stem.casefold() in self._taken:
            number += 1
            stem = f"{wanted}_{number}"
        self._taken.add(stem.casefold())
        return stem
