"""Keeps what a person said of each photograph in a table that is on disk after every answer.

Flow: takes the path of a CSV file; gives a `Table` of the columns file, label and at, which `judge`
and `calibrate` read as --labels. It is written whole each time, so it is never half there.
"""

import csv
import io
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from bloodkeras.answers.spreadsheet import read_text
from bloodkeras.errors import BloodkerasError, UsageError, gist
from bloodkeras.whole_file import check_folder, check_writable, replace_file

COLUMNS = ("file", "label", "at")  # of a table that somebody began by hand, the last may be missing


class Said(NamedTuple):
    """A row: what a photograph shows, and when somebody said so (UTC, ISO 8601)."""

    file: str
    label: str
    at: str


class Table:
    """What was said so far, in order.

    Attributes:
        path: The file.
        rows: What it holds.
    """

    def __init__(self, path: Path) -> None:
        """Open a table that is there, or begin one, which is written with its first row.

        Raises:
            UsageError: Its name does not end in .csv.
            BloodkerasError: It cannot be read or written, is no table of `label`, or says twice
                what a file shows.
        """
        self.path = path
        if path.suffix.lower() != ".csv":
            raise UsageError(f"--out {path}: expected a name that ends in .csv")
        check_folder(path.parent)
        try:
            check_writable(path.parent)
        except OSError as error:
            raise BloodkerasError(f"cannot write {path}: {gist(error)}") from None
        self.rows = _read(path) if os.path.lexists(path) else []
        self._found = _content(path)

    def add(self, file: str, label: str) -> None:
        """Add a row, on disk when this returns.

        Raises:
            BloodkerasError: It cannot be written, or another program has changed the file; the
                table is as it was.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self._write([*self.rows, Said(file, label, now)])

    def undo(self) -> Said | None:
        """Take the last row back and return it; None without any.

        Raises:
            BloodkerasError: As `add`.
        """
        if not self.rows:
            return None
        last = self.rows[-1]
        self._write(self.rows[:-1])
        return last

    def spell_out(self, meant: Callable[[str], str]) -> None:
        """Take each label for what it means; the file says so from the next answer on.

        Args:
            meant: Takes a label and returns the class that it means, or the label.
        """
        self.rows = [row._replace(label=meant(row.label)) for row in self.rows]

    def _write(self, rows: list[Said]) -> None:
        if _content(self.path) != self._found:
            raise BloodkerasError(
                f"{self.path} was changed by another program, so this answer is not in it: stop "
                "`label`, look at the table, and start it again"
            )
        content = csv_text(rows).encode()
        try:
            replace_file(self.path, content)
        except OSError as error:
            raise BloodkerasError(f"cannot write {self.path}: {gist(error)}") from None
        self._found, self.rows = content, rows


def csv_text(rows: list[Said]) -> str:
    """Return a table as its file holds it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    return text.getvalue()


def _read(path: Path) -> list[Said]:
    """Return the rows of a table that can be written again without losing anything of it."""
    lines = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header, *rows = [(lines.line_num, line) for line in lines if any(line)] or [(1, [])]
    except csv.Error as error:
        raise BloodkerasError(f"{path}, line {lines.line_num}, is no CSV: {error}") from None
    if tuple(header[1]) not in (COLUMNS, COLUMNS[:2]):
        found = ", ".join(header[1]) or "nothing"
        raise BloodkerasError(
            f"{path} is there and no table of `label`: expected the columns {','.join(COLUMNS)}, "
            f"or the first two alone, found {found[:200]}, which would be lost; give another --out"
        )
    said: dict[str, Said] = {}
    for line, cells in rows:
        if not 2 <= len(cells) <= len(header[1]) or not all(cells[:2]):
            raise BloodkerasError(f"{path}, line {line}: expected a file and its label")
        row = Said(*cells, *[""] * (len(COLUMNS) - len(cells)))
        if earlier := said.get(row.file):
            same = earlier.label == row.label
            as_what = f"as {row.label}" if same else f"as {earlier.label} and as {row.label}"
            raise BloodkerasError(
                f"{path}, line {line}: {row.file} is there twice, {as_what}: keep one of the rows"
            )
        said[row.file] = row
    return list(said.values())


def _content(path: Path) -> bytes | None:
    """Return what a file holds; None where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BloodkerasError(f"cannot read {path}: {gist(error)}") from None
