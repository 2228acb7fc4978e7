"""Reads the images of one partition, ahead and in order.

Flow: takes a `Plan` and a partition's number; gives (name, uint8 (S, S, 3) or an error) each.
"""

import os
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from bloodkeras.answers.formats import import_pyarrow
from bloodkeras.errors import BloodkerasError, gist
from bloodkeras.images.arrays import Item, image_bytes
from bloodkeras.images.framing import Framing
from bloodkeras.images.preprocess import read_content
from bloodkeras.images.sources import file_part, read_ahead
from bloodkeras.named_types import Pixels
from bloodkeras.scoring.listing import FOLDER, IMAGE_COLUMN, name_column
from bloodkeras.scoring.plan import LIST_FILE, Plan

READ_ROWS = 32  # of a Parquet file that are read, and decoded by a thread, in one go
BUFFER_BYTES = 1 << 20  # read at once; without, pyarrow reads a row group's column whole

Read = Callable[[], list[Item]]


def read_items(folder: Path, plan: Plan, partition: int, threads: int, side: int) -> Iterator[Item]:
    """Yield the images of a partition in order.

    Args:
        folder: The _plan/ of the answers.
        plan: The plan there.
        partition: From 0.
        threads: Threads that decode.
        side: Of the network's images, in pixels.

    Raises:
        BloodkerasError: The source is not there, or the list cannot be read.
    """
    if not os.path.exists(plan.source):
        raise BloodkerasError(f"{plan.source} is not there: it must be mounted on every machine")
    reads = _folder_reads if plan.kind == FOLDER else _parquet_reads
    return read_ahead(reads(folder / LIST_FILE, plan, partition, plan.framing(side)), threads)


def _folder_reads(listed: Path, plan: Plan, partition: int, framing: Framing) -> Iterator[Read]:
    arrow = import_pyarrow()
    try:
        with arrow.parquet.ParquetFile(listed) as table:  # a row group a partition
            rows = table.read_row_group(partition).to_pylist()
    except (OSError, arrow.ArrowException) as error:
        raise BloodkerasError(f"cannot read {listed}: {gist(error)}") from None
    for row in rows:
        yield file_part(os.fsdecode(row["path"]), row["error"], framing).read


def _parquet_reads(listed: Path, plan: Plan, partition: int, framing: Framing) -> Iterator[Read]:
    wanted = plan.items_of(partition)
    before = 0  # rows of the files before
    for path, rows in _tables(listed, plan.source_sha256):
        first, last = max(wanted.start - before, 0), min(wanted.stop - before, rows)
        if first < last:
            yield from _table_reads(path, first, last, framing)
        before += rows


@lru_cache(1)
def _tables(listed: Path, sha256: str) -> tuple[tuple[str, int], ...]:
    """Return path and number of rows of every Parquet file of a source with that SHA-256."""
    arrow = import_pyarrow()
    try:
        rows = arrow.parquet.read_table(listed).to_pylist()
    except (OSError, arrow.ArrowException) as error:
        raise BloodkerasError(f"cannot read {listed}: {gist(error)}") from None
    return tuple((os.fsdecode(row["path"]), row["rows"]) for row in rows)


def _table_reads(path: str, first: int, last: int, framing: Framing) -> Iterator[Read]:
    """Yield what decodes the rows from first to last of a file; what it does not give is errors."""
    arrow = import_pyarrow()
    row = first
    try:
        opened = arrow.parquet.ParquetFile(
            path, buffer_size=BUFFER_BYTES, page_checksum_verification=True
        )
        with opened as table:
            start = 0  # of the row group
            for group in range(table.num_row_groups):
                end = start + table.metadata.row_group(group).num_rows
                wanted = range(max(first, start), min(last, end))
                if wanted:
                    yield from _group_reads(path, table, group, start, wanted, framing)
                    row = wanted.stop
                start = end
    except (OSError, arrow.ArrowException) as error:
        yield _error_read(path, range(row, last), error)


def _group_reads(
    path: str, table: Any, group: int, start: int, wanted: range, framing: Framing
) -> Iterator[Read]:
    """Yield what decodes the wanted rows of a row group, which begins at the row `start`."""
    arrow = import_pyarrow()
    name = name_column(table.schema_arrow.names)
    columns = [IMAGE_COLUMN, *([name] if name else [])]
    row = wanted.start  # what is not read yet
    try:
        for chunk in table.iter_batches(READ_ROWS, [group], columns, use_threads=False):
            end = min(start + len(chunk), wanted.stop)
            if row < end:
                yield partial(_decode, path, row, chunk.slice(row - start, end - row), framing)
                row = end
            start += len(chunk)
            if row == wanted.stop:
                return
    except (OSError, arrow.ArrowException) as error:  # a damaged one costs its own rows only
        yield _error_read(path, range(row, wanted.stop), error)


def _error_read(path: str, rows: range, error: Exception) -> Read:
    reason = f"cannot read {path}: {gist(error)}"
    return lambda: [(f"{path}#{row}", reason) for row in rows]


def _decode(path: str, first: int, chunk: Any, framing: Framing) -> list[Item]:
    """Return the images of a few rows."""
    names = _names(path, first, chunk)
    column = chunk.column(IMAGE_COLUMN)
    if column.type.id == import_pyarrow().binary(1).id:
        images = _raw(column, framing.image_side)
    else:
        images = [
            None if value is None else _decoded(value, name, framing)
            for name, value in zip(names, column.to_pylist(), strict=True)
        ]
    nothing = "its row has no image: it is null"
    return [
        (n, nothing if image is None else image) for n, image in zip(names, images, strict=True)
    ]


def _decoded(content: bytes, name: str, framing: Framing) -> Pixels | str:
    try:
        return read_content(content, name, framing)
    except BloodkerasError as error:
        return str(error)


def _raw(column: Any, side: int) -> list[Pixels | str | None]:
    """Return the pixels of a pyarrow.FixedSizeBinaryArray, which are not copied."""
    held, size = np.frombuffer(column.buffers()[1], np.uint8), image_bytes(side)
    held = held[column.offset * size : (column.offset + len(column)) * size]
    missing = column.is_null().to_pylist()
    images = held.reshape(-1, side, side, 3)
    return [None if gone else image for gone, image in zip(missing, images, strict=True)]


def _names(path: str, first: int, chunk: Any) -> list[str]:
    """Return what the rows are called: by their column, or as rows of arrays are."""
    numbered = [f"{path}#{first + row}" for row in range(len(chunk))]
    if (column := name_column(chunk.schema.names)) is None:
        return numbered
    named = chunk.column(column).to_pylist()
    return [place if n is None else str(n) for n, place in zip(named, numbered, strict=True)]
