"""The commands that say how good a model is: on a split, on one's own cells, beside others.

Each imports its step inside the function. A judged export needs no TensorFlow, but the extra train
for what computes and draws the numbers; `judge` and `calibrate` do without that too.
"""

from pathlib import Path
from typing import Any

from bloodkeras.answers.exports import PHOTOGRAPHS, SMALL, default_export, published
from bloodkeras.cli.laboratories import check_once, laboratories_of, results_of
from bloodkeras.cli.opening import open_study, quiet_tensorflow
from bloodkeras.cli.options import (
    RUNS,
    Asking,
    Data,
    Export,
    Labels,
    Microns,
    Photos,
    Runs,
    Size,
    Target,
    export_folder,
)
from bloodkeras.errors import BloodkerasError, UsageError


def evaluate(
    target: Target,
    *,
    data: Data = "",
    size: Size = 0,
    runs: Runs = RUNS,
    split: str = "test",
    margins: str = "",
    views: bool = False,
) -> None:
    """Judge a trained model or an export on a split: metrics, confusion matrix, mistakes.

    `judge` does it on your own photographs, `shifts` on simulated shifts. Needs the extra train.

    Args:
        target: A name without such a run means the published export.
        runs: The results lie in <runs>/<run>/evaluation.
        split: train, val or test.
        margins: A folder of photographs of cells: an export should refuse what their margins show.
        views: Say too how good the mean over the eight flips and quarter turns is.
    """
    from bloodkeras.data.splits import check_split
    from bloodkeras.studies.targets import check_target, means_export

    check_split(split)
    exported = means_export(target)
    if margins and not exported:
        folder = f": its export is {published()[target]}" if target in published() else ""
        raise UsageError(f"--margins judges what an export refuses, and {target} is none{folder}")
    if not exported:  # an ONNX file needs no TensorFlow
        quiet_tensorflow()
    check_target(target)  # before the data are downloaded
    open_study(data, runs, size=size, targets=[target]).evaluate(target, split, margins, views)


def shifts(
    export: Export,
    *,
    data: Data = "",
    size: Size = 0,
    runs: Runs = RUNS,
    split: str = "test",
) -> None:
    """Judge an export on simulated shifts of a split: light, stain, focus, compression, scale.

    Leaves a table, shifts.json in <runs>/onnx-<export>/evaluation, and <runs>/shifts.png. Needs
    the extra train.

    Args:
        split: train, val or test.
    """
    from bloodkeras.data.splits import check_split

    check_split(split)
    folder = export_folder(export)
    open_study(data, runs, size=size, targets=[folder]).shifts(folder, split)


def frames(
    photos: str,
    *,
    out: str = "frames.png",
    size: Size = 0,
    microns_per_pixel: Microns = 0.0,
) -> None:
    """Show twelve of your cells as a network will see them, beside twelve of BloodMNIST.

    One look tells whether the estimated scale is right: cells should be about as large on both
    sides. The title says the scale.

    Args:
        photos: A folder of photographs.
        out: The image, .png.
        size: Side of the frames, in pixels; by default that of the network for photographs.
    """
    from bloodkeras.answers.classifier import Classifier
    from bloodkeras.images.frames import draw, twelve
    from bloodkeras.images.framing import Framing
    from bloodkeras.images.scale import describe, scaled
    from bloodkeras.images.sources import check_words
    from bloodkeras.whole_file import whole_file

    if not out.lower().endswith(".png"):
        raise UsageError(f"--out {out}: expected a name that ends in .png")
    if size and not 8 <= size <= 512:
        raise UsageError(f"--size: expected 8 to 512, found {size}")
    check_words([photos])
    size = size or Classifier.load(default_export(PHOTOGRAPHS)).dataset.image_side
    framing = scaled([photos], Framing(microns_per_pixel, image_side=size))
    shown = twelve([photos], framing)
    if not shown:
        raise BloodkerasError(f"no photograph in {photos} can be read")
    with whole_file(Path(out)) as file:
        draw(shown, describe(framing)).save(file, "PNG")
    print(f"wrote {out}: {describe(framing)}")


def judge(
    *exports: Export,
    photos: Photos,
    labels: Labels = "",
    foreign: str = "",
    runs: Runs = RUNS,
    tightness: float = 1.0,
    asking: Asking = Asking(),  # noqa: B008 (frozen)
) -> None:
    """Judge exports on your own labelled cells: no other data and no TensorFlow are needed.

    Accuracy is given plainly, as `predict --prior estimate` and blood make it, and with only the
    classes that occur open. Several exports, and several folders separated by commas, are put side
    by side at the end; --labels and --foreign then name a table for each folder, and nothing
    between two commas for a folder without.

    Args:
        exports: One or more.
        foreign: A CSV with the columns file and label, of cells in the folder that are none of the
            classes, such as blast: how many are accepted as one nevertheless.
        runs: The results lie in <runs>/onnx-<export>/photos-<folder>[-table][-scale][-views].
        tightness: Show cells larger than in BloodMNIST, to try what that does: 1.4 is a crop of
            0.7 of the usual side.
    """
    from bloodkeras.answers.classifier import Classifier
    from bloodkeras.answers.prior import BLOOD, ESTIMATE
    from bloodkeras.bloodmnist import runs_of
    from bloodkeras.images.framing import Framing
    from bloodkeras.laboratory.judge import evaluate_photos
    from bloodkeras.laboratory.judge_table import table
    from bloodkeras.laboratory.labels import check_tables

    if not exports:
        raise UsageError("judge needs an export, or several: judge EXPORT... --photos DIR")
    if asking.prior in (BLOOD, ESTIMATE):
        raise UsageError(f"--prior {asking.prior} is judged with all --photos: leave it out")
    laboratories = laboratories_of(photos, labels, foreign)
    folders = [Path(export_folder(export)).resolve() for export in exports]
    check_once("export", [str(folder) for folder in folders])
    opened = [Classifier.load(folder, precision=asking.precision) for folder in folders]
    for laboratory in laboratories:  # before the first is judged, which takes a while
        for classifier in opened:
            check_tables(*laboratory[:3], classifier.labels)
    framing = Framing(asking.microns_per_pixel, tightness)
    found: list[dict[str, Any]] = []
    for laboratory in laboratories:
        for folder, classifier in zip(folders, opened, strict=True):
            if found:
                print()
            place, names, others, _ = laboratory
            called = results_of(folder, laboratory, tightness, asking)
            out = runs_of(Path(runs), classifier.dataset) / called
            known = asking.views, asking.classes, asking.prior, others
            found.append(evaluate_photos(classifier, place, names, out, framing, *known))
    if len(found) > 1:
        print(f"\n{table(found)}")


def calibrate(
    export: Export,
    *,
    photos: Photos,
    out: str,
    labels: Labels = "",
    last_layer: bool = False,
    microns_per_pixel: Microns = 0.0,
) -> None:
    """Calibrate an export on your own labelled cells, 50 or more, without TensorFlow.

    A new export comes of it, with its own card: other temperature and thresholds, on request
    another last layer too. There is no int8 file in it. Needs the extra calibrate.

    Args:
        out: The folder of the new export.
        last_layer: Fit the last layer too: for a laboratory whose images look different.
    """
    from bloodkeras.images.framing import Framing
    from bloodkeras.interrupts import heed_stops
    from bloodkeras.laboratory.calibrate import calibrate_photos

    framing = Framing(microns_per_pixel)
    heed_stops()  # `label` ends it so
    calibrate_photos(export_folder(export), photos, labels, out, last_layer, framing)


def benchmark(
    export: Export = "",
    *,
    run: str = "",
    data: Data = "",
    size: Size = 0,
    runs: Runs = RUNS,
    rounds: int = 5,
    seconds: float = 0.5,
) -> None:
    """Compare Keras, ONNX fp32 and int8 (and OpenVINO where installed) side by side.

    Size, accuracy on the test split, cold start, latency, images a second, peak memory; the
    results lie in <runs>/benchmark-<model>. It takes some minutes on an otherwise idle machine.
    PyTorch takes part once benchmarks/torch_twin.py, in a checkout, has written its files there.

    Args:
        export: By default the one that `predict` uses for such images: residual.
        run: The run it came from; default: the run of that model in the folder of all runs.
        rounds: How often each is measured; the median counts.
        seconds: Of each measurement.
    """
    folder = export_folder(export, SMALL)  # before the data are downloaded
    open_study(data, runs, size=size, targets=[folder]).benchmark(folder, run, rounds, seconds)


def report(*, data: Data = "", size: Size = 0, runs: Runs = RUNS) -> None:
    """Put every evaluation side by side: results.txt, results.json, report.html.

    Args:
        runs: The report lies in <runs>/report.
    """
    quiet_tensorflow()
    open_study(data, runs, size=size).report()


def compare(*targets: Target, split: str = "test", runs: Runs = RUNS) -> None:
    """Put runs and exports side by side on the same images: is the difference more than luck?

    Leaves compare.txt, compare.json and compare.png in <runs>/compare: accuracy and macro F1, the
    paired bootstrap intervals of their differences to the first, and McNemar's exact test. Each
    must have been evaluated on that split (`bloodkeras evaluate`). Needs the extra train.

    Args:
        targets: Two or more.
        split: test, val or train.
    """
    if len(targets) < 2:  # said before anything heavy is imported
        raise UsageError("compare needs two runs or exports, or more: compare RUN RUN...")
    from bloodkeras.studies.compare import compare_targets

    compare_targets(targets, split, Path(runs))
