"""Where the study keeps its results, and what a word on the command line stands for.

Flow: takes a model name, a run folder or an export folder; gives the folder, or what lies in it.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bloodkeras import contract
from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.exports import is_export, published, results_name
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.dataset import DataSet
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.evaluation.evaluate import Report, load_report
from bloodkeras.recipe import JOINED, RECIPES, STUDIED, Recipe, hint


@dataclass(frozen=True)
class Places:
    """The folders of one study.

    Attributes:
        runs: Where training and evaluation leave their results.
        exports: Where ONNX files are published.
    """

    runs: Path
    exports: Path

    def open(self, target: str, dataset: DataSet = BLOODMNIST):
        """Return folder for results, model name, engine, predict_proba and weights' SHA-256.

        Raises:
            BloodkerasError: It cannot be read, or is for images other than the data set's.
        """
        if is_export(target):
            classifier = Classifier.load(Path(target))
            classifier.dataset.check_fits(dataset, target)
            name = classifier.card["model"]
            weights = classifier.card.get("training", {}).get("weights_sha256", "")
            folder = self.runs / results_name(target, name)
            return folder, name, "onnx", classifier.predict_proba, weights
        folder = self.run_folder(target)
        from bloodkeras.training.models import predict_proba
        from bloodkeras.training.train import load_run

        run = load_run(folder)
        run.dataset.check_fits(dataset, str(folder))
        answers = partial(predict_proba, run.model)
        return folder, run.recipe.model_name, "keras", answers, run.weights

    def run_or_published(self, target: str) -> str:
        """Return a target; of a model name without a run, and say so, the published export."""
        if target in published() and not (self.run_folder(target) / contract.RUN_INFO).exists():
            print(f"{target} has no run in {self.runs}: the published export is judged")
            return str(published()[target])
        return target

    def trained(self) -> tuple[str, ...]:
        """Return the models whose run is there; say which are not.

        Raises:
            BloodkerasError: There is none.
        """
        names = (*RECIPES, JOINED)
        found = tuple(n for n in names if (self.run_folder(n) / contract.RUN_INFO).exists())
        if not found:
            raise BloodkerasError(
                f"no model has a run in {self.runs} yet: `python -m bloodkeras train "
                f"{next(iter(RECIPES))}` makes one (of {', '.join(RECIPES)})"
            )
        for name in (name for name in STUDIED if name not in found):
            print(f"left out: {name}, which has no run (`python -m bloodkeras train {name}`)")
        return found

    def evaluation_of(self, run) -> Report:
        """Return a run's report on test, refusing one of earlier weights."""
        report = load_report(run.folder / "evaluation", "test")
        if report.weights != run.weights:
            raise BloodkerasError(
                f"the evaluation in {run.folder} is of other weights than the run's: "
                f"`python -m bloodkeras evaluate {run.folder}` makes it anew"
            )
        return report

    def export_evaluation_of(self, run) -> Report | None:
        """Return the report on test of the run's own export; None, and say so, without one."""
        name = run.recipe.model_name
        try:
            report = load_report(self.runs / f"onnx-{name}" / "evaluation", "test")
        except BloodkerasError:
            report = None
        if report is None or report.weights != run.weights:
            why = (
                "no export was evaluated" if report is None else "that evaluated is of another run"
            )
            print(
                f"without the ONNX file of {name}: {why} (`python -m bloodkeras export "
                f"{run.folder}`, then `evaluate` on what it publishes)"
            )
            return None
        return report

    def run_folder(self, target: str) -> Path:
        """Return the run folder a model name or a path stands for."""
        if target in RECIPES:
            return self.run_folder_of(RECIPES[target])
        if target == JOINED:
            return self.joined_folder(RECIPES["robust"].train_seed)
        check_target(target)
        return Path(target)

    def joined_folder(self, seed: int) -> Path:
        """Return where a run belongs that `join` made."""
        return self.runs / f"{JOINED}-seed{seed}"

    def run_folder_of(self, recipe: Recipe) -> Path:
        """Return where a recipe's run belongs: <runs>/<model>-seed<seed>."""
        return self.runs / f"{recipe.model_name}-seed{recipe.train_seed}"


def check_target(target: str) -> None:
    """Refuse what can be neither a model, a run folder nor an export.

    Raises:
        UsageError: There is no such model, and no such folder.
    """
    if target not in (*RECIPES, JOINED) and not Path(target).is_dir():
        raise UsageError(
            f"{target!r} is neither a model, a run folder nor an export: expected "
            f"{hint(target, (*RECIPES, JOINED))}, or a folder"
        )
