"""`score` with its options: a job is begun or gone on with, carried out, and summed up.

Flow: takes the options; gives a folder of Parquet files, and says on one line what is in them.
"""

import importlib.util
import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from bloodkeras.answers.classifier import Classifier, advise
from bloodkeras.answers.exports import default_export, say_default
from bloodkeras.answers.formats import import_pyarrow
from bloodkeras.answers.origin import describe_asking, describe_model
from bloodkeras.answers.predict import kind_by, kind_of_images
from bloodkeras.answers.prior import refuse_estimate
from bloodkeras.contract import VERDICTS
from bloodkeras.cores import core_count
from bloodkeras.errors import BloodkerasError, UsageError, missing_package
from bloodkeras.images.framing import Framing
from bloodkeras.images.scale import scaled
from bloodkeras.progress import Progress
from bloodkeras.scoring.listing import FOLDER, holds_raw, kind_of_source, list_source
from bloodkeras.scoring.local import run_local
from bloodkeras.scoring.partition import FAILED, Done, Tell, finished
from bloodkeras.scoring.plan import LIST_FILE, PLAN_FILE, Plan, begin, occupy, read_plan
from bloodkeras.scoring.ray_engine import run_ray
from bloodkeras.whole_file import TEMPORARY

LOG = logging.getLogger(__name__)

ENGINES = ("local", "ray")
RANGES = {"partition_images": (1, 1_000_000), "batch": (1, 256), "workers": (0, 100_000)}


@dataclass(frozen=True)
class Options:
    """What `score` is told."""

    source: str
    out: str
    model: str  # a folder; "" for the published one for such images
    engine: str = "local"
    address: str = ""  # of a Ray cluster
    partition_images: int = 10_000  # what a lost worker can cost, and a file's rows
    precision: str = "float32"
    batch: int = 64  # images that go through the network together
    workers: int = 0  # 0: local one process with all cores, ray every core of the cluster
    classes: str = ""  # that can occur, separated by commas
    prior: str = ""  # a file, or blood
    microns_per_pixel: float = 0.0
    views: bool = False


def check(options: Options) -> None:
    """Refuse options that cannot be meant, or need what is not installed.

    Raises:
        UsageError: There is no such engine, a number is out of its range, or the prior is one that
            the images themselves must tell.
        BloodkerasError: Ray or pyarrow is not installed.
    """
    if options.engine not in ENGINES:
        raise UsageError(f"--engine takes {' or '.join(ENGINES)}, not {options.engine!r}")
    if options.address and options.engine != "ray":
        raise UsageError("--address names a Ray cluster: it needs --engine ray")
    for name, (least, most) in RANGES.items():
        if not least <= (value := getattr(options, name)) <= most:
            option = name.replace("_", "-")
            raise UsageError(f"--{option}: expected {least} to {most:,}, found {value:,}")
    refuse_estimate(options.prior)
    Framing(options.microns_per_pixel)  # refuses what is not a scale
    if options.engine == "ray" and importlib.util.find_spec("ray") is None:
        raise missing_package("Ray", "ray")
    import_pyarrow()


def score_source(options: Options) -> None:
    """Classify a source into a folder of Parquet files; go on where an earlier call ended.

    Raises:
        UsageError: The options contradict each other.
        BloodkerasError: The source or model is missing or of another kind, the folder cannot be
            written or holds another job, or an image could not be read (after all the others were
            answered).
    """
    check(options)
    out = Path(os.path.abspath(options.out))
    _refuse_out_in_source(out, Path(os.path.abspath(options.source)))
    asked = "" if options.model else _kind_of_images(options.source)
    model = options.model or str(default_export(asked))
    classifier = Classifier.load(model, precision=options.precision)
    advise(model, options.precision)
    prior = classifier.read_prior(options.classes, options.prior)
    described = describe_model(classifier, options.precision)
    with occupy(out) as folder:
        listed = folder / f"{TEMPORARY}{LIST_FILE}"
        side = classifier.dataset.image_side
        listing = list_source(options.source, listed, options.partition_images, side)
        begun = asdict(read_plan(folder)) if (folder / PLAN_FILE).exists() else None
        framing = Framing(options.microns_per_pixel, image_side=side)
        framing = scaled([options.source], framing, begun)
        described |= describe_asking(prior, framing, options.views)
        plan = Plan(
            **asdict(listing),
            partition_images=options.partition_images,
            batch=options.batch,
            **described,
        )
        begin(folder, plan, listed, Path(model))
        if asked:
            say_default(asked)
        counts = _carry_out(options, out, plan)
    _conclude(counts, plan, options.out)


def _kind_of_images(source: str) -> str:
    """Return PHOTOGRAPHS, or SMALL or LARGER: a folder's images, or raw pixels in Parquet."""
    if kind_of_source(source) == FOLDER:
        return kind_of_images([source])
    return kind_by(partial(holds_raw, source))


def _refuse_out_in_source(out: Path, source: Path) -> None:
    if out == source or source in out.parents:
        raise UsageError(
            f"--out {out} lies in {source}, where its answers would be read: put it elsewhere"
        )


def _carry_out(options: Options, out: Path, plan: Plan) -> Counter[str]:
    """Finish what is not finished; return how many rows there are of each kind."""
    found = {k: finished(out, plan, k) for k in range(plan.partitions)}
    wanted = [k for k, done in found.items() if not done]
    counts: Counter[str] = Counter()
    for done in filter(None, found.values()):
        counts.update(done.counts)
    if wanted and counts:
        LOG.info(f"{len(found) - len(wanted):,} of {len(found):,} partitions are finished already")
    if wanted:
        with Progress(lambda: plan.items, counts.total()) as progress:
            for done in _run(options, out, plan, wanted, progress.add):
                counts.update(done.counts)
                progress.reach(counts.total())
    return counts


def _run(options: Options, out: Path, plan: Plan, wanted: list[int], tell: Tell) -> Iterator[Done]:
    if options.engine == "ray":
        LOG.info(f"{len(wanted):,} partitions to do: how long is said when the first are")
        find = partial(finished, out, plan)
        return run_ray(out, wanted, options.workers, options.address, find)
    return run_local(out, wanted, options.workers or 1, core_count(), tell)


def _conclude(counts: Counter[str], plan: Plan, out: str) -> None:
    """Say what came out, and fail if there is an image without an answer."""
    said = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in VERDICTS)
    parts = f"{plan.partitions:,} partition{'s' * (plan.partitions != 1)}"
    print(f"wrote {counts.total():,} rows to {out} in {parts}: {said}")
    if failed := counts[FAILED]:
        raise BloodkerasError(
            f"{failed:,} of {counts.total():,} images could not be read: see their rows"
        )
