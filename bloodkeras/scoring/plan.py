"""Cuts a job into partitions, writes down how, and lets only the same job go on with it.

Flow: takes a `Listing` and a model; gives a `Plan`, and in the folder of answers _plan/: plan.json,
files.parquet (the list), model/ (the export). Names with _ in front are overlooked by readers of
Parquet, so the folder of answers is a data set.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bloodkeras.answers.origin import refuse_another
from bloodkeras.answers.prior import Weights
from bloodkeras.contract import SUMS_FILE
from bloodkeras.errors import BloodkerasError
from bloodkeras.images.framing import Framing
from bloodkeras.scoring.lock import take_lock
from bloodkeras.whole_file import make_folder, remove_temporary, whole_file

PLAN_FOLDER = "_plan"
PLAN_FILE = "plan.json"
LIST_FILE = "files.parquet"
MODEL_FOLDER = "model"
LOCK_FILE = "lock"


@dataclass(frozen=True)
class Plan:
    """All that decides what the answers are and which file they go into."""

    kind: str  # of the source
    source: str
    items: int
    source_sha256: str
    partition_images: int  # items of a partition
    model: str
    precision: str
    model_sha256: str
    batch: int  # images that go through the network together
    labels: list[str]
    confidence_threshold: float
    foreign_threshold: str  # may be inf, which JSON lacks
    bloodkeras: str  # versions: another may change the last bits of a probability
    onnxruntime: str
    prior: dict[str, float] | None = None  # {class: weight}
    possible: Sequence[str] = ()  # with a prior: the classes that may be accepted
    microns_per_pixel: float = 0.0
    scales: dict[str, float] = field(default_factory=dict)  # of a `Framing`
    views: bool = False

    @property
    def weights(self) -> Weights | None:
        """What probabilities are weighed by."""
        return Weights(self.prior, frozenset(self.possible)) if self.prior else None

    def framing(self, side: int) -> Framing:
        """Return how photographs are framed for a network of that side, in pixels."""
        return Framing(self.microns_per_pixel, image_side=side, scales=tuple(self.scales.items()))

    @property
    def partitions(self) -> int:
        """How many there are."""
        return -(-self.items // self.partition_images)

    def items_of(self, partition: int) -> range:
        """Return which items a partition consists of, counted over the whole source."""
        first = partition * self.partition_images
        return range(first, min(first + self.partition_images, self.items))

    @property
    def sha256(self) -> str:
        """What a finished partition is marked with."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@contextmanager
def occupy(out: Path) -> Iterator[Path]:
    """Keep a folder of answers to oneself; yield its _plan/.

    Raises:
        BloodkerasError: It cannot be written, holds something else, or is being written.
    """
    folder, made = out / PLAN_FOLDER, not out.exists()
    try:
        if out.is_dir() and not folder.is_dir() and any(out.iterdir()):
            raise BloodkerasError(
                f"{out} holds other files: choose an empty or a new folder for the answers"
            )
        make_folder(folder)
        lock = open(folder / LOCK_FILE, "wb")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise BloodkerasError(f"cannot write {out}: {error.strerror}") from None
    with lock:
        if not take_lock(lock):
            raise BloodkerasError(
                f"another `bloodkeras score` writes {out}: wait for it, or choose another --out"
            )
        try:
            for place in (out, folder):
                remove_temporary(place)
            yield folder
        finally:
            remove_temporary(out)  # of workers that were lost
            if not (folder / PLAN_FILE).exists():  # nothing was begun
                shutil.rmtree(folder, ignore_errors=True)
                with suppress(OSError):
                    if made:
                        out.rmdir()


def begin(folder: Path, plan: Plan, listed: Path, model: Path) -> None:
    """Write a plan down, or find that it is the one that is being gone on with.

    Args:
        folder: The _plan/ of the answers.
        plan: What is wanted now.
        listed: The list of its source; it becomes that of the plan, or is removed.
        model: The folder of the export, which is copied.

    Raises:
        BloodkerasError: The answers there are those of another plan, or it cannot be written.
    """
    if (folder / PLAN_FILE).exists():
        listed.unlink()
        refuse_another(asdict(read_plan(folder)), asdict(plan), str(folder.parent))
        return
    try:
        listed.replace(folder / LIST_FILE)
        shutil.rmtree(folder / MODEL_FOLDER, ignore_errors=True)
        (folder / MODEL_FOLDER).mkdir()
        for line in (model / SUMS_FILE).read_text(encoding="utf-8").splitlines():
            shutil.copy(model / line.split("  ", 1)[1], folder / MODEL_FOLDER)
        shutil.copy(model / SUMS_FILE, folder / MODEL_FOLDER)
    except OSError as error:
        raise BloodkerasError(f"cannot write {folder}: {error.strerror}") from None
    with whole_file(folder / PLAN_FILE) as file:
        file.write(json.dumps(asdict(plan), indent=2).encode() + b"\n")


def read_plan(folder: Path) -> Plan:
    """Return the plan in a _plan/.

    Raises:
        BloodkerasError: There is none, or it cannot be read.
    """
    try:
        return Plan(**json.loads((folder / PLAN_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or "it is damaged"
        raise BloodkerasError(
            f"cannot read {folder / PLAN_FILE}: {reason}; choose another --out"
        ) from None
