"""Understands how people write the names of the classes.

Flow: takes a word from a table, a folder's name or an option; gives a class name.
"""

import difflib

from bloodkeras.bloodmnist import ABBREVIATIONS, AMBIGUOUS
from bloodkeras.dataset import plain
from bloodkeras.errors import UsageError

_MEANT = {word: label for label, words in ABBREVIATIONS.items() for word in words.split()}


def class_name(name: str, labels: tuple[str, ...]) -> str:
    """Return the class that a name means: case, blanks, _, - and plural do not count.

    Common abbreviations are understood, such as NEU, bands, IG, NRBC or PLT.

    Raises:
        UsageError: There is no such class, or it may be one or another.
    """
    for label in labels:
        if spells_out(name, label):
            return label
    for word in _spellings(name):
        if (meant := _MEANT.get(word)) in labels:
            return meant
    if not set(labels).isdisjoint(ABBREVIATIONS):
        check_clear(name)
    close = difflib.get_close_matches(" ".join(str(name).casefold().split()), labels, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(f"unknown class {str(name)!r}: {meant}expected {', '.join(labels)}")


def check_clear(name: str) -> None:
    """Refuse an abbreviation that laboratories use for different cells.

    Raises:
        UsageError: The message says for which.
    """
    for word in _spellings(name):
        if word in AMBIGUOUS:
            raise UsageError(f"class {str(name)!r} may mean {AMBIGUOUS[word]}: write it out")


def _spellings(name: str) -> tuple[str, str]:
    """Return a name without what does not count in it, and the same in the singular."""
    written = plain(name)
    return written, written.removesuffix("s")


def spells_out(name: str, label: str) -> bool:
    """Return whether a name is a class' own, and no abbreviation of it."""
    return plain(name) in (plain(label), plain(label) + "s")
