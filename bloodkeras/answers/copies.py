"""Copies images into one folder a class, `unsure` and `foreign` for those, overwriting nothing.

Flow: takes `Row`s; gives <folder>/<class>/<name>. A file is copied as it is; a page or a row of an
array, which is not a file, is written as the small PNG that the network saw.
"""

import io
import os
import re
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from bloodkeras.answers.table import Row
from bloodkeras.contract import ACCEPTED
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.whole_file import make_folder

NO_NAME = re.compile(r'[<>:"/\\|?*\x00-\x1f]')  # what Windows wants in no file's name


def group_of(row: Row) -> str:
    """Return what an image is filed under: its class if that is accepted, else the verdict."""
    return row.label if row.verdict == ACCEPTED else row.verdict


class Copies:
    """The folders that images are copied into."""

    def __init__(self, folder: str, words: Iterable[str]) -> None:
        """Make the folder.

        Raises:
            UsageError: It lies in a folder that is read: the copies would be classified, too.
            BloodkerasError: It cannot be made.
        """
        self.folder = Path(folder)
        for word in words:
            if os.path.isdir(word) and self.folder.resolve().is_relative_to(Path(word).resolve()):
                raise UsageError(f"--sort-into {folder} lies in {word}, which is read: move it out")
        make_folder(self.folder)

    def write(self, rows: Iterable[Row]) -> None:
        """Copy the images of these rows; a copy that is there already stays.

        Raises:
            BloodkerasError: A copy cannot be written.
        """
        for row in rows:
            if not row.label:
                continue
            try:
                self._copy(row)
            except OSError as error:
                raise BloodkerasError(
                    f"cannot copy {row.path} into {self.folder}: {error.strerror or error}"
                ) from None

    def _copy(self, row: Row) -> None:
        folder = self.folder / group_of(row).replace(" ", "_")
        folder.mkdir(exist_ok=True)
        if os.path.isfile(row.path):
            name, content = os.path.basename(row.path), Path(row.path).read_bytes()
        else:
            file, _, item = row.path.rpartition("#")
            name, png = f"{os.path.basename(file)}#{NO_NAME.sub('-', item)}.png", io.BytesIO()
            assert row.pixels is not None  # it was answered
            Image.fromarray(row.pixels).save(png, "PNG")
            content = png.getvalue()
        if target := _free(folder / name, content):
            with open(target, "xb") as copy:
                copy.write(content)


def _free(wanted: Path, content: bytes) -> Path | None:
    """Return the first of cell.png, cell-2.png, ... that is free; None if it is there already."""
    target, number = wanted, 1
    while os.path.lexists(target):
        if target.is_file() and target.read_bytes() == content:
            return None
        number += 1
        target = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    return target
