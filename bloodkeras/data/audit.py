"""Looks for what is wrong with the data before anybody believes a score.

Flow: takes `Splits`; gives class balance and duplicates, as a dict and as text.
"""

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from bloodkeras.data.splits import Split, Splits
from bloodkeras.named_types import Json


def audit(splits: Splits) -> Json:
    """Look for what a careful reader wants to know before believing a score.

    Returns:
        "classes": {split: {class name: count}}; "duplicates": one entry for each set of
        byte-identical images, each a list of (split, row, class name); and the counts
        "within_splits", "across_splits", "with_different_labels" of such sets.
    """
    places: dict[bytes, list[Any]] = {}
    for name, split in splits.named().items():
        for row, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            place = (name, row, split.dataset.class_names[label])
            digest = hashlib.sha256(image.tobytes()).digest()  # of large images no second copy
            places.setdefault(digest, []).append(place)
    groups = [group for group in places.values() if len(group) > 1]
    return {
        "classes": {name: _class_counts(split) for name, split in splits.named().items()},
        "duplicates": groups,
        "within_splits": sum(max(Counter(s for s, _, _ in g).values()) > 1 for g in groups),
        "across_splits": sum(len({split for split, _, _ in group}) > 1 for group in groups),
        "with_different_labels": sum(len({label for _, _, label in g}) > 1 for g in groups),
    }


def audit_table(findings: Json) -> str:
    """Return the audit as text: class balance, then duplicates."""
    splits = list(findings["classes"])
    rows = [f"{'images':24}" + "".join(f"{name:>16}" for name in splits)]
    totals = {name: sum(counts.values()) for name, counts in findings["classes"].items()}
    for label in findings["classes"][splits[0]]:
        counts = ((findings["classes"][name][label], totals[name]) for name in splits)
        rows.append(f"{label:24}" + "".join(f"{n:>8} {n / total:>6.1%} " for n, total in counts))
    rows.append(f"{'all':24}" + "".join(f"{totals[name]:>8}{'':8}" for name in splits))
    rows.append("")
    rows.append(
        f"sets of identical images: {len(findings['duplicates'])}; within one split "
        f"{findings['within_splits']}, across splits {findings['across_splits']}, with different "
        f"labels {findings['with_different_labels']}"
    )
    for group in findings["duplicates"]:
        if len({split for split, _, _ in group}) > 1 or len({name for _, _, name in group}) > 1:
            rows.append("  " + " = ".join(f"{s} row {row} ({name})" for s, row, name in group))
    return "\n".join(rows)


def _class_counts(split: Split) -> dict[str, int]:
    names = split.dataset.class_names
    return dict(zip(names, np.bincount(split.labels, minlength=len(names)).tolist(), strict=True))
