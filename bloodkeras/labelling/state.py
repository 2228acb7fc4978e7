"""Knows how far the labelling is: what was said, what is asked next, what the page shows of it.

Flow: takes `Cells`, a `Table` and the classes; gives what the page shows, and takes its answers.
"""

import threading
from collections import Counter
from itertools import islice

import numpy as np

from bloodkeras.errors import BloodkerasError
from bloodkeras.labelling.cells import Cells
from bloodkeras.labelling.order import next_cells, with_new_classes
from bloodkeras.labelling.table import Table
from bloodkeras.laboratory.labels import NOT_A_CELL, UNKNOWN
from bloodkeras.named_types import Json

AT_ONCE = 5  # cells that are chosen together: choosing takes some hundredths of a second
FIRST = 50  # photographs that must have been read before the first is chosen among them
SHOWN_ERRORS = 5


class Labelling:
    """The labelling of one folder; every method may be called from any thread."""

    def __init__(
        self, cells: Cells, table: Table, classes: tuple[str, ...], random: bool = False
    ) -> None:
        """Go on where the table ends.

        Args:
            cells: What there is; they may still be read.
            table: What was said.
            classes: Names that may be said.
            random: Ask in a random order.

        Raises:
            BloodkerasError: The table names photographs that are not there.
        """
        self._lock = threading.RLock()
        self._cells, self.table, self.classes = cells, table, classes
        places = cells.places_of(table.path, [row.file for row in table.rows])
        self._said = {places[row.file]: row.label for row in table.rows}
        self._queue: list[int] = []
        self.random = random
        labels = cells.classifier.labels
        self.new = tuple(name for name in classes if name not in labels)
        self._columns = {name: k for k, name in enumerate((*labels, *self.new))}
        self._head = with_new_classes(cells.head, len(self.new))

    def answered(self) -> list[int]:
        """Return the places of what was answered."""
        return list(self._said)

    def answer(self, place: int, label: str) -> None:
        """Note what a photograph shows; it is on disk when this returns.

        Raises:
            BloodkerasError: There is no such photograph or class, it was answered already, or the
                table cannot be written.
        """
        with self._lock:
            if label not in (*self.classes, UNKNOWN, NOT_A_CELL):
                raise BloodkerasError(f"{label!r} is none of the classes")
            if not 0 <= place < len(self._cells):
                raise BloodkerasError("there is no such photograph")
            name = self._cells.names[place]
            if place in self._said:
                said = self._said[place]
                raise BloodkerasError(f"{name} was answered already, in another window: {said}")
            self.table.add(name, label)
            self._said[place] = label
            self._queue = [other for other in self._queue if other != place]

    def undo(self) -> None:
        """Take the last answer back and ask again.

        Raises:
            BloodkerasError: Nothing was answered, or the table cannot be written.
        """
        with self._lock:
            last = self.table.undo()
            if last is None:
                raise BloodkerasError("there is nothing to take back")
            place = self._cells.names.index(last.file)
            del self._said[place]
            self._queue.insert(0, place)

    def view(self) -> Json:
        """Return what the page shows."""
        with self._lock:
            self._fill()
            counts, rows = Counter(self._said.values()), self.table.rows
            cells = self._cells
            # What was taken back may not have been read again yet.
            ready = bool(self._queue) and bool(cells.known[self._queue[0]])
            return {
                "cell": self._shown(self._queue[0]) if ready else None,
                "next": self._queue[1:],
                "counts": {name: counts[name] for name in (*self.classes, NOT_A_CELL, UNKNOWN)},
                "left": len(cells) - len(self._said.keys() | cells.errors.keys()),
                "last": {"name": rows[-1].file, "label": rows[-1].label} if rows else None,
                "reading": {
                    "done": int(cells.known.sum()) + len(cells.errors),
                    "total": len(cells),
                    "errors": [cells.errors[k] for k in sorted(cells.errors)[:SHOWN_ERRORS]],
                    "unreadable": len(cells.errors),
                    "failure": cells.failure,
                },
            }

    def _shown(self, place: int) -> Json:
        answers = self._cells.believed([place])
        labels, probs = self._cells.classifier.labels, answers.probs[0]
        return {
            "place": place,
            "name": self._cells.names[place],
            "believed": {name: float(probs[k]) for k, name in enumerate(labels)},
            "verdict": str(answers.verdicts[0]),
        }

    def _fill(self) -> None:
        """Choose whom to ask about next, once that is through."""
        cells = self._cells
        self._queue = [place for place in self._queue if place not in cells.errors]
        if self._queue:
            return
        known = np.flatnonzero(cells.known)
        reading = len(known) + len(cells.errors) < len(cells)
        if len(known) == 0 or (reading and len(known) < FIRST):
            return
        if self.random:
            left = (k for k in cells.shuffled if cells.known[k] and k not in self._said)
            self._queue = list(islice(left, AT_ONCE))
            return
        row_of = {int(place): row for row, place in enumerate(known)}
        said = [(row_of[p], label) for p, label in self._said.items() if p in row_of]
        named = {row: self._columns[label] for row, label in said if label in self._columns}
        passed = [row for row, label in said if label not in self._columns]
        rows = next_cells(cells.features[known], named, passed, self._head, AT_ONCE)
        self._queue = known[rows].tolist() if rows else []
