"""Makes a new export of the answers so far, by the command `calibrate`, while labelling goes on.

Flow: takes an export, photographs and a table; gives what the page shows of it.
"""

import json
import shlex
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from bloodkeras.contract import CARD_FILE
from bloodkeras.errors import BloodkerasError
from bloodkeras.labelling.table import Said, csv_text
from bloodkeras.laboratory.calibrate import LEAST_CELLS, render_text
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
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None

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
            self._thread = threading.Thread(target=self._run, args=(rows, left_out), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End what is running; half an export is not left behind."""
        with self._lock:
            self._stopped = True
            if self._process:
                self._process.terminate()
        if self._thread:
            self._thread.join()

    def _run(self, rows: list[Said], left_out: dict[str, int]) -> None:
        try:
            folder = self._calibrate(rows)
            card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
            facts = card["calibrated_on"]
            self._found = {
                "status": "done",
                "export": str(folder),
                "text": render_text(card),
                "accuracy": facts["accuracy"],
                "accuracy_before": facts["accuracy_before"],
                "cells": sum(facts["cells"].values()),
                "left_out": left_out,
                "predict": shlex.join(
                    ["bloodkeras", "predict", self._photos, "--model", str(folder)]
                ),
            }
        except (BloodkerasError, OSError) as error:
            self._found = {"status": "failed", "error": str(error)}

    def _calibrate(self, rows: list[Said]) -> Path:
        """Run the command in a process of its own, which a stop can end; return the new folder."""
        folder = self._free()
        with tempfile.TemporaryDirectory(prefix="bloodkeras-label-") as scratch:
            table = Path(scratch, self._table.name)
            table.write_text(csv_text(rows), encoding="utf-8")
            words = [self._export, "--last-layer", "--photos", self._photos, "--labels", str(table)]
            words += ["--out", str(folder), "--microns-per-pixel", str(self._microns), "--quiet"]
            command = [sys.executable, "-m", "bloodkeras", "calibrate", *words]
            with self._lock:
                if self._stopped:
                    raise BloodkerasError("label was stopped")
                self._process = subprocess.Popen(
                    command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
                )
            said = self._process.communicate()[1].decode(errors="replace").strip().splitlines()
            if self._process.returncode:
                reason = said[-1].removeprefix("bloodkeras: ") if said else "it was stopped"
                raise BloodkerasError(reason)
        return folder

    def _free(self) -> Path:
        """Return the first of labels-calibrated, labels-calibrated-2, ... that is not there."""
        wanted = self._table.with_name(f"{self._table.stem}-calibrated")
        folder, number = wanted, 1
        while folder.exists():
            number += 1
            folder = wanted.with_name(f"{wanted.name}-{number}")
        return folder
