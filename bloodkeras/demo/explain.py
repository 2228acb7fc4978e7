"""Says of one photograph all that the page shows.

Flow: takes a file; gives an `Explained`: what the network sees, answers and looked at, or the
reason why the file cannot be read.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bloodkeras.answers.classifier import Classifier
from bloodkeras.contract import ACCEPTED, FOREIGN, UNSURE
from bloodkeras.errors import BloodkerasError
from bloodkeras.images.framing import Framing
from bloodkeras.images.preprocess import read_image
from bloodkeras.laboratory.activation_map import ActivationMap

NEAREST = 2  # other classes that are named
MEANING = {
    ACCEPTED: "sure enough to be taken as it is",
    UNSURE: "too close to call: somebody should look",
    FOREIGN: "unlike the cells of the training data: the answer may mean nothing",
}


@dataclass(frozen=True)
class Explained:
    """One photograph, answered; without an answer `error` says why, and all else is empty."""

    name: str
    error: str = ""
    pixels: np.ndarray | None = None  # uint8 (S, S, 3), as the network sees it
    looked: np.ndarray | None = None  # float (H, W), 0..1: what spoke for the label
    label: str = ""
    probs: tuple[tuple[str, float], ...] = ()  # every class, the most probable first
    verdict: str = ""
    reason: str = ""  # why it is unsure, where that is not the network's doubt
    trust: str = ""  # how often this label was right on the test split


class Explainer:
    """A model that explains itself."""

    def __init__(self, folder: str):
        """Load an export.

        Raises:
            BloodkerasError: It is no complete export, or onnx is not installed.
        """
        self.classifier = Classifier.load(folder)
        self._framing = Framing(image_side=self.classifier.dataset.image_side)
        self._map = ActivationMap(folder)

    def explain(self, path: str) -> Explained:
        """Answer one file; what is wrong with it is part of the answer."""
        name = Path(path).name
        try:
            pixels = read_image(path, self._framing)
        except BloodkerasError as error:
            return Explained(name, str(error).replace(str(path), name))
        (answer,) = self.classifier.predict([pixels])
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
        if not numbers:
            return ""
        return (
            f"Of {self.classifier.dataset.name}'s test cells that are called {label}, "
            f"{numbers['precision']:.1%} are; {numbers['recall']:.1%} of those that are, are found."
        )


def _brightest(places: np.ndarray) -> np.ndarray:
    """Return what speaks for a class as shares of the place that does most; what speaks against
    it as 0."""
    spoken = np.maximum(places, 0)
    return spoken / max(spoken.max(), 1e-9)
