"""Where the study keeps its results, and what a word on the command line stands for.

Flow: takes a model name, a run folder or an export folder; gives the folder, or what lies in it.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bloodkeras import contract
from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.export_folder import sha256_of
from bloodkeras.answers.exports import is_export, published, results_name
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.data.splits import named_data
from bloodkeras.dataset import DataSet
from bloodkeras.errors import BloodkerasError, UsageError, gist
from bloodkeras.evaluation.evaluate import PredictProba, Report, load_report
from bloodkeras.named_types import Json
from bloodkeras.recipe import Recipe, hint
from bloodkeras.recipes import RECIPES, STUDIED

if TYPE_CHECKING:
    from bloodkeras.training.run_folder import Run

LOG = logging.getLogger(__name__)
NAMES = tuple(RECIPES)  # each means its run, whatever folder of that name lies here


class Opened(NamedTuple):
    """A run or an export that can be asked.

    Attributes:
        folder: Where its results belong.
        model: The model's name.
        engine: "keras" or "onnx".
        predict_proba: uint8 (N, S, S, 3) -> float32 (N, K).
        weights: SHA-256 of the Keras weights; "" where an export's card does not say it.
        classifier: The export; None of a run.
    """

    folder: Path
    model: str
    engine: str
    predict_proba: PredictProba
    weights: str
    classifier: Classifier | None = None


@dataclass(frozen=True)
class Places:
    """The folders of one study.

    Attributes:
        runs: Where training and evaluation leave their results.
        exports: Where ONNX files are published.
    """

    runs: Path
    exports: Path

    def open(self, target: str, dataset: DataSet = BLOODMNIST) -> Opened:
        """Load a run or an export.

        Raises:
            BloodkerasError: It cannot be read, or is for images other than the data set's.
        """
        if means_export(target):
            classifier = Classifier.load(Path(target))
            classifier.dataset.check_fits(dataset, target)
            name = classifier.card["model"]
            weights = classifier.card.get("training", {}).get("weights_sha256", "")
            folder = self.runs / results_name(target, name)
            return Opened(folder, name, "onnx", classifier.predict_proba, weights, classifier)
        folder = self.run_folder(target)
        from bloodkeras.training.models import predict_proba
        from bloodkeras.training.run_folder import load_run

        run = load_run(folder)
        run.dataset.check_fits(dataset, str(folder))
        answers = partial(predict_proba, run.model)
        return Opened(folder, run.recipe.model_name, "keras", answers, run.weights)

    def run_or_published(self, target: str) -> str:
        """Return a target; of a model name without a run, and say so, the published export."""
        if target in published() and not (self.run_folder(target) / contract.RUN_INFO).exists():
            LOG.warning(f"{target} has no run in {self.runs}: the published export is meant")
            return str(published()[target])
        return target

    def trained(self) -> tuple[str, ...]:
        """Return the models whose run is there; say which are not.

        Raises:
            BloodkerasError: There is none.
        """
        found = tuple(n for n in NAMES if (self.run_folder(n) / contract.RUN_INFO).exists())
        if not found:
            raise BloodkerasError(
                f"no model has a run in {self.runs} yet: `python -m bloodkeras train "
                f"{next(iter(RECIPES))}` makes one (of {', '.join(RECIPES)})"
            )
        for name in (name for name in STUDIED if name not in found):
            LOG.info(f"left out: {name}, which has no run (`python -m bloodkeras train {name}`)")
        return found

    def report_of(self, target: str, split: str = "test") -> Report:
        """Return the evaluation of a run or an export.

        Raises:
            BloodkerasError: There is none, or it is of other weights than those there now.
        """
        if means_export(target):
            card = json.loads((Path(target) / contract.CARD_FILE).read_text(encoding="utf-8"))
            folder = self.runs / results_name(target, card["model"])
            weights = card.get("training", {}).get("weights_sha256", "")
        else:
            folder = self.run_folder(target)
            model = folder / contract.RUN_MODEL
            weights = sha256_of(model) if model.exists() else ""
        report = load_report(folder / "evaluation", split)
        if weights and report.weights != weights:
            raise BloodkerasError(
                f"the evaluation in {folder} is of other weights than {target}'s: `python -m "
                f"bloodkeras evaluate {target}` makes it again"
            )
        return report

    def export_evaluation_of(self, run: "Run") -> Report | None:
        """Return the report on test of the run's own export; None, and say so, without one."""
        name, why = run.export_name, "that evaluated is of another run"
        try:
            report = load_report(self.runs / f"onnx-{name}" / "evaluation", "test")
            if report.weights == run.weights:
                return report
        except BloodkerasError:
            why = "no export was evaluated"
        LOG.warning(
            f"without the ONNX file of {name}: {why} (`python -m bloodkeras export {run.folder}`, "
            "then `evaluate` on what it publishes)"
        )
        return None

    def run_folder(self, target: str) -> Path:
        """Return the run folder a model name or a path stands for."""
        if target in RECIPES:
            return self.run_folder_of(RECIPES[target])
        check_target(target)
        return Path(target)

    def run_folder_of(self, recipe: Recipe) -> Path:
        """Return where a recipe's run belongs."""
        return self.runs / f"{recipe.model_name}-seed{recipe.train_seed}"


def data_for(targets: Iterable[str], data: str, runs: str) -> tuple[str, int]:
    """Return the data that are meant, and their size, by the first of some targets.

    Args:
        targets: Model names, run folders, export folders.
        data: What the user names.
        runs: Folder of all runs.

    Returns:
        What the user names; where that is nothing and the target was made of drawn cells,
        "synthetic". And the side of its BloodMNIST, in pixels; 0 where the user names the file, or
        no target says a side of BloodMNIST's.
    """
    named = named_data(data)
    if data and named == data != "synthetic":
        return data, 0
    home = Path(runs, "synthetic") if named == "synthetic" else Path(runs)
    for target in targets:
        folder = Places(home, home).run_folder(target)
        if not folder.exists():
            folder = published().get(target, folder)
        if is_export(folder):
            classifier = Classifier.load(folder)
            dataset, made_of = classifier.dataset, classifier.card.get("training_data", {})
        elif (folder / contract.RUN_DATA).exists():
            dataset, made_of = _data_of_run(folder)
        else:
            continue
        drawn = not named and made_of.get("synthetic")
        side = dataset.image_side if dataset.name == BLOODMNIST.name else 0
        return "synthetic" if drawn else data, side
    return data, 0


def _data_of_run(folder: Path) -> tuple[DataSet, Json]:
    try:
        said = json.loads((folder / contract.RUN_DATA).read_text(encoding="utf-8"))
        return DataSet.from_dict(said["dataset"]) if "dataset" in said else BLOODMNIST, said
    except (OSError, ValueError, TypeError) as error:
        raise BloodkerasError(f"{folder} is not a usable run ({gist(error)})") from None


def means_export(target: str) -> bool:
    """Return whether a target is an export's folder; a model name never is, ./tiny may be."""
    return target not in NAMES and is_export(target)


def check_teacher(target: str) -> None:
    """Refuse what can be neither a model nor a run folder.

    Raises:
        UsageError: The message says what is no teacher.
    """
    if means_export(target):
        raise UsageError(f"--teacher {target} is an export: expected the run that it was made of")
    if target not in NAMES and not Path(target).is_dir():
        raise UsageError(
            f"--teacher {target}: expected a finished run's folder, such as "
            "runs/64/residual-seed42, or a model's name"
        )


def check_target(target: str) -> None:
    """Refuse what can be neither a model, a run folder nor an export.

    Raises:
        UsageError: There is no such model, and no such folder.
    """
    if target not in NAMES and not Path(target).is_dir():
        raise UsageError(
            f"{target!r} is neither a model, a run folder nor an export: "
            f"{hint(target, NAMES)}, or a folder"
        )
