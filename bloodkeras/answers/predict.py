"""Classifies many images: reading, network and writing overlap, in constant memory and in order.

Flow: takes the words of a command line and a model; gives a table, and if asked for them folders
of copies and a page to look at.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from bloodkeras.answers.answer import Answers, doubted
from bloodkeras.answers.classifier import Classifier, advise, stacked
from bloodkeras.answers.copies import Copies
from bloodkeras.answers.exports import LARGER, PHOTOGRAPHS, SMALL, default_export, say_default
from bloodkeras.answers.formats import import_pyarrow, valid_text
from bloodkeras.answers.html_page import Page
from bloodkeras.answers.origin import describe_asking, describe_model
from bloodkeras.answers.printed import Printed
from bloodkeras.answers.prior import ESTIMATE, Prior, Weights, describe
from bloodkeras.answers.table import (
    BATCH_SIZE,
    Kept,
    Row,
    Table,
    check_place,
    origin_path,
    read_origin,
    rows_path,
    table_format,
)
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.contract import FOREIGN, UNSURE, VERDICTS
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.arrays import Item
from bloodkeras.images.folder import PassedOver
from bloodkeras.images.framing import Framing
from bloodkeras.images.preprocess import doubt_of
from bloodkeras.images.scale import scaled
from bloodkeras.images.sources import STDIN, all_have_side, check_words, count_images, stream
from bloodkeras.progress import Progress

LOG = logging.getLogger(__name__)

SIDES = {BLOODMNIST.image_side: SMALL, 64: LARGER}  # whose images are taken as they are
MANY_FOREIGN = 1 / 3  # of the images: then something is different about all of them
MANY_UNSURE = 1 / 2  # or foreign: no export's share on the test split


def score(
    words: Iterable[str],
    model: str,
    out: str = "",
    kind: str = "",
    resume: bool = False,
    sort_into: str = "",
    report: str = "",
    precision: str = "float32",
    classes: str = "",
    prior: str = "",
    microns_per_pixel: float = 0.0,
    views: bool = False,
) -> None:
    """Classify what the words mean; print a table, or write one.

    Args:
        words: Files, folders, globs, arrays, `-` for a list of paths on standard input.
        model: The folder of an export; "" for the published one for such images.
        out: Write the table here instead of printing it.
        kind: csv, jsonl or parquet; from the suffix of `out` when empty.
        resume: Go on with an interrupted table.
        sort_into: Copy the images into class folders below this one.
        report: Write a page of the answers here.
        precision: float32, or int8 for the smaller, quicker file of the export.
        classes: Names of the classes that can occur, separated by commas; "" for all.
        prior: A file that weighs the classes; or "blood", as healthy blood does; or "estimate":
            from the images, which are then read twice; "" for none.
        microns_per_pixel: Of the photographs; 0 where that is to be estimated.
        views: Answer the mean over each image's eight flips and quarter turns.

    Raises:
        UsageError: The options contradict each other.
        BloodkerasError: The model or a path is missing, a place cannot be written, or an image
            could not be read (after all the others were answered).
    """
    words, framing = list(words), Framing(microns_per_pixel)
    kind = _check_options(words, out, kind, resume, report)
    check_words(words)
    asked = "" if model else kind_of_images(words)
    model = model or str(default_export(asked))
    classifier = Classifier.load(model, precision=precision)
    advise(model, precision)
    framing = replace(framing, image_side=classifier.dataset.image_side)
    copies = Copies(sort_into, words) if sort_into else None
    page = Page(report, classifier, resume) if report else None
    begun = out and check_place(out, kind, resume)  # before all images are read for the prior
    framing = scaled(words, framing, read_origin(origin_path(out), out) if begun else None)
    if prior == ESTIMATE:
        possible = classifier.read_prior(classes, "")
        known: Weights | None = _estimate_prior(classifier, words, framing, possible, views)
    else:
        known = classifier.read_prior(classes, prior)
    said = describe(known.by_class if known else None)
    origin = describe_model(classifier, precision)
    origin |= describe_asking(known, framing, views)
    table = Table(out, kind, origin, resume) if out else Printed(kind, classifier.labels, said)
    takers = [taker for taker in (copies, page, table) if taker]  # what is in the table, is done
    tally = Counter(table.kept.counts)
    total = None if STDIN in words else partial(count_images, words, framing)
    passed = PassedOver()
    if asked:
        say_default(asked)
    bar = None if out else False  # it would be drawn into a printed table
    with table, Progress(total, table.kept.rows, bar) as progress:
        items = _items_after(words, table.kept, framing, passed)
        for rows in answer_batches(classifier, items, known, views):
            for taker in takers:
                taker.write(rows)
            tally.update((row.label, row.verdict) for row in rows)
            progress.add(len(rows))
        table.finish()
    if page:
        page.finish(tally, table.kept.rows, said)
    passed.say()
    _conclude(tally, out, report, sort_into)


def kind_of_images(words: Iterable[str]) -> str:
    """Return PHOTOGRAPHS, or SMALL or LARGER where all that the words mean has that side."""
    return kind_by(partial(all_have_side, list(words)))


def kind_by(have_side: Callable[[int], bool]) -> str:
    """Return the kind of images of which only that is known, whether all have a side."""
    return next((kind for side, kind in SIDES.items() if have_side(side)), PHOTOGRAPHS)


def _estimate_prior(
    classifier: Classifier, words: list[str], framing: Framing, possible: Prior, views: bool
) -> Weights:
    """Read all images a first time to say how common each class is among them."""
    if STDIN in words:
        raise UsageError(f"--prior estimate reads the images twice, and {STDIN} only comes once")
    parts = [np.empty((0, len(classifier.labels)), np.float32)]
    with Progress(partial(count_images, words, framing), 0, None) as progress:
        for rows in answer_batches(classifier, stream(words, framing=framing), views=views):
            found = [row.probs for row in rows if row.label]
            parts.append(np.array(found, np.float32).reshape(-1, len(classifier.labels)))
            progress.add(len(rows))
    probs = np.concatenate(parts)
    return classifier.estimate_prior(probs, possible)


def answer_batches(
    classifier: Classifier, items: Iterable[Item], prior: Prior = None, views: bool = False
) -> Iterator[list[Row]]:
    """Yield the rows of one batch after the other; the network is at the next one meanwhile."""
    items = iter(items)
    with ThreadPoolExecutor(1, "network") as network:
        before = None
        while batch := list(islice(items, BATCH_SIZE)):
            images = [pixels for _, pixels in batch if isinstance(pixels, np.ndarray)]
            pixels = stacked(images, classifier.dataset)
            now = batch, network.submit(classifier.answer, pixels, prior, views)
            if before:
                yield _rows(before[0], before[1].result(), classifier.labels)
            before = now
        if before:
            yield _rows(before[0], before[1].result(), classifier.labels)


def _check_options(words: list[str], out: str, kind: str, resume: bool, report: str) -> str:
    if words.count(STDIN) > 1:
        raise UsageError(f"{STDIN} can be given once: standard input is read to its end")
    if not out and resume:
        raise UsageError("--resume needs --out, the table to go on with")
    if out or kind:
        kind = table_format(out, kind)
    if kind == "parquet":
        if not out:
            raise UsageError("--format parquet needs --out: Parquet cannot be printed")
        import_pyarrow()
    own = (Path(out), rows_path(out, kind), origin_path(out)) if out else ()
    if report and Path(report).resolve() in [path.resolve() for path in own]:
        raise UsageError(f"--report {report} is where the table goes: choose another name")
    if report and Path(report).suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--report {report}: expected a name that ends in .html, for a page")
    return kind


def _items_after(
    words: list[str], kept: Kept, framing: Framing, passed: PassedOver
) -> Iterator[Item]:
    """Yield the items that a table does not hold yet, once its rows are found to be theirs."""
    items = stream(words, skip=max(kept.rows - 1, 0), framing=framing, passed=passed)
    known, again = [kept.last] * bool(kept.rows) + [*kept.torn], []
    for row, name in enumerate(known, max(kept.rows, 1)):
        item: Item = next(items, ("nothing", ""))
        if valid_text(item[0]) != name:
            raise BloodkerasError(
                f"cannot resume: row {row:,} is {name}, but the images given now have "
                f"{item[0]} there; give the same ones in the same order"
            )
        if row > kept.rows:
            again.append(item)
    yield from again
    yield from items


def _rows(batch: list[Item], answers: Answers, labels: tuple[str, ...]) -> list[Row]:
    best = answers.probs.argmax(1).tolist()
    found = zip(
        best,
        answers.probs.tolist(),
        answers.verdicts.tolist(),
        answers.foreign.tolist(),
        strict=True,
    )
    rows = []
    for name, pixels in batch:
        if isinstance(pixels, str):
            rows.append(Row(name, error=pixels))
        else:
            k, probs, verdict, foreign = next(found)
            doubt = doubt_of(pixels)
            verdict = doubted(verdict, doubt)
            rows.append(Row(name, labels[k], probs[k], probs, verdict, doubt, foreign, pixels))
    return rows


def _conclude(tally: Counter[tuple[str, str]], out: str, report: str, sort_into: str) -> None:
    """Say what came out, and fail if there is an image without an answer."""
    total, failed = tally.total(), tally["", ""]
    if not total:
        raise BloodkerasError("no image was given")
    counts: Counter[str] = Counter()
    for (_, verdict), count in tally.items():
        counts[verdict] += count
    said = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in VERDICTS)
    if out:
        print(f"wrote {total:,} rows to {out}: {said}")
    elif total > 1:
        LOG.info(f"{total:,} images: {said}")
    foreign, doubtful = counts[FOREIGN], counts[FOREIGN] + counts[UNSURE]
    said = (
        f"{foreign / total:.0%} are unlike the training data: another microscope's?"
        if foreign > MANY_FOREIGN * total
        else f"{doubtful / total:.0%} are not accepted: does the network fit these images?"
    )
    if total > 1 and (foreign > MANY_FOREIGN * total or doubtful > MANY_UNSURE * total):
        advice = "`judge EXPORT --photos DIR` judges it on your own labelled cells"
        LOG.warning(f"{said} {advice}")
    for what, place in (("the page", report), ("copies of the images into", sort_into)):
        if place:
            LOG.info(f"wrote {what} {place}")
    if failed:
        raise BloodkerasError(f"{failed:,} of {total:,} files could not be read: see their rows")
