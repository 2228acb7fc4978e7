"""What --photos, --labels and --foreign of `judge` name, and where the results of each go.

Flow: takes the options' texts; gives a `Laboratory` for each folder, and the name of its results.
"""

from pathlib import Path
from typing import NamedTuple

from bloodkeras.answers.exports import results_name
from bloodkeras.cli.options import Asking
from bloodkeras.errors import UsageError


class Laboratory(NamedTuple):
    """A folder of photographs, and what is known of them.

    Attributes:
        photos: The folder.
        labels: A table of its cells; "" where each class has a folder.
        foreign: A table of its cells that are none of the classes; "" without any.
        called: What tells its results from those of others that are judged with it.
    """

    photos: str
    labels: str
    foreign: str
    called: str


def laboratories_of(photos: str, labels: str, foreign: str) -> list[Laboratory]:
    """Return the laboratories that are named, separated by commas.

    Raises:
        UsageError: There are not as many tables as folders, a folder is named twice, or one
            without a table is none.
    """
    folders = _listed(photos)
    check_once("--photos", folders)
    if not all(folders):
        raise UsageError(f"--photos {photos}: expected a folder on both sides of a comma")
    others = _tables("--foreign", foreign, len(folders))
    tables = tables_of(folders, labels, "--photos ")
    return [
        Laboratory(*each) for each in zip(folders, tables, others, _names(folders), strict=True)
    ]


def tables_of(folders: list[str], labels: str, option: str = "") -> list[str]:
    """Return the table of each folder's cells, "" for those with a folder for each class.

    Args:
        folders: Of photographs.
        labels: The tables, separated by commas; "" for none.
        option: What names the folders, for a message.

    Raises:
        UsageError: There are not as many tables as folders, or one without a table is none.
    """
    tables = _tables("--labels", labels, len(folders))
    for folder, table in zip(folders, tables, strict=True):
        if not table and not Path(folder).is_dir():
            raise UsageError(
                f"{option}{folder} is not a folder: expected one with a folder for each class"
            )
    return tables


def check_once(what: str, places: list[str]) -> None:
    """Refuse a place that is named twice: its numbers would look like those of two.

    Raises:
        UsageError: The message names it.
    """
    real = [Path(place).resolve() for place in places]
    if twice := [place for k, place in enumerate(places) if real[k] in real[:k]]:
        raise UsageError(f"{what} {twice[0]} is named twice")


def results_of(export: Path, laboratory: Laboratory, tightness: float, asking: Asking) -> Path:
    """Return the folder for what is judged of an export, below that of all runs."""
    of = export.name if export.parent.name == "exports" else f"{export.parent.name}-{export.name}"
    parts = [
        "photos",
        laboratory.called,
        Path(laboratory.labels).stem,
        f"{asking.microns_per_pixel:g}um" * bool(asking.microns_per_pixel),
        f"tightness{tightness:g}" * (tightness != 1.0),
        asking.precision * (asking.precision != Asking.precision),
        "views" * asking.views,
    ]
    return Path(results_name(export, of), "-".join(filter(None, parts)))


def _listed(text: str) -> list[str]:
    """Return what is separated by commas; a file or folder may have one in its name."""
    return [text] if Path(text).exists() else [word.strip() for word in text.split(",")]


def _tables(option: str, text: str, count: int) -> list[str]:
    """Return the tables of as many folders, "" for those without."""
    tables = _listed(text) if text else [""] * count
    if len(tables) != count:
        named, photos = (
            f"{n} {word}{'s' * (n != 1)}" for n, word in ((len(tables), "table"), (count, "folder"))
        )
        raise UsageError(
            f"{option} names {named} for {photos}: expected as many, separated by commas, and "
            "nothing between two commas for a folder without"
        )
    return tables


def _names(folders: list[str]) -> list[str]:
    """Return what folders are called; those of one name by that of their parent too."""
    places = [Path(folder).resolve() for folder in folders]
    names = [place.name for place in places]
    return [
        f"{place.parent.name}-{place.name}" if names.count(place.name) > 1 else place.name
        for place in places
    ]
