"""An export's folder: checks that it is the one that was tested, and publishes a new one whole.

Flow: takes a folder; says which file holds the network and whether its SHA256SUMS hold. Takes the
parts of a new export; gives the folder its name when all of them are there.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bloodkeras.contract import (
    CARD_FILE,
    EXPORT_FILES,
    MODEL_CARD_FILE,
    MODEL_FILE,
    PRECISIONS,
    RUN_INFO,
    SUMS_FILE,
)
from bloodkeras.errors import BloodkerasError, UsageError, gist
from bloodkeras.whole_file import check_folder


def model_file(folder: Path, precision: str) -> Path:
    """Return the file of an export that holds the network in a precision.

    Raises:
        UsageError: There is no such precision.
        BloodkerasError: The export has no int8 file: making it may have cost too much accuracy.
    """
    if precision not in PRECISIONS:
        names = " or ".join(PRECISIONS)
        raise UsageError(f"unknown precision {precision!r}: expected {names}")
    file = Path(folder) / PRECISIONS[precision]
    if precision != "float32" and Path(folder).is_dir() and not file.exists():
        raise BloodkerasError(
            f"{folder} has no {file.name}: see {MODEL_CARD_FILE} there for the reason, or export "
            "again; float32 uses the file there is"
        )
    return file


def verify_checksums(folder: Path, model: str = MODEL_FILE) -> None:
    """Check every file that SHA256SUMS lists, and that it lists the model and its card.

    Raises:
        BloodkerasError: The folder or a file is missing, or a byte differs from the export.
    """
    try:
        lines = (folder / SUMS_FILE).read_text(encoding="utf-8").splitlines()
        sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        found = {name: sha256_of(folder / name) for name in sums}
    except OSError as error:
        if (folder / RUN_INFO).exists():
            raise BloodkerasError(
                f"{folder} is a run, not an export: `python -m bloodkeras export {folder}` makes "
                "one of it"
            ) from None
        raise BloodkerasError(
            f"{folder} is not a complete export: cannot read {error.filename} ({error.strerror}); "
            "`python -m bloodkeras export` makes one"
        ) from None
    except ValueError:
        raise BloodkerasError(f"{folder / SUMS_FILE} is damaged: export the model again") from None
    for name in (model, CARD_FILE):
        if name not in sums:
            raise BloodkerasError(f"{folder / SUMS_FILE} does not list {name}: export again")
    for name, digest in sums.items():
        if found[name] != digest:
            raise BloodkerasError(
                f"{folder / name} is not the file that was exported: its SHA-256 begins "
                f"{found[name][:12]}, SHA256SUMS says {digest[:12]}; restore or export it again"
            )


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS of all that an export has in a folder."""
    names = [name for name in EXPORT_FILES if name != SUMS_FILE and (folder / name).exists()]
    sums = "".join(f"{sha256_of(folder / name)}  {name}\n" for name in names)
    (folder / SUMS_FILE).write_text(sums, encoding="utf-8")


@contextmanager
def new_export(folder: Path) -> Iterator[Path]:
    """Give a folder to write an export in; publish it if nothing goes wrong, else remove it.

    An earlier export of that name stays until the new one is whole, and comes back where that
    cannot take its place.

    Raises:
        BloodkerasError: It cannot be written, its checksums do not hold, or the folder holds what
            is not an export's: that would vanish with the earlier one.
    """
    if folder.exists() and not folder.is_dir():
        raise BloodkerasError(f"{folder} is a file: move it away or choose another folder")
    check_folder(folder)
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in names if name not in EXPORT_FILES]
    if others:
        raise BloodkerasError(
            f"{folder} holds files that are no export ({', '.join(others[:3])}): move them away or "
            "choose another folder"
        )
    staging = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        earlier = staging.with_name(staging.name + ".earlier")
        yield staging
        verify_checksums(staging)
        os.chmod(staging, 0o755)  # mkdtemp makes it private
        if folder.exists():
            folder.rename(earlier)
        staging.rename(folder)
    except OSError as error:
        raise BloodkerasError(f"cannot write {folder}: {error.strerror or gist(error)}") from None
    finally:
        if staging:
            if earlier.exists() and not folder.exists():
                earlier.rename(folder)
            shutil.rmtree(earlier, ignore_errors=True)
            shutil.rmtree(staging, ignore_errors=True)
