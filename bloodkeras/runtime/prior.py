"""Takes in what the user knows: which classes can occur at all, or how common each is.

Flow: takes class names or weights; gives float32 (8,), by which probabilities are multiplied before
they are made to sum to 1 again. Where the user knows nothing, the images themselves say how common
each class is among them; of healthy blood, textbooks do.
Sources: shares from unlabelled images, Saerens et al. 2002, doi:10.1162/089976602753284446; shares
in healthy blood, Orfanakis et al. 1970, American Journal of Clinical Pathology 53, 647.
"""

import csv
import difflib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from bloodkeras.errors import BloodkerasError, UsageError

LEAST_KEPT = 0.5  # of the network's own probability: with less on what may occur, it is unsure
MAY_OCCUR = 0.005  # of the largest weight: with less, a class is taken not to occur
# Words that stand for a prior file: shares of the images themselves, and of healthy blood.
ESTIMATE, BLOOD = "estimate", "blood"
# White cells in a cubic millimetre, means of 291 healthy adults (Orfanakis 1970), and a trace of
# what such blood hardly holds: a clear one is still named, but unsure (MAY_OCCUR).
HEALTHY_BLOOD = {
    "neutrophil": 3650,
    "lymphocyte": 2500,
    "monocyte": 430,
    "eosinophil": 150,
    "basophil": 30,
    "immature granulocyte": 10,
    "erythroblast": 10,
    "platelet": 10,
}
PSEUDO_COUNT = 1.0  # images of each class that are taken to be there too: no share becomes 0
ROUNDS, STILL = 1000, 1e-7  # of the estimation; a change of a share that is none

Prior = Mapping[str, float] | Iterable[str] | None


def class_weights(prior: Prior, labels: tuple[str, ...]) -> np.ndarray | None:
    """Return a weight a class, the largest 1; None when there is no prior.

    Args:
        prior: {class: weight}, those not named weigh 0; or the names of those that can occur.
        labels: All class names.

    Returns:
        float32 (8,), 0..1.

    Raises:
        UsageError: There is no such class, a weight is no number from 0 up, or all are 0.
    """
    if prior is None:
        return None
    if isinstance(prior, str):
        prior = split_names(prior)
    weighed = dict(prior) if isinstance(prior, Mapping) else dict.fromkeys(prior, 1.0)
    weights = np.zeros(len(labels))
    for name, weight in weighed.items():
        weights[labels.index(class_name(name, labels))] = _number(name, weight)
    if not weights.any():
        raise UsageError("no class is left: expected at least one with a weight above 0")
    return (weights / weights.max()).astype(np.float32)


def class_name(name: str, labels: tuple[str, ...]) -> str:
    """Return the class that a name means, whatever its case, with blanks, _ or - between words.

    Raises:
        UsageError: There is no such class.
    """
    plain = " ".join(str(name).replace("_", " ").replace("-", " ").split()).casefold()
    for label in labels:
        if plain in (label.casefold(), label.casefold() + "s"):
            return label
    close = difflib.get_close_matches(plain, labels, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(f"unknown class {str(name)!r}: {meant}expected {', '.join(labels)}")


def split_names(text: str) -> list[str]:
    """Return the names in a text, separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def read_prior(classes: str, file: str, labels: tuple[str, ...]) -> dict[str, float] | None:
    """Return {class: weight} as the options --classes and --prior say; None without either.

    Args:
        classes: Names, separated by commas; "" for all.
        file: JSON, {class: weight}, or CSV with the columns class and weight; "" for none.
        labels: All class names.

    Raises:
        UsageError: Both are given, or there is no such class.
        BloodkerasError: The file cannot be read, is neither JSON nor CSV, or names a class or a
            weight that cannot be.
    """
    if classes and file:
        raise UsageError("--classes and --prior say the same thing: give one of them")
    if not classes and not file:
        return None
    try:
        weights = class_weights(_read(Path(file)) if file else split_names(classes), labels)
    except UsageError as error:
        if classes:
            raise
        raise BloodkerasError(f"{file}: {error}") from None
    return {label: float(w) for label, w in zip(labels, weights, strict=True) if w}


def apply_weights(probs: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weighed probabilities, and the share of the network's own on what may occur.

    Args:
        probs: float32 (N, 8), rows sum to 1.
        weights: float32 (8,), of `class_weights`.

    Returns:
        float32 (N, 8), rows sum to 1; float32 (N,).
    """
    weighed = np.maximum(probs, np.finfo(np.float32).tiny) * weights  # none left: all alike
    kept = probs[:, weights >= MAY_OCCUR].sum(1)
    return weighed / weighed.sum(1, keepdims=True), kept


def estimate_shares(
    probs: np.ndarray, own: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Return how common each class seems to be among some images, by expectation maximisation.

    Shares are those with which the answers, weighed by them, have just these means.

    Args:
        probs: float32 (N, 8), calibrated, unweighed.
        own: float (8,), the shares that the network expects, from its training.
        weights: float (8,), 0 for a class that cannot occur; None: all can.

    Returns:
        float64 (8,), sum to 1.
    """
    start = own if weights is None else own * (weights > 0)
    start = start / start.sum()
    shares = start
    for _ in range(ROUNDS):
        weighed = probs * (shares / own) + np.finfo(float).tiny
        found = (weighed / weighed.sum(1, keepdims=True)).sum(0) * (start > 0)
        pseudo = PSEUDO_COUNT * len(own) * start
        before, shares = shares, (found + pseudo) / (found + pseudo).sum()
        if np.abs(shares - before).max() < STILL:
            break
    return shares


def describe(prior: Mapping[str, float] | None) -> str:
    """Return a prior in a few words for an output: names, with weights where they differ."""
    if not prior:
        return ""
    if len(set(prior.values())) == 1:
        return "; ".join(prior)
    return "; ".join(f"{name} times {weight:.4g}" for name, weight in prior.items())


def _number(name: str, weight) -> float:
    try:
        number = float(weight)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < float("inf"):
        raise UsageError(f"the weight of {name!r} is {weight!r}: expected a number from 0 up")
    return number


def _read(path: Path) -> dict[str, float]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise BloodkerasError(
            f"cannot read {os.fspath(path)}: {reason}; expected a file, or {BLOOD} or {ESTIMATE}"
        ) from None
    if text.lstrip().startswith("{"):
        try:
            return dict(json.loads(text))
        except ValueError as error:
            raise BloodkerasError(f"{path} is no JSON: {error}") from None
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or not {"class", "weight"} <= set(rows[0]):
        raise BloodkerasError(
            f"{path} is no prior: expected JSON, {{class: weight}}, or CSV with the columns class "
            "and weight"
        )
    return {row["class"]: row["weight"] for row in rows}
