"""Reads a small table that a person wrote: CSV, with commas or, as some spreadsheets, semicolons.

Flow: takes a file and the columns it must have; gives its rows.
"""

import csv
from pathlib import Path

from bloodkeras.errors import BloodkerasError


def read_text(path: Path) -> str:
    """Return a text file's content.

    Raises:
        BloodkerasError: It cannot be read, or is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise BloodkerasError(f"cannot read {path}: {reason}") from None


def parse_rows(text: str, path: Path, columns: tuple[str, ...]) -> list[tuple[int, list[str]]]:
    """Return the line of each row, and what it holds in some columns, without blanks around.

    Args:
        text: What the file holds.
        path: The file, for messages.
        columns: Names that must be in its header; others are ignored.

    Raises:
        BloodkerasError: It has not these columns, holds no row, or is no CSV.
    """
    lines = text.splitlines()
    separator = ";" if lines and ";" in lines[0] and "," not in lines[0] else ","
    table = csv.reader(lines, delimiter=separator)
    try:
        found = [name.strip().casefold() for name in next(table, [])]
        if any(found.count(column) != 1 for column in columns):
            raise BloodkerasError(
                f"{path} must have the columns {' and '.join(columns)}, once each, found "
                f"{', '.join(found) or 'nothing'}"
            )
        places = [found.index(column) for column in columns]
        rows = [
            (table.line_num, [row[k].strip() if k < len(row) else "" for k in places])
            for row in table
            if row
        ]
    except csv.Error as error:
        raise BloodkerasError(f"{path}, line {table.line_num}, is no CSV: {error}") from None
    if not rows:
        raise BloodkerasError(f"{path} holds no row below its header")
    return rows
