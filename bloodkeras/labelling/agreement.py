"""Says how far two people agree who labelled the same photographs.

Flow: takes two tables of the columns file and label; gives numbers, a text, and the cells on which
both agree.
Sources: Cohen 1960, doi:10.1177/001316446002000104.
"""

import csv
import io
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bloodkeras.answers.class_names import class_name
from bloodkeras.answers.spreadsheet import parse_rows, read_text
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.laboratory.judge import wilson
from bloodkeras.laboratory.labels import PLACE, UNKNOWN
from bloodkeras.whole_file import whole_file


@dataclass(frozen=True)
class Agreement:
    """What two tables say of the photographs that both name.

    Attributes:
        pairs: {file: (label of the first, label of the second)}, where both could tell.
        untold: How many are in both where one or both could not tell.
        alone: How many are in the first table alone, and in the second alone.
    """

    pairs: dict[str, tuple[str, str]]
    untold: int
    alone: tuple[int, int]

    @property
    def same(self) -> dict[str, str]:
        """{file: label} where both say the same."""
        return {file: one for file, (one, other) in self.pairs.items() if one == other}

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa: 0 for what chance would give, 1 for full agreement.

        None where both say the same one label throughout: then chance would agree as well.
        """
        count = len(self.pairs)
        first, second = (Counter(pair[k] for pair in self.pairs.values()) for k in (0, 1))
        chance = sum(first[label] * second[label] for label in first) / count**2
        return None if chance == 1 else (len(self.same) / count - chance) / (1 - chance)


def agree(first: Path, second: Path) -> Agreement:
    """Compare two tables.

    Raises:
        BloodkerasError: One cannot be read, says twice what a file shows, or they have no file in
            common that both could tell.
    """
    one, other = _read(first), _read(second)
    both = [file for file in one if file in other]
    if not both:
        raise BloodkerasError(
            f"{first} and {second} have no file in common: {first} names {next(iter(one))}, "
            f"{second} {next(iter(other))}"
        )
    pairs = {file: (one[file], other[file]) for file in both}
    told = {file: pair for file, pair in pairs.items() if UNKNOWN not in pair}
    if not told:
        raise BloodkerasError(f"none of {len(both)} photographs could be told by both")
    alone = len(one) - len(both), len(other) - len(both)
    return Agreement(told, len(both) - len(told), alone)


def render_text(found: Agreement, first: Path, second: Path) -> str:
    """Return the numbers, what was taken for what, and the files that differ, as text."""
    same, count = len(found.same), len(found.pairs)
    low, high = wilson(same, count)
    kappa = "none: both say one thing throughout" if found.kappa is None else f"{found.kappa:.3f}"
    lines = [
        f"{first} and {second} agree in {same:,} of {count:,} photographs: {same / count:.1%} "
        f"[{low:.1%}, {high:.1%}]",
        f"Cohen's kappa: {kappa}",
    ]
    if found.untold:
        lines.append(f"left out, for one or both could not tell: {found.untold:,}")
    if any(found.alone):
        lines.append(
            f"in one table alone: {found.alone[0]:,} in {first}, {found.alone[1]:,} in {second}"
        )
    differing = {file: pair for file, pair in found.pairs.items() if pair[0] != pair[1]}
    if differing:
        lines += ["", f"{'times':>5}  {first.name} / {second.name}"]
        for (one, other), times in Counter(differing.values()).most_common():
            lines.append(f"{times:>5}  {one} / {other}")
        lines += ["", *(f"{file}: {one} / {other}" for file, (one, other) in differing.items())]
    return "\n".join(lines)


def write_agreed(path: Path, found: Agreement) -> None:
    """Write a table of the photographs on which both agree.

    Raises:
        BloodkerasError: It cannot be written.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("file", "label"), *found.same.items()])
    with whole_file(path) as file:
        file.write(text.getvalue().encode())


def _read(table: Path) -> dict[str, str]:
    """Return {file: label} of a table, names of files and classes brought to one spelling."""
    found: dict[str, str] = {}
    for line, (name, label) in parse_rows(read_text(table), table, ("file", "label")):
        where = f"{table}, line {line}"
        if not name or not label:
            raise BloodkerasError(f"{where}: expected a file and its label")
        file = os.path.normpath(name.replace("\\", "/"))
        if file in found:
            raise BloodkerasError(f"{where}: {name} is there twice")
        found[file] = _meant(label)
    return found


def _meant(label: str) -> str:
    """Return the class of BloodMNIST that a label or a number means, or else the label itself."""
    names = BLOODMNIST.class_names
    if (number := PLACE.fullmatch(label)) and int(number[1]) < len(names):
        return names[int(number[1])]
    try:
        return class_name(label, names)
    except UsageError:
        return " ".join(label.casefold().split())
