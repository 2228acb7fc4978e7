"""Reads a small table that a person wrote, as spreadsheets save it.

Flow: takes a file and the columns it must have; gives its rows. Commas, semicolons or tabs; UTF-8,
UTF-16 by its mark, or Windows-1252; decimal commas; empty rows and columns.
"""

import codecs
import csv
import io
import logging
import re
from contextlib import suppress
from pathlib import Path

from bloodkeras.errors import BloodkerasError

LOG = logging.getLogger(__name__)

MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16's, which is its beginning
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx, .ods, .numbers; .xls
WESTERN = "cp1252"  # what Excel of Western Europe and America saves as plain CSV
SEPARATORS = ",;\t"
SEPARATOR_LINE = re.compile(r'\s*"?sep=(.)"?[ ,;\t]*\r?\n?', re.IGNORECASE)  # for Excel
# What a column is called besides its name, if no column has just that.
ALSO_CALLED = {
    "file": "filename, file name, image, image name, image file, path, file path, image path, "
    "photo, photograph, picture",
    "label": "labels, class, class name, cell type, celltype, type, category",
    "class": "label, class name, cell type, celltype, type, category",
    "weight": "weights, share, percent, count, frequency",
}


def read_text(path: Path) -> str:
    """Return a text file's content; say so on stderr where its encoding had to be supposed.

    Raises:
        BloodkerasError: It cannot be read, or is not text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BloodkerasError(f"cannot read {path}: {error.strerror}") from None
    if content.startswith(WORKBOOKS):
        raise BloodkerasError(
            f"cannot read {path}: it is a workbook; save the sheet as CSV (UTF-8)"
        )
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    for encoding in (MARKS[mark],) if mark else ("utf-8", WESTERN):
        with suppress(UnicodeDecodeError):
            text = content[len(mark) :].decode(encoding)
            break
    else:
        raise BloodkerasError(
            f"cannot read {path}: it is no {MARKS.get(mark, 'UTF-8')} text; save it as CSV (UTF-8)"
        )
    if "\0" in text:
        raise BloodkerasError(
            f"cannot read {path}: it holds zero bytes, so it is not text, or UTF-16 without its "
            "mark; save it as CSV (UTF-8)"
        )
    if encoding == WESTERN:
        LOG.warning(
            f"{path} is no UTF-8: read as Windows-1252; saved as CSV (UTF-8) it would be sure"
        )
    return text


def parse_rows(
    text: str, path: Path, columns: tuple[str, ...], numbers: tuple[str, ...] = ()
) -> list[tuple[int, list[str]]]:
    """Return the line where each row begins, and what it holds in some columns, without blanks.

    Rows in which all these are empty are left out.

    Args:
        text: What the file holds.
        path: The file, for messages.
        columns: Names that must be in its header, or what else such a column is called; other
            columns are ignored.
        numbers: Those of them that hold numbers: a decimal comma becomes a point.

    Raises:
        BloodkerasError: A column is missing, there is no row, or it is not CSV.
    """
    said = SEPARATOR_LINE.match(text)
    skipped = text[: said.end()].count("\n") if said else 0
    text = text[said.end() :] if said else text
    headers = {s: _header(text, s) for s in (said.group(1) if said else SEPARATORS)}
    separator = next(
        (s for s, header in headers.items() if _places(header, columns)),
        max(headers, key=lambda s: len(headers[s])),
    )
    rows = _split(text, separator, path, skipped)
    places = _places(headers[separator], columns)
    if not places:
        names = ", ".join(filter(None, headers[separator])) or "nothing"
        raise BloodkerasError(
            f"{path} must have the columns {' and '.join(columns)}, once each, found {names}"
        )
    found = []
    for line, row in rows[1:]:
        cells = [row[place] if place < len(row) else "" for place in places]
        if any(cells):
            found.append((line, cells))
    if not found:
        raise BloodkerasError(f"{path} holds no row below its header")
    for column in numbers:
        for _, cells in found:
            place = columns.index(column)
            cells[place] = _with_point(cells[place], separator)
    return found


def _header(text: str, separator: str) -> list[str]:
    """Return the names in the first row that is not empty, in small letters."""
    rows = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=separator != "\t"
    )
    try:
        first = next((row for row in rows if any(map(str.strip, row))), [])
    except csv.Error:  # it may have another separator
        first = []
    return list(map(_plain_header, first))


def _plain_header(name: str) -> str:
    """Return a column's name without what does not count in it."""
    return " ".join(name.casefold().replace("_", " ").split())


def _split(text: str, separator: str, path: Path, skipped: int) -> list[tuple[int, list[str]]]:
    """Return the lines and cells of all rows that are not empty, the header first."""
    lines = io.StringIO(text, newline="")  # any line ends, and those within quotes as they are
    table = csv.reader(lines, delimiter=separator, skipinitialspace=separator != "\t", strict=True)
    rows, line = [], 1 + skipped
    try:
        for row in table:
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append((line, cells))
            line = table.line_num + 1 + skipped
    except csv.Error as error:
        raise BloodkerasError(f"{path}, line {line}, is no CSV: {error}") from None
    return rows


def _places(header: list[str], columns: tuple[str, ...]) -> list[int]:
    """Return where the columns are; [] if one is missing or there more than once."""
    places = []
    for column in columns:
        column = _plain_header(column)
        among = [column] if column in header else ALSO_CALLED.get(column, "").split(", ")
        there = [place for place, name in enumerate(header) if name in among]
        if len(there) != 1:
            return []
        places += there
    return places if len(set(places)) == len(columns) else []


def _with_point(number: str, separator: str) -> str:
    """Return a number with a decimal point, as Python reads it; any other text as it is.

    In a table with semicolons or tabs a comma is a decimal one; in one with commas it may stand
    between thousands.
    """
    percent = number.endswith("%")
    digits = number.removesuffix("%").replace("\xa0", "").strip()
    if separator == "," and re.fullmatch(r"[1-9]\d{0,2}(,\d{3})+(\.\d+)?", digits):
        digits = digits.replace(",", "")
    elif re.fullmatch(r"\d{1,3}(\.\d{3})+,\d+", digits):
        digits = digits.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"\d*,\d+", digits):
        digits = digits.replace(",", ".")
    else:
        digits = digits if percent else number
    if not percent:
        return digits
    return f"{digits}e-2" if re.fullmatch(r"\d+\.?\d*|\.\d+", digits) else number
