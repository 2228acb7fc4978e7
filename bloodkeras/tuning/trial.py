"""Trains one candidate of a search, epoch by epoch, and goes on where it was interrupted.

Flow: takes a recipe and `TuningData`; reports the validation metrics of every epoch, and leaves a
checkpoint.

The test split is out of reach by construction: all that a search is given is a `TuningData`, which
has none.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from bloodkeras.contract import RUN_RECIPE
from bloodkeras.data.splits import Split, Splits
from bloodkeras.errors import BloodkerasError
from bloodkeras.evaluation import metrics
from bloodkeras.named_types import Json
from bloodkeras.recipe import Recipe, read_recipe, write_recipe
from bloodkeras.training.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    put_back,
    remove_checkpoints,
    save_checkpoint,
    variables_of,
)
from bloodkeras.training.forecast import Forecast
from bloodkeras.training.models import build_model, predict_proba
from bloodkeras.training.pipeline import steps_per_epoch, train_dataset
from bloodkeras.training.train import compile_model


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
        folder: Of this trial; a checkpoint there is continued.
        report: Called with the epoch, from 1, and its metrics, those of continued epochs first.
            False ends the trial.
        parent: The folder of a trial to continue where this one has no checkpoint yet.

    Returns:
        Whether all epochs were trained.

    Raises:
        FloatingPointError: The loss became NaN or infinite.
        OSError: The checkpoint cannot be written.
    """
    keras.backend.clear_session()  # of earlier trials' networks
    model = build_model(recipe, data.train.dataset, data.train.images)
    steps = steps_per_epoch(data.train, recipe)
    compile_model(model, recipe, steps)
    model.optimizer.build(model.trainable_variables)
    history = _taken_up(model, recipe, folder, parent)
    if not all(report(epoch, row) for epoch, row in enumerate(history, 1)):
        return False

    def after_epoch(epoch: int, logs: Json) -> None:
        row = {"loss": float(logs["loss"]), **judge(model, data.val)}
        if not all(map(math.isfinite, row.values())):
            raise FloatingPointError(f"the loss became {row['loss']} in epoch {epoch + 1}")
        history.append(row)
        if not recipe.train_ema:  # with averaging there are two sets of weights to keep
            save_checkpoint(folder, Checkpoint(history, 0.0, *variables_of(model), b""))
        model.stop_training = not report(epoch + 1, row)

    callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=after_epoch)]
    if recipe.train_ema:  # first, for averaged weights to be in the model when an epoch ends
        callbacks.insert(0, keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    if not sys.stdout.isatty():  # which has the leaderboard, drawn again after every epoch
        callbacks.append(Forecast(f"trial {folder.name}"))
    if len(history) < epochs:
        model.fit(
            train_dataset(data.train, recipe, first_epoch=len(history)),
            initial_epoch=len(history),
            epochs=epochs,
            steps_per_epoch=steps,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
    return len(history) >= epochs


def _taken_up(model: keras.Model, recipe: Recipe, folder: Path, parent: Path | None) -> list[Json]:
    """Make a trial's folder; return the history of the checkpoint there, or of its parent's."""
    folder.mkdir(parents=True, exist_ok=True)
    if not _is_of(recipe, folder):  # what another recipe left there
        remove_checkpoints(folder)
        write_recipe(recipe, folder / RUN_RECIPE)
    history = restore(model, recipe, folder)
    return restore(model, recipe, parent) if parent and not history else history


def judge(model: keras.Model, val: Split) -> dict[str, float]:
    """Return the validation metrics, those in OBJECTIVES."""
    probs, once = predict_proba(model, val.images), np.ones((1, len(val)))
    likely = probs[np.arange(len(val)), val.labels].clip(min=1e-7)
    found = {
        f"val_{name}": float(metrics.HEADLINE[name](val.labels, probs, once)[0])
        for name in ("macro_f1", "accuracy", "auc")
    }
    return found | {"val_loss": float(-np.log(likely).mean())}


def restore(model: keras.Model, recipe: Recipe, folder: Path) -> list[Json]:
    """Read a checkpoint of the same recipe into a model; return its history, [] where none fits."""
    state = newest_checkpoint(folder) if _is_of(recipe, folder) else None
    if state is None:
        return []
    put_back(model, state)
    return state.rows


def _is_of(recipe: Recipe, folder: Path) -> bool:
    try:
        return read_recipe(folder / RUN_RECIPE) == recipe
    except BloodkerasError:
        return False
