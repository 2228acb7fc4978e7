"""What a network says of images: probabilities, the class, and whether to act on it.

Flow: takes probabilities and foreign scores; gives verdicts, and how good answers are.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bloodkeras.contract import ACCEPTED, FOREIGN, UNSURE
from bloodkeras.named_types import Floats, Json, Labels, Probs, Words


@dataclass(frozen=True)
class Thresholds:
    """Where an answer stops being one to act on; chosen at export on the validation split."""

    confidence: float = 0.0  # below it an answer is unsure
    foreign: float = float("inf")  # above it the image is foreign

    def verdicts(self, confidence: Floats, foreign: Floats) -> Words:
        """Return one of contract.VERDICTS an image, str (N,)."""
        sure = np.where(confidence >= self.confidence, ACCEPTED, UNSURE)
        return np.where(foreign > self.foreign, FOREIGN, sure)


def doubted(verdict: str, doubt: str) -> str:
    """Return what becomes of a verdict on pixels whose framing is in doubt, if `doubt` says so."""
    return UNSURE if doubt and verdict == ACCEPTED else verdict


@dataclass(frozen=True)
class Answers:
    """What the network says of N images."""

    probs: Probs  # float32 (N, K), rows sum to 1
    foreign: Floats  # float32 (N,), larger for what looks less like a cell
    verdicts: Words  # str (N,), of contract.VERDICTS

    @classmethod
    def joined(cls, parts: "list[Answers]") -> "Answers":
        """Return the answers of several calls as one."""
        fields = ("probs", "foreign", "verdicts")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))

    def doubted(self, doubts: Sequence[str]) -> "Answers":
        """Return the answers to N images whose framing is in doubt for a reason; "" for none.

        Args:
            doubts: N of them, or none at all: nothing is in doubt.
        """
        if not doubts:
            return self
        words = [doubted(word, why) for word, why in zip(self.verdicts, doubts, strict=True)]
        return dataclasses.replace(self, verdicts=np.array(words, self.verdicts.dtype))

    def judged(self, labels: Labels) -> Json:
        """Return how good the answers are.

        Args:
            labels: int (N,), what the images show.

        Returns:
            "accuracy"; "coverage", the share that is accepted; "selective_accuracy", the share of
            those that is right, None where none is accepted.
        """
        right, accepted = self.probs.argmax(1) == labels, self.verdicts == ACCEPTED
        return {
            "accuracy": float(right.mean()),
            "coverage": float(accepted.mean()),
            "selective_accuracy": float(right[accepted].mean()) if accepted.any() else None,
        }
