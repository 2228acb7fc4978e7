"""Compares ways to a network for one's own cells: an export's weights, none, a last layer alone.

    python benchmarks/started.py DATA.npz EXPORT [--rehearse=DATA] [--cells=100,300,0]
        [--seeds=42,43,44]

Flow: takes a data set of one's own, an export and what that was trained on; for each number of
training cells (0: all) and each seed, which draws them too, trains and judges on test; prints
accuracy, balanced accuracy over the classes that occur, and seconds, mean and deviation.
"""

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.metrics import balanced_accuracy_score

from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.exports import find_export
from bloodkeras.contract import MODEL_FILE
from bloodkeras.data.splits import Split, Splits, load_splits, read_npz
from bloodkeras.images.preprocess import eight_views
from bloodkeras.laboratory.fit import fit_last_layer
from bloodkeras.laboratory.graph import features_and_logits, load_model, read_head
from bloodkeras.recipe import Recipe, recipe_of_export
from bloodkeras.recipes import named_recipe, started
from bloodkeras.training.models import predict_proba
from bloodkeras.training.run_folder import load_run
from bloodkeras.training.start import for_classes
from bloodkeras.training.train import train

LAST_LAYER = "last layer alone"
LEAST = 2  # training cells of each class
BATCH = 32  # of a training from nothing, which has few cells too


def main(data: str, word: str, rehearse: str, cells: str, seeds: str) -> None:
    """Print a row for each number of cells and each way."""
    splits, export = read_npz(Path(data)), find_export(word)
    theirs = recipe_of_export(export)
    tuned = started(named_recipe(theirs.model_name), theirs)
    fresh = dataclasses.replace(
        named_recipe("residual"), train_batch_size=BATCH, train_class_weights=True
    )
    side = splits.dataset.image_side
    earlier = load_splits(rehearse, side) if rehearse else None
    ways: dict[str, Callable[[Splits, int], np.ndarray]] = {
        LAST_LAYER: partial(by_last_layer, export),
        "from nothing": partial(by_training, fresh),
        "--start": partial(by_training, tuned, start=export),
    }
    if earlier:
        ways["--start --rehearse"] = partial(by_training, tuned, start=export, rehearsed=earlier)
    for count in map(int, cells.split(",")):
        for way, answer in ways.items():
            found = []
            drawn_by = list(map(int, seeds.split(",")))
            if way == LAST_LAYER and not count:  # the same whatever the seed
                drawn_by = drawn_by[:1]
            for seed in drawn_by:
                began = time.monotonic()
                answers = answer(drawn(splits, count, seed), seed)
                seconds, labels = time.monotonic() - began, splits.test.labels
                balanced = balanced_accuracy_score(labels, answers)
                found.append(((answers == labels).mean(), balanced, seconds))
            means, deviations = np.mean(found, 0), np.std(found, 0, ddof=len(found) > 1)
            print(
                f"{count or len(splits.train)} cells, {way}: accuracy {means[0]:.1%} "
                f"+- {deviations[0]:.1%}, balanced {means[1]:.1%} +- {deviations[1]:.1%}, "
                f"{means[2]:.0f} s",
                flush=True,
            )


def drawn(splits: Splits, count: int, seed: int) -> Splits:
    """Return the splits with so many training cells, of each class LEAST or more; 0: all."""
    if not count:
        return splits
    train = splits.train
    order = np.random.default_rng(seed).permutation(len(train))
    firsts = [order[train.labels[order] == k][:LEAST] for k in range(train.dataset.class_count)]
    rows = list(dict.fromkeys([*np.concatenate(firsts), *order]))[:count]
    few = Split(train.images[rows], train.labels[rows], train.dataset)
    return dataclasses.replace(splits, train=few)


def by_training(recipe: Recipe, splits: Splits, seed: int, **known) -> np.ndarray:
    """Return what a network that was trained so answers to the test split, int (N,)."""
    recipe = dataclasses.replace(recipe, train_seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        run = load_run(train(recipe, splits, Path(folder, "run"), **known))
        return predict_proba(run.model, splits.test.images).argmax(1)


def by_last_layer(export: Path, splits: Splits, seed: int) -> np.ndarray:
    """Return what the export answers with another last layer, as `calibrate` fits it."""
    model, dataset = load_model(export / MODEL_FILE), splits.dataset
    head, theirs = read_head(model), Classifier.load(export).dataset
    weights, bias = for_classes(head.weights, head.bias, theirs, dataset)
    views = np.stack(eight_views(splits.train.images), 1)
    features, *_ = features_and_logits(model, np.concatenate(views))
    features = features.reshape(len(views), 8, -1)
    fitted = fit_last_layer(features, splits.train.labels, weights, bias)
    asked, *_ = features_and_logits(model, splits.test.images)
    return (asked @ fitted.weights + fitted.bias).argmax(1)


if __name__ == "__main__":
    named = {"--rehearse": "", "--cells": "100,300,0", "--seeds": "42,43,44"}
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    named |= dict(word.split("=") for word in sys.argv[1:] if word.startswith("--"))
    main(*words[:2], *named.values())
