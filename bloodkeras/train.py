"""Trains one network and leaves a folder that explains itself.

Flow: takes a recipe and `Splits`; gives a run folder:

    recipe.json    every setting            model.keras   best weights by validation accuracy
    data.json      what it was trained on   history.csv   one row an epoch, written as it happens
    run.json       status, times, versions  logs/         TensorBoard, on request
"""

import dataclasses
import functools
import importlib.util
import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np

from bloodkeras import __version__
from bloodkeras.data import Splits
from bloodkeras.errors import BloodkerasError, gist, missing_package
from bloodkeras.layers import FusedBatchNormalization  # noqa: F401  registers it for load_model
from bloodkeras.models import build_model, multiply_adds, parameter_count
from bloodkeras.optimizers import ConvMuon
from bloodkeras.pipeline import eval_dataset, steps_per_epoch, train_dataset
from bloodkeras.recipe import Recipe, read_recipe, write_recipe
from bloodkeras.runtime.classifier import sha256_of

MODEL_FILE = "model.keras"
STEPS_TOGETHER = 16  # at most: more gains nothing and delays Ctrl-C
VERSIONED = ("keras", "tensorflow", "numpy", "tf2onnx", "onnx", "onnxruntime")


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run folder holds, read back."""

    folder: Path
    recipe: Recipe
    history: dict[str, np.ndarray]  # column of history.csv -> float (epochs,)
    data: dict  # Splits.fingerprint()
    info: dict  # run.json

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights were kept, from 1: the first of the best on val."""
        return int(np.argmax(self.history["val_accuracy"])) + 1

    @property
    def best_val_accuracy(self) -> float:
        """The validation accuracy of that epoch, 0..1."""
        return float(self.history["val_accuracy"].max())

    @property
    def weights(self) -> str:
        """SHA-256 of the best weights: what tells an export of this run from another's."""
        try:
            return sha256_of(self.folder / MODEL_FILE)
        except OSError as error:
            raise _no_run(self.folder, error) from None

    @functools.cached_property
    def model(self) -> keras.Model:
        """The network with its best weights, read when it is first asked for."""
        try:
            model = keras.saving.load_model(self.folder / MODEL_FILE, compile=False)
            return in_float32(model)
        except (OSError, ValueError) as error:
            raise _no_run(self.folder, error) from None


def run_folder(runs: Path, recipe: Recipe) -> Path:
    """Return where a recipe's run belongs: runs/<model>-seed<seed>."""
    return Path(runs) / f"{recipe.model_name}-seed{recipe.train_seed}"


def train(recipe: Recipe, splits: Splits, folder: Path, tensorboard: bool = False) -> Path:
    """Train and keep the best model by validation accuracy.

    An earlier run in the same folder is renamed, not overwritten. Ctrl-C leaves the run usable.

    Args:
        recipe: Every setting.
        splits: Trains on train, selects on val; test is not looked at.
        folder: The run folder to make.
        tensorboard: Whether to write TensorBoard logs too.

    Raises:
        BloodkerasError: The folder cannot be written, or the loss became NaN or infinite.
        KeyboardInterrupt: Ctrl-C, after run.json says so.
    """
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise missing_package("TensorBoard", "pip install tensorboard")
    model = build_model(recipe)
    _start_folder(folder, recipe, splits)
    info = {
        "status": "running",
        "parameters": parameter_count(model),
        "multiply_adds": multiply_adds(model),
        "versions": versions(),
    }
    _write_info(folder, info)
    started = time.perf_counter()
    status = "failed"
    try:
        losses = _fit(model, recipe, splits, folder, tensorboard)
        status = "finished" if np.isfinite(losses).all() else "failed"
    except KeyboardInterrupt:
        status = "interrupted"
        if (folder / MODEL_FILE).exists():
            print(f"\nstopped: the best model so far is in {folder}, ready for evaluate and export")
        raise
    finally:
        seconds = round(time.perf_counter() - started, 1)
        _write_info(folder, info | {"status": status, "seconds": seconds})
    if status == "failed":
        raise BloodkerasError(
            f"the loss became {losses[-1]} in epoch {len(losses)}: try a lower --learning_rate "
            f"than {recipe.train_learning_rate}"
        )
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


def load_run(folder: Path) -> Run:
    """Read a run folder back.

    Raises:
        BloodkerasError: It is no run folder, or has no model yet.
    """
    folder = Path(folder)
    try:
        info, data = (json.loads((folder / f"{name}.json").read_text()) for name in ("run", "data"))
        recipe = read_recipe(folder / "recipe.json")
        table = np.genfromtxt(folder / "history.csv", delimiter=",", names=True)
    except (OSError, ValueError) as error:
        raise _no_run(folder, error) from None
    history = {name: np.atleast_1d(table[name]) for name in table.dtype.names}
    return Run(folder, recipe, history, data, info)


def finished_run(folder: Path, recipe: Recipe, splits: Splits) -> Run | None:
    """Return the run in a folder if it is this recipe's on this data, and finished."""
    try:
        run = load_run(folder)
    except BloodkerasError:
        return None
    same = run.recipe == recipe and run.data == splits.fingerprint()
    return run if same and run.info["status"] == "finished" else None


def in_float32(model: keras.Model) -> keras.Model:
    """Return the same network computing in float32, whatever precision it was trained in."""

    def rebuild(layer):
        return type(layer).from_config(layer.get_config() | {"dtype": "float32"})

    copy = keras.models.clone_model(model, clone_function=rebuild)
    copy.set_weights(model.get_weights())
    return copy


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape a result."""
    own = {"bloodkeras": __version__, "python": platform.python_version()}
    return own | {package: version(package) for package in VERSIONED}


def _fit(model, recipe: Recipe, splits: Splits, folder: Path, tensorboard: bool) -> list[float]:
    """Run the epochs; return the training loss of each."""
    steps = steps_per_epoch(splits.train, recipe)
    compile_model(model, recipe, steps)
    averaging = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if recipe.train_ema else []
    callbacks = [
        *averaging,  # first, so that the averaged weights are the ones that are kept
        keras.callbacks.ModelCheckpoint(
            folder / MODEL_FILE, monitor="val_accuracy", mode="max", save_best_only=True
        ),
        keras.callbacks.CSVLogger(folder / "history.csv"),
        keras.callbacks.TerminateOnNaN(),
    ]
    if tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(folder / "logs"))
    fitted = model.fit(
        train_dataset(splits.train, recipe),
        validation_data=eval_dataset(splits.val, recipe.soft_labels),
        epochs=recipe.train_epochs,
        steps_per_epoch=steps,
        callbacks=callbacks,
        shuffle=False,  # the dataset is shuffled already
        verbose="auto" if sys.stdout.isatty() else 2,
    )
    return fitted.history["loss"]


def _start_folder(folder: Path, recipe: Recipe, splits: Splits) -> None:
    """Make an empty run folder; an earlier run there is moved to <folder>.1, .2, ..."""
    try:
        if folder.exists():
            if not (folder / "run.json").exists():
                raise BloodkerasError(
                    f"{folder} exists and is no run: choose another --out, or move it away"
                )
            number = 1
            while (earlier := folder.with_name(f"{folder.name}.{number}")).exists():
                number += 1
            folder.rename(earlier)
            print(f"kept the earlier run as {earlier}")
        folder.mkdir(parents=True)
        write_recipe(recipe, folder / "recipe.json")
        (folder / "data.json").write_text(json.dumps(splits.fingerprint(), indent=2) + "\n")
    except OSError as error:
        raise BloodkerasError(f"cannot write the run folder {folder}: {error.strerror}") from None


def _no_run(folder: Path, error: Exception) -> BloodkerasError:
    missing = isinstance(error, FileNotFoundError)
    reason = "there is none" if missing and not folder.exists() else gist(error)
    return BloodkerasError(
        f"{folder} is no usable run ({reason}): `python -m bloodkeras train MODEL` makes one"
    )


def _write_info(folder: Path, info: dict) -> None:
    (folder / "run.json").write_text(json.dumps(info, indent=2) + "\n")
