"""Calibrates an export on some tens of one's own labelled cells, without TensorFlow.

Flow: takes an export and `Labelled`; gives a new export with its own temperature and thresholds, on
request its own last layer, and its own card and checksums.
"""

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bloodkeras import contract
from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.export_folder import new_export, sha256_of, write_checksums
from bloodkeras.answers.formats import valid_text
from bloodkeras.errors import BloodkerasError
from bloodkeras.images.framing import UNKNOWN, Framing
from bloodkeras.images.preprocess import eight_views
from bloodkeras.laboratory.fit import (
    ACCURACY,
    Fit,
    cautious_temperature,
    even_odds_threshold,
    fit_last_layer,
    softmax,
)
from bloodkeras.laboratory.graph import Head, features_and_logits, load_model, read_head, write_head
from bloodkeras.laboratory.labelled import Labelled, read_labelled
from bloodkeras.named_types import Json
from bloodkeras.whole_file import check_folder

if TYPE_CHECKING:
    from bloodkeras.laboratory.graph import ModelProto

LOG = logging.getLogger(__name__)

LEAST_CELLS = 20
ADVISED_CELLS = 50
UNSEEN_CELLS = 1  # of each class are taken to be there too: none may be thought impossible
TRUE_ACCEPTANCE = 0.95  # share of these cells that must not be called foreign
METADATA = ("model", "thresholds", "calibration", "metrics")  # what changes of it in the ONNX file
# What no longer holds of an export that was calibrated.
GONE = (*METADATA, "shifts", "int8", "class_shares", "calibrated_on", "before_calibration")


def calibrate_photos(
    export: str,
    photos: str,
    table: str,
    out: str,
    last_layer: bool = False,
    framing: Framing = UNKNOWN,
) -> Path:
    """Calibrate an export on a labelled folder and publish the result.

    Args:
        export: The folder of an export.
        photos: A folder of photographs.
        table: CSV with the columns file and label; "" where each class has a folder.
        out: The folder of the new export, which must not exist.
        last_layer: Fit the last layer too, not only temperature and thresholds.
        framing: What is known of the photographs' magnification.

    Returns:
        The new folder.

    Raises:
        BloodkerasError: Something cannot be read or written, or there are too few cells.
    """
    folder = Path(out)
    if folder.exists():
        raise BloodkerasError(f"{out} is there already: name a folder that is not")
    check_folder(folder)
    classifier = Classifier.load(export)
    model = load_model(Path(export, contract.MODEL_FILE))
    try:
        read_head(model)
    except BloodkerasError as error:  # said before the photographs are read
        name = classifier.card.get("model", export)
        raise BloodkerasError(f"{name} cannot be calibrated: {error}") from None
    framing = dataclasses.replace(framing, image_side=classifier.dataset.image_side)
    found = read_labelled(photos, table, classifier.labels, framing)
    cells = found.distinct()  # or a fit would be judged on what it has seen
    if len(cells) < LEAST_CELLS:
        raise BloodkerasError(
            f"{len(cells)} different labelled cells are too few: expected at least {LEAST_CELLS}, "
            f"better {ADVISED_CELLS}"
        )
    if last_layer and len(np.unique(cells.labels)) < 2:
        name = classifier.labels[cells.labels[0]]
        raise BloodkerasError(f"all cells are {name}: a last layer needs every class that occurs")
    facts = fit(model, cells, classifier, last_layer)
    digest = sha256_of(table) if table else _sha256_of_folders(found, classifier.labels)
    source = {
        "model": classifier.card.get("model", ""),
        "sha256": sha256_of(Path(export, contract.MODEL_FILE)),
        "photos": valid_text(Path(photos).resolve().name),
        "copies": len(found) - len(cells),
        "labels_sha256": digest,
        "seen_before": digest == classifier.card.get("calibrated_on", {}).get("labels_sha256"),
        "framing": found.framing.described(),
    }
    card = new_card(classifier.card, folder.name, facts | source)
    _write(model, card, Path(export), folder)
    print(f"{render_text(card)}\n\nwrote {folder}")
    if facts["selective_accuracy"] is None:
        LOG.warning(
            f"{folder} accepts none of these cells, and will call nearly every other unsure"
        )
    if cells.errors:
        raise BloodkerasError(f"could not be read: {len(cells.errors)}, first: {cells.errors[0]}")
    return folder


def _sha256_of_folders(found: Labelled, labels: tuple[str, ...]) -> str:
    """Return the SHA-256 of what the folders say: file and class, a line each."""
    named = zip(found.files, found.labels, strict=True)
    lines = sorted(f"{file},{labels[place]}\n" for file, place in named)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def fit(model: "ModelProto", cells: Labelled, classifier: Classifier, last_layer: bool) -> Json:
    """Give a model a new head; return what the card says of it.

    With a new last layer all that is said, thresholds too, is from fits that had not seen the cell.
    """
    head = read_head(model)
    views = np.stack(eight_views(cells.images), 1)  # (N, 8, S, S, 3)
    features, logits, _ = features_and_logits(model, np.concatenate(views))
    features, logits = (x.reshape(len(cells), 8, -1) for x in (features, logits))
    before = logits[:, 0].astype(float)
    fitted = Fit(head.weights, head.bias, None, before[None])
    if last_layer:
        fitted = fit_last_layer(features, cells.labels, head.weights, head.bias)
    expected = 1.0 if last_layer else head.temperature
    temperatures = [
        cautious_temperature(logits, cells.labels, expected) for logits in fitted.left_out
    ]
    temperature = float(np.exp(np.mean(np.log(temperatures))))
    probs = softmax(fitted.left_out / temperature)  # (divisions, N, 8)
    write_head(model, Head(fitted.weights, fitted.bias, temperature))
    *_, foreign = features_and_logits(model, cells.images)  # in which the new logits may count
    # To the graph's precision, or a cell's own confidence might miss the threshold that it set.
    sure, right = probs.max(-1).astype(np.float32), probs.argmax(-1) == cells.labels
    framed = cells.framed  # an answer to any other is unsure, whatever the threshold
    pairs = zip(sure[:, framed], right[:, framed], strict=True)
    confidence = float(np.median([even_odds_threshold(*pair) for pair in pairs]))
    usual = float(np.quantile(foreign, TRUE_ACCEPTANCE, method="higher"))
    limit = max(usual, classifier.thresholds.foreign)
    accepted = (sure >= confidence) & (foreign <= limit) & framed
    counts = np.bincount(cells.labels, minlength=len(classifier.labels)).tolist()
    facts = {
        "cells": dict(zip(classifier.labels, counts, strict=True)),
        "doubtful": int((~framed).sum()),
        "last_layer": last_layer,
        "penalty": fitted.penalty,
        "temperature": temperature,
        "thresholds": {"confidence": confidence, "foreign": limit},
        "accuracy_before": float((before.argmax(1) == cells.labels).mean()),
        "accuracy": float(right.mean()),
        "coverage": float(accepted.mean()),
        "selective_accuracy": float(right[accepted].mean()) if accepted.any() else None,
    }
    return facts


def new_card(card: Json, name: str, facts: Json) -> Json:
    """Return the card of the new export: what no longer holds is kept under before_calibration."""
    before = {key: card[key] for key in GONE if key in card}
    kept = {key: value for key, value in card.items() if key not in ("shifts", "int8")}
    calibration = dict(card.get("calibration", {})) | {
        "temperature": facts["temperature"],
        "selective_accuracy": ACCURACY,
        "true_acceptance": TRUE_ACCEPTANCE,
        "coverage_on_val": None,
    }
    if facts["last_layer"]:  # it expects the classes to be as common as among these cells
        counts = np.sqrt(list(facts["cells"].values())) + UNSEEN_CELLS  # as the fit counted them
        kept["class_shares"] = (counts / counts.sum()).round(6).tolist()
    return kept | {
        "model": name,
        "thresholds": facts["thresholds"],
        "calibration": calibration,
        "calibrated_on": {key: value for key, value in facts.items() if key != "thresholds"},
        "metrics": {},
        "int8": {"published": False, "reason": "eight bits are not calibrated again"},
        "before_calibration": before,
    }


def render_text(card: Json) -> str:
    """Return what was done, and what to expect of it, as text."""
    facts = card["calibrated_on"]
    counts = ", ".join(f"{name} {n}" for name, n in facts["cells"].items() if n)
    absent = ", ".join(name for name, n in facts["cells"].items() if not n)
    how = "mean of five fits that had not seen the cell" if facts["last_layer"] else "on them"
    right = facts["selective_accuracy"]
    lines = [
        f"{card['model']}: {facts['model']} calibrated on {sum(facts['cells'].values())} cells of "
        f"{facts['photos']} ({counts})",
        f"new: {'last layer, ' * facts['last_layer']}temperature {facts['temperature']:.3f}, "
        "thresholds; no int8 file",
        f"accuracy {facts['accuracy']:.1%}, {how}; before {facts['accuracy_before']:.1%}",
        f"accepted {facts['coverage']:.1%}, of which "
        + ("none to judge" if right is None else f"{right:.1%} right"),
    ]
    if facts["copies"]:
        lines.append(f"left out, for they show the same as others: {facts['copies']}")
    if facts.get("doubtful"):
        lines.append(f"unsure because their frame is in doubt, as in predict: {facts['doubtful']}")
    if facts["seen_before"]:
        lines.append(f"{facts['model']} was calibrated on these very cells: the numbers flatter")
    if right is None:
        more = "more cells" if facts["last_layer"] else "--last-layer, or more cells"
        lines.append(f"no threshold is good enough, so nothing will be accepted: try {more}")
    if facts["last_layer"] and absent:
        lines.append(f"not among the cells, so hardly ever the answer now: {absent}")
    if sum(facts["cells"].values()) < ADVISED_CELLS:
        lines.append(f"fewer than {ADVISED_CELLS} cells: expect these numbers to be rough")
    lines.append("judge it on other cells before use: judge EXPORT --photos DIR [--labels CSV]")
    return "\n".join(lines)


def _write(model: "ModelProto", card: Json, old: Path, folder: Path) -> None:
    """Write the new export."""
    fields = {key: card[key] for key in METADATA}
    for entry in model.metadata_props:
        key = entry.key.removeprefix(contract.METADATA_PREFIX)
        if key in fields:
            value = fields[key]
            entry.value = value if isinstance(value, str) else json.dumps(value)
    with new_export(folder) as staging:
        (staging / contract.MODEL_FILE).write_bytes(model.SerializeToString())
        text = json.dumps(card, indent=2) + "\n"
        (staging / contract.CARD_FILE).write_text(text, encoding="utf-8")
        page = _page(card, old / contract.MODEL_CARD_FILE)
        (staging / contract.MODEL_CARD_FILE).write_text(page, encoding="utf-8")
        write_checksums(staging)
        Classifier.load(staging)


def _page(card: Json, old: Path) -> str:
    before = old.read_text(encoding="utf-8") if old.exists() else ""
    return f"""# Model card: bloodkeras `{card["model"]}`

Calibrated on a laboratory's own cells. **Not a medical device, not for diagnosis.** What the card
below, of the export that it was made of, says of accuracy, thresholds and int8 no longer holds; the
rest does.

```text
{render_text(card)}
```

---

{before}"""
