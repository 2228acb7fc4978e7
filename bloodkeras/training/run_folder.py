"""Begins a run folder, or takes one up again where it stopped.

Flow: takes a recipe, `Splits` and a folder; gives the checkpoint to go on from, if there is one.
"""

import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import tensorflow as tf

from bloodkeras import __version__
from bloodkeras.answers.classifier import core_count
from bloodkeras.contract import RUN_DATA, RUN_INFO, RUN_RECIPE
from bloodkeras.data.splits import Splits
from bloodkeras.errors import BloodkerasError, gist
from bloodkeras.recipe import Recipe, read_recipe, settled, write_recipe
from bloodkeras.training.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    remove_checkpoints,
    write_atomically,
)
from bloodkeras.training.device import choose_precision, processor

# What run.json tells who wants the network in plain Keras.
TO_LOAD = "import bloodkeras.training.layers, keras; keras.models.load_model('model.keras')"
VERSIONED = ("keras", "tensorflow", "numpy", "tf2onnx", "onnx", "onnxruntime")


def begin_run(folder: Path, recipe: Recipe, splits: Splits, info: dict) -> None:
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


def take_up(folder: Path, recipe: Recipe, splits: Splits, info: dict) -> Checkpoint | None:
    """Return where an interrupted run goes on, and say so; None for its first epoch.

    Raises:
        BloodkerasError: The folder holds no run, or one of another recipe or data.
    """
    earlier = read_info(folder)
    _refuse_another(folder, recipe, splits)
    for name in ("versions", "deterministic", "device", "processor"):
        if name in earlier and (was := earlier[name]) != info[name]:
            now = _difference(was, info[name]) if isinstance(was, dict) else f"{was}, {info[name]}"
            print(f"note: not the {name} that {folder} began with ({now}): results may differ")
    if (here := choose_precision(recipe.train_precision)) != (begun := begun_in(folder)):
        print(
            f"note: {folder} began in {begun} and goes on in it, where {here} would be chosen here "
            f"(quicker on this machine): to train in that, begin anew, without --resume"
        )
    state = newest_checkpoint(folder)
    done = f"after epoch {state.epochs} of {recipe.train_epochs}" if state else "at the beginning"
    print(f"going on with {folder} {done}", flush=True)
    return state


def take_up_finished(folder: Path, recipe: Recipe, splits: Splits) -> None:
    """Say that there is nothing to go on with, and remove what is left of checkpoints."""
    _refuse_another(folder, recipe, splits)
    remove_checkpoints(folder)
    print(f"{folder} is finished already: nothing to go on with")


def read_info(folder: Path) -> dict:
    """Read a run folder's run.json.

    Raises:
        BloodkerasError: It is no run folder.
    """
    try:
        return json.loads((folder / RUN_INFO).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BloodkerasError(
            f"cannot go on with {folder}, which is no run ({gist(error)}): choose another --out, "
            "or move it away"
        ) from None


def begun_in(folder: Path) -> str:
    """Return the precision that a run began in; runs of earlier versions name it in their recipe.

    Raises:
        BloodkerasError: It is no run folder.
    """
    return read_info(folder).get("precision") or read_recipe(folder / RUN_RECIPE).train_precision


def write_info(folder: Path, info: dict) -> None:
    """Write a run folder's run.json, and into it how to load the model."""
    content = json.dumps(info | {"to_load": TO_LOAD}, indent=2) + "\n"
    write_atomically(folder / RUN_INFO, content.encode())


def conditions(deterministic: bool) -> dict:
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


def _refuse_another(folder: Path, recipe: Recipe, splits: Splits) -> None:
    precision = begun_in(folder)
    found, recipe = settled(read_recipe(folder / RUN_RECIPE), precision), settled(recipe, precision)
    if found != recipe:
        raise BloodkerasError(
            f"cannot go on with {folder}, which has another recipe "
            f"({_difference(_options(found), _options(recipe))}): give the settings it began with, "
            "or leave --resume out to train anew"
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


def _options(recipe: Recipe) -> dict:
    """Return the recipe by the names that the command line has for its fields."""
    return {f"--{name.split('_', 1)[1]}": value for name, value in vars(recipe).items()}


def _difference(was: dict, now: dict) -> str:
    differing = sorted(key for key in was | now if was.get(key) != now.get(key))
    return ", ".join(f"{key} {was.get(key)!r}, not {now.get(key)!r}" for key in differing)


def _move_away(folder: Path) -> None:
    if not (folder / RUN_INFO).exists():
        raise BloodkerasError(
            f"{folder} exists and is no run: choose another --out, or move it away"
        )
    number = 1
    while (earlier := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(earlier)
    print(f"kept the earlier run as {earlier}")
