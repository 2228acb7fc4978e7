"""Counts the clicks that the order of `label` saves, on cells whose labels are known.

    python benchmarks/clicks.py FOLDER LABELS EXPORT [--draws=10]

Flow: takes labelled photographs and an export. In each draw one half of the cells is asked about,
in the order of `label` and in random order, and the last layer is fitted as `calibrate
--last-layer` does; the other half judges it. Prints balanced accuracy by the number of clicks,
means over the draws, and how many clicks each order needs for what random order reaches. Below that
stands what such a calibration says of itself, and what is true of the other half.
"""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.metrics import balanced_accuracy_score

from bloodkeras.answers.classifier import Classifier
from bloodkeras.contract import MODEL_FILE
from bloodkeras.images.framing import Framing
from bloodkeras.images.preprocess import eight_views
from bloodkeras.labelling.order import next_cells
from bloodkeras.labelling.state import AT_ONCE
from bloodkeras.laboratory.fit import (
    cautious_temperature,
    even_odds_threshold,
    fit_last_layer,
    softmax,
)
from bloodkeras.laboratory.graph import Opened, load_model, read_head
from bloodkeras.laboratory.labelled import read_labelled
from bloodkeras.progress import told

CLICKS = (20, 25, 30, 40, 50, 70, 100, 150, 200)
ASKED = (50, 100, 200)  # clicks in random order whose balanced accuracy is to be reached
ORDERS = ("random", "label")


def main(folder: str, table: str, export: str, draws: int) -> None:
    """Print the table of a collection."""
    classifier = Classifier.load(export)
    framing = Framing(image_side=classifier.dataset.image_side)
    cells = read_labelled(folder, table, classifier.labels, framing).distinct()
    model = load_model(Path(export, MODEL_FILE))
    head, network = read_head(model), Opened(model)
    shown = told(lambda some: views_of(network, some), cells.images, 64)
    features = np.concatenate(shown)
    found = defaultdict(list)
    for draw in range(draws):
        places = np.random.default_rng(draw).permutation(len(cells))
        asked, others = np.array_split(places, 2)
        for order in ORDERS:
            chosen = choose(order, features[asked, 0], cells.labels[asked], head)
            for count in CLICKS:
                rows = asked[chosen[:count]]
                known = features[rows], cells.labels[rows]
                judged = judge(known, (features[others, 0], cells.labels[others]), head)
                for name, number in judged.items():
                    found[order, count, name].append(number)
    print(f"{Path(folder).name}, {Path(export).name}: {len(cells)} cells, mean of {draws} draws")
    print(f"{'clicks':>22}" + "".join(f"{count:>8}" for count in CLICKS))
    for name in ("balanced", "said", "accuracy", "accepted", "right"):
        for order in ORDERS:
            means = (np.nanmean(found[order, count, name]) for count in CLICKS)
            print(f"{name:>12}, {order:8}" + "".join(f"{100 * mean:>8.1f}" for mean in means))
    curves = {
        order: [np.mean(found[order, count, "balanced"]) for count in CLICKS] for order in ORDERS
    }
    for count in ASKED:
        goal = curves["random"][CLICKS.index(count)]
        first, second = (reached(curves[order], goal) for order in ORDERS)
        print(
            f"{goal:.1%} balanced accuracy: random {first:.0f} clicks, label {second:.0f}: "
            f"{second / first:.0%}"
        )


def views_of(network: Opened, images: np.ndarray) -> np.ndarray:
    """Return the features of eight views of each image, (N, 8, F)."""
    views = np.stack(eight_views(images), 1)
    return network.ask(np.concatenate(views))[0].reshape(len(images), 8, -1)


def choose(order: str, features: np.ndarray, labels: np.ndarray, head) -> list[int]:
    """Return rows in the order in which they are asked about, a few at a time, as the page does."""
    if order == "random":
        return list(range(max(CLICKS)))  # they were drawn at random
    chosen: list[int] = []
    while len(chosen) < max(CLICKS):
        answered = {row: int(labels[row]) for row in chosen}
        chosen += next_cells(features, answered, [], head, AT_ONCE)
    return chosen


def judge(known, others, head) -> dict[str, float]:
    """Return what a calibration says of itself, and what is true of other cells."""
    fitted = fit_last_layer(*known, head.weights, head.bias)
    labels = known[1]
    right = fitted.left_out.argmax(-1) == labels
    heats = [cautious_temperature(logits, labels) for logits in fitted.left_out]
    heat = float(np.exp(np.mean(np.log(heats))))
    sure = softmax(fitted.left_out / heat).max(-1)
    limit = np.median([even_odds_threshold(*pair) for pair in zip(sure, right, strict=True)])
    probs = softmax((others[0] @ fitted.weights + fitted.bias) / heat)
    hits, accepted = probs.argmax(1) == others[1], probs.max(1) >= limit
    return {
        "balanced": balanced_accuracy_score(others[1], probs.argmax(1)),
        "said": right.mean(),
        "accuracy": hits.mean(),
        "accepted": accepted.mean(),
        "right": hits[accepted].mean() if accepted.any() else np.nan,
    }


def reached(curve: list[float], goal: float) -> float:
    """Return how many clicks reach a goal first, between two counts by a straight line."""
    for place, (count, value) in enumerate(zip(CLICKS, curve, strict=True)):
        if value >= goal:
            if not place:
                return count
            share = (goal - curve[place - 1]) / (value - curve[place - 1])
            return CLICKS[place - 1] + share * (count - CLICKS[place - 1])
    return np.inf


if __name__ == "__main__":
    named = {"--draws": "10"}
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    named |= dict(word.split("=") for word in sys.argv[1:] if word.startswith("--"))
    main(*words, draws=int(named["--draws"]))
