"""Writes down what was asked and answered, one line for each request, and never an image.

Flow: takes a request's images and answers; gives a line of JSON in a file.
"""

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bloodkeras.errors import BloodkerasError, gist
from bloodkeras.named_types import Json, Pixels


class AuditLog:
    """A file that lines are added to; several processes may share it."""

    def __init__(self, path: str | Path) -> None:
        """Open it, and find out that it can be written.

        Raises:
            BloodkerasError: It cannot be written.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)  # of Windows
        try:
            self._file = os.open(path, flags, 0o600)
        except OSError as error:
            raise BloodkerasError(f"cannot write the audit log {path}: {gist(error)}") from None

    def note(
        self, request: str, model: Json, images: Pixels, answers: list[tuple[Any, ...]]
    ) -> None:
        """Add one line.

        Args:
            request: The request's name for itself.
            model: "model", "version" and "model_sha256".
            images: uint8 (N, S, S, 3); only a SHA-256 of each is written.
            answers: Label, confidence 0..1 and verdict of each.

        Raises:
            OSError: It cannot be written; half a line is not left behind on a file system that has
                room for none.
        """
        entry = {"time": datetime.now(UTC).isoformat(), "request": request, **model}
        entry["images"] = [
            {
                "sha256": hashlib.sha256(image.tobytes()).hexdigest(),
                "label": label,
                "confidence": round(float(confidence), 6),
                "verdict": str(verdict),
            }
            for image, (label, confidence, verdict) in zip(images, answers, strict=True)
        ]
        line = json.dumps(entry).encode() + b"\n"
        # One write in append mode: lines of several processes do not mix.
        if (written := os.write(self._file, line)) != len(line):
            raise OSError(f"{written} of {len(line)} bytes fit")
