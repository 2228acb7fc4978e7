"""What watches over the epochs: keeps the state after each, stops when told or at a bad loss.

Flow: two Keras callbacks, used by `train.py`.
"""

import collections
import contextlib
import io
import itertools
import json
import logging
import math
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from bloodkeras.data.splits import Split
from bloodkeras.errors import BloodkerasError
from bloodkeras.interrupts import raise_noted
from bloodkeras.named_types import Logs
from bloodkeras.recipe import Recipe
from bloodkeras.training.checkpoint import (
    FOLDER,
    Checkpoint,
    newest_checkpoint,
    publish,
    put_back,
    save_checkpoint,
    variables_of,
)
from bloodkeras.training.pipeline import batch_rows, steps_per_epoch

LOG = logging.getLogger(__name__)

WATCHED = "val_accuracy"  # the best epoch is the first of the highest


class Keeper(keras.callbacks.Callback):
    """Writes a checkpoint after each epoch, keeps the best model, stops when nothing improves.

    Attributes:
        run: The run folder.
        recipe: Every setting.
        state: The training after the last whole epoch.
        averaging: The SwapEMAWeights callback, if the recipe has one.
    """

    def __init__(self, run: Path, recipe: Recipe, state: Checkpoint | None) -> None:
        """Take over a run.

        Args:
            run: The run folder.
            recipe: Every setting.
            state: Where to go on; None at the beginning.
        """
        super().__init__()
        self.run, self.recipe, self.state = run, recipe, state
        self.averaging: keras.callbacks.SwapEMAWeights | None = None
        self._since = time.perf_counter()

    @property
    def epochs(self) -> int:
        """How many epochs are done."""
        return self.state.epochs if self.state else 0

    @property
    def seconds(self) -> float:
        """How long they took, all processes together."""
        return self.state.seconds if self.state else 0.0

    @property
    def is_complete(self) -> bool:
        """Whether that is all that the recipe asks for, or nothing improves any more."""
        return is_complete(self.state.rows if self.state else [], self.recipe)

    def publish(self) -> None:
        """Make model.keras and history.csv what the state says."""
        assert self.state is not None
        publish(self.run, self.state)

    def settle(self) -> None:
        """Go by what is on the disk, after a stop that may have come in the middle of writing."""
        with contextlib.suppress(OSError):
            if found := newest_checkpoint(self.run):
                self.state = found
                self.publish()

    def whereabouts(self) -> str:
        """Return what is told of a run that is stopped, the end of a sentence."""
        if not self.epochs:
            return f" in its first epoch: --resume begins {self.run} again"
        return (
            f" after {self.epochs} of {self.recipe.train_epochs} epochs: --resume goes on; the "
            f"best model so far is in {self.run}, ready for evaluate and export"
        )

    def on_train_begin(self, logs: Logs = None) -> None:
        """Put everything back to the state, or note the initial one."""
        self.model.optimizer.build(self.model.trainable_variables)
        if self.state is None:
            self.state = Checkpoint([], 0.0, *variables_of(self.model), b"")
        else:
            self.restore()
            self.publish()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Keep the state, then publish the best model and the history from it."""
        assert self.state is not None
        assert logs is not None
        row = {"epoch": epoch} | {name: float(logs[name]) for name in sorted(logs)}
        rows = [*self.state.rows, row]
        now = time.perf_counter()
        seconds, self._since = self.state.seconds + now - self._since, now
        best = self.state.best
        if best_epoch(rows) == len(rows):
            best = model_file(self.model, self.run / FOLDER)
        state = Checkpoint(rows, seconds, *variables_of(self.model), best)
        save_checkpoint(self.run, state)
        self.state = state
        self.publish()
        if is_complete(rows, self.recipe) and len(rows) < self.recipe.train_epochs:
            LOG.info(f"no better {WATCHED} for {self.recipe.train_patience} epochs: stopped early")
            self.model.stop_training = True

    def restore(self) -> None:
        """Give the network and the optimiser the values that the state holds."""
        assert self.state is not None
        put_back(self.model, self.state)
        if self.averaging:
            # Keras swaps the averaged weights in at the end of an epoch and out at the next one's
            # beginning; which are in is noted nowhere but here.
            self.averaging._ema_weights_in_model = bool(self.state.rows)


class LossGuard(keras.callbacks.Callback):
    """Ends the run at a loss that is NaN or infinite, and names the batch that it came from.

    Ends it too at a stop that got lost on the way here (`interrupts.py`).
    """

    def __init__(
        self, keeper: Keeper, split: Split, batches: Callable[[int], tf.data.Dataset]
    ) -> None:
        """Take over a training.

        Args:
            keeper: Says what epoch it is, and puts its beginning back.
            split: The training split.
            batches: Those of an epoch, from 0, and all that follow.
        """
        super().__init__()
        self._keeper, self._split, self._batches = keeper, split, batches
        self._epoch = self._first = 0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Note the epoch, from 0."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Note the first step of a group: several run in one call of TensorFlow."""
        self._first = batch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Look at the loss: the mean of the epoch so far, so one bad batch shows."""
        raise_noted()
        if not math.isfinite(loss := float((logs or {})["loss"])):
            raise self._explained(loss, batch)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Look at the validation loss."""
        assert logs is not None
        if not math.isfinite(logs["val_loss"]):
            raise BloodkerasError(
                f"the validation loss became {logs['val_loss']} after epoch {epoch + 1}, though no "
                f"training batch's did: {self._advice()}"
            )

    def _explained(self, loss: float, last: int) -> BloodkerasError:
        """Return the error, naming the step if the epoch, taken step by step, shows it again."""
        recipe, epoch = self._keeper.recipe, self._epoch
        start = f"the loss became {loss} in epoch {epoch + 1}"
        where = f"{self._first + 1} to {last + 1}"
        LOG.info(f"{start}, steps {where}: looking for the batch")
        found = self._first_bad_step(last)
        if found is not None:
            where = f"step {found + 1}"
        steps = range(self._first, last + 1) if found is None else [found]
        rows = [row for step in steps for row in batch_rows(self._split, recipe, epoch, step)]
        return BloodkerasError(
            f"{start}, {where} of {steps_per_epoch(self._split, recipe)}, rows "
            f"{', '.join(map(str, rows))} of the training split: {self._advice()}"
        )

    def _first_bad_step(self, last: int) -> int | None:
        """Take the epoch again from its beginning, one step a call; return the step, from 0."""
        self._keeper.restore()
        if self._keeper.averaging:
            self._keeper.averaging.on_epoch_begin(self._epoch)
        self.model.steps_per_execution = 1
        self.model.train_function = None  # the one there is takes several steps a call
        for step, batch in enumerate(self._batches(self._epoch).take(last + 1)):
            loss = self.model.train_on_batch(*batch, return_dict=True)["loss"]
            if not math.isfinite(loss):
                return step
        return None

    def _advice(self) -> str:
        rate = self._keeper.recipe.train_learning_rate
        return f"try a lower --learning-rate than {rate}, or look at those images"


def best_epoch(rows: list[dict[str, float]]) -> int:
    """Return the epoch, from 1, whose weights are kept: the first of the best."""
    return int(np.argmax([row[WATCHED] for row in rows])) + 1


def is_complete(rows: list[dict[str, float]], recipe: Recipe) -> bool:
    """Return whether a history is all that the recipe asks for, or stopped improving."""
    patience = recipe.train_patience
    stale = bool(rows and patience) and len(rows) - best_epoch(rows) >= patience
    return stale or len(rows) >= recipe.train_epochs


def model_file(model: keras.Model, folder: Path) -> bytes:
    """Return a .keras file of a model in which no time is written: equal models, equal bytes.

    Args:
        model: A compiled model; its optimiser's state is kept too.
        folder: Where Keras, which only saves to files, may write one meanwhile.
    """
    folder.mkdir(exist_ok=True)
    path = folder / ".saved.keras"
    try:
        model.save(path)
        return _timeless(path)
    finally:
        path.unlink(missing_ok=True)


def _timeless(path: Path) -> bytes:
    """Return a .keras file without what differs between equal models.

    That is times (its parts are dated 1980), and the memory addresses that Keras tells shared
    objects by, which are numbered instead.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as saved, zipfile.ZipFile(buffer, "w") as copy:
        for name in saved.namelist():
            content = saved.read(name)
            if name == "metadata.json":
                fields = json.loads(content)
                content = json.dumps(
                    {key: fields[key] for key in fields if key != "date_saved"}
                ).encode()
            if name == "config.json":
                content = _numbered(content.decode()).encode()
            copy.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def _numbered(config: str) -> str:
    """Return a model's configuration with shared objects numbered as they come."""
    numbers: dict[str, int] = collections.defaultdict(itertools.count(1).__next__)
    return re.sub(r'(?<="shared_object_id": )\d+', lambda found: str(numbers[found[0]]), config)
