"""Trains one network and leaves a folder that explains itself.

Flow: takes a recipe and `Splits`; gives a run folder:

    recipe.json    every setting            model.keras   best weights by validation accuracy
    data.json      what it was trained on   history.csv   one row an epoch, written as it happens
    run.json       status, times, versions, the precision it was trained in
    logs/          TensorBoard, on request
    checkpoints/   until it is finished: what `--resume` goes on from
"""

import contextlib
import importlib.util
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import tensorflow as tf

from bloodkeras.data.rehearse import rehearsing
from bloodkeras.data.splits import Splits
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.named_types import Json
from bloodkeras.recipe import Recipe, settled
from bloodkeras.recipes import untaught
from bloodkeras.training import layers  # noqa: F401  registered for load_model
from bloodkeras.training.callbacks import Keeper, LossGuard
from bloodkeras.training.checkpoint import remove_checkpoints, written_plainly
from bloodkeras.training.device import choose_precision, warn_of_slow
from bloodkeras.training.distillation import Teachers, inherit, open_teachers, teacher_answers
from bloodkeras.training.forecast import Forecast, first_guess, guessed_seconds
from bloodkeras.training.models import build_model, multiply_adds, parameter_count
from bloodkeras.training.optimizers import ConvMuon
from bloodkeras.training.pipeline import eval_dataset, steps_per_epoch, train_dataset
from bloodkeras.training.run_folder import (
    begin_run,
    begun_in,
    conditions,
    read_info,
    take_up,
    take_up_finished,
    write_info,
)
from bloodkeras.training.start import begin_with, open_start

LOG = logging.getLogger(__name__)

STEPS_TOGETHER = 16  # at most: more gains nothing and delays Ctrl-C


def train(
    recipe: Recipe,
    splits: Splits,
    folder: Path,
    tensorboard: bool = False,
    resume: bool = False,
    fast: bool = False,
    teachers: Sequence[Path] = (),
    teacher_splits: Splits | None = None,
    start: Path | None = None,
    rehearsed: Splits | None = None,
) -> Path:
    """Train and keep the best model by validation accuracy.

    An earlier run in the same folder is renamed, not overwritten, unless it is to be resumed.
    However it ends, the run is usable up to its last whole epoch.

    Args:
        recipe: Every setting.
        splits: Trains on train, selects on val; test is not looked at.
        folder: The run folder to make.
        tensorboard: Whether to write TensorBoard logs too.
        resume: Whether to go on with the run in the folder, if there is one.
        fast: Whether to let TensorFlow add up in any order: equal seeds differ in the last bits.
        teachers: Run folders whose networks give a share of the labels.
        teacher_splits: The same cells at the size that teachers take, if that is another.
        start: An export to begin with the weights of.
        rehearsed: Data whose training cells are mixed in.

    Raises:
        BloodkerasError: The folder cannot be written, holds another run than the one to resume, or
            the loss became NaN or infinite.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after run.json says so.
    """
    if bool(teachers) != bool(recipe.train_teacher_share):
        raise UsageError("--teacher and --teacher-share come together: give both, or neither")
    if not teachers:
        untaught(recipe)
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise BloodkerasError("--tensorboard needs a package: run `pip install tensorboard`")
    if folder.resolve() in [teacher.resolve() for teacher in teachers]:
        raise UsageError(f"{folder} cannot be its own teacher: give the student another --out")
    going_on = resume and folder.exists()
    if not fast:
        tf.config.experimental.enable_op_determinism()
    # A run ends in the precision that it began in, wherever that is: half of each would be neither.
    precision = begun_in(folder) if going_on else choose_precision(recipe.train_precision)
    if recipe.train_precision == precision:  # asked for by hand
        warn_of_slow(precision)
    taught = open_teachers(teachers, splits, teacher_splits, precision)
    begun = open_start(start, splits.dataset) if start else None
    origins: Json = {"teachers": taught.named} if taught else {}
    if begun:
        origins["start"] = begun.named()
    learned = splits
    if rehearsed is not None:
        learned = replace(splits, train=rehearsing(splits.train, rehearsed, recipe.train_seed))
        origins["rehearsed"] = rehearsed.fingerprint()
    if going_on and read_info(folder)["status"] == "finished":
        take_up_finished(folder, recipe, splits, origins)
        return folder
    # Keras counts layers of a kind in their names: the first in this process or not, equal names.
    keras.utils.clear_session(free_memory=False)
    model = build_model(settled(recipe, precision), splits.dataset, splits.train.images)
    size = {"parameters": parameter_count(model), "multiply_adds": multiply_adds(model)}
    info: Json = {"status": "running", "precision": precision} | size | conditions(not fast)
    info |= origins
    state = None
    if going_on:
        state = take_up(folder, recipe, splits, info)
        with written_plainly(folder):
            write_info(folder, info)
    else:
        if resume:
            LOG.info(f"there is no {folder} to go on with: starting at the beginning")
        begin_run(folder, recipe, splits, info)
    if recipe.train_inherit and state is None:
        inherit(model, taught)
    if begun and state is None:
        begin_with(begun, model, splits.dataset, splits.train.images)
    _run_epochs(model, Keeper(folder, recipe, state), learned, taught, tensorboard, info)
    return folder


def compile_model(model: keras.Model, recipe: Recipe, steps: int) -> None:
    """Give a model the recipe's optimiser, loss and metrics.

    Several steps run in one call of TensorFlow, which saves 7 % of a step of `deeper`. Their number
    divides the epoch's, because a remainder would be taken from the next epoch.

    Args:
        model: The network.
        recipe: Every setting.
        steps: Batches an epoch.
    """
    together = max(n for n in range(1, STEPS_TOGETHER + 1) if steps % n == 0)
    losses = keras.losses
    if recipe.soft_labels:
        loss = losses.CategoricalCrossentropy(True, label_smoothing=recipe.train_label_smoothing)
    else:
        loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = build_optimizer(recipe, steps)
    model.compile(
        steps_per_execution=together, optimizer=optimizer, loss=loss, metrics=["accuracy"]
    )


def build_optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    """Return the recipe's optimiser with its learning-rate schedule.

    Args:
        recipe: Every setting.
        steps: Batches an epoch.
    """
    rate, total = recipe.train_learning_rate, steps * recipe.train_epochs
    if recipe.train_schedule == "cosine":
        warmup = round(recipe.train_warmup * total)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, total - warmup, warmup_target=rate, warmup_steps=warmup
        )
    decay = recipe.train_weight_decay
    averaging = {"use_ema": recipe.train_ema > 0, "ema_momentum": recipe.train_ema or 0.99}
    if recipe.train_optimizer == "adam":
        return keras.optimizers.Adam(rate, **averaging)
    if recipe.train_optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=decay, **averaging)
    else:
        optimizer = ConvMuon(
            rate,
            weight_decay=decay,
            adam_weight_decay=decay,
            exclude_layers=["logits"],
            **averaging,
        )
    # Shrinking a bias or a normalisation's scale regularises nothing and shifts its output.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _run_epochs(
    model: keras.Model,
    keeper: Keeper,
    splits: Splits,
    teachers: Teachers,
    tensorboard: bool,
    info: Json,
) -> None:
    """Run the epochs that are left; leave run.json saying how it went."""
    status, seconds_before = "failed", keeper.seconds
    started = time.perf_counter()
    try:
        with written_plainly(keeper.run):
            _fit(model, keeper, splits, teachers, tensorboard, info["precision"])
        status = "finished"
    except KeyboardInterrupt as stop:
        status = "interrupted"
        keeper.settle()
        raise type(stop)(f"{str(stop) or 'stopped by Ctrl-C'}{keeper.whereabouts()}") from None
    finally:
        seconds = round(seconds_before + time.perf_counter() - started, 1)
        # Where the disk is full this cannot be written either, and must not hide that it is.
        finished = status == "finished"
        with written_plainly(keeper.run) if finished else contextlib.suppress(OSError):
            write_info(keeper.run, info | {"status": status, "seconds": seconds})
    remove_checkpoints(keeper.run)


def _fit(
    model: keras.Model,
    keeper: Keeper,
    splits: Splits,
    teachers: Teachers,
    tensorboard: bool,
    precision: str,
) -> None:
    """Run the epochs."""
    recipe, steps = keeper.recipe, steps_per_epoch(splits.train, keeper.recipe)
    if keeper.is_complete:  # killed between its last checkpoint and its end
        keeper.publish()
        return
    compile_model(model, recipe, steps)
    forecast = _forecast(model, keeper, splits, precision)
    taught = teacher_answers(teachers, recipe) if teachers else None
    batches = partial(train_dataset, splits.train, recipe, taught=taught)
    callbacks = [LossGuard(keeper, splits.train, batches), keeper, forecast]
    if recipe.train_ema:
        keeper.averaging = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        callbacks.insert(0, keeper.averaging)  # so that the averaged weights are those kept
    if tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(keeper.run / "logs"))
    with contextlib.closing(forecast):
        model.fit(
            batches(keeper.epochs),
            validation_data=eval_dataset(splits.val, recipe.soft_labels),
            initial_epoch=keeper.epochs,
            epochs=recipe.train_epochs,
            steps_per_epoch=steps,
            callbacks=callbacks,
            shuffle=False,  # the dataset is shuffled already
            verbose=0,  # the forecast says more
        )


def _forecast(model: keras.Model, keeper: Keeper, splits: Splits, precision: str) -> Forecast:
    """Say how long the epochs that are left may take, before the first; return what goes on."""
    recipe, left = keeper.recipe, keeper.recipe.train_epochs - keeper.epochs
    steps = steps_per_epoch(splits.train, recipe)
    LOG.info(
        f"training {recipe.model_name} in {precision}: {left} epoch{'s' * (left != 1)} of {steps} "
        f"steps of {recipe.train_batch_size} images"
    )
    each = guessed_seconds(model, recipe, splits.train, splits.val)
    if each and not recipe.train_teacher_share:  # what teachers take is not in the guess
        LOG.info(f"{first_guess(each, left)}; TensorFlow builds its graph first")
    return Forecast(patient=recipe.train_patience > 0)
