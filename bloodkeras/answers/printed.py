"""Prints the answers to standard output, batch by batch.

Flow: takes `Row`s; gives aligned lines for people, or CSV or JSON lines for a pipe.
"""

from bloodkeras.answers.formats import FORMATS, one_line
from bloodkeras.answers.table import Kept, Row
from bloodkeras.contract import FOREIGN


class Printed:
    """A table on standard output: for people, or in the format that was asked for."""

    kept = Kept()

    def __init__(self, kind: str, labels: tuple[str, ...], prior: str = "") -> None:
        """Take csv or jsonl, lines for people when it is empty; and a prior in words."""
        self._format = FORMATS[kind](labels, prior) if kind else None
        if prior and not kind:
            print(f"possible answers: {prior}")
        if self._format:
            print(self._format.header, end="")

    def __enter__(self) -> "Printed":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, rows: list[Row]) -> None:
        """Print rows; the columns are aligned within a batch."""
        print(self._format.encode(rows) if self._format else _aligned(rows), end="", flush=True)

    def finish(self) -> None:
        """Do nothing: all is printed."""


def _aligned(rows: list[Row]) -> str:
    names = [one_line(row.path) for row in rows]
    width = max(map(len, names), default=0)
    return "".join(f"{n:{width}}  {_said(row)}\n" for n, row in zip(names, rows, strict=True))


def _said(row: Row) -> str:
    """Return an answer in words; where a class would stand, a foreign image is called foreign."""
    if not row.label:
        return one_line(row.error)
    if row.verdict == FOREIGN:
        return f"{FOREIGN:22}nearest: {row.label}"
    return f"{row.label:22}{row.verdict:10}{row.confidence:.4f}  {row.error}".rstrip()
