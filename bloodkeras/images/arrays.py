"""Reads images out of .npy and .npz files a slice at a time, whatever their size.

Flow: takes a file; gives `Part`s of 256 images, each named file#row (file#array/row in an .npz).
Sources: numpy.lib.format describes both; a slice is read, not mapped, for mapped pages would count
    as this process' memory.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO

import numpy as np

from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.errors import BloodkerasError
from bloodkeras.named_types import Pixels

ARRAY_SUFFIXES = (".npy", ".npz")
PART_ROWS = 256
# What zipfile and numpy raise on bad files; RuntimeError is an encrypted member.
BAD_FILE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)

Item = tuple[str, Pixels | str]  # a name, and uint8 (S, S, 3) or why there is none


@dataclass(frozen=True)
class Part:
    """A few images that are read in one go, later and perhaps by another thread."""

    count: Callable[[], int]  # how many items `read` gives, found without decoding them
    read: Callable[[], list[Item]]


def error_part(name: str, reason: str) -> Part:
    """Return a part that is one error."""
    return Part(lambda: 1, lambda: [(name, reason)])


def array_parts(path: str, side: int = BLOODMNIST.image_side) -> Iterator[Part]:
    """Yield a file's images of a side in order; what cannot be read is an error among them."""
    try:
        if path.lower().endswith(".npz"):
            yield from _npz_parts(path, side)
        else:
            with open(path, "rb") as file:
                yield from _slices(file, _rows(file, path, side), path, f"{path}#", side)
    except BAD_FILE as error:
        yield error_part(path, _reason(path, error))
    except BloodkerasError as error:
        yield error_part(path, str(error))


def count_rows(path: str, side: int = BLOODMNIST.image_side) -> int:
    """Return how many items `array_parts` gives: images, or 1 for the error that there are none."""
    return count_held(path, side) or 1


def count_held(path: str, side: int) -> int:
    """Return how many images of a side a file says it holds; 0 where it is unreadable."""
    try:
        if not path.lower().endswith(".npz"):
            with open(path, "rb") as file:
                return _rows(file, path, side)
        with zipfile.ZipFile(path) as archive:
            return sum(rows for _, rows, _ in _members(archive, side))
    except (*BAD_FILE, BloodkerasError):
        return 0


def _npz_parts(path: str, side: int) -> Iterator[Part]:
    with zipfile.ZipFile(path) as archive:
        found = False
        for name, rows, member in _members(archive, side):
            found = True
            try:
                yield from _slices(member, rows, f"{path}#{name}", f"{path}#{name}/", side)
            except BAD_FILE as error:
                yield error_part(f"{path}#{name}", _reason(path, error))
    if not found:
        raise BloodkerasError(
            f"{path} holds no array of images that the network takes: expected {_expected(side)}"
        )


def _members(archive: zipfile.ZipFile, side: int) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield the arrays of images as (name, number of images, file at the first one)."""
    for info in archive.infolist():
        if not info.filename.endswith(".npy"):
            continue
        with archive.open(info) as member:
            try:
                rows = _rows(member, info.filename, side)
            except (ValueError, BloodkerasError):  # labels, say
                continue
            yield info.filename.removesuffix(".npy"), rows, member


def _slices(file: IO[bytes], rows: int, name: str, prefix: str, side: int) -> Iterator[Part]:
    """Yield the images that follow in a file, their names begin with the prefix."""
    for first in range(0, rows, PART_ROWS):
        count = min(PART_ROWS, rows - first)
        pixels = file.read(count * image_bytes(side))
        whole = len(pixels) // image_bytes(side)
        if whole:
            yield Part(partial(int, whole), partial(_items, prefix, side, first, pixels))
        if whole < count:
            yield error_part(f"{prefix}{first + whole}", _truncated(name, first + whole, rows))
            return


def _rows(file: IO[bytes], name: str, side: int) -> int:
    """Read the header of an array and return its number of images.

    Only format 1.0 is read: it holds any array of images, and its header is at most 64 KiB.
    """
    try:
        version = np.lib.format.read_magic(file)
    except ValueError:
        raise BloodkerasError(
            f"{name} is not an array that numpy.save wrote, whatever its name says: expected "
            f"{_expected(side)}"
        ) from None
    if version != (1, 0):
        raise BloodkerasError(f"{name} is in .npy format {version}: save it again with numpy.save")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype != np.uint8 or len(shape) != 4 or shape[1:] != (side, side, 3):
        raise BloodkerasError(f"{name} holds {dtype} {shape}: expected {_expected(side)}")
    if fortran:
        raise BloodkerasError(f"{name} is in Fortran order: save numpy.ascontiguousarray of it")
    return shape[0]


def _items(prefix: str, side: int, first: int, pixels: bytes) -> list[Item]:
    whole = len(pixels) // image_bytes(side)
    images = np.frombuffer(pixels, np.uint8, whole * image_bytes(side)).reshape(-1, side, side, 3)
    return [(f"{prefix}{first + row}", image) for row, image in enumerate(images)]


def image_bytes(side: int) -> int:
    """Return how many bytes an image of a side has, as raw pixels."""
    return side * side * 3


def _expected(side: int) -> str:
    return f"uint8 (N, {side}, {side}, 3)"


def _reason(path: str, error: Exception) -> str:
    if isinstance(error, zipfile.BadZipFile) and not zipfile.is_zipfile(path):
        return f"{path} is not an archive that numpy.savez wrote, or it is cut short: save it again"
    return f"cannot read {path}: {getattr(error, 'strerror', None) or error}"


def _truncated(name: str, held: int, rows: int) -> str:
    return f"{name} is truncated: it holds {held:,} whole images of {rows:,}"
