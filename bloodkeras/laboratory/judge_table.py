"""Puts what was judged side by side: several exports on several folders, in one table.

Flow: takes what `judge.py` found of each; gives lines of text, one an export, and their mean.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from bloodkeras.named_types import Json

COLUMNS = ("accuracy", "balanced", "occurring", "accepted", "right", "foreign")
LEGEND = """\
balanced: each class counts alike. occurring: balanced, with only the classes open that occur.
accepted: answers that are neither unsure nor foreign; right: how many of those are. foreign: of
cells that are none of the classes, how many are accepted. Exports of one name, such as those of
several seeds: their mean and standard deviation."""


def table(judged: Sequence[Json]) -> str:
    """Return the table.

    Args:
        judged: What `evaluate_photos` returned, all exports of one folder after each other.
    """
    rows = [f"{'':26}{'cells':>7}" + "".join(f"{name:>15}" for name in COLUMNS)]
    for photos, group in groupby(judged, key=lambda found: found["photos"]):
        rows += ["", photos]
        by_name: dict[str, list[Json]] = {}
        for found in group:
            by_name.setdefault(found["model"], []).append(found)
        for name, seeds in by_name.items():
            numbers = np.array([_numbers(found) for found in seeds])
            rows += [_row(name, seeds[0]["images"], map(_share, row)) for row in numbers]
            if len(seeds) > 1:
                pairs = zip(numbers.mean(axis=0), numbers.std(axis=0, ddof=1), strict=True)
                said = (_share(mean, spread) for mean, spread in pairs)
                rows.append(_row(f"mean of {len(seeds)}", seeds[0]["images"], said))
    return "\n".join([*rows, "", LEGEND])


def _numbers(found: Json) -> list[float]:
    """Return what the columns show, NaN where there is nothing to show."""
    every, present = found["all_classes"], found["present_classes"]
    others = found.get("foreign", {}).values()
    strangers = sum(kind["cells"] for kind in others)
    taken = sum(kind["cells"] * kind["accepted"] for kind in others)
    return [
        every["accuracy"],
        every["balanced_accuracy"],
        present["balanced_accuracy"],
        every["coverage"],
        np.nan if every["selective_accuracy"] is None else every["selective_accuracy"],
        taken / strangers if strangers else np.nan,
    ]


def _row(name: str, cells: int, columns: Iterable[str]) -> str:
    return f"  {name:24}{cells:>7}" + "".join(f"{text:>15}" for text in columns)


def _share(share: float, spread: float | None = None) -> str:
    more = "" if spread is None else f" ± {100 * spread:.1f}"
    return "-" if np.isnan(share) else f"{share:.1%}{more}"
