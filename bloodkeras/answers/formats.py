"""Spells rows as CSV or JSON lines, reads them back, and turns JSON lines into Parquet.

Flow: takes `Row`s; gives text. A name that is not valid text has its odd bytes escaped (\\udce4),
so that every table is valid UTF-8.
"""

import csv
import io
import json
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from bloodkeras.errors import missing_package
from bloodkeras.whole_file import whole_file

NEEDS_QUOTES = re.compile(r'[,"\r\n]')
PARQUET_ROWS = 65_536  # of a row group: what is held in memory


def columns(labels: Iterable[str], prior: str = "") -> tuple[str, ...]:
    """Return the names of a table's columns; the last says the prior, where there is one."""
    probs = (f"prob_{label.replace(' ', '_')}" for label in labels)
    return ("path", "label", "confidence", *probs, "verdict", "error", *["prior"] * bool(prior))


def cells(row: Any, class_count: int) -> tuple[Any, ...]:
    """Return what a `Row` has in all columns but the prior's; None where there is nothing."""
    return (
        valid_text(row.path),
        row.label or None,
        row.confidence,
        *(row.probs or (None,) * class_count),
        row.verdict or None,
        one_line(row.error) or None,
    )


def valid_text(name: str) -> str:
    """Return a file name as text that can be written as UTF-8."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def one_line(text: str) -> str:
    """Return text without control characters, which could move a terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class Csv:
    """Comma-separated values with a header; numbers to six decimals; empty where there is none."""

    quotes = True  # a cell in quotes may hold newlines

    def __init__(self, labels: tuple[str, ...], prior: str = "") -> None:
        self.columns = columns(labels, prior)
        self.header = ",".join(self.columns) + "\n"
        self._end = f",{_quoted(prior)}\n" if prior else "\n"
        self._numbers = ",".join(["%.6f"] * (1 + len(labels)))
        self._no_numbers = "," * len(labels)

    def encode(self, rows: Iterable[Any]) -> str:
        """Return the rows as text."""
        lines = []
        for row in rows:
            numbers = (
                self._numbers % (row.confidence, *row.probs) if row.label else self._no_numbers
            )
            path, error = _quoted(valid_text(row.path)), _quoted(one_line(row.error))
            lines.append(f"{path},{row.label},{numbers},{row.verdict},{error}{self._end}")
        return "".join(lines)

    def decode(self, record: bytes) -> tuple[str, str, str]:
        """Return path, label and verdict of one row; ValueError if it is none."""
        try:
            (cells,) = csv.reader(io.StringIO(record.decode(), newline=""))
        except csv.Error:
            raise ValueError from None
        if len(cells) != len(self.columns):
            raise ValueError
        return cells[0], cells[1], cells[self.columns.index("verdict")]


class JsonLines:
    """One JSON object a line; null where there is nothing."""

    quotes = False
    header = ""

    def __init__(self, labels: tuple[str, ...], prior: str = "") -> None:
        self.columns = columns(labels, prior)
        self._prior = (prior,) if prior else ()
        self._class_count = len(labels)

    def encode(self, rows: Iterable[Any]) -> str:
        """Return the rows as text."""
        lines = []
        for row in rows:
            path, label, *numbers, verdict, error = cells(row, self._class_count)
            numbers = [number if number is None else round(number, 6) for number in numbers]
            values = (path, label, *numbers, verdict, error, *self._prior)
            lines.append(json.dumps(dict(zip(self.columns, values, strict=True))) + "\n")
        return "".join(lines)

    def decode(self, record: bytes) -> tuple[str, str, str]:
        """Return path, label and verdict of one row; ValueError if it is none."""
        row = json.loads(record)
        if not isinstance(row, dict) or tuple(row) != self.columns:
            raise ValueError
        return row["path"], row["label"] or "", row["verdict"] or ""


Format = Csv | JsonLines
FORMATS: dict[str, type[Csv] | type[JsonLines]] = {
    "csv": Csv,
    "jsonl": JsonLines,
    "parquet": JsonLines,
}


def import_pyarrow() -> ModuleType:
    """Return pyarrow.

    Raises:
        BloodkerasError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise missing_package("pyarrow", "parquet") from None
    return cast(ModuleType, pyarrow)


def parquet_schema(names: Iterable[str]) -> Any:
    """Return a table's columns with their types, as a pyarrow.Schema: float32, the others text."""
    arrow = import_pyarrow()
    numbers = {name for name in names if name == "confidence" or name.startswith("prob_")}
    return arrow.schema([(c, arrow.float32() if c in numbers else arrow.string()) for c in names])


def to_parquet(rows: Path, out: Path, names: tuple[str, ...]) -> None:
    """Turn JSON lines into a Parquet file, which appears whole or not at all.

    Args:
        rows: The JSON lines.
        out: The file to write.
        names: Of the columns.

    Raises:
        BloodkerasError: The file cannot be written, or pyarrow is missing.
    """
    arrow = import_pyarrow()
    schema = parquet_schema(names)
    with (
        whole_file(out) as file,
        open(rows, encoding="utf-8") as lines,
        arrow.parquet.ParquetWriter(file, schema) as writer,
    ):
        while some := [json.loads(line) for line in islice(lines, PARQUET_ROWS)]:
            writer.write_table(arrow.Table.from_pylist(some, schema))


def _quoted(cell: str) -> str:
    """Return a cell as RFC 4180 wants it."""
    if NEEDS_QUOTES.search(cell):
        return '"' + cell.replace('"', '""') + '"'
    return cell
