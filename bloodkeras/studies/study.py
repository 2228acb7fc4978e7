"""The whole study: each step of the flow with its folders, and all of them in order, timed.

Flow: takes `Splits`, a folder of runs and one of exports; leaves

    <runs>/eda/                   sample images, class distribution, augmentation, audit
    <runs>/<model>-seed<seed>/    the run, and evaluation/ of its Keras model
    <exports>/<model>/            the ONNX file, its card and checksums
    <runs>/onnx-<model>/          evaluation/ of the ONNX file
    <runs>/onnx-published-<model>/  of the one that comes with the package, where it was judged
    <runs>/report/                results.txt, results.json, report.html
    <runs>/held-out-<model>-seed<seed>/  runs without one class each, held_out.json and .txt

What comes of drawn cells stays apart, under <runs>/synthetic/; what comes of BloodMNIST at another
side than 28 below that side's number, such as <runs>/64/residual-seed42.
"""

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bloodkeras import contract
from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.exports import is_export
from bloodkeras.bloodmnist import export_name, runs_of
from bloodkeras.data.audit import audit, audit_table
from bloodkeras.data.rehearse import check_rehearsed
from bloodkeras.data.splits import Splits, check_split, load_splits
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.evaluation.evaluate import (
    classification_table,
    evaluate,
    headline_table,
    load_report,
    seeds_table,
    spread_table,
)
from bloodkeras.named_types import Json
from bloodkeras.progress import Stages, about_when, duration
from bloodkeras.recipe import Recipe
from bloodkeras.recipes import RECIPES
from bloodkeras.studies.targets import Places, check_teacher, data_for
from bloodkeras.whole_file import make_folder, write_json, write_text

if TYPE_CHECKING:
    from bloodkeras.training.run_folder import Run

LOG = logging.getLogger(__name__)

BESIDE_TRAINING = 0.25  # what all other steps of a study take, as a share of its trainings


class Study:
    """One data set, one folder of runs and one of exports, by default <runs>/exports."""

    def __init__(self, splits: Splits, runs: str = "runs", exports: str = "") -> None:
        self.splits = splits
        base = Path(runs, "synthetic") if splits.synthetic else Path(runs)
        self.runs = runs_of(base, splits.dataset)
        self.exports = Path(exports) if exports else self.runs / "exports"
        self.places = Places(self.runs, self.exports)
        if splits.synthetic:
            LOG.warning(contract.SYNTHETIC_STAMP)

    def explore(self) -> None:
        """Draw the data and audit it."""
        from bloodkeras.evaluation import figures
        from bloodkeras.training.pipeline import augmented_views

        folder, stamp = self.runs / "eda", self.splits.synthetic
        make_folder(folder)
        figures.sample_images(self.splits.train, folder / "sample_images.png", stamp)
        figures.class_distribution(self.splits, folder / "class_distribution.png")
        names = self.splits.dataset.class_names
        firsts = [int(np.argmax(self.splits.train.labels == k)) for k in range(len(names))]
        images = self.splits.train.images[firsts]
        for recipe, name in (("deeper", "augmentation"), ("robust", "augmentation_robust")):
            views = augmented_views(images, RECIPES[recipe])
            figures.augmentation(images, views, names, folder / f"{name}.png", stamp)
        findings = audit(self.splits)
        text = audit_table(findings)
        write_json(folder / "audit.json", findings)
        write_text(folder / "audit.txt", text)
        print(f"{text}\nfigures and audit in {folder}")

    def train(self, recipe: Recipe, out: str | None = None, **options: Any) -> "Run":
        """Train one model into its run folder, or another, with the options of `train.train`."""
        from bloodkeras.evaluation import figures
        from bloodkeras.training.run_folder import load_run
        from bloodkeras.training.train import train

        folder = Path(out) if out else self.places.run_folder_of(recipe)
        run = load_run(train(recipe, self.splits, folder, **options))
        stamp, curves = self.splits.synthetic, f"learning_curves_{recipe.model_name}.png"
        figures.learning_curves(run.history, recipe.model_name, folder / curves, stamp)
        LOG.info(
            f"{recipe.model_name}: {run.info['parameters']:,} parameters, best validation accuracy "
            f"{run.best_val_accuracy:.4f} in epoch {run.best_epoch}, "
            f"{run.info['seconds'] / 60:.1f} minutes; run in {folder}\n"
            f"in plain Keras: {loading(folder)}"
        )
        return run

    def train_seeds(self, recipe: Recipe, seeds: list[int], **options: Any) -> None:
        """Train one recipe with several seeds; print mean and standard deviation on validation."""
        from bloodkeras.training.run_folder import kept_numbers

        runs = [self.train(seeded, **options) for seeded in _seeded(recipe, seeds)]
        text = spread_table(recipe.model_name, seeds, kept_numbers(runs))
        write_text(self.runs / f"{recipe.model_name}-seeds-val.txt", text)
        print(text)

    def taught_by(self, targets: list[str], data: str) -> dict[str, Any]:
        """Return the options of `train` that name teachers; none without any.

        Args:
            targets: Model names or run folders.
            data: The file of the same cells at the teachers' size; "" where they take the
                student's, or BloodMNIST at their size, which is found by itself.

        Raises:
            BloodkerasError: Their data cannot be read, or both are drawn: at another size that
                draws other cells.
        """
        if not targets:
            return {}
        for target in targets:
            check_teacher(target)
        teachers = [self.places.run_folder(target) for target in targets]
        drawn = "synthetic" * self.splits.synthetic
        sides = {data_for([str(t)], drawn, str(self.runs))[1] for t in teachers if t.exists()}
        others = sorted(sides - {0, self.splits.dataset.image_side})
        if not data and not others:
            return {"teachers": teachers}
        if drawn and not data:
            raise BloodkerasError(
                f"the teachers look at {others[0]} pixels, and cells drawn at that size are not "
                "the student's: this needs BloodMNIST, or teachers of the student's size"
            )
        try:
            found = load_splits(data or None, 0 if data else others[0])
        except BloodkerasError as error:
            said = f"--teacher-data {data}".strip()
            raise BloodkerasError(f"{said}, what the teachers look at: {error}") from None
        side = found.dataset.image_side
        if others and side not in others:
            raise BloodkerasError(
                f"--teacher-data {data} has images of {side} pixels, and the teachers look at "
                f"{others[0]}: name the same cells at that size"
            )
        if found.dataset.class_names != self.splits.dataset.class_names:
            raise BloodkerasError(
                f"--teacher-data {found.source} has other classes than the student's data "
                f"({', '.join(found.dataset.class_names)})"
            )
        return {"teachers": teachers, "teacher_splits": found}

    def begun_with(self, export: str, data: str) -> dict[str, Any]:
        """Return the options of `train` that name what it begins with; none without any.

        Args:
            export: The folder of an export; "" for none.
            data: Named as `load_splits` takes it: what is mixed in; "" for none.
        """
        options: dict[str, Any] = {"start": Path(export)} if export else {}
        if not data:
            return options
        # A file is read as it is, and refused by name where its images have another side.
        side = self.splits.dataset.image_side if data in ("auto", "synthetic") else 0
        try:
            options["rehearsed"] = load_splits(data, side)
        except BloodkerasError as error:
            raise BloodkerasError(f"--rehearse {data}: {error}") from None
        check_rehearsed(self.splits.dataset, options["rehearsed"])
        return options

    def evaluate(
        self, target: str, split: str = "test", margins: str = "", views: bool = False
    ) -> None:
        """Judge a run or an export and draw where it errs, as the command `evaluate` does."""
        from bloodkeras.evaluation import figures
        from bloodkeras.evaluation.doubt import doubt_table, judge_doubt, risk_coverage

        target = self.places.run_or_published(target)
        opened = self.places.open(target, self.splits.dataset)
        folder, name, engine, predict_proba, weights, classifier = opened
        report = evaluate(predict_proba, self.splits, split, name, engine, weights, views)
        out, images = folder / "evaluation", self.splits.named()[split]
        report.save(out)
        tables = f"{headline_table(report)}\n\n{classification_table(report)}"
        write_text(out / f"{split}.txt", f"{name} ({engine}) on {split}\n\n{tables.rstrip()}")
        suffix = name if split == "test" else f"{name}_{split}"
        figures.confusion_matrix(report, out / f"confusion_matrix_{suffix}.png")
        figures.mistakes(report, images, out / f"mistakes_{suffix}.png")
        figures.reliability(report, out / f"reliability_{suffix}.png")
        print(f"{name} ({engine}) on {split}, {len(report.labels):,} images")
        print(f"{tables}\nresults in {out}")
        if classifier:
            doubt = judge_doubt(classifier, images, Path(margins) if margins else None)
            write_json(out / f"doubt_{split}.json", doubt)
            curve = risk_coverage(classifier.answer(images.images), images.labels)
            figures.risk_coverage(report, curve, doubt, out / f"risk_coverage_{name}_{split}.png")
            print(doubt_table(doubt))

    def shifts(self, target: str, split: str = "test") -> None:
        """Judge an export on simulated shifts of a split: <runs>/onnx-<model>/evaluation."""
        from bloodkeras.evaluation import figures
        from bloodkeras.evaluation.corruptions import judge_shifts, shifts_file, shifts_table

        check_split(split)
        opened = self.places.open(target, self.splits.dataset)
        if not opened.classifier:  # verdicts are an export's
            raise UsageError(f"shifts judges an export, and {target} is none: expected its folder")
        folder = opened.folder / "evaluation"
        make_folder(folder)
        found = {"model": opened.model, "split": split, "data": self.splits.fingerprint()}
        found |= judge_shifts(opened.classifier.answer, self.splits.named()[split])
        write_json(folder / shifts_file(split), found)
        print(f"{opened.model} on simulated shifts of {split}\n{shifts_table(found)}")
        drawn = figures.shifts(self.runs, self.splits.synthetic, split)
        print(f"results in {folder}; all models judged so far in {drawn}")

    def export(self, *targets: str) -> None:
        """Publish the ONNX files of some runs; of every recipe's run there is by default.

        A target that is an export gets its int8 file again.
        """
        from bloodkeras.export.publish import export_run, requantise
        from bloodkeras.training.run_folder import load_run

        for target in targets or self.places.trained():
            if is_export(self.places.run_folder(target)):
                _say_requantised(target, requantise(Path(target), self.splits))
                continue
            run = load_run(self.places.run_folder(target))
            folder = export_run(run, self.splits, self.exports / run.export_name)
            card = json.loads((folder / contract.CARD_FILE).read_text(encoding="utf-8"))
            print(
                f"published {folder}: the probabilities of all {len(self.splits.val):,} validation "
                f"images are within {card['largest_difference_to_keras']:.1e} of Keras'; "
                f"`predict --model {folder}` uses it"
            )

    def benchmark(self, export: str, run: str, rounds: int, seconds: float) -> None:
        """Compare the ways to run an export and its run, by default the one of the card's seed."""
        from bloodkeras.benchmark.engines import Source
        from bloodkeras.benchmark.side_by_side import run_benchmark

        classifier = Classifier.load(export)  # refuses what is not an export
        classifier.dataset.check_fits(self.splits.dataset, export)
        card, side = classifier.card, classifier.dataset.image_side
        recipe = card["recipe"]
        run = run or str(self.runs / f"{recipe['model_name']}-seed{recipe['train_seed']}")
        work = self.runs / f"benchmark-{card['model']}"
        make_folder(work)
        run_benchmark(Source(export, run, str(work), side), self.splits, rounds, seconds)
        print(f"results in {work}")

    def report(self, *targets: str) -> None:
        """Put the evaluations of some runs side by side; of the study's two by default."""
        from bloodkeras.studies.report import write_report
        from bloodkeras.training.run_folder import load_run

        runs, keras = [], []
        for target in targets or self.places.trained():
            run = load_run(self.places.run_folder(target))
            try:
                keras.append(self.places.report_of(str(run.folder)))
            except BloodkerasError as error:
                if targets:
                    raise
                LOG.warning(f"left out: {run.recipe.model_name}: {error}")
                continue
            runs.append(run)
        if not runs:
            raise BloodkerasError("no run is evaluated yet: `python -m bloodkeras evaluate MODEL`")
        onnx = [self.places.export_evaluation_of(run) for run in runs]
        folder = self.runs / "report"
        make_folder(folder)
        print(write_report(runs, keras, onnx, self.runs / "eda", folder))
        print(f"report in {folder}")

    def seeds(self, recipe: Recipe, seeds: list[int], **taught: Any) -> None:
        """Train and evaluate one recipe with several seeds; print mean and standard deviation.

        A seed that was trained with this very recipe, data and teachers is not trained again.

        Args:
            recipe: But for its seed.
            seeds: Of the runs.
            taught: What `taught_by` returned.
        """
        from bloodkeras.training.run_folder import finished_run

        reports = []
        for seeded in _seeded(recipe, seeds):
            folder = self.places.run_folder_of(seeded)
            if not finished_run(folder, seeded, self.splits, taught.get("teachers", ())):
                self.train(seeded, **taught)
            self.evaluate(str(folder), views=True)
            reports.append(load_report(folder / "evaluation", "test"))
        text = seeds_table(recipe.model_name, seeds, reports)
        write_text(self.runs / f"{recipe.model_name}-seeds.txt", text)
        print(text)

    def held_out(self, recipe: Recipe) -> None:
        """Train without each class in turn: does the foreign score notice what is new?"""
        from bloodkeras.studies.held_out import held_out

        folder = self.runs / f"held-out-{recipe.model_name}-seed{recipe.train_seed}"
        make_folder(folder)
        print(f"\n{held_out(recipe, self.splits, folder)}\nruns and results in {folder}")

    def everything(self, recipes: list[Recipe]) -> None:
        """Run every step in order; print each one's time at the end."""
        folders = [str(self.places.run_folder_of(recipe)) for recipe in recipes]
        names = [export_name(recipe.model_name, self.splits.dataset) for recipe in recipes]
        exported = [str(self.exports / name) for name in names]
        steps: list[tuple[str, Callable[[], object]]] = [
            ("data", partial(show_data, self.splits)),
            ("eda", self.explore),
            *((f"train {recipe.model_name}", partial(self.train, recipe)) for recipe in recipes),
            *((f"evaluate {folder}", partial(self.evaluate, folder)) for folder in folders),
            *((f"export {folder}", partial(self.export, folder)) for folder in folders),
            *((f"evaluate {folder}", partial(self.evaluate, folder)) for folder in exported),
            ("report", partial(self.report, *folders)),
        ]
        seconds = {}
        LOG.info(f"{len(steps)} steps: {', '.join(name for name, _ in steps)}")
        LOG.info(self._foretold(recipes))
        for place, (name, step) in enumerate(steps, 1):
            LOG.info(f"\n=== {place} of {len(steps)}: {name}")
            started = time.perf_counter()
            step()
            seconds[name] = time.perf_counter() - started
        print("\n=== done")
        for name, value in {**seconds, "all steps": sum(seconds.values())}.items():
            print(f"{name:40}{value:8.1f} s")
        if self.splits.synthetic:
            LOG.warning(contract.SYNTHETIC_STAMP)

    def _foretold(self, recipes: list[Recipe]) -> str:
        """Return roughly how long the study takes: nearly all of it is training."""
        from bloodkeras.training.forecast import guessed_training

        data = self.splits.train, self.splits.val
        guessed = {recipe.model_name: guessed_training(recipe, *data) for recipe in recipes}
        if not any(guessed.values()):
            return "a few minutes in all: there is little to train"
        said = ", ".join(
            f"{name} {duration(seconds) if seconds else 'seconds'}"
            for name, seconds in guessed.items()
        )
        total = sum(guessed.values()) * (1 + BESIDE_TRAINING)
        return f"training, roughly: {said}; all steps done {about_when(total)}"


def loading(folder: Path) -> str:
    """Return the line of Python that loads a run's model without anything else of this package."""
    from bloodkeras.training.run_folder import TO_LOAD

    return TO_LOAD.replace("model.keras", (folder / contract.RUN_MODEL).as_posix())


def _seeded(recipe: Recipe, seeds: list[int]) -> Iterator[Recipe]:
    """Yield the recipe with one seed after the other, and say which begins."""
    names = [f"seed {seed}" for seed in seeds]
    stages = Stages(f"{recipe.model_name} with several seeds", names)
    for seed, name in zip(seeds, names, strict=True):
        stages.begin(name)
        yield dataclasses.replace(recipe, train_seed=seed)


def _say_requantised(target: str, int8: Json) -> None:
    """Print what came of an export's int8 file, which `requantise` has made again."""
    if not int8["published"]:
        print(f"{target} has no int8 file now: {int8['reason']}")
        return
    pair = " and ".join(
        f"{name} {metrics:.2%}" for name, metrics in int8["accuracy_on_val"].items()
    )
    print(f"published {target} with a new int8 file: accuracy on the validation split {pair}")


def show_data(splits: Splits) -> None:
    """Print where the data came from and how large it is."""
    sizes = ", ".join(f"{name} {len(split):,}" for name, split in splits.named().items())
    official = "MedMNIST's published file" if splits.is_published() else "not the published file"
    print(f"data: {splits.source} ({'drawn cells' if splits.synthetic else official})")
    side, classes = splits.dataset.image_side, splits.dataset.class_count
    print(f"images: {sizes}, {side}x{side} RGB, {classes} classes of {splits.dataset.name}")
    print(f"SHA-256: {splits.sha256}")
