"""Reads the photographs of a folder and what a network makes of each, while a person labels.

Flow: takes a folder, an export and what is known of the magnification; gives `Cells`, which fill
up in a thread. Those that are labelled already are read first, the others in a random order, so
that the first to be asked about are a sample of all.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from bloodkeras.answers.answer import Answers
from bloodkeras.answers.classifier import Classifier
from bloodkeras.contract import MODEL_FILE
from bloodkeras.errors import BloodkerasError
from bloodkeras.images.folder import PassedOver, walk
from bloodkeras.images.framing import Framing
from bloodkeras.images.preprocess import doubt_of
from bloodkeras.images.sources import read_ahead
from bloodkeras.laboratory.fit import softmax
from bloodkeras.laboratory.graph import Head, Opened, load_model, read_head
from bloodkeras.laboratory.labelled import read_first
from bloodkeras.named_types import Flags, Floats, Pixels
from bloodkeras.progress import Progress

AT_ONCE = 64  # photographs that go through the network together


class Cells:
    """Photographs, by their place in the folder's order, and what a network makes of them.

    Attributes:
        names: Below the folder, with / between folders, (N,).
        paths: Where they are.
        classifier: The network.
        head: Its last layer and temperature.
        framing: By which the photographs are cut.
        shuffled: All places in a random order, always the same: that in which they are read.
        features: float32 (N, F), what the last layer takes; 0 where it is not known yet.
        known: bool (N,), where it is.
        errors: Why a photograph cannot be asked about, by its place.
        failure: Why none is read any further; "" usually.
    """

    def __init__(self, folder: str, export: str, framing: Framing, table: str = "") -> None:
        """List the folder and open the network; read nothing yet.

        Args:
            folder: Of the photographs.
            export: The folder of an export.
            framing: What is known of the magnification.
            table: A file that may lie among them, and is nothing to speak of.

        Raises:
            BloodkerasError: The export cannot be used, or the package onnx is not installed.
        """
        passed, self.errors = PassedOver(table), dict[int, str]()
        found = list(walk(folder, passed))
        self.paths = [Path(path) for path, _ in found]
        self.names = [path.relative_to(folder).as_posix() for path in self.paths]
        for place, (name, (_, error)) in enumerate(zip(self.names, found, strict=True)):
            if error or not _can_be_written(name):
                self.errors[place] = error or f"{name!r}: rename it, a table cannot hold this name"
        passed.say()
        self.framing, self.classifier = framing, Classifier.load(export)
        model = load_model(Path(export, MODEL_FILE))
        self.head: Head = read_head(model)
        self._network = Opened(model)
        width, classes = self.head.weights.shape
        self.shuffled: list[int] = np.random.default_rng(0).permutation(len(self)).tolist()
        self.features = np.zeros((len(self), width), np.float32)
        self.known: Flags = np.zeros(len(self), bool)
        self._logits: Floats = np.zeros((len(self), classes), np.float32)
        self._foreign: Floats = np.zeros(len(self), np.float32)
        self._doubts: dict[int, str] = {}
        self.failure = ""
        self._stopped = False

    def __len__(self) -> int:
        return len(self.paths)

    @contextmanager
    def reading(self, first: Iterable[int]) -> Iterator[None]:
        """Read in a thread, for as long as this lasts.

        Args:
            first: Places of those that are needed soonest.
        """
        thread = threading.Thread(target=self.read, args=(list(first),), daemon=True, name="cells")
        thread.start()
        try:
            yield
        finally:  # a network that is running when Python ends would bring it down
            self._stopped = True
            thread.join()

    def read(self, first: list[int]) -> None:
        """Read all, those that are needed soonest first, and note why it failed if it does."""
        places = [k for k in dict.fromkeys([*first, *self.shuffled]) if k not in self.errors]
        reads = (partial(read_first, self.paths[k], self.framing) for k in places)
        waiting: list[tuple[int, Pixels]] = []
        try:
            with Progress(lambda: len(places)) as progress:
                for place, (_, pixels) in zip(places, read_ahead(reads), strict=True):
                    if self._stopped:
                        return
                    if isinstance(pixels, str):
                        self.errors[place] = pixels
                    else:
                        waiting.append((place, pixels))
                    if len(waiting) == AT_ONCE:
                        self._ask(waiting)
                        waiting = []
                    progress.add(1)
                self._ask(waiting)
        except Exception as error:  # in a thread nobody else would hear of it
            self.failure = f"the photographs cannot be read any further: {error}"
            raise

    def _ask(self, cells: list[tuple[int, Pixels]]) -> None:
        if not cells:
            return
        places, images = [place for place, _ in cells], np.stack([pixels for _, pixels in cells])
        found = self._network.ask(np.asarray(images))
        self.features[places], self._logits[places], self._foreign[places] = found
        self._doubts |= {place: doubt for place, pixels in cells if (doubt := doubt_of(pixels))}
        self.known[places] = True  # last: who looks at it meanwhile sees what is complete

    def believed(self, places: list[int]) -> Answers:
        """Return what the network answers of some photographs that are known."""
        probs = softmax(self._logits[places] / self.head.temperature)
        foreign = self._foreign[places]
        verdicts = self.classifier.thresholds.verdicts(probs.max(1), foreign)
        doubts = [self._doubts.get(place, "") for place in places]
        return Answers(probs, foreign, verdicts).doubted(doubts)

    def places_of(self, table: Path, names: Iterable[str]) -> dict[str, int]:
        """Return where the photographs are that a table names.

        Raises:
            BloodkerasError: Some are not in the folder.
        """
        places = {name: place for place, name in enumerate(self.names)}
        names = list(names)
        if missing := [name for name in names if name not in places]:
            raise BloodkerasError(
                f"{len(missing)} of the {len(names)} photographs that {table} names are not in the "
                f"folder, such as {missing[0]}: give the folder that it was made of, or another "
                "--out"
            )
        return {name: places[name] for name in names}


def _can_be_written(name: str) -> bool:
    """Return whether a table gives a name back as it is."""
    return name.isprintable() and name == name.strip()
