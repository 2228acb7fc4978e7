"""Takes in what the user knows: which classes can occur at all, or how common each is.

Flow: takes class names or weights; gives `Weights`, by which probabilities are multiplied before
they are made to sum to 1 again. Where the user knows nothing, the images themselves say how common
each class is among them; of healthy blood, textbooks do.
Sources: shares from unlabelled images, Saerens et al. 2002, doi:10.1162/089976602753284446.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bloodkeras.answers.class_names import class_name
from bloodkeras.answers.spreadsheet import parse_rows, read_text
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.named_types import Floats, Probs

LEAST_KEPT = 0.5  # of the network's own probability: with less on what may occur, it is unsure
MAY_OCCUR = 0.005  # of the commonest class' share: what a prior makes rarer is not accepted
LEAST_SHARE = 0.001  # that a network expects of any class: the card says 0 of one it never saw
# Words that stand for a prior file: shares of the images themselves, and of healthy blood.
ESTIMATE, BLOOD = "estimate", "blood"
PSEUDO_COUNT = 1.0  # images of each class that are taken to be there too: no share becomes 0
ROUNDS, STILL = 1000, 1e-7  # of the estimation; a change of a share that is none


@dataclass(frozen=True)
class Weights:
    """What probabilities are multiplied by, before they are made to sum to 1 again.

    Attributes:
        by_class: {class: weight}, the largest 1; a class that cannot occur is not in it.
        possible: Of these, which may be accepted: the others hardly occur.
    """

    by_class: Mapping[str, float]
    possible: frozenset[str]

    def array(self, labels: tuple[str, ...]) -> Floats:
        """Return the weights as float32 (K,), in the order of the labels."""
        return np.array([self.by_class.get(label, 0.0) for label in labels], np.float32)


Prior = Weights | Mapping[str, float] | Iterable[str] | None


def class_weights(
    prior: Weights | Mapping[str, float] | Iterable[str], labels: tuple[str, ...]
) -> Weights:
    """Return one weight for each class.

    Args:
        prior: {class: weight}, those not named weigh 0; or the names of those that can occur; or
            weights, which are returned.
        labels: All class names.

    Raises:
        UsageError: There is no such class, one is given twice, a weight is not a number from 0
            up, or all are 0.
    """
    if isinstance(prior, Weights):
        return prior
    if isinstance(prior, str):
        prior = split_names(prior)
    weighed = dict(prior) if isinstance(prior, Mapping) else dict.fromkeys(prior, 1.0)
    found = {}
    for name, weight in weighed.items():
        label = class_name(name, labels)
        if label in found:
            raise UsageError(f"{label} is given twice")
        found[label] = _number(name, weight)
    largest = max(found.values(), default=0)
    if not largest:
        raise UsageError("no class is left: expected at least one with a weight above 0")
    by_class = {label: found[label] / largest for label in labels if found.get(label)}
    return Weights(by_class, frequent(by_class))


def frequent(shares: Mapping[str, float]) -> frozenset[str]:
    """Return the classes that are not by far rarer than the commonest."""
    least = MAY_OCCUR * max(shares.values())
    return frozenset(label for label, share in shares.items() if share >= least)


def weights_for(
    shares: Mapping[str, float], own: Mapping[str, float], possible: Weights
) -> Weights:
    """Return what makes a network expect other shares of the classes than its own.

    Args:
        shares: {class: how common it is}.
        own: {class: how common the network takes it to be}.
        possible: The classes that can occur.
    """
    known = {label: share for label, share in shares.items() if label in possible.by_class}
    weights = {label: share / own[label] for label, share in known.items()}
    largest = max(weights.values())
    # Rounded, so that a table that is resumed finds the same; never to 0.
    rounded = {label: float(f"{weight / largest:.4g}") for label, weight in weights.items()}
    return Weights(rounded, frequent(known))


def split_names(text: str) -> list[str]:
    """Return the names in a text, separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def read_prior(classes: str, file: str, labels: tuple[str, ...]) -> Weights | None:
    """Return weights as the options --classes and --prior say; None without either.

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
        return class_weights(_read(Path(file)) if file else split_names(classes), labels)
    except UsageError as error:
        if classes:
            raise
        raise BloodkerasError(f"{file}: {error}") from None


def refuse_estimate(prior: str) -> None:
    """Refuse --prior estimate where images are answered before all of them are read.

    Raises:
        UsageError: It is asked for.
    """
    if prior == ESTIMATE:
        raise UsageError(
            "--prior estimate is for `predict`: it reads all images before the first is answered; "
            f"expected {BLOOD}, or a file of weights"
        )


def apply_weights(probs: Probs, weights: Weights, labels: tuple[str, ...]) -> tuple[Probs, Floats]:
    """Return weighed probabilities, and the share of the network's own on what may be accepted.

    Args:
        probs: float32 (N, K), rows sum to 1.
        weights: Of `class_weights`.
        labels: The names of the columns.

    Returns:
        float32 (N, K), rows sum to 1; float32 (N,).
    """
    # None left: all alike.
    weighed = np.maximum(probs, np.finfo(np.float32).tiny) * weights.array(labels)
    kept = probs[:, [label in weights.possible for label in labels]].sum(1)
    return weighed / weighed.sum(1, keepdims=True), kept


def estimate_shares(probs: Probs, own: Floats, weights: Floats | None = None) -> Floats:
    """Return how common each class seems to be among some images, by expectation maximisation.

    Shares are those with which the answers, weighed by them, have just these means.

    Args:
        probs: float32 (N, K), calibrated, unweighed.
        own: float (K,), the shares that the network expects, from its training.
        weights: float (K,), 0 for a class that cannot occur; None: all can.

    Returns:
        float64 (K,), sum to 1.
    """
    start: Floats = own if weights is None else own * (weights > 0)
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


def _number(name: str, weight: Any) -> float:
    try:
        number = float(weight)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < float("inf"):
        raise UsageError(f"the weight of {name!r} is {weight!r}: expected a number from 0 up")
    return number


def _read(path: Path) -> dict[str, float]:
    try:
        text = read_text(path)
    except BloodkerasError as error:
        close = difflib.get_close_matches(str(path).casefold(), (BLOOD, ESTIMATE), n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        raise BloodkerasError(
            f"{error}; {meant}expected a file, or {BLOOD} or {ESTIMATE}"
        ) from None
    if text.lstrip().startswith("{"):
        try:
            pairs = json.loads(text, object_pairs_hook=list)
        except (ValueError, RecursionError) as error:
            raise BloodkerasError(f"{path} is no JSON: {error}") from None
    else:
        rows = parse_rows(text, path, ("class", "weight"), numbers=("weight",))
        pairs = [tuple(row) for _, row in rows]
    weights = dict(pairs)
    if len(weights) < len(pairs):
        raise BloodkerasError(f"{path} gives a class twice")
    return weights
