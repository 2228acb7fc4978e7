"""Begins a run folder, takes one up again where it stopped, and reads it back.

Flow: takes a recipe, `Splits` and a folder; gives the checkpoint to go on from, if there is one.
Takes a folder; gives the `Run` that is in it.
"""

import dataclasses
import functools
import json
import logging
import platform
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bloodkeras import __version__
from bloodkeras.answers.export_folder import sha256_of
from bloodkeras.bloodmnist import BLOODMNIST, export_name
from bloodkeras.contract import RUN_DATA, RUN_HISTORY, RUN_INFO, RUN_MODEL, RUN_RECIPE
from bloodkeras.cores import core_count
from bloodkeras.data.splits import Splits
from bloodkeras.dataset import DataSet
from bloodkeras.errors import BloodkerasError, gist
from bloodkeras.named_types import Floats, Json
from bloodkeras.recipe import Recipe, option, read_recipe, settled, short, write_recipe
from bloodkeras.training import layers  # noqa: F401  registered for load_model
from bloodkeras.training.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    remove_checkpoints,
)
from bloodkeras.training.device import choose_precision, processor
from bloodkeras.whole_file import replace_file

LOG = logging.getLogger(__name__)

# What run.json tells who wants the network in plain Keras.
TO_LOAD = "import bloodkeras.training.layers, keras; keras.models.load_model('model.keras')"
VERSIONED = ("keras", "tensorflow", "numpy", "tf2onnx", "onnx", "onnxruntime")


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run folder holds, read back."""

    folder: Path
    recipe: Recipe
    history: dict[str, Floats]  # column of history.csv -> float (epochs,)
    data: Json  # Splits.fingerprint()
    info: Json  # run.json
    dataset: DataSet = BLOODMNIST  # what runs of earlier versions were trained on, and do not say

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights were kept, from 1: the first of the best on val."""
        return int(np.argmax(self.history["val_accuracy"])) + 1

    @property
    def best_val_accuracy(self) -> float:
        """The validation accuracy of that epoch, 0..1."""
        return float(self.history["val_accuracy"].max())

    @property
    def export_name(self) -> str:
        """What its export is called."""
        return export_name(self.recipe.model_name, self.dataset)

    @property
    def precision(self) -> str:
        """What it was trained in: float32 or mixed_bfloat16."""
        return str(self.info.get("precision", self.recipe.train_precision))

    @property
    def weights(self) -> str:
        """SHA-256 of the best weights: what tells an export of this run from another's."""
        try:
            return sha256_of(self.folder / RUN_MODEL)
        except OSError as error:
            raise _no_run(self.folder, error) from None

    @functools.cached_property
    def model(self) -> keras.Model:
        """The network with its best weights, read when it is first asked for."""
        return in_float32(self.stored_model)

    @property
    def stored_model(self) -> keras.Model:
        """The same network as it is stored: in the precision that it was trained in."""
        try:
            return keras.saving.load_model(self.folder / RUN_MODEL, compile=False)
        except (OSError, ValueError) as error:
            raise _no_run(self.folder, error) from None


def begin_run(folder: Path, recipe: Recipe, splits: Splits, info: Json) -> None:
    """Make a run folder; an earlier run there is moved to <folder>.1, .2, ...

    It gets its name last: a folder of that name is never half made.

    Raises:
        BloodkerasError: It cannot be written, or something else is there.
    """
    made = folder.with_name(f".{folder.name}.new")
    try:
        shutil.rmtree(made, ignore_errors=True)  # of one that was killed here
        made.mkdir(parents=True)
        write_recipe(recipe, made / RUN_RECIPE)
        data = splits.fingerprint() | {"dataset": splits.dataset.as_dict()}
        (made / RUN_DATA).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        write_info(made, info)
        if folder.exists():
            _move_away(folder)
        made.rename(folder)
    except OSError as error:
        raise BloodkerasError(f"cannot write the run folder {folder}: {error.strerror}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def take_up(folder: Path, recipe: Recipe, splits: Splits, info: Json) -> Checkpoint | None:
    """Return where an interrupted run goes on, and say so; None for its first epoch.

    Raises:
        BloodkerasError: The folder holds no run, or one of another recipe or data.
    """
    earlier = read_info(folder)
    _refuse_another(folder, recipe, splits, info)
    for name in ("versions", "deterministic", "device", "processor"):
        if name in earlier and (was := earlier[name]) != info[name]:
            now = _difference(was, info[name]) if isinstance(was, dict) else f"{was}, {info[name]}"
            LOG.warning(f"not the {name} that {folder} began with ({now}): results may differ")
    if (here := choose_precision(recipe.train_precision)) != (begun := begun_in(folder)):
        LOG.warning(
            f"{folder} began in {begun} and goes on in it, where {here} would be chosen here "
            f"(quicker on this machine): to train in that, start over, without --resume"
        )
    state = newest_checkpoint(folder)
    done = f"after epoch {state.epochs} of {recipe.train_epochs}" if state else "at the beginning"
    LOG.info(f"going on with {folder} {done}")
    return state


def take_up_finished(folder: Path, recipe: Recipe, splits: Splits, origins: Json) -> None:
    """Say that there is nothing to go on with, and remove what is left of checkpoints."""
    _refuse_another(folder, recipe, splits, origins)
    remove_checkpoints(folder)
    LOG.info(f"{folder} is finished already: nothing to go on with")


def load_run(folder: Path) -> Run:
    """Read a run folder back.

    Raises:
        BloodkerasError: It is not a run folder, or has no model yet.
    """
    folder = Path(folder)
    try:
        info, data = (
            json.loads((folder / name).read_text(encoding="utf-8")) for name in (RUN_INFO, RUN_DATA)
        )
        recipe = read_recipe(folder / RUN_RECIPE)
        said = data.pop("dataset", None)
        dataset = DataSet.from_dict(said) if said else BLOODMNIST
        table = np.genfromtxt(folder / RUN_HISTORY, delimiter=",", names=True)
    except (OSError, ValueError) as error:
        raise _no_run(folder, error) from None
    history = {name: np.atleast_1d(table[name]) for name in table.dtype.names or ()}
    return Run(folder, recipe, history, data, info, dataset)


def kept_numbers(runs: list[Run]) -> dict[str, list[float]]:
    """Return the history's numbers of each run's best epoch, a list a column."""
    columns = [name for name in runs[0].history if name != "epoch"]
    numbers = {c: [float(run.history[c][run.best_epoch - 1]) for run in runs] for c in columns}
    epochs: list[float] = [run.best_epoch for run in runs]
    return {"best epoch": epochs} | numbers


def finished_run(
    folder: Path, recipe: Recipe, splits: Splits, teachers: Sequence[Path] = ()
) -> Run | None:
    """Return the run in a folder if it is this recipe's, on this data, by these teachers' runs."""
    try:
        run = load_run(folder)
    except BloodkerasError:
        return None
    recipes = {settled(one, run.precision) for one in (run.recipe, recipe)}
    taught_by = [each["weights_sha256"] for each in run.info.get("teachers", [])]
    same = len(recipes) == 1 and run.data == splits.fingerprint()
    same = same and taught_by == [load_run(teacher).weights for teacher in teachers]
    return run if same and run.info["status"] == "finished" else None


def in_float32(model: keras.Model) -> keras.Model:
    """Return the same network computing in float32, whatever precision it was trained in."""

    def rebuild(layer: keras.Layer) -> keras.Layer:
        kind = {"dtype": "float32"} if isinstance(layer, keras.Layer) else {}  # else an operation
        return type(layer).from_config(layer.get_config() | kind)

    copy = keras.models.clone_model(model, clone_function=rebuild)
    copy.set_weights(model.get_weights())
    return copy


def read_info(folder: Path) -> Json:
    """Read a run folder's run.json.

    Raises:
        BloodkerasError: It is not a run folder.
    """
    try:
        found: Json = json.loads((folder / RUN_INFO).read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError) as error:
        raise BloodkerasError(
            f"cannot go on with {folder}, which is not a run ({gist(error)}): choose another "
            "--out, or move it away"
        ) from None


def begun_in(folder: Path) -> str:
    """Return the precision that a run began in; runs of earlier versions name it in their recipe.

    Raises:
        BloodkerasError: It is not a run folder.
    """
    return read_info(folder).get("precision") or read_recipe(folder / RUN_RECIPE).train_precision


def write_info(folder: Path, info: Json) -> None:
    """Write a run folder's run.json, and into it how to load the model."""
    content = json.dumps(info | {"to_load": TO_LOAD}, indent=2) + "\n"
    replace_file(folder / RUN_INFO, content.encode())


def conditions(deterministic: bool) -> Json:
    """Return what numbers depend on, apart from recipe and data: equal for equal bits."""
    gpus = tf.config.list_logical_devices("GPU")
    # Threads share a sum out among them, so another number of cores rounds another way.
    device = f"{len(gpus)} GPU" if gpus else f"{core_count()} CPU cores"
    return {
        "versions": versions(),
        "deterministic": deterministic,
        "device": device,
        "processor": processor(),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape a result."""
    own = {"bloodkeras": __version__, "python": platform.python_version()}
    return own | {package: version(package) for package in VERSIONED}


def _refuse_another(folder: Path, recipe: Recipe, splits: Splits, origins: Json) -> None:
    """Refuse a run of another recipe, or that learns from something else than ORIGINS say."""
    precision = begun_in(folder)
    found, recipe = settled(read_recipe(folder / RUN_RECIPE), precision), settled(recipe, precision)
    if found != recipe:
        raise BloodkerasError(
            f"cannot go on with {folder}, which has another recipe "
            f"({_difference(_options(found), _options(recipe))}): give the settings it began with, "
            "or leave --resume out to start over"
        )
    try:
        data = json.loads((folder / RUN_DATA).read_text(encoding="utf-8"))
        same = data["sha256"] == splits.sha256
    except (OSError, ValueError, KeyError) as error:
        raise BloodkerasError(f"cannot go on with {folder}: {gist(error)}") from None
    if not same or data["sizes"] != splits.fingerprint()["sizes"]:
        raise BloodkerasError(
            f"cannot go on with {folder}, which began with other data ({data['file']}, SHA-256 "
            f"{data['sha256'][:12]}..., not {splits.sha256[:12]}...): name that with --data"
        )
    begun = read_info(folder)
    for what, option_name in ORIGINS.items():
        was, now = _listed(begun.get(what)), _listed(origins.get(what))
        # By what they are, not by what their folders and files are called now.
        if [each | NAMELESS for each in was] != [each | NAMELESS for each in now]:
            raise BloodkerasError(
                f"cannot go on with {folder}, which began with {_described(what, was)}, not "
                f"{_described(what, now)}: name what it began with by {option_name}, unchanged"
            )


# What a run learns from beside its own data, as run.json calls it, and the option that names it.
ORIGINS = {"teachers": "--teacher", "start": "--start", "rehearsed": "--rehearse"}
NAMELESS = {"run": "", "model": "", "file": ""}


def _listed(found: Any) -> list[Json]:
    return found if isinstance(found, list) else [found] * bool(found)


def _described(what: str, found: list[Json]) -> str:
    """Return what a run learns from, for a message."""
    named = [
        f"{each.get('run') or each.get('model') or each.get('file')} "
        f"({(each.get('weights_sha256') or each['sha256'])[:8]})"
        for each in found
    ]
    kind = {"teachers": "teacher", "rehearsed": "rehearsed data"}.get(what, what)
    return f"{what if named else 'no'} {', '.join(named) if named else kind}"


def _options(recipe: Recipe) -> Json:
    """Return the recipe by the names that the command line has for its fields."""
    return {option(short(name)): value for name, value in vars(recipe).items()}


def _difference(was: Json, now: Json) -> str:
    differing = sorted(key for key in was | now if was.get(key) != now.get(key))
    return ", ".join(f"{key} {was.get(key)!r}, not {now.get(key)!r}" for key in differing)


def _move_away(folder: Path) -> None:
    if not (folder / RUN_INFO).exists():
        raise BloodkerasError(
            f"{folder} exists and is not a run: choose another --out, or move it away"
        )
    number = 1
    while (earlier := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(earlier)
    LOG.info(f"kept the earlier run as {earlier}")


def _no_run(folder: Path, error: Exception) -> BloodkerasError:
    reason = gist(error)
    if isinstance(error, FileNotFoundError) and error.filename:
        reason = f"it lacks {Path(error.filename).name}" if folder.exists() else "there is none"
    return BloodkerasError(
        f"{folder} is not a usable run ({reason}): `python -m bloodkeras train MODEL` makes one"
    )
