"""The commands that make models: data, training, tuning, export, and the whole study.

Each imports its step inside the function, so that `--help` and `predict` stay quick and need no
TensorFlow; what can be refused is refused before that.
"""

from pathlib import Path
from typing import Any

from bloodkeras.answers.exports import PHOTOGRAPHS, default_export
from bloodkeras.cli.laboratories import check_once, tables_of
from bloodkeras.cli.opening import open_study, quiet_tensorflow
from bloodkeras.cli.options import (
    RUNS,
    Data,
    Exports,
    Labels,
    Microns,
    Model,
    Runs,
    Size,
    Target,
    export_folder,
    seed_numbers,
)
from bloodkeras.errors import UsageError
from bloodkeras.interrupts import heed_stops
from bloodkeras.recipe import Recipe, override, read_recipe, recipe_of_export
from bloodkeras.recipes import STUDIED, named_recipe, quick, shared, started, taught, untaught

TUNE_IN = "tune-in"  # what --recipe calls the settings that --start brings along


def data(*, data: Data = "", size: Size = 0) -> None:
    """Find or download BloodMNIST, check it, and say what it is."""
    from bloodkeras.data.splits import load_splits
    from bloodkeras.studies.study import show_data

    show_data(load_splits(data or None, size))


def gather(
    *photos: str,
    out: str,
    labels: Labels = "",
    group: str = "",
    size: int = 0,
    name: str = "",
    seed: int = 0,
    microns_per_pixel: Microns = 0.0,
) -> None:
    """Gather your own labelled photographs into a data set, which every command takes as --data.

    Cells are framed as `predict` frames them and divided into training, validation and test split
    (70, 10 and 20 %). Copies of a cell are left out, and so is a cell with several labels. Labels
    that are none of BloodMNIST's classes become classes of their own.

    Args:
        photos: One folder or more.
        out: The file, .npz.
        labels: Of several folders one table each, separated by commas.
        group: A column of the tables, such as slide or patient: what shares its word is in one
            split, as it must be to judge how the network does on the next slide or patient.
        size: Side of the images in pixels; by default that of the network for photographs.
        name: What the data set is called in cards; by default the file's name.
        seed: Of the division into splits.
    """
    from bloodkeras.answers.classifier import Classifier
    from bloodkeras.data.audit import audit, audit_table
    from bloodkeras.data.gather import gather as gather_photos
    from bloodkeras.data.splits import read_npz
    from bloodkeras.dataset import SIDES
    from bloodkeras.images.framing import Framing

    if not photos:
        raise UsageError("gather needs a folder, or several: gather DIR... --out FILE.npz")
    if size and size not in SIDES:
        raise UsageError(f"--size is {size}: expected {SIDES[0]} to {SIDES[-1]}")
    check_once("the folder", list(photos))
    tables = tables_of(list(photos), labels)
    side = size or Classifier.load(default_export(PHOTOGRAPHS)).dataset.image_side
    framing = Framing(microns_per_pixel, image_side=side)
    path = gather_photos(photos, tables, out, framing, group, name, seed)
    print(f"{audit_table(audit(read_npz(path)))}\nwrote {path}")


def eda(*, data: Data = "", size: Size = 0, runs: Runs = RUNS) -> None:
    """Explore the data: sample images, class distribution, augmentation, audit.

    Args:
        runs: The figures lie in <runs>/eda.
    """
    quiet_tensorflow()
    open_study(data, runs, size=size).explore()


def train(
    model: Model,
    *,
    data: Data = "",
    size: Size = 0,
    runs: Runs = RUNS,
    out: str = "",
    recipe: str = "",
    seeds: str = "",
    resume: bool = False,
    device: str = "auto",
    fast: bool = False,
    tensorboard: bool = False,
    teacher: str = "",
    teacher_data: str = "",
    start: str = "",
    rehearse: str = "",
    **settings: str,
) -> None:
    """Train a model and leave a run folder.

    Any recipe field can be set: --epochs 3 --learning-rate 0.0005 --class-weights false --seed 43

    Args:
        runs: This one becomes <runs>/<model>-seed<seed>.
        out: Another run folder.
        recipe: "quick" (half of the epochs), "tune-in" (short, as --start takes it unless told
            otherwise), or a recipe.json, as a run folder holds it.
        seeds: Whole numbers, separated by commas: a run each, then their mean and deviation.
        resume: Go on with a run that was stopped or killed, given the same settings; begin it
            where there is none. The result is that of a run that was not stopped.
        device: cpu, gpu, or auto: a GPU where TensorFlow sees one.
        fast: Let TensorFlow add up in any order: equal seeds then differ in the last bits.
        tensorboard: Write TensorBoard logs into the run folder.
        teacher: A trained model, or several separated by commas, whose answers become part of
            the labels: nine tenths, unless --teacher-share says another. Some recipes have other
            settings for a student; they are listed below.
        teacher_data: The file of the same cells at the size that teachers look at; BloodMNIST's is
            found by itself.
        start: An export, published or your own, whose weights it begins with: of a network of the
            same kind and size. The classes may be others.
        rehearse: A data set, named as --data is, of which up to 200 training cells of each class
            that both have are mixed in: what the start was trained on, so that it is not forgotten.
        settings: Recipe fields, listed below.
    """
    from bloodkeras.training.device import check_device, choose_device

    begun_with = export_folder(start) if start else ""
    # Refuse a wrong name or value before anything heavy starts.
    named = _recipe_of(model, recipe, bool(teacher), begun_with)
    chosen, teachers = _student(named, settings, teacher, teacher_data)
    if rehearse and teachers:
        raise UsageError("--rehearse and --teacher: teachers know the data's own cells alone")
    numbers = seed_numbers(seeds) if seeds else []
    if numbers and (out or {"seed", "train_seed"} & set(settings)):
        raise UsageError("--seeds makes a folder for each seed: leave --seed and --out away")
    check_device(device)
    heed_stops()
    quiet_tensorflow()
    choose_device(device)
    study = open_study(data, runs, size=size, targets=[begun_with] * bool(begun_with))
    options: dict[str, Any] = {"tensorboard": tensorboard, "resume": resume, "fast": fast}
    options |= study.taught_by(teachers, teacher_data)
    options |= study.begun_with(begun_with, rehearse)
    if numbers:
        study.train_seeds(chosen, numbers, **options)
    else:
        study.train(chosen, out or None, **options)


def export(
    *models: Target,
    photograph: bool = False,
    data: Data = "",
    size: Size = 0,
    runs: Runs = RUNS,
    exports: Exports = "",
) -> None:
    """Export trained models to ONNX; each is published only if it agrees with Keras.

    For an export, such as exports/tiny, only its int8 file and photograph.onnx are made again, from
    its fp32 file.

    Args:
        models: By default every model that has a run.
        photograph: Of exports, make only photograph.onnx, which needs neither run nor data.
    """
    heed_stops()  # a half-made export is cleared away, and one line says what stopped it
    if photograph:
        return _export_photograph(models)
    _check_targets(*models)
    open_study(data, runs, exports, size, models).export(*models)


def _export_photograph(exports: tuple[str, ...]) -> None:
    """Add photograph.onnx to exports."""
    from bloodkeras.export.add_photograph import add_photograph

    if not exports:
        raise UsageError("export --photograph needs an export, or several: export exports/tiny")
    for export in exports:
        size = add_photograph(Path(export))
        print(f"{export} has photograph.onnx, {size:,} bytes: it takes a photograph as it is")


def seeds(
    model: Model,
    *,
    seeds: str = "42,43,44",
    data: Data = "",
    size: Size = 0,
    runs: Runs = RUNS,
    teacher: str = "",
    teacher_data: str = "",
    **settings: str,
) -> None:
    """Train and evaluate a model with several seeds: mean and standard deviation on test.

    What is trained already is not trained again, so a second time it only prints.

    Args:
        seeds: Whole numbers, separated by commas.
        teacher: As for `train`.
        teacher_data: As for `train`.
        settings: Recipe fields, listed below.
    """
    start = named_recipe(model)
    start = taught(start) if teacher else start
    recipe, teachers = _student(start, settings, teacher, teacher_data)
    numbers = seed_numbers(seeds)
    quiet_tensorflow()
    study = open_study(data, runs, size=size)
    study.seeds(recipe, numbers, **study.taught_by(teachers, teacher_data))


def tune(
    model: Model,
    *,
    trials: int = 20,
    strategy: str = "hyperband",
    budget_minutes: float = 0,
    epochs: int = 0,
    objective: str = "val_macro_f1",
    data: Data = "",
    size: Size = 0,
    runs: Runs = RUNS,
    out: str = "",
    chief: str = "",
    worker: str = "",
    lost_after: float = 60,
    **settings: str,
) -> None:
    """Search for a better recipe: short trainings, judged on the validation split.

    Leaves <runs>/tune-<model>/recipe.json, which `train MODEL --recipe FILE` takes, a leaderboard,
    tables and figures (docs/tuning.md). The same command goes on with a search that was stopped.

    Args:
        trials: How many recipes to try, those of earlier calls included.
        strategy: hyperband (most are stopped early), bayesian or random.
        budget_minutes: End after so many; 0: no limit.
        epochs: Of the longest trial; 0: a quarter of the recipe's.
        objective: val_macro_f1, val_accuracy, val_auc or val_loss.
        out: Another folder for the search.
        chief: HOST:PORT: hand out trials there, and train none.
        worker: A name: train trials for the chief.
        lost_after: Seconds of silence after which a worker's trial is given to another.
        settings: Recipe fields to hold fixed, listed below.
    """
    from bloodkeras.tuning.command import check_options, run_tune

    options = check_options(
        model,
        trials,
        strategy,
        budget_minutes,
        epochs,
        objective,
        chief,
        worker,
        lost_after,
        settings,
    )
    quiet_tensorflow()
    study = open_study(data, runs, size=size)
    run_tune(options, study.splits, Path(out) if out else study.runs / f"tune-{model}")


def held_out(
    model: Model, *, data: Data = "", size: Size = 0, runs: Runs = RUNS, **settings: str
) -> None:
    """Train a model eight times, without one class each: does it doubt what it was never shown?

    Leaves a table, held_out.txt, and held_out.json in <runs>/held-out-<model>-seed<seed>. What is
    trained already is not trained again.

    Args:
        settings: Recipe fields, listed below: --epochs 5 is quicker.
    """
    recipe = untaught(override(named_recipe(model), settings))
    quiet_tensorflow()
    open_study(data, runs, size=size).held_out(recipe)


def study(
    *models: Model,
    data: Data = "",
    size: Size = 0,
    runs: Runs = RUNS,
    exports: Exports = "",
    **settings: str,
) -> None:
    """Do all of it in order and time each step: what `make all` runs.

    Args:
        models: The baseline first; by default simple and deeper.
        settings: Recipe fields, listed below, for every model.
    """
    recipes = [untaught(override(named_recipe(each), settings)) for each in models or STUDIED]
    quiet_tensorflow()
    open_study(data, runs, exports, size).everything(recipes)


def _recipe_of(model: str, recipe: str, taught_by_others: bool, start: str) -> Recipe:
    """Return the recipe that --recipe means, for a model with teachers, or a start, or neither."""
    if recipe == TUNE_IN and not start:
        raise UsageError(f"--recipe {TUNE_IN} is for a training that begins with --start EXPORT")
    named = named_recipe(model)
    if start and taught_by_others:
        raise UsageError("--start and --teacher: a student with teachers inherits from them")
    if recipe not in ("", "quick", TUNE_IN):
        named = read_recipe(recipe)
        if named.model_name != model:
            raise UsageError(f"{recipe} is a recipe for {named.model_name!r}, not {model!r}")
        return named
    named = taught(named) if taught_by_others else named
    named = started(named, recipe_of_export(Path(start))) if start else named
    return quick(named) if recipe == "quick" else named


def _student(
    start: Recipe, settings: dict[str, str], teacher: str, teacher_data: str
) -> tuple[Recipe, list[str]]:
    """Return the recipe with its settings, and the teachers, of which there may be none.

    Wrong names, values and teachers are refused here, before data are downloaded.
    """
    if not teacher:
        if teacher_data:
            raise UsageError("--teacher-data is for --teacher: name the run that it was trained on")
        return untaught(override(start, settings)), []
    teachers = [word.strip() for word in teacher.split(",") if word.strip()]
    if not teachers:
        raise UsageError(f"--teacher {teacher} names no run")
    chosen = override(shared(start), settings)
    _check_targets(*teachers)
    return chosen, teachers


def _check_targets(*targets: str) -> None:
    """Import what trained models need, and refuse a wrong word before data are downloaded."""
    quiet_tensorflow()
    from bloodkeras.studies.targets import check_target

    for target in targets:
        check_target(target)
