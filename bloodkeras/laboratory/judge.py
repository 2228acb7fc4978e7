"""Judges an export on somebody's own labelled cells: how good is it here?

Flow: takes a `Classifier` and `Labelled`; gives numbers, a text, and a page of the mistakes.
Needs no TensorFlow and no training data.
Sources: intervals of shares, Wilson 1927, doi:10.1080/01621459.1927.10502953.
"""

import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np

from bloodkeras.answers.answer import Answers
from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.formats import one_line
from bloodkeras.answers.prior import Prior, describe
from bloodkeras.contract import ACCEPTED, VERDICTS
from bloodkeras.errors import BloodkerasError
from bloodkeras.images.framing import UNKNOWN, Framing
from bloodkeras.laboratory.labelled import Labelled, read_labelled, read_others
from bloodkeras.laboratory.mistakes_page import render_mistakes
from bloodkeras.laboratory.shift_score import judge_colours, sentence
from bloodkeras.named_types import Json, Labels
from bloodkeras.progress import told
from bloodkeras.whole_file import check_folder, make_folder, whole_file

WILSON = 1.96  # standard errors of a 95 % interval
SHOWN_ERRORS = 5
PHOTOS_JSON = "photos.json"
ROWS = {
    "all_classes": "all classes open",
    "all_classes_estimated": "  shares estimated",
    "all_classes_blood": "  as in healthy blood",
    "present_classes": "those that occur",
    "present_classes_estimated": "  shares estimated",
    "present_classes_blood": "  as in healthy blood",
    "asked": "as you weigh them",
}  # what `judge` tries, as the table calls it


def evaluate_photos(
    classifier: Classifier,
    photos: str,
    table: str,
    out: Path,
    framing: Framing = UNKNOWN,
    views: bool = False,
    classes: str = "",
    prior: str = "",
    foreign: str = "",
) -> Json:
    """Judge an export on a labelled folder; print the numbers and leave them in a folder.

    Args:
        classifier: The export.
        photos: A folder of photographs.
        table: CSV with the columns file and label; "" where each class has a folder.
        out: Where photos.json, photos.txt and mistakes.html go.
        framing: What is known of the photographs' magnification.
        views: Judge the mean over each cell's eight flips and quarter turns.
        classes: Names of the classes that can occur, separated by commas, to judge that too.
        prior: A file that weighs the classes, to judge that too.
        foreign: CSV as the table, of cells in that folder which are none of the classes.

    Returns:
        What `judge` returned; with foreign cells "foreign" too, {kind: {"cells", "accepted"}}.

    Raises:
        BloodkerasError: The folder or a table cannot be read, the place cannot be
            written or holds results of other photographs, or (after all others were judged) a
            photograph cannot be read.
    """
    source = {"photos": str(Path(photos).resolve()), "table": table and str(Path(table).resolve())}
    _check_place(out, source)
    asked = classifier.read_prior(classes, prior)
    framing = dataclasses.replace(framing, image_side=classifier.dataset.image_side)
    cells = read_labelled(photos, table, classifier.labels, framing)
    answers = Answers.joined(told(partial(classifier.answer, views=views), cells.images))
    answers = answers.doubted(cells.doubts)
    found = judge(classifier, cells, answers, views, asked)
    if foreign:
        found["foreign"] = judge_foreign(classifier, photos, foreign, cells.framing, views)
        found["unlabelled"] -= sum(kind["cells"] for kind in found["foreign"].values())
    found |= {"framing": cells.framing.described()} | source
    numbers = render_text(found)
    text = f"{numbers}\n\n{found['sentence']}"
    texts = {
        PHOTOS_JSON: json.dumps(found, indent=2) + "\n",
        "photos.txt": text + "\n",
        "mistakes.html": render_mistakes(found, numbers, cells, answers),
    }
    try:
        make_folder(out)
        for name, content in texts.items():
            with whole_file(out / name) as file:
                file.write(content.encode("utf-8", "backslashreplace"))
    finally:  # what was computed is said, if the disk is full; and kept, if nobody listens
        print(text)
    print(f"\nresults in {out}: {', '.join(texts)}")
    if cells.errors:
        first = "\n".join(one_line(line) for line in cells.errors[:SHOWN_ERRORS])
        print(first)
        raise BloodkerasError(f"could not be read: {len(cells.errors)}, see above")
    return found


def _check_place(out: Path, source: dict[str, str]) -> None:
    """Refuse, before anything is judged, a place that is another laboratory's or cannot be written.

    Results of the same photographs and table are written over.
    """
    try:
        earlier = json.loads((out / PHOTOS_JSON).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        earlier = {}
    if any(key in earlier and earlier[key] != path for key, path in source.items()):
        raise BloodkerasError(
            f"{out} holds the results of {earlier['photos']}: choose another --runs folder"
        )
    check_folder(out)


def judge(
    classifier: Classifier,
    cells: Labelled,
    answers: Answers,
    views: bool = False,
    asked: Prior = None,
) -> Json:
    """Return how good a classifier is on some cells.

    Args:
        classifier: Who answers.
        cells: What is asked.
        answers: What it says of them plainly; one to a cell whose frame is in doubt is unsure.
        views: Whether that is the mean over each cell's eight flips and quarter turns.
        asked: One more prior to try.

    Returns:
        "all_classes" and "present_classes" (only those that occur among the labels may be the
        answer), both with "_estimated" behind it too (the shares of the classes estimated from
        these images) and "_blood" (those of healthy blood, where they are known), and with a prior
        "asked": each {"accuracy", "low", "high" (95 %), "balanced_accuracy", "coverage",
        "selective_accuracy"};
        "verdicts": {verdict: share}; "recall": {class: share found}; "labels"; "doubtful": how many
        frames are in doubt; "confusion": counts,
        rows of true classes; "shift": `judge_colours` or None; "sentence".
    """
    labels, answers = classifier.labels, answers.doubted(cells.doubts)
    present = [labels[k] for k in np.unique(cells.labels)]
    tried: dict[str, Prior] = {"all_classes": None, "present_classes": present}
    for key, prior in list(tried.items()):
        tried[f"{key}_estimated"] = classifier.estimate_prior(answers.probs, prior)
        if classifier.knows_blood():
            tried[f"{key}_blood"] = classifier.blood_prior(prior)
    if asked is not None:
        tried["asked"] = asked
    described = classifier.card.get("colours")
    shift = judge_colours(described, cells.images) if described else None
    confusion = np.zeros((len(labels), len(labels)), int)
    np.add.at(confusion, (cells.labels, answers.probs.argmax(1)), 1)
    hits = confusion.diagonal() / confusion.sum(1).clip(min=1)
    model = str(classifier.card.get("model", ""))
    trained = str(classifier.card.get("calibrated_on", {}).get("model", model))
    return {
        "model": model,
        "views": views,
        "images": len(cells),
        "unlabelled": cells.unlabelled,
        "copies": len(cells) - len(cells.distinct()),
        "unreadable": len(cells.errors),
        "doubtful": int((~cells.framed).sum()),
        "labels": list(labels),
        "present": present,
        **{
            key: score_answers(classifier.weigh(answers, prior).doubted(cells.doubts), cells.labels)
            for key, prior in tried.items()
        },
        "verdicts": {name: float((answers.verdicts == name).mean()) for name in VERDICTS},
        "recall": {name: float(hits[labels.index(name)]) for name in present},
        "confusion": confusion.tolist(),
        "shift": shift,
        "sentence": sentence(shift, trained),
    }


def judge_foreign(
    classifier: Classifier, photos: str, table: str, framing: Framing, views: bool = False
) -> Json:
    """Return of each kind of cell that is none of the classes how many are accepted as one.

    Returns:
        {kind: {"cells": how many, "accepted": share}}.
    """
    cells, kinds = read_others(photos, table, framing)
    answers = Answers.joined(told(partial(classifier.answer, views=views), cells.images))
    accepted = answers.doubted(cells.doubts).verdicts == ACCEPTED
    members = {kind: cells.labels == place for place, kind in enumerate(kinds)}
    return {
        kind: {"cells": int(rows.sum()), "accepted": float(accepted[rows].mean())}
        for kind, rows in members.items()
        if rows.any()
    }


def score_answers(answers: Answers, labels: Labels) -> Json:
    """Return accuracy with its interval and by class, coverage, and accuracy of the accepted."""
    right = answers.probs.argmax(1) == labels
    low, high = wilson(int(right.sum()), len(labels))
    by_class = [right[labels == k].mean() for k in np.unique(labels)]
    return answers.judged(labels) | {
        "low": low,
        "high": high,
        "balanced_accuracy": float(np.mean(by_class)),
    }


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, which stays inside 0..1 for few images too."""
    share, z = hits / count, WILSON**2 / count
    middle = (share + z / 2) / (1 + z)
    half = WILSON * np.sqrt(share * (1 - share) / count + z / (4 * count)) / (1 + z)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def render_text(found: Json) -> str:
    """Return the numbers as text."""
    left_out = f", {found['unlabelled']} more have no label" if found["unlabelled"] else ""
    how = ", mean of eight views" if found["views"] else ""
    copies = f", {found['copies']} of them copies of others" if found["copies"] else ""
    place = f" of {Path(found['photos']).name}" if "photos" in found else ""
    rows = [f"{found['model']} on {found['images']} photographs{place}{copies}{how}{left_out}", ""]
    rows.append(
        f"{'':26}{'accuracy':>9}  {'95 % interval':18}{'balanced':>9}{'accepted':>9}{'right':>9}"
    )
    for key, name in ROWS.items():
        if key not in found:
            continue
        numbers = found[key]
        right = numbers["selective_accuracy"]
        interval = f"[{numbers['low']:.4f}, {numbers['high']:.4f}]"
        rows.append(
            f"{name:26}{numbers['accuracy']:>9.4f}  {interval:18}"
            f"{numbers['balanced_accuracy']:>9.4f}{numbers['coverage']:>9.4f}"
            + (f"{'-':>9}" if right is None else f"{right:>9.4f}")
        )
    rows += ["", "shares estimated: how common each class is, from these images (--prior estimate)"]
    if "all_classes_blood" in found:
        rows += ["as in healthy blood: how common each white cell is there (--prior blood)"]
    common = max(found["present"], key=lambda name: sum(_counts(found, name)))
    share = sum(_counts(found, common)) / found["images"]
    rows += [
        f"balanced: each class counts alike. Always to say {common} would be {share:.1%} right"
    ]
    rows += [f"those that occur: {describe(dict.fromkeys(found['present'], 1))}"]
    verdicts = ", ".join(f"{share:.1%} {name}" for name, share in found["verdicts"].items())
    rows += [f"verdicts: {verdicts}"]
    if found.get("doubtful"):
        rows += [f"unsure because their frame is in doubt, as in predict: {found['doubtful']}"]
    if "foreign" in found:
        kinds = found["foreign"].items()
        rows += ["none of the classes, and accepted as one:"]
        rows += [f"{of['accepted']:>8.1%} of {of['cells']} {kind}" for kind, of in kinds]
    rows += ["", *_confusion(found)]
    return "\n".join(rows)


def _confusion(found: Json) -> list[str]:
    """Return the confusion matrix as lines: true classes that occur, and nearest classes."""
    heads = "".join(f"{name[:12]:>13}" for name in found["labels"])
    rows = [f"{'is (down), nearest (right)':26}{heads}{'found':>9}"]
    for name in found["present"]:
        counts = _counts(found, name)
        cells = "".join(f"{count:>13}" for count in counts)
        rows.append(f"{name:26}{cells}{found['recall'][name]:>9.4f}")
    return rows


def _counts(found: Json, name: str) -> list[int]:
    """Return what the cells of a class were called, counts by class."""
    return list(found["confusion"][found["labels"].index(name)])
