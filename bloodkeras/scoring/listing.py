"""Finds out what is to be classified, and writes down the list of it.

Flow: takes a folder of images, or Parquet; gives a `Listing`, and files.parquet, which is sorted.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from bloodkeras.answers.formats import import_pyarrow, valid_text
from bloodkeras.errors import BloodkerasError, gist
from bloodkeras.images.arrays import image_bytes
from bloodkeras.images.folder import PassedOver, is_left_over
from bloodkeras.images.preprocess import IMAGE_SUFFIXES
from bloodkeras.images.sources import find_paths
from bloodkeras.whole_file import whole_file

FOLDER, PARQUET = "folder of images", "Parquet"
PARQUET_SUFFIXES = (".parquet", ".parq")
IMAGE_COLUMN = "image"
NAME_COLUMNS = ("path", "id")  # the first that there is names the rows
FOOTER_END = 8  # bytes at the end of a Parquet file: length of the footer, "PAR1"


@dataclass(frozen=True)
class Listing:
    """What is to be classified."""

    kind: str  # FOLDER or PARQUET
    source: str  # absolute path
    items: int  # image files, or rows
    source_sha256: str  # of names and sizes, and of the footers of Parquet files


def list_source(source: str, file: Path, group: int, side: int) -> Listing:
    """Write the list of what a source holds.

    Args:
        source: A folder of images, searched to any depth; a Parquet file, or a folder of them.
        file: The list, a Parquet file: path (bytes) and error of every image file, or path and
            rows of every Parquet file.
        group: Rows of a row group of the list.
        side: Of the network's images, in pixels.

    Raises:
        BloodkerasError: There is no such source, it holds nothing or both, or another schema.
    """
    source = os.path.abspath(source)
    digest, items = hashlib.sha256(), 0
    kind, passed = kind_of_source(source), PassedOver()
    entries: Iterator[tuple[bytes, Any, bytes]] = (
        _images(source, passed) if kind == FOLDER else _tables(source, side)
    )
    arrow = import_pyarrow()
    second = ("error", arrow.string()) if kind == FOLDER else ("rows", arrow.int64())
    schema = arrow.schema([("path", arrow.binary()), second])
    with (
        whole_file(file) as written,
        arrow.parquet.ParquetWriter(written, schema, compression="zstd") as writer,
    ):
        while some := list(islice(entries, group)):
            for name, value, seen in some:
                items += 1 if kind == FOLDER else value
                digest.update(b"%s\0%s\0" % (name, seen))
            columns = [[entry[0] for entry in some], [entry[1] for entry in some]]
            writer.write_table(arrow.table(columns, schema=schema), group)
    if not items:
        raise BloodkerasError(f"{source} holds no rows: there is nothing to classify")
    passed.say()
    return Listing(kind, source, items, digest.hexdigest())


def kind_of_source(source: str) -> str:
    """Return FOLDER or PARQUET.

    Raises:
        BloodkerasError: There is no such source, or it holds nothing or both.
    """
    if not os.path.exists(source):
        raise BloodkerasError(f"no such file or folder: {source}")
    tables = next(_find_tables(source), None)
    if not os.path.isdir(source):
        if not tables:
            raise BloodkerasError(
                f"{source} is neither a folder of images nor a Parquet file "
                f"({', '.join(PARQUET_SUFFIXES)}): `bloodkeras predict` classifies single files"
            )
        return PARQUET
    image = next((path for path, error in find_paths([source]) if not error), None)
    if tables and image:
        raise BloodkerasError(
            f"{source} holds both Parquet and images, such as {image}: give a folder of one kind"
        )
    if not tables and not image:
        looked = " ".join((*PARQUET_SUFFIXES, *IMAGE_SUFFIXES))
        raise BloodkerasError(f"no image in the folder {source}, nor Parquet: looked for {looked}")
    return PARQUET if tables else FOLDER


def _find_tables(source: str) -> Iterator[str]:
    """Yield the Parquet files, sorted, without what systems leave.

    Names with _ in front are overlooked, as other readers of Parquet do.
    """
    if not os.path.isdir(source):
        if source.lower().endswith(PARQUET_SUFFIXES):
            yield source
        return
    for folder, below, names in os.walk(source):
        below[:] = sorted(name for name in below if not _overlooked(name))
        for name in sorted(names):
            if not _overlooked(name) and name.lower().endswith(PARQUET_SUFFIXES):
                yield os.path.join(folder, name)


def _overlooked(name: str) -> bool:
    return name.startswith("_") or is_left_over(name)


def _images(source: str, passed: PassedOver) -> Iterator[tuple[bytes, str, bytes]]:
    """Yield path, why it cannot be read or "", and what tells that the file is the same."""
    for path, error in find_paths([source], passed):
        try:
            seen = error or str(os.stat(path).st_size)
        except OSError:  # reading it says what is wrong
            seen = ""
        yield os.fsencode(path), error, seen.encode("utf-8", "surrogateescape")


def _tables(source: str, side: int) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield path, rows, and what tells that the file is the same."""
    for path in _find_tables(source):
        rows = check_table(path, side)
        yield os.fsencode(path), rows, _footer_sha256(path)


def check_table(path: str, side: int) -> int:
    """Return how many rows a Parquet file has, after a look at its columns.

    Args:
        path: The file.
        side: Of raw images, in pixels.

    Raises:
        BloodkerasError: It cannot be read, or has other columns.
    """
    arrow = import_pyarrow()
    try:
        with arrow.parquet.ParquetFile(path) as table:
            schema, rows = table.schema_arrow, table.metadata.num_rows
    except (OSError, arrow.ArrowException) as error:
        raise BloodkerasError(f"cannot read {path} as Parquet: {gist(error)}") from None
    pixels = f"fixed_size_binary[{image_bytes(side)}] (raw uint8 {side}x{side}x3)"
    wanted = f"binary (image files) or {pixels}"
    if IMAGE_COLUMN not in schema.names:
        found = valid_text(", ".join(schema.names))
        raise BloodkerasError(
            f"{path} has no column {IMAGE_COLUMN}: expected {IMAGE_COLUMN}, {wanted}, and path or "
            f"id if you like; found {found}; rename the column of your images"
        )
    if (found := schema.field(IMAGE_COLUMN).type) not in image_types(arrow, side):
        raise BloodkerasError(
            f"{path}: its column {IMAGE_COLUMN} is {found}: expected {wanted}; write it as one"
        )
    if (name := name_column(schema.names)) and not _can_name(arrow, schema.field(name).type):
        raise BloodkerasError(
            f"{path}: its column {name} is {schema.field(name).type}: expected text or whole "
            "numbers; write it as such, or leave it out"
        )
    return int(rows)


def holds_raw(source: str, side: int) -> bool:
    """Return whether the images of Parquet are raw pixels of a side; not if it is unreadable."""
    arrow = import_pyarrow()
    wanted = arrow.binary(image_bytes(side))
    try:
        schemas = map(arrow.parquet.read_schema, _find_tables(source))
        return all(
            IMAGE_COLUMN in s.names and s.field(IMAGE_COLUMN).type == wanted for s in schemas
        )
    except (OSError, arrow.ArrowException):
        return False


def image_types(arrow: ModuleType, side: int) -> tuple[Any, ...]:
    """Return the types that the column of images may have: two of files, then raw pixels."""
    return arrow.binary(), arrow.large_binary(), arrow.binary(image_bytes(side))


def name_column(names: list[str]) -> str | None:
    """Return the column that names the rows, if there is one."""
    return next((name for name in NAME_COLUMNS if name in names), None)


def _can_name(arrow: ModuleType, kind: Any) -> bool:
    if arrow.types.is_dictionary(kind):
        kind = kind.value_type
    texts = arrow.string(), arrow.large_string(), arrow.string_view()
    return kind in texts or arrow.types.is_integer(kind)


def _footer_sha256(path: str) -> bytes:
    """Return the SHA-256 of the part of a Parquet file that says where and what its values are."""
    with open(path, "rb") as file:
        file.seek(-FOOTER_END, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        end = file.seek(0, os.SEEK_END)
        file.seek(end - FOOTER_END - length)
        return b"%d %s" % (end, hashlib.file_digest(file, "sha256").hexdigest().encode())
