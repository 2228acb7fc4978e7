"""The command table: `python -m bloodkeras COMMAND`, or `bloodkeras COMMAND` once installed.

Flow: takes the command line; gives an exit status: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C.
Each command imports its step inside the function, so that `--help` and `predict` stay quick and
need no TensorFlow.
"""

import importlib.util
from dataclasses import replace
from pathlib import Path

from bloodkeras.answers.exports import DEFAULT, find_export, published, results_name
from bloodkeras.cli.command_line import quiet_tensorflow, run
from bloodkeras.errors import UsageError, missing_package
from bloodkeras.interrupts import heed_stops
from bloodkeras.recipe import convert
from bloodkeras.training.device import check_device, choose_device

RUNS = "runs"  # below the current folder
SERVED = "deeper"  # quicker than the most accurate


def data(*, data: str = ""):
    """Find or download BloodMNIST, check it, and say what it is.

    Args:
        data: A .npz file, "synthetic" (drawn cells), or "auto" (synthetic where BloodMNIST cannot
            be had). By default the variable BLOODKERAS_DATA, then ~/.medmnist, then the download.
    """
    from bloodkeras.studies.study import show_data

    show_data(_splits(data))


def eda(*, data: str = "", runs: str = RUNS):
    """Explore the data: sample images, class distribution, augmentation, audit.

    Args:
        data: As in `bloodkeras data`.
        runs: Folder for the figures: <runs>/eda.
    """
    quiet_tensorflow()
    from bloodkeras.studies.study import Study

    Study(_splits(data), runs).explore()


def train(
    model: str,
    *,
    data: str = "",
    runs: str = RUNS,
    out: str = "",
    recipe: str = "",
    seeds: str = "",
    resume: bool = False,
    device: str = "auto",
    fast: bool = False,
    tensorboard: bool = False,
    **settings: str,
):
    """Train a model and leave a run folder.

    Any recipe field can be set: --epochs 3 --learning_rate 0.0005 --class_weights false --seed 43
    (bloodkeras/recipe.py lists them all).

    Args:
        model: simple, deeper, tiny, residual or robust.
        data: As in `bloodkeras data`.
        runs: Folder of all runs; this one becomes <runs>/<model>-seed<seed>.
        out: Another run folder.
        recipe: "quick" (a third of the epochs), or a recipe.json, as a run folder holds it.
        seeds: Whole numbers, separated by commas: a run each, then their mean and deviation.
        resume: Go on with a run that was stopped or killed, given the same settings; begin it
            where there is none. The result is that of a run that was not stopped.
        device: cpu, gpu, or auto: a GPU where TensorFlow sees one.
        fast: Let TensorFlow add up in any order: equal seeds then differ in the last bits.
        tensorboard: Write TensorBoard logs into the run folder.
        settings: Recipe fields.
    """
    from bloodkeras.recipe import named_recipe, override, quick, read_recipe

    start = named_recipe(model)  # refuse a wrong name or value before anything heavy starts
    if recipe == "quick":
        start = quick(start)
    elif recipe:
        start = read_recipe(recipe)
        if start.model_name != model:
            raise UsageError(f"{recipe} is a recipe for {start.model_name!r}, not {model!r}")
    chosen = override(start, settings)
    numbers = _seeds(seeds) if seeds else []
    if numbers and (out or {"seed", "train_seed"} & set(settings)):
        raise UsageError("--seeds makes a folder for each seed: leave --seed and --out away")
    check_device(device)
    heed_stops()
    quiet_tensorflow()
    choose_device(device)
    from bloodkeras.studies.study import Study

    study = Study(_splits(data), runs)
    options = {"tensorboard": tensorboard, "resume": resume, "fast": fast}
    if numbers:
        study.train_seeds(chosen, numbers, **options)
    else:
        study.train(chosen, out or None, **options)


def join(
    home: str = "residual",
    elsewhere: str = "robust",
    *,
    data: str = "",
    runs: str = RUNS,
    out: str = "",
):
    """Join two trained models into one: by an image's colours it decides whom to ask.

    Where they are those of the training data it answers the mean of both, elsewhere what the
    second says. `evaluate` and `export` take the run folder that comes of it.

    Args:
        home: The run that is better on images like the training data: a model name or a folder.
        elsewhere: The run that is better on another laboratory's.
        data: What both were trained on; as in `bloodkeras data`.
        runs: Folder of all runs.
        out: The new run folder; default: <runs>/joined-seed<seed of elsewhere>.
    """
    quiet_tensorflow()
    from bloodkeras.studies.study import Study
    from bloodkeras.studies.targets import check_target

    for target in (home, elsewhere):
        check_target(target)  # before the data are downloaded
    Study(_splits(data), runs).join(home, elsewhere, out)


def evaluate(
    target: str,
    *,
    data: str = "",
    runs: str = RUNS,
    split: str = "test",
    margins: str = "",
    views: bool = False,
    shifts: bool = False,
    photos: str = "",
    labels: str = "",
    microns_per_pixel: float = 0.0,
    tightness: float = 1.0,
    classes: str = "",
    prior: str = "",
):
    """Judge a trained model or an exported one: metrics, confusion matrix, mistakes.

    Args:
        target: A model name (its run with the recipe's seed, or the published export where there
            is no such run), a run folder, or an export folder. With --photos and --shifts, which
            judge exports alone, a name means the published export.
        data: As in `bloodkeras data`.
        runs: Folder of all runs; the results lie in <runs>/<run>/evaluation.
        split: train, val or test.
        margins: A folder of photographs of cells: an export should refuse what their margins show.
        views: Say too how good the mean over the eight flips and quarter turns is; with --photos,
            judge that mean.
        shifts: Judge an export on simulated shifts of the split instead (light, stain, focus,
            compression, scale, place), in a table, shifts.json, and <runs>/shifts.png.
        photos: A folder of your own photographs of cells, to judge an export on instead; no
            other data is needed. Accuracy is given plainly, as `predict --prior estimate` and
            blood make it, and with only the classes that occur open.
            The results lie in <runs>/onnx-<export>/photos-<folder>[-table][-scale][-views].
        labels: What these photographs show, a CSV with the columns file and label, which is a
            class name, an abbreviation such as NEU, or its number from 0. Without it the folder
            has a folder for each class, as `predict --sort-into` makes them.
        microns_per_pixel: Of these photographs; 0 where it is not known.
        tightness: Show cells larger than in BloodMNIST, to try what that does: 1.4 is a crop of
            0.7 of the usual side.
        classes: Classes that can occur, as in `predict`, to judge that with --photos too.
        prior: A file that weighs the classes, as in `predict`, to judge that with --photos too.
    """
    if photos or labels:
        if margins or shifts or data or split != "test":
            raise UsageError(
                "--photos judges your own cells: without --margins, --shifts, --data, --split"
            )
        framing = (microns_per_pixel, tightness)
        _evaluate_photos(target, photos, labels, runs, framing, views, classes, prior)
        return
    if microns_per_pixel or tightness != 1.0 or classes or prior:
        raise UsageError("--microns-per-pixel, --tightness, --classes and --prior are for --photos")
    if shifts and (margins or views):
        raise UsageError("--shifts judges simulated shifts alone: without --margins, --views")
    if shifts:  # of an export, so a name means one
        target = _export(target)
    from bloodkeras.studies.targets import check_target, means_export

    exported = means_export(target)
    if margins and not exported:
        folder = f": its export is {published()[target]}" if target in published() else ""
        raise UsageError(f"--margins judges what an export refuses, and {target} is none{folder}")
    if not exported:  # an ONNX file needs no TensorFlow
        quiet_tensorflow()
    from bloodkeras.studies.study import Study

    check_target(target)  # before the data are downloaded
    study = Study(_splits(data), runs)
    if shifts:
        study.shifts(target, split)
    else:
        study.evaluate(target, split, margins, views)


def _evaluate_photos(
    target: str, photos: str, labels: str, runs: str, framing, views, classes, prior
) -> None:
    if not photos:
        raise UsageError("--labels CSV says what --photos FOLDER shows: give that too")
    if not labels and not Path(photos).is_dir():
        raise UsageError(f"--photos {photos} is no folder: expected one with a folder a class")
    from bloodkeras.answers.prior import BLOOD, ESTIMATE
    from bloodkeras.images.framing import Framing
    from bloodkeras.laboratory.judge import evaluate_photos

    if prior in (BLOOD, ESTIMATE):
        raise UsageError(f"--prior {prior} is judged with every --photos: leave it out")

    export = Path(_export(target)).resolve()
    of = export.name if export.parent.name == "exports" else f"{export.parent.name}-{export.name}"
    microns, tightness = framing
    shown = f"-{microns:g}um" * bool(microns) + f"-tightness{tightness:g}" * (tightness != 1.0)
    named = f"{Path(photos).resolve().name}{labels and '-'}{Path(labels).stem}"
    cells = f"photos-{named}{shown}{'-views' * views}"
    out = Path(runs, results_name(export, of), cells)
    evaluate_photos(str(export), photos, labels, out, Framing(*framing), views, classes, prior)


def export(*models: str, data: str = "", runs: str = RUNS, exports: str = ""):
    """Export trained models to ONNX; each is published only if it agrees with Keras.

    For an export, such as exports/tiny, only its int8 file is made anew, from its fp32 file.

    Args:
        models: Model names, run folders or exports; default: every model that has a run.
        data: As in `bloodkeras data`.
        runs: Folder of all runs.
        exports: Folder of all exports; default: <runs>/exports (of drawn cells:
            <runs>/synthetic/exports), apart from what comes with the package.
    """
    quiet_tensorflow()
    from bloodkeras.studies.study import Study
    from bloodkeras.studies.targets import check_target

    for model in models:
        check_target(model)  # before the data are downloaded
    Study(_splits(data), runs, exports).export(*models)


def predict(
    *images: str,
    model: str = "",
    out: str = "",
    format: str = "",
    resume: bool = False,
    sort_into: str = "",
    report: str = "",
    precision: str = "float32",
    classes: str = "",
    prior: str = "",
    microns_per_pixel: float = 0.0,
    views: bool = False,
):
    """Classify images with an exported model: label, confidence, probabilities, verdict.

    The verdict is accepted, unsure (too close to call) or foreign (probably no such cell). An
    image that cannot be read has an error instead; all others are answered, and the exit status
    is 1. An error beside a label is why that is unsure: the photograph's framing is in doubt.

    Args:
        images: Files, folders (searched to any depth), globs, arrays (.npy or .npz of uint8
            (N, 28, 28, 3)), or - for a list of paths on standard input. 28x28 images are taken as
            they are, photographs cropped. Every page of a TIFF or an animation is an image.
        model: A published export (deeper, joined, residual, robust, simple or tiny), or the folder
            of one of your own, such as runs/exports/deeper. By default residual, the most accurate.
        out: Write a table instead of printing one: .csv, .jsonl or .parquet (needs pyarrow).
            Beside it, <out>.origin.json says which model wrote it.
        format: csv, jsonl or parquet, where the suffix of out does not say it or there is no out.
        resume: Go on with the table in out after an interruption. Give the same images again.
        sort_into: Copy the images into class folders, unsure/ and foreign/ below this folder;
            nothing is overwritten.
        report: Write one HTML page: counts, and the most doubtful images of each class.
        precision: float32, or int8: a smaller, quicker file that answers nearly the same.
        classes: The classes that can occur, such as neutrophil,lymphocyte; the others get
            probability 0, and the output says so. By default all eight can.
        prior: A file that weighs the classes instead, JSON {class: weight} or CSV with the columns
            class and weight; probabilities are multiplied by it. Or the word blood, if these are
            white cells of healthy adults, as common as in their blood. Or the word estimate, to
            find out from all the images, which are read twice, how common each class is.
        microns_per_pixel: Of the photographs, where it is known: the crop then has the true
            scale, instead of being guessed from the cell.
        views: Answer the mean over each image's eight flips and quarter turns: eight times the
            work, for photographs unlike the training data.
    """
    from bloodkeras.answers.predict import score

    if not images:
        raise UsageError("predict needs at least one image file or folder")
    score(
        images,
        _export(model),
        out,
        format,
        resume,
        sort_into,
        report,
        precision,
        classes,
        prior,
        microns_per_pixel,
        views,
    )


def score(
    source: str,
    *,
    out: str,
    model: str = "",
    engine: str = "local",
    address: str = "",
    partition_images: int = 10_000,
    precision: str = "float32",
    batch: int = 64,
    workers: int = 0,
    classes: str = "",
    prior: str = "",
    microns_per_pixel: float = 0.0,
    views: bool = False,
):
    """Classify millions of images into a folder of Parquet files, here or on a Ray cluster.

    The answers are those of `predict`, a file for each 10,000 images. The same command goes on
    with a job that was stopped; what is finished is not done again (docs/scoring.md). Needs the
    package pyarrow, and for --engine ray the extra ray.

    Args:
        source: A folder of images (searched to any depth), or a Parquet file, or a folder of them,
            with a column image of files (binary) or raw pixels (fixed_size_binary[2352], uint8
            28x28x3); a column path or id names the rows.
        out: The folder of the answers.
        model: As in `predict`.
        engine: local: this machine; ray: a session on every core of a cluster, and a lost worker
            costs a retry.
        address: Of a running Ray cluster; default: RAY_ADDRESS, or else one on this machine.
        partition_images: Images of a file: what is lost at most when a worker is.
        precision: float32, or int8: a smaller, quicker file that answers nearly the same.
        batch: Images that go through the network together.
        workers: Processes; default: local one with all cores, ray one for every core.
        classes: As in `predict`; so are the others, but that the prior cannot be estimated.
        prior: A file that weighs the classes, or blood.
        microns_per_pixel: Of the photographs, where it is known.
        views: Answer the mean over each image's eight flips and quarter turns.
    """
    from bloodkeras.scoring.command import Options, check, score_source

    options = Options(
        source,
        out,
        model,
        engine,
        address,
        partition_images,
        precision,
        batch,
        workers,
        classes,
        prior,
        microns_per_pixel,
        views,
    )
    check(options)
    heed_stops()
    score_source(replace(options, model=_export(model)))


def serve(
    *,
    model: str = "",
    host: str = "127.0.0.1",
    port: int = 8080,
    workers: int = 1,
    precision: str = "float32",
    batch: int = 64,
    wait_ms: float = 0,
    queue: int = 128,
    body_mb: float = 4,
    token_file: str = "",
    cors: str = "",
    audit: str = "",
    grace: float = 30,
):
    """Serve exported models over HTTP: the Open Inference Protocol v2, and /metrics.

    Clients of the protocol, such as tritonclient, send uint8 images or whole photographs to
    /v2/models/NAME/infer.
    Ctrl-C or SIGTERM stops it after the last answer (docs/serving.md). Needs the extra serve.

    Args:
        model: Exports separated by commas: FOLDER, NAME=FOLDER or NAME:VERSION=FOLDER, each FOLDER
            a published name or a folder, as in `predict`. By default deeper.
        host: Where to listen; by default only this machine can ask.
        port: 0 takes any that is free.
        workers: Processes, each with its own session of every model.
        precision: float32, or int8 for the smaller, quicker file of the exports.
        batch: Images that go through a network together, at most.
        wait_ms: How long an image waits for others to join it; 0: only while the network is busy.
        queue: Requests that a worker takes before it has answered; more get a 503.
        body_mb: MiB of a request, at most; longer ones get a 413.
        token_file: A file with one word that clients must send as Authorization: Bearer.
        cors: Origins whose web pages may ask, separated by commas, such as https://lab.example; *
            for any. By default no page of another origin may.
        audit: Add a line a request here: time, model, SHA-256 of the images, answers; no image.
        grace: Seconds that taken requests have to end in when the server is stopped.
    """
    from bloodkeras.serving.options import Options, check, read_models, read_origins

    for package in ("fastapi", "uvicorn", "orjson", "prometheus_client"):
        if importlib.util.find_spec(package) is None:
            raise missing_package(package, "serve")
    served = read_models(model or _export("", SERVED), lambda word: str(find_export(word)))
    options = Options(
        served,
        host,
        port,
        workers,
        precision,
        batch,
        wait_ms,
        queue,
        body_mb,
        grace,
        token_file,
        audit,
        read_origins(cors),
    )
    check(options)
    from bloodkeras.serving.server import serve as run_server

    run_server(options)


def demo(*, model: str = "", host: str = "127.0.0.1", port: int = 7860):
    """Show a page to try a model on: photographs in, label, verdict and what it looked at out.

    It works without internet (docs/demo.md). Ctrl-C or SIGTERM stops it. Needs the extra demo.

    Args:
        model: The export to show, as in `predict`.
        host: Where to listen; by default only this machine can look.
        port: 0 takes any that is free.
    """
    for package in ("gradio", "onnx"):
        if importlib.util.find_spec(package) is None:
            raise missing_package(package, "demo")
    if not 0 <= port <= 65535:
        raise UsageError(f"--port: expected 0 to 65535, found {port}")
    from bloodkeras.demo.server import demo as run_demo

    run_demo(_export(model), host, port)


def benchmark(
    export: str = "",
    *,
    run: str = "",
    data: str = "",
    runs: str = RUNS,
    rounds: int = 5,
    seconds: float = 0.5,
):
    """Compare Keras, ONNX fp32 and int8 (and OpenVINO where installed) side by side.

    Size, accuracy on the test split, cold start, latency, images a second, peak memory; the
    results lie in <runs>/benchmark-<model>. It takes some minutes on an otherwise idle machine.
    PyTorch takes part once benchmarks/torch_twin.py, in a checkout, has written its files there.

    Args:
        export: An export, as in `predict`; default: deeper.
        run: The run it came from; default: the run of that model in the folder of all runs.
        data: As in `bloodkeras data`.
        runs: Folder of all runs.
        rounds: How often each is measured; the median counts.
        seconds: Of each measurement.
    """
    from bloodkeras.studies.study import Study

    folder = _export(export, SERVED)  # before the data are downloaded
    Study(_splits(data), runs).benchmark(folder, run, rounds, seconds)


def calibrate(
    export: str,
    *,
    photos: str,
    out: str,
    labels: str = "",
    last_layer: bool = False,
    microns_per_pixel: float = 0.0,
):
    """Calibrate an export on your own labelled cells, 50 or more, without TensorFlow.

    A new export comes of it, with its own card: other temperature and thresholds, on request
    another last layer too. There is no int8 file in it. Needs the package onnx.

    Args:
        export: An export, as in `predict`.
        photos: A folder of your photographs of cells.
        out: The folder of the new export.
        labels: What they show, a CSV with the columns file and label, which is a class name, an
            abbreviation such as NEU, or its number from 0. Without it the folder has a folder for
            each class, as `predict --sort-into` makes them.
        last_layer: Fit the last layer too: for a laboratory whose images look different.
        microns_per_pixel: Of these photographs; 0 where it is not known.
    """
    from bloodkeras.images.framing import Framing
    from bloodkeras.laboratory.calibrate import calibrate_photos

    framing = Framing(microns_per_pixel)
    calibrate_photos(_export(export), photos, labels, out, last_layer, framing)


def report(*, data: str = "", runs: str = RUNS):
    """Put every evaluation side by side: results.txt, results.json, report.html.

    Args:
        data: As in `bloodkeras data`.
        runs: Folder of all runs; the report lies in <runs>/report.
    """
    quiet_tensorflow()
    from bloodkeras.studies.study import Study

    Study(_splits(data), runs).report()


def seeds(
    model: str, *, seeds: str = "42,43,44", data: str = "", runs: str = RUNS, **settings: str
):
    """Train and evaluate a model with several seeds: mean and standard deviation on test.

    What is trained already is not trained again, so a second time it only prints.

    Args:
        model: simple, deeper, tiny, residual or robust.
        seeds: Whole numbers, separated by commas.
        data: As in `bloodkeras data`.
        runs: Folder of all runs.
        settings: Recipe fields, as in `bloodkeras train`.
    """
    from bloodkeras.recipe import named_recipe, override

    recipe = override(named_recipe(model), settings)
    numbers = _seeds(seeds)
    quiet_tensorflow()
    from bloodkeras.studies.study import Study

    Study(_splits(data), runs).seeds(recipe, numbers)


def tune(
    model: str,
    *,
    trials: int = 20,
    strategy: str = "hyperband",
    budget_minutes: float = 0,
    epochs: int = 0,
    objective: str = "val_macro_f1",
    data: str = "",
    runs: str = RUNS,
    out: str = "",
    chief: str = "",
    worker: str = "",
    lost_after: float = 60,
    **settings: str,
):
    """Search for a better recipe: short trainings, judged on the validation split.

    Leaves <runs>/tune-<model>/recipe.json, which `train MODEL --recipe FILE` takes, a leaderboard,
    tables and figures (docs/tuning.md). The same command goes on with a search that was stopped.

    Args:
        model: simple, deeper, tiny, residual or robust.
        trials: How many recipes to try, those of earlier calls included.
        strategy: hyperband (most are stopped early), bayesian or random.
        budget_minutes: End after so many; 0: no limit.
        epochs: Of the longest trial; 0: a quarter of the recipe's.
        objective: val_macro_f1, val_accuracy, val_auc or val_loss.
        data: As in `bloodkeras data`.
        runs: Folder of all runs.
        out: Another folder for the search.
        chief: HOST:PORT: hand out trials there, and train none.
        worker: A name: train trials for the chief.
        lost_after: Seconds of silence after which a worker's trial is given to another.
        settings: Recipe fields to hold fixed, as in `bloodkeras train`.
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
    from bloodkeras.studies.study import Study

    study = Study(_splits(data), runs)
    run_tune(options, study.splits, Path(out) if out else study.runs / f"tune-{model}")


def held_out(model: str, *, data: str = "", runs: str = RUNS, **settings: str):
    """Train a model eight times, without one class each: does it doubt what it was never shown?

    Leaves a table, held_out.txt, and held_out.json in <runs>/held-out-<model>-seed<seed>. What is
    trained already is not trained again.

    Args:
        model: A model name.
        data: As in `bloodkeras data`.
        runs: Folder of all runs.
        settings: Recipe fields, as in `bloodkeras train`: --epochs 5 is quicker.
    """
    from bloodkeras.recipe import named_recipe, override

    recipe = override(named_recipe(model), settings)
    quiet_tensorflow()
    from bloodkeras.studies.study import Study

    Study(_splits(data), runs).held_out(recipe)


def compare(*targets: str, split: str = "test", runs: str = RUNS):
    """Put runs and exports side by side on the same images: is the difference more than luck?

    Leaves compare.txt, compare.json and compare.png in <runs>/compare: accuracy and macro F1, the
    paired bootstrap intervals of their differences to the first, and McNemar's exact test. Each
    must have been evaluated on that split (`bloodkeras evaluate`).

    Args:
        targets: Two or more model names, run folders or export folders.
        split: test, val or train.
        runs: Folder of all runs.
    """
    if len(targets) < 2:  # said before anything heavy is imported
        raise UsageError("compare needs two runs or exports, or more: compare RUN RUN...")
    from bloodkeras.studies.compare import compare_targets

    compare_targets(targets, split, Path(runs))


def study(*models: str, data: str = "", runs: str = RUNS, exports: str = "", **settings: str):
    """Do all of it in order and time each step: what `make all` runs.

    Args:
        models: Model names, the baseline first; default: simple and deeper.
        data: As in `bloodkeras data`.
        runs: Folder of all runs.
        exports: Folder of all exports; default: <runs>/exports (of drawn cells:
            <runs>/synthetic/exports), apart from what comes with the package.
        settings: Recipe fields, as in `bloodkeras train`, for every model.
    """
    from bloodkeras.recipe import STUDIED, named_recipe, override

    recipes = [override(named_recipe(model), settings) for model in models or STUDIED]
    quiet_tensorflow()
    from bloodkeras.studies.study import Study

    Study(_splits(data), runs, exports).everything(recipes)


COMMANDS = {
    command.__name__.replace("_", "-"): command
    for command in (
        data,
        eda,
        train,
        join,
        evaluate,
        export,
        predict,
        score,
        serve,
        demo,
        benchmark,
        calibrate,
        report,
        seeds,
        tune,
        held_out,
        compare,
        study,
    )
}


def _export(word: str, default: str = DEFAULT) -> str:
    """Return the folder of the export that a word means, or of the default one without a word."""
    usual = None if word else published().get(default)  # not looked for among one's own
    return str(usual or find_export(word or default))


def _seeds(text: str) -> list[int]:
    return [convert(seed, int, "seeds") for seed in text.split(",")]


def _splits(data: str):
    from bloodkeras.data.splits import load_splits

    return load_splits(data or None)


def main() -> None:
    """Run the command line and exit with its status."""
    run(COMMANDS)


if __name__ == "__main__":
    main()
