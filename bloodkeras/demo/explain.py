"""Says of one photograph all that the page shows.

Flow: takes a file; gives an `Explained`: what the network sees, answers and looked at, or the
reason why the file cannot be read.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.prior import refuse_estimate
from bloodkeras.contract import ACCEPTED, FOREIGN, UNSURE
from bloodkeras.errors import BloodkerasError
from bloodkeras.images.framing import Framing
from bloodkeras.images.preprocess import read_image
from bloodkeras.laboratory.activation_map import ActivationMap
from bloodkeras.named_types import Floats, Pixels

NEAREST = 2  # other classes that are named
MEANING = {
    ACCEPTED: "sure enough to be taken as it is",
    UNSURE: "too close to call: somebody should look",
    FOREIGN: "unlike the cells of the training data: no such cell, or another laboratory's",
}


@dataclass(frozen=True)
class Explained:
    """One photograph, answered; without an answer `error` says why, and all else is empty."""

    name: str
    error: str = ""
    pixels: Pixels | None = None  # uint8 (S, S, 3), as the network sees it
    looked: Floats | None = None  # float (H, W), 0..1: what spoke for the label
    label: str = ""
    probs: tuple[tuple[str, float], ...] = ()  # every class, the most probable first
    verdict: str = ""
    reason: str = ""  # why it is unsure, where that is not the network's doubt
    trust: str = ""  # how often this label was right on the test split


class Explainer:
    """A model that explains itself."""

    def __init__(
        self,
        folder: str,
        precision: str = "float32",
        classes: str = "",
        prior: str = "",
        microns_per_pixel: float = 0.0,
        views: bool = False,
    ) -> None:
        """Load an export; the other options are those of `predict`.

        Raises:
            UsageError: An option has a value that cannot be.
            BloodkerasError: It is not a complete export, or onnx is not installed.
        """
        refuse_estimate(prior)
        self.classifier = Classifier.load(folder, precision=precision)
        side = self.classifier.dataset.image_side
        self._framing, self._views = Framing(microns_per_pixel, image_side=side), views
        self._prior = self.classifier.read_prior(classes, prior)
        self._map = ActivationMap(folder)

    def explain(self, path: str) -> Explained:
        """Answer one file; what is wrong with it is part of the answer."""
        name = Path(path).name
        try:
            pixels = read_image(path, self._framing)
        except BloodkerasError as error:
            return Explained(name, str(error).replace(str(path), name))
        (answer,) = self.classifier.predict([pixels], self._prior, views=self._views)
        order = np.argsort(-answer.probs, kind="stable")
        labels = self.classifier.labels
        return Explained(
            name,
            pixels=pixels,
            looked=_brightest(self._map.maps(pixels[None])[0, order[0]]),
            label=answer.label,
            probs=tuple((labels[k], float(answer.probs[k])) for k in order),
            verdict=answer.verdict,
            reason=answer.reason,
            trust=self._trust(answer.label),
        )

    def _trust(self, label: str) -> str:
        """Say what the card says of a label."""
        test = self.classifier.card.get("metrics", {}).get("test", {})
        numbers = test.get("per_class", {}).get(label)
        if not numbers or not numbers["support"]:
            return ""
        return (
            f"Of {self.classifier.dataset.name}'s test cells that are called {label}, "
            f"{numbers['precision']:.1%} are; {numbers['recall']:.1%} of those that are, are found."
        )


def _brightest(places: Floats) -> Floats:
    """Return what speaks for a class as shares of the place that does most; what speaks against
    it as 0."""
    spoken = np.maximum(places, 0)
    found: Floats = spoken / max(spoken.max(), 1e-9)
    return found
