"""Counts white cells by class, as a differential does, and says how sure each share is.

Flow: takes what a network said of each cell; gives counts, shares with 95 % intervals, and a text.
Sources: intervals of shares after Wilson 1927, doi:10.1080/01621459.1927.10502953; how little a
hundred cells tell, Rümke 1985, Blood Cells 11, 137.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from bloodkeras.bloodmnist import NUCLEATED_RED, PLATELET
from bloodkeras.contract import ACCEPTED, FOREIGN, UNSURE
from bloodkeras.laboratory.judge import wilson

FEW = 100  # white cells; with fewer a share tells little
EDGE = "at the edge"
NOTHING_NAMED = "no cell has a name yet"


@dataclass(frozen=True)
class Named:
    """A white cell, and what a network says of it."""

    crop: str
    field: str
    label: str  # the nearest class
    confidence: float  # 0..1
    verdict: str  # one of contract.VERDICTS
    at_edge: bool

    def group(self, edge: bool = False) -> str:
        """Return under what it is shown: its class if that counts, or why it does not.

        Args:
            edge: Cells that the field's edge cuts are counted.
        """
        if self.at_edge and not edge:
            return EDGE
        return self.label if self.verdict == ACCEPTED else self.verdict


@dataclass(frozen=True)
class Share:
    """How common a class is among the white cells that have a name."""

    label: str
    cells: int
    share: float
    low: float  # of the 95 % interval
    high: float


def white(labels: Iterable[str]) -> list[str]:
    """Return the classes that are white cells."""
    return [label for label in labels if label not in (NUCLEATED_RED, PLATELET)]


def shares(groups: Counter[str], labels: Iterable[str]) -> list[Share]:
    """Return the share of each class of white cells.

    Args:
        groups: Cells by what `Named.group` returns.
        labels: All classes of the network.
    """
    kinds = white(labels)
    total, found = sum(groups[kind] for kind in kinds), []
    for kind in kinds:
        low, high = wilson(groups[kind], total) if total else (0.0, 1.0)
        found.append(Share(kind, groups[kind], groups[kind] / max(total, 1), low, high))
    return found


def nucleated_red(groups: Counter[str], labels: Iterable[str]) -> tuple[float, float, float]:
    """Return erythroblasts for every 100 white cells with a name, and the 95 % interval."""
    count, others = groups[NUCLEATED_RED], sum(groups[kind] for kind in white(labels))
    low, high = wilson(count, count + others) if count + others else (0.0, 0.0)
    return 100 * count / max(others, 1), 100 * low / (1 - low), 100 * high / max(1 - high, 1e-9)


def describe_red(groups: Counter[str], labels: Iterable[str]) -> str:
    """Return the same in words; where no cell has a name yet there is nothing to say."""
    labels = list(labels)
    if not groups[NUCLEATED_RED] and not any(groups[kind] for kind in white(labels)):
        return NOTHING_NAMED
    rate, low, high = nucleated_red(groups, labels)
    return f"{rate:.1f} for every 100 white cells ({low:.1f} to {high:.1f})"


def render_text(cells: list[Named], labels: Iterable[str], edge: bool = False) -> str:
    """Return the differential as text.

    Args:
        cells: All that were found.
        labels: All classes of the network.
        edge: Cells that the field's edge cuts are counted.
    """
    labels = list(labels)
    groups = Counter(cell.group(edge) for cell in cells)
    nearest = Counter((cell.group(edge), cell.label) for cell in cells)
    lines = [f"{'':22}{'cells':>7}{'share':>9}   {'95 % interval':18}{'unsure':>7}{'foreign':>9}"]
    for found in shares(groups, labels):
        interval = f"{found.low:.1%} to {found.high:.1%}"
        lines.append(
            f"{found.label:22}{found.cells:>7,}{found.share:>9.1%}   {interval:18}"
            f"{nearest[UNSURE, found.label]:>7,}{nearest[FOREIGN, found.label]:>9,}"
        )
    total = sum(groups[kind] for kind in white(labels))
    lines += [f"{'white cells named':22}{total:>7,}", ""]
    if NUCLEATED_RED in labels:
        lines.append(
            f"{NUCLEATED_RED + 's':22}{groups[NUCLEATED_RED]:>7,}   "
            f"{describe_red(groups, labels)}, not among them"
        )
    if groups[PLATELET]:
        lines.append(f"{PLATELET + 's':22}{groups[PLATELET]:>7,}   no white cells: not counted")
    lines += [f"{name:22}{groups[name]:>7,}   {why}" for name, why in WHY.items() if groups[name]]
    if total < FEW:
        cells_named = f"{total:,} cell{'s' * (total != 1)} with a name"
        lines += ["", f"{cells_named}: too few, a differential takes {FEW} or more"]
    return "\n".join(lines)


WHY = {
    UNSURE: "not counted until somebody names them",
    FOREIGN: "unlike the training data: not counted until somebody names them",
    EDGE: "not counted: the field cuts the nucleus (--edge counts them)",
}
