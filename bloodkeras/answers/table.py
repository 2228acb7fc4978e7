"""Writes one row an image, as they come, so that an interrupted table can be gone on with.

Flow: takes `Row`s; gives CSV, JSON lines or (with pyarrow) Parquet, and beside it
<table>.origin.json: which model wrote it. Parquet needs its end to be readable, so its rows are
kept as JSON lines until the last one is there.
"""

import errno
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from bloodkeras.answers.formats import FORMATS, Format, to_parquet
from bloodkeras.answers.origin import refuse_another
from bloodkeras.answers.prior import describe
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.named_types import Json, Pixels

BATCH_SIZE = 256  # rows written and flushed at once: what an interruption can lose


class Row(NamedTuple):
    """The answer for one image; one that cannot be read has an error and no label.

    With a label, `error` is why the answer is unsure though the network may be sure of it.
    """

    path: str
    label: str = ""
    confidence: float | None = None  # 0..1
    probs: tuple[float, ...] = ()  # in the order of Classifier.labels
    verdict: str = ""
    error: str = ""
    foreign: float = 0.0  # larger for what looks less like a cell; not in the table
    pixels: Pixels | None = None  # uint8 (S, S, 3); not in the table


@dataclass(frozen=True)
class Kept:
    """What an interrupted table holds already."""

    rows: int = 0
    size: int = 0  # bytes; what comes after is cut off
    last: str = ""  # path of the last row
    torn: tuple[str, ...] = ()  # paths of the rows after them, which are made again
    counts: Mapping[tuple[str, str], int] | None = None  # (label, verdict) -> rows


def table_format(out: str, kind: str) -> str:
    """Return csv, jsonl or parquet, from --format or else the file's suffix.

    Raises:
        UsageError: Neither names a known format, or each another one.
    """
    known = ", ".join(FORMATS)
    if kind and kind not in FORMATS:
        raise UsageError(f"--format takes one of {known}, not {kind!r}")
    suffix = Path(out).suffix.lower()[1:]
    said = {"json": "jsonl", "ndjson": "jsonl"}.get(suffix, suffix)
    if kind and said in FORMATS and said != kind:
        raise UsageError(f"--out {out} is named as {said}, and --format says {kind}: give one")
    if not kind and suffix and said not in FORMATS:
        endings = ", ".join(f".{known}" for known in FORMATS)
        raise UsageError(
            f"--out {out}: expected a name that ends in {endings}; or give --format, one of {known}"
        )
    return kind or said or "csv"


def rows_path(out: str, kind: str) -> Path:
    """Return where the rows of a table are kept while it is written."""
    return Path(f"{out}.rows.jsonl" if kind == "parquet" else out)


def origin_path(out: str) -> Path:
    """Return the file beside a table that says which model wrote it."""
    return Path(f"{out}.origin.json")


def check_place(out: str, kind: str, resume: bool) -> bool:
    """Return whether there is a table to go on with; refuse a place where none can begin.

    Raises:
        BloodkerasError: A table is there and is not to be resumed, or complete; or there is no such
            folder.
    """
    path, rows = Path(out), rows_path(out, kind)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if not path.parent.exists():
            reason = f"No such file or directory: make the folder {path.parent} first"
            raise FileNotFoundError(errno.ENOENT, reason)
        if not _holds_something(path) and not _holds_something(rows):
            return False
    except OSError as error:
        raise BloodkerasError(f"cannot write {out}: {error.strerror}") from None
    if not resume:
        raise BloodkerasError(
            f"{out} is there already: go on with --resume, or choose another name"
        )
    if path.exists() and rows != path:
        raise BloodkerasError(f"{out} is complete: there is nothing to resume")
    return True


class Table:
    """A table that is being written. Use as a context manager.

    Attributes:
        kept: What was there before, when it is resumed.
    """

    def __init__(self, out: str, kind: str, origin: Json, resume: bool = False) -> None:
        """Create the table, or open an interrupted one.

        Args:
            out: The file.
            kind: csv, jsonl or parquet.
            origin: Of `describe_model` and `describe_asking`, which must be the same to go on.
            resume: Go on with the file if it is there.

        Raises:
            BloodkerasError: The place cannot be written, the table is there already and is not to
                be resumed, or it is another model's.
        """
        self.path = Path(out)
        self._parquet = kind == "parquet"
        self._rows_path, self._origin_path = rows_path(out, kind), origin_path(out)
        self._format: Format = FORMATS[kind](tuple(origin["labels"]), describe(origin.get("prior")))
        self.kept = Kept()
        try:
            if check_place(out, kind, resume):
                refuse_another(read_origin(self._origin_path, out), origin, out)
                self.kept = kept_rows(self._rows_path, self._format)
            self._torn = _holds_something(self._rows_path)
            # Closed by __exit__. Nothing is cut off before there is a row to write: the images
            # given may turn out to be others.
            self._file = open(self._rows_path, "r+b" if self._torn else "wb")  # noqa: SIM115
            if not self.kept.size:
                text = json.dumps(origin, indent=2) + "\n"
                self._origin_path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise BloodkerasError(f"cannot write {out}: {error.strerror}") from None

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, rows: Iterable[Row]) -> None:
        """Append rows; they are in the file, whatever happens to this process, on return."""
        if self._torn:
            self._file.truncate(self.kept.size)
            self._file.seek(self.kept.size)
            self._torn = False
        text = self._format.header if not self._file.tell() else ""
        text += self._format.encode(rows)
        try:
            self._file.write(text.encode())
            self._file.flush()
        except OSError as error:
            raise BloodkerasError(f"cannot write {self._rows_path}: {error.strerror}") from None

    def finish(self) -> None:
        """Do what is left when the last row is there: nothing, but for Parquet."""
        self.write(())
        os.fsync(self._file.fileno())
        if self._parquet:
            self._file.close()  # Windows removes no open file
            to_parquet(self._rows_path, self.path, self._format.columns)
            self._rows_path.unlink()


def _holds_something(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def kept_rows(path: Path, form: Format) -> Kept:
    """Return what can be kept of an interrupted table: its whole batches of whole rows.

    A torn last row is dropped, and the batch it belongs to: the network sees the same batches as
    in one go, so the table comes out the same to the last byte.

    Raises:
        BloodkerasError: The file is no such table.
    """
    kept, size = Kept(), len(form.header.encode())
    counts: Counter[tuple[str, str]] = Counter()
    with open(path, "rb") as file:
        records = _records(file, form)
        if form.header and next(records, form.header.encode()) != form.header.encode():
            raise BloodkerasError(f"{path} has another header: it cannot be resumed")
        while batch := list(islice(records, BATCH_SIZE)):
            try:
                found = [form.decode(record) for record in batch]
            except ValueError:
                raise BloodkerasError(
                    f"a row of {path} after the first {kept.rows} is damaged: cannot resume"
                ) from None
            if len(batch) < BATCH_SIZE:
                return replace(kept, torn=tuple(name for name, *_ in found))
            size += sum(map(len, batch))
            counts.update((label, verdict) for _, label, verdict in found)
            kept = Kept(kept.rows + BATCH_SIZE, size, found[-1][0], counts=counts)
    return kept


def _records(file: BinaryIO, form: Format) -> Iterator[bytes]:
    """Yield the complete records of a table; a quoted CSV cell may span lines."""
    record = b""
    for line in file:
        record += line
        if line.endswith(b"\n") and (not form.quotes or record.count(b'"') % 2 == 0):
            yield record
            record = b""


def read_origin(path: Path, out: str) -> Json:
    """Return what a table was begun with.

    Args:
        path: The file that says so.
        out: The table, for a refusal.

    Raises:
        BloodkerasError: There is none, or it cannot be read.
    """
    try:
        found: Json = json.loads(path.read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError):
        raise BloodkerasError(
            f"cannot resume {out}: {path.name}, which says what model wrote it, is not there or "
            "damaged; choose another --out"
        ) from None
