"""Keeps a training's whole state on disk, so that a killed run goes on as if nothing had happened.

Flow: takes the state at the end of an epoch; leaves <run>/checkpoints/epoch-0007, and reads back
the newest that is whole. A checkpoint is the truth of its run: model.keras and history.csv are
published from it, so a run killed between any two writes is put right by the next `--resume`.

A file is one line, `bloodkeras checkpoint <SHA-256 of the rest>`, and an .npz of plain arrays.
"""

import contextlib
import csv
import hashlib
import io
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bloodkeras.contract import RUN_HISTORY, RUN_MODEL
from bloodkeras.errors import BloodkerasError, gist
from bloodkeras.named_types import Array
from bloodkeras.whole_file import remove_temporary, replace_file

if TYPE_CHECKING:
    import keras

LOG = logging.getLogger(__name__)

FOLDER = "checkpoints"
KEPT = 2  # the newest, and the one before in case the newest is damaged
MAGIC = "bloodkeras checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """A training between two epochs.

    Attributes:
        rows: The history so far: {"epoch": from 0, "loss": ...}, one row for each epoch.
        seconds: How long those epochs took, all processes together.
        model: Every variable of the network, the state of dropout's random numbers included.
        optimizer: Every variable of the optimiser.
        best: model.keras of the best epoch so far, byte for byte; empty before the first epoch.
    """

    rows: list[dict[str, float]]
    seconds: float
    model: list[Array]
    optimizer: list[Array]
    best: bytes

    @property
    def epochs(self) -> int:
        """How many epochs are done."""
        return len(self.rows)


def variables_of(model: "keras.Model") -> tuple[list[Array], list[Array]]:
    """Return copies of all variables of a compiled network and of its optimiser.

    Copies, because what Keras returns may be TensorFlow's own memory, which the next step changes.
    """
    both = (model.variables, model.optimizer.variables)
    network, optimizer = [[np.array(one.value.numpy()) for one in each] for each in both]
    return network, optimizer


def put_back(model: "keras.Model", state: Checkpoint) -> None:
    """Give a compiled network and its optimiser the values that a checkpoint holds."""
    pairs = ((model.variables, state.model), (model.optimizer.variables, state.optimizer))
    for variables, values in pairs:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def save_checkpoint(run: Path, state: Checkpoint) -> None:
    """Write the state after an epoch; keep the one before, remove older ones."""
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    arrays: dict[str, Any] = {f"model_{n}": value for n, value in enumerate(state.model)}
    arrays |= {f"optimizer_{n}": value for n, value in enumerate(state.optimizer)}
    arrays["best"] = np.frombuffer(state.best, np.uint8)
    plain = json.dumps({"rows": state.rows, "seconds": state.seconds})
    arrays["plain"] = np.frombuffer(plain.encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    content = buffer.getvalue()
    head = f"{MAGIC} {hashlib.sha256(content).hexdigest()}\n".encode()
    replace_file(folder / f"epoch-{state.epochs:04}", head + content)
    for old in _newest_first(folder)[KEPT:]:
        old.unlink()


def newest_checkpoint(run: Path) -> Checkpoint | None:
    """Read the newest checkpoint that is whole; say of each newer one that it is damaged.

    Returns:
        None if there is none, or none that is whole.
    """
    for path in _newest_first(run / FOLDER):
        try:
            return read_checkpoint(path)
        except BloodkerasError as error:
            LOG.warning(f"{error}: going back to the one before")
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Raises:
        BloodkerasError: It is damaged: its SHA-256 is not the one it names, or it cannot be read.
    """
    try:
        head, _, content = path.read_bytes().partition(b"\n")
        if head.decode("ascii", "replace") != f"{MAGIC} {hashlib.sha256(content).hexdigest()}":
            raise ValueError("its SHA-256 is not the one it names")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            plain = json.loads(arrays["plain"].tobytes())
            return Checkpoint(
                **plain,
                model=_numbered(arrays, "model"),
                optimizer=_numbered(arrays, "optimizer"),
                best=arrays["best"].tobytes(),
            )
    except (OSError, ValueError, KeyError) as error:
        raise BloodkerasError(f"the checkpoint {path} is damaged ({gist(error)})") from None


def publish(run: Path, state: Checkpoint) -> None:
    """Make model.keras and history.csv what the checkpoint says."""
    model = run / RUN_MODEL
    if not model.exists() or model.read_bytes() != state.best:
        replace_file(model, state.best)
    text = io.StringIO()
    table = csv.DictWriter(text, state.rows[0], lineterminator="\n")
    table.writeheader()
    table.writerows(state.rows)
    replace_file(run / RUN_HISTORY, text.getvalue().encode())


def remove_checkpoints(run: Path) -> None:
    """Remove what only an unfinished run needs, half-written files of a killed one too."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)
    remove_temporary(run)


@contextlib.contextmanager
def written_plainly(run: Path) -> Iterator[None]:
    """Turn a failed write (full disk, read-only or vanished folder) into one line.

    Raises:
        BloodkerasError: Something in the block could not be written.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or gist(error)
        kept = _newest_first(run / FOLDER)
        rest = "what was there before is as it was"
        if kept:
            rest = f"the checkpoint {kept[0].name} is whole; once it can, --resume goes on"
        raise BloodkerasError(f"cannot write the run folder {run}: {reason}; {rest}") from None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*"), reverse=True)


def _numbered(arrays: Mapping[str, Array], name: str) -> list[Array]:
    count = sum(key.startswith(f"{name}_") for key in arrays)
    return [arrays[f"{name}_{n}"] for n in range(count)]
