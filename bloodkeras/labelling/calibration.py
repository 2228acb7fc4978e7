"""Makes a new export of the answers so far, in a thread, as the command `calibrate` does.

Flow: takes an export, photographs and a table; gives what the page shows of it.
"""

import json
import shlex
import tempfile
import threading
from pathlib import Path

from bloodkeras.contract import CARD_FILE
from bloodkeras.errors import BloodkerasError
from bloodkeras.images.framing import Framing
from bloodkeras.labelling.table import Said, csv_text
from bloodkeras.laboratory.calibrate import LEAST_CELLS, calibrate_photos, render_text
from bloodkeras.named_types import Json


class Calibration:
    """One calibration at a time; the page looks at how far it is."""

    def __init__(self, export: str, photos: str, table: Path, microns_per_pixel: float) -> None:
        """Start none yet.

        Args:
            export: The folder of the export to calibrate.
            photos: The folder of photographs.
            table: Of the answers: beside it lies what is made of them.
            microns_per_pixel: Of the photographs; 0 where that is not known.
        """
        self._export, self._photos, self._table = export, photos, table
        self._microns = microns_per_pixel
        self._lock = threading.Lock()
        self._found: Json = {"status": "none"}

    def view(self) -> Json:
        """Return its "status": none, running, failed (with "error") or done.

        Then there are too: "export", the folder; "text", what `calibrate` says; "accuracy" and
        "accuracy_before", 0..1, of cells that the fit had not seen; "cells"; "left_out", {label:
        how many}; "predict", the command to go on with.
        """
        return self._found

    def start(self, rows: list[Said], known: tuple[str, ...], left_out: dict[str, int]) -> None:
        """Begin.

        Args:
            rows: The answers.
            known: The classes of the export; cells of others are left out.
            left_out: How many those are, by their label.

        Raises:
            BloodkerasError: One is running, or there are too few cells.
        """
        rows = [row for row in rows if row.label in known]
        with self._lock:
            if self._found["status"] == "running":
                raise BloodkerasError("a calibration is running")
            if len(rows) < LEAST_CELLS:
                raise BloodkerasError(
                    f"{len(rows)} cells of known classes are too few: expected at least "
                    f"{LEAST_CELLS}"
                )
            self._found = {"status": "running"}
        thread = threading.Thread(target=self._run, args=(rows, left_out), daemon=True)
        thread.start()

    def _run(self, rows: list[Said], left_out: dict[str, int]) -> None:
        try:
            folder = self._calibrate(rows)
            card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
            facts = card["calibrated_on"]
            words = ["bloodkeras", "predict", self._photos, "--model", str(folder)]
            self._found = {
                "status": "done",
                "export": str(folder),
                "text": render_text(card),
                "accuracy": facts["accuracy"],
                "accuracy_before": facts["accuracy_before"],
                "cells": len(rows),
                "left_out": left_out,
                "predict": shlex.join(words),
            }
        except BloodkerasError as error:
            self._found = {"status": "failed", "error": str(error)}
        except Exception as error:  # else the page would wait for ever
            self._found = {"status": "failed", "error": f"{type(error).__name__}: {error}"}
            raise

    def _calibrate(self, rows: list[Said]) -> Path:
        folder = self._free()
        with tempfile.TemporaryDirectory(prefix="bloodkeras-label-") as scratch:
            table = Path(scratch, self._table.name)
            table.write_text(csv_text(rows), encoding="utf-8")
            framing = Framing(self._microns)
            words = self._export, self._photos, str(table), str(folder)
            return calibrate_photos(*words, last_layer=True, framing=framing)

    def _free(self) -> Path:
        """Return the first of labels-calibrated, labels-calibrated-2, ... that is not there."""
        wanted = self._table.with_name(f"{self._table.stem}-calibrated")
        folder, number = wanted, 1
        while folder.exists():
            number += 1
            folder = wanted.with_name(f"{wanted.name}-{number}")
        return folder
