"""Finds the export that a word means: the name of a published one, or a folder.

Flow: takes a word; gives the folder of an export.

The published exports are the committed ones, whose numbers the README has. They travel in the
wheel, so their names mean the same files on every machine, whatever was trained there. One's own
are called by their folder, such as runs/exports/deeper.
"""

import logging
import os
from difflib import get_close_matches
from pathlib import Path

from bloodkeras.contract import MODEL_FILE
from bloodkeras.errors import BloodkerasError

LOG = logging.getLogger(__name__)

PHOTOGRAPHS, SMALL, LARGER = "photographs", "images of 28 pixels", "images of 64 pixels"
# What answers where no export is named. At home `robust-64` is right in 98.6 %, `residual-64` in
# 98.9 %; with a fifth more or less light in 98.4 % (91.1: the cards' shifts), with telephones on
# another microscope in 71 % (12: docs/another_laboratory.md). What has the benchmark's side is
# taken for it.
DEFAULTS = {PHOTOGRAPHS: "robust-64", SMALL: "residual", LARGER: "residual-64"}
OWN = (".", "runs/exports", "exports")  # where one's own may lie


def published() -> dict[str, Path]:
    """Return {name: folder} of the exports that come with the package, absolute."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "exports"  # of a wheel; in a checkout they lie beside the package
    folder = installed if installed.is_dir() else package.parent / "exports"
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{MODEL_FILE}"))}


def find_export(word: str) -> Path:
    """Return the folder of an export, absolute: asked for again it is no name.

    A word without a slash is a name, and of equal names the published one is meant. Where an
    export of one's own has it too, standard error says which is used and how to use the other.

    Args:
        word: A published name such as residual, the name of one's own in runs/exports or exports,
            or a folder.

    Raises:
        BloodkerasError: There is no such folder, and no export of that name.
    """
    folder, known = Path(word), published()
    own = _own(word, known.get(word)) if folder.name == word else ""
    if word in known:
        if own:
            said = f"{word} is the published {known[word]}; your own one is {own}"
            LOG.warning(said)
        return known[word]
    if own or folder.exists():
        return Path(own or folder).absolute()
    close = get_close_matches(folder.name, known, n=1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    raise BloodkerasError(
        f"there is no export {word}: the package's exports/ holds {', '.join(known) or 'none'}"
        f"{meant}; give one of these names, or the folder of an export"
    )


def default_export(kind: str) -> Path:
    """Return the export that answers a kind of images, a key of DEFAULTS, where none is named."""
    name = DEFAULTS[kind]
    return published().get(name) or find_export(name)


def say_default(kind: str) -> None:
    """Say which export answers, once nothing can be wrong any more."""
    LOG.info(f"{DEFAULTS[kind]} answers, the published export for {kind}; --model takes another")


def is_export(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds an exported model."""
    return (Path(folder) / MODEL_FILE).is_file()


def results_name(folder: str | os.PathLike[str], name: str) -> str:
    """Return what the folder for an export's results is called in the folder of all runs.

    Args:
        folder: Of the export.
        name: What it is called there; a published one is told apart from a run's own.
    """
    is_published = Path(folder).resolve() in published().values()
    return f"onnx-published-{name}" if is_published else f"onnx-{name}"


def _own(name: str, published_one: Path | None) -> str:
    """Return the first folder of one's own export of a name, "" without any."""
    folders = [f"{place}/{name}" for place in OWN]
    found = (f for f in folders if is_export(f) and Path(f).resolve() != published_one)
    return next(found, "")
