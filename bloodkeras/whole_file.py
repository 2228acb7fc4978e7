"""Writes a file that is whole or not there, whatever happens to the process or the machine.

Flow: takes what is to be written; gives the file under its name, after the disk has it. Whether its
folder can be written is found out before anything is computed.
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from bloodkeras.errors import BloodkerasError, gist

TEMPORARY = ".writing-"  # what its name begins with before; readers of Parquet overlook a dot


def make_folder(folder: Path) -> None:
    """Make a folder for results.

    Raises:
        BloodkerasError: It cannot be made or written.
    """
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder)
    except OSError as error:
        raise BloodkerasError(f"cannot write the folder {folder}: {error.strerror}") from None


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be, for a file stands in its place or in that of one above.

    Raises:
        BloodkerasError: The message names the file.
    """
    places = (folder, *folder.parents)
    there = next((place for place in places if os.path.exists(place)), None)
    if there and not os.path.isdir(there):
        raise BloodkerasError(
            f"cannot write the folder {folder}: expected a folder, found the file {there}; choose "
            "another name"
        )


def check_writable(folder: Path) -> None:
    """Raise an OSError where no file can be made in a folder."""
    (folder / ".writable").touch()
    (folder / ".writable").unlink()


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield an open file, which gets its name at the end.

    Raises:
        BloodkerasError: It cannot be written; what was there before is as it was.
    """
    try:
        with _replacing(path) as file:
            yield file
    except OSError as error:
        reason = error.strerror or gist(error)
        raise BloodkerasError(f"cannot write {path}: {reason}") from None


def write_text(path: Path, text: str) -> None:
    """Write a text and the end of its last line.

    Raises:
        BloodkerasError: It cannot be written; what was there before is as it was.
    """
    with whole_file(path) as file:
        file.write(f"{text}\n".encode())


def write_json(path: Path, found: Any) -> None:
    """Write what JSON can hold, as `write_text` does."""
    write_text(path, json.dumps(found, indent=2))


def replace_file(path: Path, content: bytes) -> None:
    """Write a whole file, as `whole_file` does, where the caller words the failure.

    Raises:
        OSError: It cannot be written; what was there before is as it was.
    """
    with _replacing(path) as file:
        file.write(content)


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield an open file under a name of this process' own; at the end it takes the place.

    So two processes, on two machines even, may write the same one: the later one's stays.
    """
    owner = f"{socket.gethostname()}-{os.getpid()}"
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{owner}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def temporary_files(path: Path) -> Iterator[Path]:
    """Yield what those who write a file now, or were killed at it, have of it."""
    return path.parent.glob(f"{TEMPORARY}{path.name}-*")


def remove_temporary(folder: Path) -> None:
    """Remove what killed processes left in a folder."""
    with suppress(OSError):
        for path in folder.glob(f"{TEMPORARY}*"):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a new name last: without it a crash of the machine may undo the renaming."""
    with suppress(OSError):  # not every file system can
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
