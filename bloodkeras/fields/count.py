"""Counts the white cells in whole fields of view by class.

Flow: takes the words of a command line and a model; finds the cells, has `predict` name them, and
gives the differential: printed, as a table, and as a page in which a person corrects it.
"""

import csv
import io
import logging
from collections import Counter
from pathlib import Path

from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.exports import PHOTOGRAPHS, default_export
from bloodkeras.answers.predict import score
from bloodkeras.answers.prior import ESTIMATE
from bloodkeras.errors import BloodkerasError
from bloodkeras.fields.boxes import Box, read_boxes
from bloodkeras.fields.count_page import render
from bloodkeras.fields.differential import Named, render_text, shares
from bloodkeras.fields.find import OVERLAYS, conclude, find_cells_in
from bloodkeras.images.folder import SCALE_FILE
from bloodkeras.images.framing import Framing
from bloodkeras.whole_file import make_folder, whole_file

LOG = logging.getLogger(__name__)

CELLS, ANSWERS, TABLE, PAGE = "cells", "answers.csv", "differential.csv", "differential.html"


def count_cells(
    words: list[str],
    out: str,
    model: str = "",
    resume: bool = False,
    edge: bool = False,
    precision: str = "float32",
    classes: str = "",
    prior: str = "",
    microns_per_pixel: float = 0.0,
    views: bool = False,
) -> None:
    """Find the white cells in fields, name them and print how common each class is.

    Args:
        words: Files, folders, globs; `-` for a list of paths on standard input.
        out: The folder of all results.
        model: The folder of an export; "" for the one for photographs.
        resume: Go on with an interrupted job.
        edge: Count cells, too, that a field's edge cuts.
        precision: As in `predict`, and so are the others.
        classes: Names of the classes that can occur.
        prior: What weighs the classes.
        microns_per_pixel: Of the fields; 0 where that is to be estimated.
        views: Answer the mean over each cell's eight flips and quarter turns.

    Raises:
        UsageError: The options contradict each other.
        BloodkerasError: As `find_cells_in` and `predict` do.
    """
    model = model or str(default_export(PHOTOGRAPHS))
    classifier = Classifier.load(model, precision=precision)
    classifier.read_prior(classes, "" if prior == ESTIMATE else prior)  # before anything is begun
    folder = Path(out)
    cells = folder / CELLS
    tally = find_cells_in(words, str(cells), microns_per_pixel, resume)
    boxes = [box for box in read_boxes(cells) if box.crop]
    if boxes:
        answers = folder / ANSWERS
        answers.unlink(missing_ok=True)  # of a job that is gone on with: other cells, perhaps
        crops = [str(cells / box.crop) for box in boxes]
        score(
            crops,
            model,
            str(answers),
            precision=precision,
            classes=classes,
            prior=prior,
            views=views,
        )
        _write(folder, named(boxes, answers), classifier, edge)
    conclude(tally, str(cells))


def named(boxes: list[Box], answers: Path) -> list[Named]:
    """Return the cells of a table of boxes with what a table of answers says of them."""
    with open(answers, encoding="utf-8", newline="") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    found = []
    for box in boxes:
        row = rows[box.crop]
        if not row["label"]:
            raise BloodkerasError(f"{box.crop} could not be read again: {row['error']}")
        confidence, edge = float(row["confidence"]), box.at_edge == "yes"
        found.append(Named(box.crop, box.field, row["label"], confidence, row["verdict"], edge))
    return found


def _write(folder: Path, cells: list[Named], classifier: Classifier, edge: bool) -> None:
    """Print the differential, and write its table and its page."""
    labels, crops = classifier.labels, folder / CELLS
    scale = float((crops / SCALE_FILE).read_text(encoding="utf-8"))
    framing = Framing(scale, image_side=classifier.dataset.image_side)
    model = str(classifier.card.get("model", ""))
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("class", "cells", "share", "low", "high"))
    for one in shares(Counter(cell.group(edge) for cell in cells), labels):
        numbers = (f"{number:.4f}" for number in (one.share, one.low, one.high))
        table.writerow((one.label, one.cells, *numbers))
    make_folder(folder)
    with whole_file(folder / TABLE) as file:
        file.write(text.getvalue().encode())
    pictures = Path(f"{crops}{OVERLAYS}")
    with whole_file(folder / PAGE) as file:
        page = render(cells, labels, model, framing, (crops, pictures), edge)
        file.writelines(part.encode("utf-8", "backslashreplace") for part in page)
    print(f"\n{render_text(cells, labels, edge)}\n\nNot a medical device, not for diagnosis.\n")
    print(f"wrote {folder / TABLE} and the page {folder / PAGE}")
