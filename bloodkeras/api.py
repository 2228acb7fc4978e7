"""What Python calls: the steps of the study as functions, and a photograph as pixels.

Flow: takes a recipe's name, a run or a classifier, and data; gives a `Run`, a `Report`, an export.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bloodkeras.answers.classifier import Classifier
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.data.splits import Splits, load_splits
from bloodkeras.errors import missing_package
from bloodkeras.images.framing import Framing
from bloodkeras.images.preprocess import Photograph, read_any
from bloodkeras.named_types import Pixels
from bloodkeras.recipe import Recipe, override
from bloodkeras.recipes import named_recipe

if TYPE_CHECKING:
    from bloodkeras.evaluation.evaluate import Report
    from bloodkeras.training.run_folder import Run


@contextmanager
def _training_side() -> Iterator[None]:
    """Say which extra installs what is missing of the training side's packages.

    Raises:
        BloodkerasError: One is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing_package(str(error.name), "train") from None


Data = Splits | str | os.PathLike[str] | None


def read_photograph(
    photograph: Photograph,
    microns_per_pixel: float = 0.0,
    image_side: int = BLOODMNIST.image_side,
) -> Pixels:
    """Read a photograph of one cell as the pixels that a network takes.

    Args:
        photograph: A path; a PIL image; the bytes of an image file; an open one; or an array uint8
            (H, W, 3), RGB, which is taken as it is where it has the network's size.
        microns_per_pixel: Of the photograph; 0 where that is not known.
        image_side: Of the network, S pixels: `classifier.dataset.image_side`.

    Returns:
        uint8 (S, S, 3), RGB, 0..255.

    Raises:
        BloodkerasError: It cannot be read, or is not a photograph.

    Example:
        >>> bloodkeras.read_photograph("cell.jpg").shape
        (28, 28, 3)
    """
    return read_any(photograph, "the image", Framing(microns_per_pixel, image_side=image_side))


def get_recipe(name: str, **settings: bool | int | float | str) -> Recipe:
    """Return a recipe by its name, with some fields changed.

    Args:
        name: simple, deeper, residual, tiny or robust.
        settings: Fields of `Recipe` by name; the prefix may be left out: `epochs` is
            `train_epochs`.

    Raises:
        UsageError: There is no such recipe or field, or a value is not of its type or range.

    Example:
        >>> bloodkeras.get_recipe("deeper", epochs=3).train_epochs
        3
    """
    return override(named_recipe(name), {key: str(value) for key, value in settings.items()})


@_training_side()
def train(
    recipe: str | Recipe,
    data: Data = None,
    *,
    runs: str | os.PathLike[str] = "runs",
    resume: bool = False,
    **settings: bool | int | float | str,
) -> "Run":
    """Train a network, as `bloodkeras train` does, and leave a run folder.

    Args:
        recipe: Its name, or a whole recipe.
        data: `Splits`, or what `load_splits` takes: nothing for BloodMNIST.
        runs: Folder of all runs; this one becomes <runs>/<model>-seed<seed>.
        resume: Go on with a run that was stopped.
        settings: As in `get_recipe`, where `recipe` is a name.

    Returns:
        The run, read back from its folder: `run.model` is the Keras model of the best epoch.

    Raises:
        BloodkerasError: The data cannot be read, the folder cannot be written, or the loss is no
            number any more.
        UsageError: There is no such recipe or field.

    Example:
        >>> bloodkeras.train("deeper", epochs=3).folder
        PosixPath('runs/deeper-seed42')
    """
    if isinstance(recipe, Recipe):
        recipe = override(recipe, {key: str(value) for key, value in settings.items()})
    else:
        recipe = get_recipe(recipe, **settings)
    from bloodkeras.studies.study import Study

    return Study(_splits(data), os.fspath(runs)).train(recipe, resume=resume)


@_training_side()
def load_run(folder: str | os.PathLike[str]) -> "Run":
    """Read back the run folder that `train` left.

    Raises:
        BloodkerasError: It is not a run folder.

    Example:
        >>> bloodkeras.load_run("runs/deeper-seed42").recipe.model_name
        'deeper'
    """
    from bloodkeras.training.run_folder import load_run

    return load_run(Path(folder))


@_training_side()
def evaluate(model: "Classifier | Run", data: Data = None, split: str = "test") -> "Report":
    """Judge a trained network or an export; nothing is written.

    Args:
        model: What `train`, `load_run` or `load` returned.
        data: As in `train`.
        split: "train", "val" or "test".

    Returns:
        `report.value("accuracy")` and other headline numbers; `report.metrics`, all of them;
        labels int (N,) and probs float32 (N, K).

    Raises:
        BloodkerasError: The data cannot be read.
        UsageError: There is no such split.

    Example:
        >>> round(bloodkeras.evaluate(bloodkeras.load("tiny")).value("accuracy"), 4)
        0.9673
    """
    from bloodkeras.evaluation.evaluate import evaluate

    splits = _splits(data, model)
    if isinstance(model, Classifier):
        weights = model.card.get("training", {}).get("weights_sha256", "")
        name = str(model.card["model"])
        model.dataset.check_fits(splits.dataset, name)
        return evaluate(model.predict_proba, splits, split, name, "onnx", weights)
    from bloodkeras.training.models import predict_proba

    model.dataset.check_fits(splits.dataset, str(model.folder))
    answers = partial(predict_proba, model.model)
    return evaluate(answers, splits, split, model.recipe.model_name, "keras", model.weights)


@_training_side()
def export_run(run: "Run", data: Data = None, folder: str | os.PathLike[str] | None = None) -> Path:
    """Export a run as a checked ONNX file with its card.

    Args:
        run: What `train` or `load_run` returned.
        data: What it was trained on, as in `train`.
        folder: Where to publish; by default `exports/<model>` beside the run.

    Returns:
        The folder, for `load`.

    Raises:
        BloodkerasError: The ONNX file disagrees with Keras, or the folder cannot be written.

    Example:
        >>> bloodkeras.export_run(run, folder="mine")
        PosixPath('mine')
    """
    from bloodkeras.export.publish import export_run

    usual = run.folder.parent / "exports" / run.export_name
    return export_run(run, _splits(data, run), Path(folder) if folder else usual)


def _splits(data: Data, model: "Classifier | Run | None" = None) -> Splits:
    """Return the splits that are meant; where none are named, BloodMNIST at the model's side."""
    if isinstance(data, Splits):
        return data
    if data or not model or model.dataset.name != BLOODMNIST.name:
        return load_splits(os.fspath(data) if data else None)
    return load_splits(size=model.dataset.image_side)
