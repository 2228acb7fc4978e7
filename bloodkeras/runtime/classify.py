"""Classifies image files and folders, one row of answers a file.

Flow: takes paths and a `Classifier`; gives rows (path, label, confidence, error), and a CSV.
"""

import contextlib
import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bloodkeras.errors import BloodkerasError
from bloodkeras.runtime.classifier import Classifier
from bloodkeras.runtime.preprocess import IMAGE_SUFFIXES

COLUMNS = ("path", "label", "confidence", "error")


@dataclass(frozen=True)
class Row:
    """The answer for one file; a file that cannot be read has an error and no label."""

    path: str
    label: str = ""
    confidence: float | None = None
    error: str = ""

    def cells(self) -> tuple[str, str, str, str]:
        """Return the row as text, in the order of COLUMNS; undecodable file names escaped."""
        confidence = "" if self.confidence is None else f"{self.confidence:.4f}"
        path, error = (
            text.encode("utf-8", "backslashreplace").decode() for text in (self.path, self.error)
        )
        return path, self.label, confidence, error


def predict_table(paths: Iterable[str], model: str, out: str = "") -> None:
    """Classify files and folders; print a table, or write a CSV.

    Raises:
        BloodkerasError: The model or a path is missing, the CSV cannot be written, or a file
            could not be read (after all the others were answered).
    """
    files = find_images(paths)
    classifier = Classifier.load(model)
    rows = list(classify_files(classifier, files))
    if out:
        write_csv(rows, out)
        print(f"wrote {len(rows)} rows to {out}")
    else:
        width = max((len(row.cells()[0]) for row in rows), default=0)
        for row in rows:
            path, label, confidence, error = row.cells()
            print(f"{path:{width}}  {error or f'{label:22}{confidence}'}")
    failed = sum(bool(row.error) for row in rows)
    if failed:
        raise BloodkerasError(f"{failed} of {len(rows)} files could not be read: see their rows")


def find_images(paths: Iterable[str]) -> list[Path]:
    """Return the files that are meant: a file is itself, a folder every image below it.

    Raises:
        BloodkerasError: A path does not exist, or a folder holds no image.
    """
    files = []
    for path in map(Path, paths):
        if os.path.isdir(path):  # Path.is_dir raises on names that are too long
            named = (p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            below = sorted(p for p in named if not p.is_dir())
            if not below:
                endings = " ".join(IMAGE_SUFFIXES)
                raise BloodkerasError(f"no image in the folder {path}: looked for {endings}")
            files += below
        elif os.path.exists(path):
            files.append(path)
        else:
            raise BloodkerasError(f"no such file or folder: {path}")
    return files


def classify_files(classifier: Classifier, files: Iterable[Path]) -> Iterator[Row]:
    """Yield one row a file, in order; a file that cannot be read yields its error."""
    for path in files:
        try:
            (answer,) = classifier.predict([path])
        except BloodkerasError as error:
            yield Row(str(path), error=str(error))
        else:
            yield Row(str(path), answer.label, answer.confidence)


def write_csv(rows: Iterable[Row], path: str | Path) -> None:
    """Write the rows with a header; the file appears whole or not at all.

    Raises:
        BloodkerasError: The file cannot be written.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise BloodkerasError(f"cannot write {path}: it is a folder")
    partial = path.with_name(path.name + ".part")
    try:
        with open(partial, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(row.cells() for row in rows)
        partial.replace(path)
    except OSError as error:
        raise BloodkerasError(f"cannot write {path}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
