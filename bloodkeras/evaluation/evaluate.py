"""Judges anything that satisfies `predict_proba`, a Keras run and an ONNX file alike.

Flow: takes predict_proba and a `Split`; gives a `Report`, kept as <split>.json and <split>.npz.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.metrics import classification_report

from bloodkeras.data.splits import Splits, check_split
from bloodkeras.errors import BloodkerasError, gist
from bloodkeras.evaluation.metrics import summarise
from bloodkeras.images.preprocess import eight_views
from bloodkeras.named_types import Json, Labels, Pixels, Probs
from bloodkeras.progress import told
from bloodkeras.whole_file import make_folder, write_json

PredictProba = Callable[[Pixels], Probs]  # uint8 (N, S, S, 3) -> float32 (N, K)


@dataclasses.dataclass(frozen=True)
class Report:
    """What a model answered on one split, and how good that is.

    Attributes:
        model: Its name.
        engine: "keras" or "onnx".
        split: "train", "val" or "test".
        data: Splits.fingerprint() of what it was judged on.
        metrics: metrics.summarise() of labels and probs.
        labels: int64 (N,), the true classes.
        probs: float32 (N, K).
        weights: SHA-256 of the run's weights that the model has; "" where that is not known.
    """

    model: str
    engine: str
    split: str
    data: Json
    metrics: Json
    labels: Labels
    probs: Probs
    weights: str = ""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the labels."""
        return tuple(self.metrics["per_class"])

    def value(self, name: str) -> float:
        """Return one of the headline numbers."""
        return float(self.metrics["headline"][name]["value"])

    def save(self, folder: Path) -> None:
        """Write <split>.json (numbers) and <split>.npz (labels and probabilities)."""
        make_folder(folder)
        write_json(
            folder / f"{self.split}.json", {name: getattr(self, name) for name in PLAIN_FIELDS}
        )
        np.savez(folder / f"{self.split}.npz", labels=self.labels, probs=self.probs)


VIEWED = ("accuracy", "macro_f1")  # said of the average over eight views too
PLAIN_FIELDS = ("model", "engine", "split", "data", "metrics", "weights")


def evaluate(
    predict_proba: PredictProba,
    splits: Splits,
    split: str,
    model: str,
    engine: str,
    weights: str = "",
    views: bool = False,
) -> Report:
    """Judge a model on one split.

    Args:
        predict_proba: uint8 (N, S, S, 3) -> float32 (N, K), rows sum to 1.
        splits: The data.
        split: "train", "val" or "test".
        model: The model's name, for the report.
        engine: "keras" or "onnx", for the report.
        weights: SHA-256 of the weights, for the report.
        views: Whether to say too, as metrics["eight_views"], how good the average over the eight
            flips and quarter turns is. Probabilities and all other numbers are of one view.

    Raises:
        UsageError: There is no such split.
    """
    check_split(split)
    chosen = splits.named()[split]
    probs = np.concatenate(told(predict_proba, chosen.images))
    names = chosen.dataset.class_names
    metrics = summarise(chosen.labels, probs, names)
    if views:
        # A cell has no up: asked eight times, a network's mistakes average out a little.
        shown = [np.concatenate(told(predict_proba, v)) for v in eight_views(chosen.images)]
        averaged = np.mean(shown, axis=0)
        metrics["eight_views"] = summarise(chosen.labels, averaged, names)["headline"]
    data = splits.fingerprint()
    return Report(model, engine, split, data, metrics, chosen.labels, probs, weights)


def load_report(folder: Path, split: str) -> Report:
    """Read back what `Report.save` wrote.

    Raises:
        BloodkerasError: There is no such report, or it is damaged.
    """
    try:
        plain = json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))
        with np.load(folder / f"{split}.npz") as arrays:
            return Report(**plain, labels=arrays["labels"], probs=arrays["probs"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        why = "" if isinstance(error, FileNotFoundError) else f" ({gist(error)})"
        raise BloodkerasError(
            f"no evaluation on {split} in {folder}{why}: `python -m bloodkeras evaluate TARGET` "
            "makes one, TARGET being that run or export"
        ) from None


def classification_table(report: Report) -> str:
    """Return scikit-learn's classification report: precision, recall, F1 and support a class.

    Of the classes that occur: the means are those of the headline.
    """
    called, occurring = report.probs.argmax(1), np.unique(report.labels)
    return str(
        classification_report(
            report.labels,
            called,
            labels=occurring,
            target_names=[report.class_names[k] for k in occurring],
            digits=4,
            zero_division=0,
        )
    )


def headline_table(report: Report) -> str:
    """Return the headline numbers with their 95 % intervals as text."""
    rows = []
    for name, number in report.metrics["headline"].items():
        interval = f"[{number['low']:.4f}, {number['high']:.4f}]"
        rows.append(f"{name:24}{number['value']:>10.4f}  95 % {interval}")
    for name, value in report.metrics["official"].items():
        rows.append(f"{'MedMNIST ' + name:24}{value:>10.4f}")
    for name in VIEWED if "eight_views" in report.metrics else ():
        value = report.metrics["eight_views"][name]["value"]
        rows.append(f"{name + ', eight views':24}{value:>10.4f}")
    return "\n".join(rows)


def seeds_table(model: str, seeds: list[int], reports: list[Report]) -> str:
    """Return the headline numbers of several seeds as text, with mean and standard deviation."""
    values = {name: [r.value(name) for r in reports] for name in reports[0].metrics["headline"]}
    for name in VIEWED if all("eight_views" in r.metrics for r in reports) else ():
        averaged = [report.metrics["eight_views"][name]["value"] for report in reports]
        values[f"{name}, eight views"] = averaged
    return spread_table(model, seeds, values)


def spread_table(model: str, seeds: list[int], values: dict[str, list[float]]) -> str:
    """Return numbers, one a seed, as text with their mean and standard deviation."""
    header = "".join(f"{seed:>10}" for seed in seeds)
    rows = [f"{model + ', seed':24}{header}{'mean':>10}{'std':>10}"]
    for name, numbers in values.items():
        spread = np.std(numbers, ddof=1) if len(numbers) > 1 else 0.0
        cells = "".join(f"{number:>10.4f}" for number in (*numbers, np.mean(numbers), spread))
        rows.append(f"{name:24}{cells}")
    return "\n".join(rows)
