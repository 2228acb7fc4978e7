"""Cuts a job into partitions, writes down how, and lets only the same job go on with it.

Flow: takes a `Listing` and a model; gives a `Plan`, and in the folder of answers _plan/: plan.json,
files.parquet (the list), model/ (the export). Names with _ in front are overlooked by readers of
Parquet, so the folder of answers is a data set.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import onnxruntime

import bloodkeras
from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.export_folder import model_file, sha256_of
from bloodkeras.answers.prior import Weights, describe
from bloodkeras.contract import SUMS_FILE
from bloodkeras.errors import BloodkerasError
from bloodkeras.named_types import Json
from bloodkeras.scoring.listing import Listing
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
    labels: tuple[str, ...]
    confidence_threshold: float
    foreign_threshold: str  # may be inf, which JSON lacks
    bloodkeras: str  # versions: another may change the last bits of a probability
    onnxruntime: str
    prior: dict[str, float] | None = None  # {class: weight}
    possible: tuple[str, ...] = ()  # with a prior: the classes that may be accepted
    microns_per_pixel: float = 0.0
    views: bool = False

    @property
    def weights(self) -> Weights | None:
        """What probabilities are weighed by."""
        return Weights(self.prior, frozenset(self.possible)) if self.prior else None

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


def describe_model(classifier: Classifier, folder: Path, precision: str) -> Json:
    """Return what a plan says of the model, and of the programs that run it."""
    return {
        "model": str(classifier.card.get("model", folder.name)),
        "precision": precision,
        "model_sha256": sha256_of(model_file(folder, precision)),
        "labels": classifier.labels,
        "confidence_threshold": classifier.thresholds.confidence,
        "foreign_threshold": str(classifier.thresholds.foreign),
        "bloodkeras": bloodkeras.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def describe_asking(prior: Weights | None, microns_per_pixel: float, views: bool) -> Json:
    """Return what a plan says of how the model is asked."""
    return {
        "prior": prior and dict(prior.by_class),
        "possible": tuple(sorted(prior.possible)) if prior else (),
        "microns_per_pixel": microns_per_pixel,
        "views": views,
    }


def make_plan(listing: Listing, partition_images: int, batch: int, **described: Any) -> Plan:
    """Return the plan for what was listed; `described` is the model and how it is asked."""
    return Plan(
        listing.kind,
        listing.source,
        listing.items,
        listing.sha256,
        partition_images=partition_images,
        batch=batch,
        **described,
    )


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
        _check_same(folder, plan)
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
        found = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
        lists = {"labels": found["labels"], "possible": found.get("possible", ())}
        return Plan(**found | {key: tuple(value) for key, value in lists.items()})
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = getattr(error, "strerror", None) or "it is damaged"
        raise BloodkerasError(
            f"cannot read {folder / PLAN_FILE}: {reason}; choose another --out"
        ) from None


def _check_same(folder: Path, plan: Plan) -> None:
    found = read_plan(folder)
    for field in fields(Plan):
        was, now = getattr(found, field.name), getattr(plan, field.name)
        if was != now:
            name = field.name.replace("_", " ")
            if name == "prior":
                was, now = (describe(prior) or "none" for prior in (was, now))
            raise BloodkerasError(
                f"{os.fspath(folder.parent)} was begun with {name} {was}, this is {now}: give the "
                "same as then to go on, or choose another --out"
            )
