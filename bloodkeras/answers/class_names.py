"""Understands how people write the names of the classes.

Flow: takes a word from a table, a folder's name or an option; gives a class name.
"""

import difflib

from bloodkeras.errors import UsageError

# Abbreviations of laboratories, and of the file names of published sets of cells; without blanks,
# in small letters. What may mean two classes is in AMBIGUOUS instead.
ABBREVIATIONS = {
    "basophil": "ba bas baso basophile basophilicgranulocyte basophilgranulocyte",
    "eosinophil": "eo eos eosino eosinophile eosinophilicgranulocyte eosinophilgranulocyte",
    "erythroblast": "erb ebo nrbc normoblast nucleatedredbloodcell nucleatedredcell nucleatedrbc",
    "immature granulocyte": "ig my mmy pmy mmz pmo immgran immaturegran myelocyte metamyelocyte "
    "promyelocyte",
    "lymphocyte": "ly lym lyt lymph lympho",
    "monocyte": "mo mon mono",
    "neutrophil": "ne neu neut neutro neutrophile neutrophilicgranulocyte neutrophilgranulocyte "
    "pmn sne bne ngs ngb seg segment segmented segmentedneutrophil segmentedcell "
    "neutrophilsegmented segmentedgranulocyte band bandneutrophil bandcell bandform "
    "neutrophilband stab stabcell stabneutrophil",
    "platelet": "plt pl plat thrombocyte thrombo",
}
AMBIGUOUS = {
    "b": "basophil or band neutrophil",
    "e": "eosinophil or erythroblast",
    "g": "any granulocyte",
    "gran": "any granulocyte",
    "granulocyte": "any granulocyte",
    "m": "monocyte or myelocyte",
    "n": "neutrophil or normoblast",
    "p": "platelet or promyelocyte",
}
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
    plain = _plain(name)
    for word in (plain, plain.removesuffix("s")):
        if (meant := _MEANT.get(word)) in labels:
            return meant
        if word in AMBIGUOUS:
            raise UsageError(f"class {str(name)!r} may mean {AMBIGUOUS[word]}: write it out")
    close = difflib.get_close_matches(" ".join(str(name).casefold().split()), labels, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(f"unknown class {str(name)!r}: {meant}expected {', '.join(labels)}")


def spells_out(name: str, label: str) -> bool:
    """Return whether a name is a class' own, and no abbreviation of it."""
    return _plain(name) in (_plain(label), _plain(label) + "s")


def _plain(name: str) -> str:
    return "".join(letter for letter in str(name).casefold() if letter not in " _-.\t\n\r\xa0")
