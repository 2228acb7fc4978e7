"""Loads an exported model, checks that it is the file that was tested, and asks it.

Flow: takes exports/<model>/ (model.onnx or model.int8.onnx, card.json, SHA256SUMS); gives a
`Classifier`.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from bloodkeras.answers.answer import Answers, Thresholds
from bloodkeras.answers.export_folder import model_file, verify_checksums
from bloodkeras.answers.exports import PHOTOGRAPHS, default_export, find_export
from bloodkeras.answers.prior import (
    BLOOD,
    LEAST_KEPT,
    LEAST_SHARE,
    Prior,
    Weights,
    apply_weights,
    class_weights,
    estimate_shares,
    read_prior,
    weights_for,
)
from bloodkeras.answers.session import must_be_exact, open_session, read_dataset
from bloodkeras.bloodmnist import HEALTHY_BLOOD
from bloodkeras.contract import CARD_FILE, FOREIGN_NAME, INPUT_NAME, OUTPUT_NAME
from bloodkeras.dataset import DataSet
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.framing import Framing
from bloodkeras.images.preprocess import (
    EXPECTED,
    Photographs,
    doubt_of,
    eight_views,
    is_photograph,
    kind_of,
    read_any,
)
from bloodkeras.named_types import Floats, Json, Pixels, Probs

LOG = logging.getLogger(__name__)

# Images handed to onnxruntime at once. Measured by `python -m bloodkeras benchmark exports/deeper`,
# on two cores of a Xeon: 256 leave the caches and are no quicker.
BATCH_SIZE = 64
# Below so many multiply-adds an image int8 saves next to nothing: what it saves is arithmetic, and
# each step costs more. `tiny` (2.9 M) answers 0.9 to 1.1 times as quickly as in fp32, `simple`
# (7.9 M) 1.3 to 2 times.
INT8_PAYS = 5_000_000


@dataclass(frozen=True)
class Prediction:
    """One answer: the most probable class, how sure that is, and whether to act on it."""

    label: str
    confidence: float  # 0..1
    verdict: str  # one of contract.VERDICTS
    probs: Probs  # float32 (K,), in the order of Classifier.labels
    reason: str = ""  # why it is unsure, where the photograph's framing is in doubt


class Classifier:
    """An exported network: raw uint8 pixels in, class probabilities out.

    Attributes:
        dataset: What it was trained on: the side of its images, the names of its classes.
        labels: Class names, in the order of the columns of `predict_proba`.
        card: What card.json says: training data, metrics, versions.
        thresholds: Where an answer is no longer accepted.
        batch_size: Images handed to onnxruntime at once.
    """

    def __init__(self, session: onnxruntime.InferenceSession, dataset: DataSet, card: Json) -> None:
        self._session = session
        self._outputs = [node.name for node in session.get_outputs()]
        self.dataset = dataset
        self.labels = dataset.class_names
        self.card = card
        self.thresholds = Thresholds(**card.get("thresholds", {}))
        self.batch_size = BATCH_SIZE
        # File, threads, exact: what `load` read, for a copy in another process.
        self._made_of: tuple[bytes, int | None, bool] | None = None

    @classmethod
    def load(
        cls, folder: str | Path, threads: int | None = None, precision: str = "float32"
    ) -> "Classifier":
        """Load an export and check it against its own checksums.

        Args:
            folder: The folder that `export` wrote, or, as a text, the name of a published export
                such as "residual".
            threads: Processor threads to use; all cores when None, the quickest setting.
            precision: "float32", or "int8" for the smaller, quicker file.

        Raises:
            BloodkerasError: A file is missing, was changed after the export, or is no such model.
            UsageError: There is no such precision.
        """
        if not isinstance(folder, str | os.PathLike):
            raise UsageError(f"cannot load {folder!r}: expected a name such as tiny, or a folder")
        folder = find_export(folder) if isinstance(folder, str) else Path(folder)
        file = model_file(folder, precision)
        verify_checksums(folder, file.name)
        card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
        exact = must_be_exact(card, precision)
        session = open_session(file, threads, exact)
        classifier = cls(session, read_dataset(session, file), card)
        classifier._made_of = file.read_bytes(), threads, exact
        return classifier

    @property
    def sha256(self) -> str:
        """The SHA-256 of the network's file as hexadecimal digits."""
        if not self._made_of:
            raise BloodkerasError("this Classifier was not made by Classifier.load: it has no file")
        return hashlib.sha256(self._made_of[0]).hexdigest()

    def __getstate__(self) -> Json:
        """Pickle the network's file itself: where it is unpickled needs no folder."""
        return vars(self) | {"_session": self.sha256}

    def __setstate__(self, state: Json) -> None:
        vars(self).update(state)
        if self.sha256 != state["_session"]:
            raise BloodkerasError(
                "the pickled network is not the one that was pickled: load it again"
            )
        self._session = open_session(*state["_made_of"])

    def predict_proba(self, images: Pixels) -> Probs:
        """Return the class probabilities of many images.

        Args:
            images: uint8 (N, S, S, 3), RGB, raw pixels 0..255. Floats are refused: a picture
                scaled to 0..1 would be taken for a black one and answered with confidence.

        Returns:
            float32 (N, K), rows sum to 1.

        Raises:
            BloodkerasError: The array has another type or shape.
        """
        return self.answer(images).probs

    def answer(self, images: Pixels, prior: Prior = None, views: bool = False) -> Answers:
        """Return probabilities and verdicts of many images.

        Args:
            images: As in `predict_proba`.
            prior: What the user knows: the names of the classes that can occur, or {class:
                weight}. Probabilities are multiplied by it and made to sum to 1 again. An image
                whose own probabilities lie mostly where nothing can be is unsure. Or "blood": how
                common each kind of white cell is in healthy blood.
            views: Answer the mean over the image's eight flips and quarter turns, which takes
                eight times as long. A cell has no upside.

        Raises:
            BloodkerasError: The array has another type or shape.
            UsageError: There is no such class or weight.
        """
        weights = self._weights(prior)
        images = np.asarray(images)
        shape = self.dataset.image_shape
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape:
            expected = f"uint8 (N, {', '.join(map(str, shape))})"
            raise BloodkerasError(
                f"expected raw pixels as {expected}, found {images.dtype} {images.shape}"
            )
        probs = np.empty((len(images), len(self.labels)), np.float32)
        foreign = np.zeros(len(images), np.float32)
        for start in range(0, len(images), self.batch_size):
            batch = slice(start, start + self.batch_size)
            shown = eight_views(images[batch]) if views else [images[batch]]
            answered = [self._run(view) for view in shown]
            probs[batch], foreign[batch] = (
                np.mean(each, axis=0) for each in zip(*answered, strict=True)
            )
        return self._judge(probs, foreign, weights)

    def weigh(self, answers: Answers, prior: Prior) -> Answers:
        """Return what `answer` would have said with a prior, of its answers without one."""
        return self._judge(answers.probs, answers.foreign, self._weights(prior))

    def _weights(self, prior: Prior) -> Weights | None:
        """Return what a prior means; everything that weighs answers comes through here."""
        if isinstance(prior, str) and prior == BLOOD:
            return self.blood_prior()
        return None if prior is None else class_weights(prior, self.labels)

    def _judge(self, probs: Probs, foreign: Floats, weights: Weights | None) -> Answers:
        confidence = probs.max(1, initial=0)
        if weights is not None:
            probs, kept = apply_weights(probs, weights, self.labels)
            confidence = np.where(kept >= LEAST_KEPT, probs.max(1, initial=0), -np.inf)
        return Answers(probs, foreign, self.thresholds.verdicts(confidence, foreign))

    def _run(self, images: Pixels) -> tuple[Probs, Floats]:
        """Return probabilities (N, K) and foreign scores (N,) of one batch, 0 without any."""
        found = self._session.run(self._outputs, {INPUT_NAME: images})
        by_name = dict(zip(self._outputs, found, strict=True))
        nothing = np.zeros(len(images), np.float32)
        return by_name[OUTPUT_NAME], by_name.get(FOREIGN_NAME, nothing)

    def estimate_prior(self, probs: Probs, prior: Prior = None) -> Weights:
        """Return a prior for many images of one place: how common each class seems to be there.

        Args:
            probs: float32 (N, K), what `predict_proba` says of them.
            prior: The names of the classes that can occur, as in `answer`; None: all.

        Returns:
            For `answer` and `predict`: estimated share over the share that the network expects.
        """
        possible = class_weights(self.labels if prior is None else prior, self.labels)
        shares = estimate_shares(probs, self._own_shares(), possible.array(self.labels))
        return self.prior_of(dict(zip(self.labels, shares, strict=True)), prior)

    def prior_of(self, shares: Mapping[str, float], prior: Prior = None) -> Weights:
        """Return a prior for images of a place where it is known how common each class is.

        Args:
            shares: {class: share}, which need not sum to 1; those not named do not occur.
            prior: The names of the classes that can occur, as in `answer`; None: all.

        Returns:
            For `answer` and `predict`: share over the share that the network expects.
        """
        known = class_weights(shares, self.labels)
        possible = class_weights(self.labels if prior is None else prior, self.labels)
        own = dict(zip(self.labels, self._own_shares(), strict=True))
        return weights_for(known.by_class, own, possible)

    def read_prior(self, classes: str, prior: str) -> Weights | None:
        """Return the prior that the options --classes and --prior mean, where no images tell it.

        Args:
            classes: Names, separated by commas; "" for all.
            prior: A file, as `prior.read_prior` takes it; or "blood"; "" for none.

        Raises:
            UsageError: A class is unknown, or both options say what can occur.
            BloodkerasError: The file cannot be read.
        """
        if prior != BLOOD:
            return read_prior(classes, prior, self.labels)
        return self.blood_prior(read_prior(classes, "", self.labels))

    def knows_blood(self) -> bool:
        """Return whether it is known how common each of its classes is in healthy blood."""
        return HEALTHY_BLOOD.keys() >= set(self.labels)

    def blood_prior(self, prior: Prior = None) -> Weights:
        """Return `prior_of` how common each class is in healthy blood.

        Raises:
            UsageError: That is not known of all its classes.
        """
        if not self.knows_blood():
            unknown = ", ".join(label for label in self.labels if label not in HEALTHY_BLOOD)
            raise UsageError(
                f"the prior {BLOOD} is for classes whose share in healthy blood is known, and "
                f"that of {unknown} is not: give a file of weights"
            )
        return self.prior_of({label: HEALTHY_BLOOD[label] for label in self.labels}, prior)

    def _own_shares(self) -> Floats:
        """Return how common the network takes each class to be, from its training, float64 (K,)."""
        own = np.array(self.card.get("class_shares") or np.ones(len(self.labels)), float)
        found: Floats = np.maximum(own / own.sum(), LEAST_SHARE)
        return found

    def predict(
        self,
        images: Photographs,
        prior: Prior = None,
        microns_per_pixel: float = 0.0,
        views: bool = False,
    ) -> list[Prediction]:
        """Classify images or image files.

        Args:
            images: uint8 (N, S, S, 3), RGB: the benchmark's images, taken as they are. Or one
                photograph, or any iterable of them, mixed as you like: a path; a PIL image of any
                mode; the bytes of an image file; an open one; an array uint8 (H, W, 3), RGB, of
                which (S, S, 3) is taken as it is. Everything but arrays of S x S pixels goes
                the way of a file, with the same refusals; see docs/photographs.md.
            prior: As in `answer`.
            microns_per_pixel: Of photographs; 0 where that is not known.
            views: As in `answer`.

        Returns:
            One `Prediction` an image, in order; a list of one for one photograph. Of a file with
            several pages the first photograph counts.

        Raises:
            BloodkerasError: An array is of another type or shape, or a photograph cannot be read.
        """
        doubts: list[str] = []
        if not isinstance(images, np.ndarray) or images.ndim == 3:
            framing = Framing(microns_per_pixel, image_side=self.dataset.image_side)
            found = [read_any(image, name, framing) for name, image in _named(images)]
            doubts = [doubt_of(pixels) for pixels in found]
            images = stacked(found, self.dataset)
        answers = self.answer(images, prior, views).doubted(doubts)
        reasons = doubts or [""] * len(answers.probs)
        return [
            Prediction(self.labels[probs.argmax()], float(probs.max()), str(verdict), probs, reason)
            for probs, verdict, reason in zip(answers.probs, answers.verdicts, reasons, strict=True)
        ]


def stacked(images: list[Pixels], dataset: DataSet) -> Pixels:
    """Return images of a data set's side as one array, uint8 (N, S, S, 3), of none too."""
    return np.array(images, np.uint8).reshape(-1, *dataset.image_shape)


def _named(images: object) -> Iterator[tuple[str, object]]:
    """Yield what is called a photograph in a refusal, and the photograph."""
    if is_photograph(images):
        yield "the image", images
        return
    if isinstance(images, Mapping) or not isinstance(images, Iterable):
        raise BloodkerasError(f"cannot classify {kind_of(images)}: expected {EXPECTED}")
    for place, image in enumerate(images):
        yield f"image {place}", image


def load(
    model: str | Path | None = None, threads: int | None = None, precision: str = "float32"
) -> Classifier:
    """Load a published model by its name, or any export by its folder.

    Args:
        model: A published name, such as "tiny"; or a folder that `export` wrote. By default the
            one for photographs, "robust-64".
        threads: As in `Classifier.load`.
        precision: As in `Classifier.load`.

    Raises:
        BloodkerasError: There is no such export, or it is not the one that was tested.
        UsageError: There is no such precision.

    Example:
        >>> import bloodkeras
        >>> bloodkeras.load("residual").predict("cell.jpg")[0].label
        'neutrophil'
    """
    folder = default_export(PHOTOGRAPHS) if model is None else model
    return Classifier.load(folder, threads, precision)


def advise(folder: str | Path, precision: str) -> None:
    """Warn where an export was trained on drawn cells, or int8 is not the quicker way to run it.

    Args:
        folder: An export that `Classifier.load` has loaded.
        precision: "float32" or "int8".
    """
    card = json.loads((Path(folder) / CARD_FILE).read_text(encoding="utf-8"))
    if card.get("training_data", {}).get("synthetic"):
        LOG.warning(f"{folder} was trained on drawn cells: of photographs it knows nothing")
    if precision != "int8":
        return
    if must_be_exact(card, precision):
        LOG.warning(
            f"the int8 file of {folder} was made by an earlier version and is run in a slower way, "
            "as the quick one overflows on some processors: export it again"
        )
    elif card.get("multiply_adds", INT8_PAYS) < INT8_PAYS:
        LOG.warning(
            f"{folder} is so small a network that int8 gains nothing: it is no quicker than "
            "float32, and on some processors slower"
        )
