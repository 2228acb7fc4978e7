"""Trains one candidate of a search, epoch by epoch, and goes on where it was interrupted.

Flow: takes a recipe and `TuningData`; reports the validation metrics of every epoch, and leaves a
checkpoint.

The test split is out of reach by construction: all that a search is given is a `TuningData`, which
has none.
"""

import dataclasses
import io
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from bloodkeras import metrics
from bloodkeras.data import Split, Splits
from bloodkeras.errors import BloodkerasError
from bloodkeras.models import build_model, predict_proba
from bloodkeras.pipeline import steps_per_epoch, train_dataset
from bloodkeras.recipe import Recipe
from bloodkeras.train import compile_model

CHECKPOINT = "checkpoint.npz"
# What a search may be steered by, and whether more of it is better.
OBJECTIVES = {"val_macro_f1": "max", "val_accuracy": "max", "val_auc": "max", "val_loss": "min"}


@dataclass(frozen=True)
class TuningData:
    """What a search may see of the data: the split to train on and the one to choose by."""

    train: Split
    val: Split
    sha256: str
    synthetic: bool

    @classmethod
    def of(cls, splits: Splits) -> "TuningData":
        """Return the splits without the test split."""
        return cls(splits.train, splits.val, splits.sha256, splits.synthetic)


def run_trial(
    recipe: Recipe,
    epochs: int,
    data: TuningData,
    folder: Path,
    report: Callable[[int, dict[str, float]], bool],
    parent: Path | None = None,
) -> bool:
    """Train to a number of epochs.

    Args:
        recipe: Every setting. A schedule is drawn over all of its `train_epochs`.
        epochs: Stop after so many of them.
        data: What to train on and what to judge by.
        folder: Of this trial; a checkpoint there is continued.
        report: Called with the epoch, from 1, and its metrics, those of continued epochs first.
            False ends the trial.
        parent: The folder of a trial to continue where this one has no checkpoint yet.

    Returns:
        Whether all epochs were trained.

    Raises:
        FloatingPointError: The loss became NaN or infinite.
        BloodkerasError: The checkpoint cannot be written.
    """
    keras.backend.clear_session()  # of earlier trials' networks
    model = build_model(recipe)
    steps = steps_per_epoch(data.train, recipe)
    compile_model(model, recipe, steps)
    model.optimizer.build(model.trainable_variables)
    history = restore(model, recipe, folder)
    if not history and parent is not None:
        history = restore(model, recipe, parent)
    for epoch, row in enumerate(history, 1):
        if not report(epoch, row):
            return False
    watcher = _Watcher(recipe, data.val, folder, report, history)
    # Averaged weights are in the model when an epoch ends, so this must come first.
    averaging = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if recipe.train_ema else []
    if len(history) < epochs:
        model.fit(
            train_dataset(data.train, recipe, first_epoch=len(history)),
            initial_epoch=len(history),
            epochs=epochs,
            steps_per_epoch=steps,
            callbacks=[*averaging, watcher],
            shuffle=False,
            verbose=0,
        )
    return not watcher.stopped


class _Watcher(keras.callbacks.Callback):
    """Judges, keeps and reports the model after every epoch."""

    def __init__(self, recipe: Recipe, val: Split, folder: Path, report, history: list[dict]):
        super().__init__()
        self.recipe, self.val, self.folder = recipe, val, folder
        self.report, self.history = report, history
        self.stopped = False

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        """Stop at a loss that is no number, keep a checkpoint, report."""
        row = {"loss": float(logs["loss"]), **judge(self.model, self.val)}
        if not all(map(math.isfinite, row.values())):
            raise FloatingPointError(f"the loss became {row['loss']} in epoch {epoch + 1}")
        self.history.append(row)
        if not self.recipe.train_ema:  # with averaging there are two sets of weights to keep
            save(self.model, self.recipe, self.history, self.folder)
        self.stopped = not self.report(epoch + 1, row)
        self.model.stop_training = self.stopped


def judge(model: keras.Model, val: Split) -> dict[str, float]:
    """Return the validation metrics, those in OBJECTIVES."""
    probs, once = predict_proba(model, val.images), np.ones((1, len(val)))
    likely = probs[np.arange(len(val)), val.labels].clip(min=1e-7)
    found = {
        f"val_{name}": float(metrics.HEADLINE[name](val.labels, probs, once)[0])
        for name in ("macro_f1", "accuracy", "auc")
    }
    return found | {"val_loss": float(-np.log(likely).mean())}


def save(model: keras.Model, recipe: Recipe, history: list[dict], folder: Path) -> None:
    """Write weights, optimiser state and history; a kill leaves the earlier file or this one.

    Raises:
        BloodkerasError: It cannot be written.
    """
    values = {f"v{n}": keras.ops.convert_to_numpy(v) for n, v in enumerate(_variables(model))}
    about = json.dumps({"recipe": dataclasses.asdict(recipe), "history": history})
    content = io.BytesIO()
    np.savez(content, about=np.array(about), **values)
    write_atomically(folder / CHECKPOINT, content.getvalue())


def restore(model: keras.Model, recipe: Recipe, folder: Path) -> list[dict]:
    """Read a checkpoint of the same recipe into a model; return its history, [] where none fits."""
    try:
        with np.load(folder / CHECKPOINT, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            values = [file[f"v{n}"] for n in range(len(file.files) - 1)]
    except Exception:  # missing or damaged: numpy, zipfile and zlib share no base; train anew
        return []
    if about["recipe"] != dataclasses.asdict(recipe):
        return []
    for variable, value in zip(_variables(model), values, strict=True):
        variable.assign(value)
    return about["history"]


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that whatever happens it is there as it was or as it should be.

    Raises:
        BloodkerasError: It cannot be written; what was there is unchanged.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise BloodkerasError(f"cannot write {path}: {error.strerror}") from None


def _variables(model: keras.Model) -> list:
    return [*model.variables, *model.optimizer.variables]
