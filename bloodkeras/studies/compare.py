"""Compares models on the same images: is the difference more than luck?

Flow: takes evaluated runs or exports; gives a table and a figure. Each is compared with the first,
image by image, which shows smaller differences than two separate intervals do.
Sources: McNemar 1947, exact (binomial) form: of the images that one of two models gets right and
    the other wrong, each is as likely to be the winner's if the models are equally good; paired
    percentile bootstrap, Efron & Tibshirani 1993.
"""

from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from bloodkeras.data.splits import check_split
from bloodkeras.errors import BloodkerasError
from bloodkeras.evaluation import figures
from bloodkeras.evaluation.evaluate import Report
from bloodkeras.evaluation.metrics import Statistic, accuracy, interval, macro_f1, resample_weights
from bloodkeras.named_types import Floats, Json
from bloodkeras.studies.targets import Places, check_target
from bloodkeras.whole_file import make_folder, write_json, write_text

COMPARED = {"accuracy": accuracy, "macro_f1": macro_f1}


def compare_targets(targets: tuple[str, ...], split: str, runs: Path) -> None:
    """Compare what was evaluated; print the table, leave it and a figure in <runs>/compare.

    Raises:
        UsageError: There is no such split.
        BloodkerasError: One was not evaluated on it, or on other images.
    """
    check_split(split)
    places = Places(runs, runs / "exports")
    for target in targets:
        check_target(target)
    reports = [places.report_of(places.run_or_published(target), split) for target in targets]
    names = short_names(targets)
    found = compare(names, reports)
    text = comparison_table(found, split, len(reports[0].labels))
    folder = runs / "compare"
    make_folder(folder)
    write_text(folder / "compare.txt", text)
    write_json(folder / "compare.json", {"split": split, "models": found})
    figures.comparison(found, split, folder / "compare.png", reports[0].data["synthetic"])
    print(f"{text}\nresults in {folder}")


def compare(names: list[str], reports: list[Report]) -> list[Json]:
    """Compare reports on one split with the first of them.

    Returns:
        A dict a model: "name", "engine", "weights"; "accuracy" and "macro_f1", each {"value",
        "low", "high"}; for all but the first also "difference" (the same two, minus the first's,
        with their own 95 % intervals), and "mcnemar" {"only_this", "only_first", "p"}.

    Raises:
        BloodkerasError: They are not of the same images.
    """
    first = reports[0]
    for name, report in zip(names, reports, strict=True):
        same = report.data["sha256"] == first.data["sha256"]
        if not same or not np.array_equal(report.labels, first.labels):
            raise BloodkerasError(
                f"{name} and {names[0]} were not evaluated on the same images: data of SHA-256 "
                f"{report.data['sha256'][:12]}... and {first.data['sha256'][:12]}...; evaluate "
                "both on one file"
            )
    weights = resample_weights(len(first.labels))
    found = []
    for name, report in zip(names, reports, strict=True):
        row: Json = {"name": name, "engine": report.engine, "weights": report.weights}
        row |= _scores(report, weights)
        if report is not first:
            difference = _scores(report, weights, minus=first)
            row |= {"difference": difference, "mcnemar": mcnemar(report, first)}
        found.append(row)
    return found


def mcnemar(report: Report, first: Report) -> Json:
    """Return how many images only one of two models gets right, and the exact two-sided p."""
    right, right_first = (r.probs.argmax(1) == r.labels for r in (report, first))
    only_this, only_first = int((right & ~right_first).sum()), int((right_first & ~right).sum())
    differing = only_this + only_first
    p = float(binomtest(only_this, differing).pvalue) if differing else 1.0
    return {"only_this": only_this, "only_first": only_first, "p": p}


def comparison_table(found: list[Json], split: str, count: int) -> str:
    """Return what `compare` found as text."""
    width = max(len(row["name"]) for row in found) + 2
    head = f"{'':{width}}{'accuracy':>10}{'macro F1':>10}{'accuracy - first':>28}"
    head += f"{'macro F1 - first':>30}{'right: only this, first':>26}{'McNemar p':>11}"
    rows = [f"{split}, {count:,} images; intervals are 95 %", head]
    for row in found:
        line = f"{row['name']:{width}}" + "".join(f"{row[key]['value']:>10.4f}" for key in COMPARED)
        if "difference" in row:
            line += "".join(
                f"{difference['value']:>+{column}.4f} [{difference['low']:+.4f}, "
                f"{difference['high']:+.4f}]"
                for difference, column in zip(row["difference"].values(), (9, 11), strict=True)
            )
            test = row["mcnemar"]
            line += f"{test['only_this']:>19}, {test['only_first']:<5}{test['p']:>11.2g}"
        rows.append(line)
    return "\n".join(rows)


def short_names(targets: tuple[str, ...]) -> list[str]:
    """Return the folders' last parts, or all of them where those are not enough to tell."""
    names = [Path(target).name for target in targets]
    return names if len(set(names)) == len(names) else [str(Path(target)) for target in targets]


def _scores(report: Report, weights: Floats, minus: Report | None = None) -> Json:
    """Return each score of COMPARED with its interval, or its difference to another report's."""

    def judged(score: Statistic, weights: Floats) -> Floats:
        found = score(report.labels, report.probs, weights)
        return found - score(minus.labels, minus.probs, weights) if minus else found

    return {name: interval(partial(judged, score), weights) for name, score in COMPARED.items()}
