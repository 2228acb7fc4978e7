"""Asks whether a network doubts cells of a kind that it was never shown.

Flow: takes a recipe and `Splits`; trains it once for each class without that class, and gives the
AUROC of every foreign score between the test images of that class and those of the others. The
thresholds and scores are fitted again each time, without the class too.

    <folder>/<class>/          a run folder as any, and held_out.json
    <folder>/held_out.json     all classes
    <folder>/held_out.txt      the same as a table
"""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.metrics import roc_auc_score

from bloodkeras.data.splits import Split, Splits
from bloodkeras.export.calibration import fit_calibration
from bloodkeras.export.ood_score import SCORES, score_images, with_features
from bloodkeras.named_types import Json
from bloodkeras.progress import Stages
from bloodkeras.recipe import Recipe
from bloodkeras.training.run_folder import finished_run, load_run
from bloodkeras.training.train import train
from bloodkeras.whole_file import write_json, write_text

RESULT_FILE = "held_out.json"


def held_out(recipe: Recipe, splits: Splits, folder: Path) -> str:
    """Leave each class out in turn; what is trained already is not trained again.

    The network keeps all its outputs.

    Returns:
        The table of held_out.txt.
    """
    results, names = {}, splits.dataset.class_names
    stages = Stages("trainings without one class", [f"no {name}" for name in names])
    for label, name in enumerate(names):
        stages.begin(f"no {name}")
        known = without(splits, label)
        place = folder / name.replace(" ", "-")
        run = finished_run(place, recipe, known) or load_run(train(recipe, known, place))
        results[name] = judge_held_out(run.model, recipe, known, splits.test, label)
        write_json(place / RESULT_FILE, results[name])
        # Many networks in one process: nothing of this one is needed any more.
        keras.backend.clear_session()
    text = held_out_table(recipe, results)
    write_json(folder / RESULT_FILE, {"recipe": dataclasses.asdict(recipe), "classes": results})
    write_text(folder / "held_out.txt", text)
    return text


def without(splits: Splits, label: int) -> Splits:
    """Return the splits without the images of one class."""

    def rest(split: Split) -> Split:
        kept = split.labels != label
        return Split(split.images[kept], split.labels[kept], split.dataset)

    left: dict[str, Any] = {name: rest(s) for name, s in splits.named().items()}
    return dataclasses.replace(splits, **left)


def judge_held_out(
    model: keras.Model, recipe: Recipe, known: Splits, test: Split, label: int
) -> Json:
    """Return how well the images of a class are told from those of the classes in training.

    Args:
        model: Trained without the class.
        known: The splits without it.
        test: With it.
        label: The class, 0..K-1.

    Returns:
        "score": the one an export would carry; "auroc": of that; "refused": share of the class
        that is above its threshold; "aurocs": {score: AUROC}; "images": of the class.
    """
    calibration = fit_calibration(model, known, recipe)
    network, foreign = with_features(model), test.labels == label
    doubts = score_images(network, calibration.statistics, test.images)
    aurocs = {name: float(roc_auc_score(foreign, doubts[name])) for name in SCORES}
    above = doubts[calibration.score][foreign] > calibration.thresholds.foreign
    return {
        "score": calibration.score,
        "auroc": aurocs[calibration.score],
        "refused": float(above.mean()),
        "aurocs": aurocs,
        "images": int(foreign.sum()),
    }


def held_out_table(recipe: Recipe, results: dict[str, Json]) -> str:
    """Return the results as text, with mean and standard deviation over the classes."""
    rows = [
        f"{recipe.model_name}, {recipe.train_epochs} epochs, seed {recipe.train_seed}: test images "
        "of a class left out of training against the others'",
        "",
        f"{'class left out':24}{'AUROC':>8}{'refused':>9}{'images':>8}  score",
    ]
    for name, found in results.items():
        numbers = f"{found['auroc']:>8.4f}{found['refused']:>9.4f}{found['images']:>8}"
        rows.append(f"{name:24}{numbers}  {found['score']}")
    rows += [f"{'mean +- std':24}{_mean_and_std([r['auroc'] for r in results.values()])}", ""]
    rows.append(f"{'every score, by AUROC':36}mean +- std over the classes")
    for score in SCORES:
        aurocs = [found["aurocs"][score] for found in results.values()]
        rows.append(f"{score:36}{_mean_and_std(aurocs)}")
    return "\n".join(rows)


def _mean_and_std(values: list[float]) -> str:
    return f"{np.mean(values):>8.4f} +- {np.std(values, ddof=1):.4f}"
