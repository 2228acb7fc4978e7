"""Draws the figures.

Flow: takes splits, histories and reports; gives PNG files. What was drawn from synthetic data is
stamped in red.
"""

import json
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from bloodkeras.named_types import Floats, Json, Pixels

matplotlib.use("Agg")  # files only: works without a screen

import matplotlib.pyplot as plt
import matplotlib.ticker
import numpy as np
import seaborn

from bloodkeras.contract import SYNTHETIC_STAMP
from bloodkeras.data.splits import Split, Splits
from bloodkeras.evaluation.corruptions import SHIFTS, shifts_file
from bloodkeras.evaluation.evaluate import Report
from bloodkeras.evaluation.metrics import ECE_BINS

DPI = 120
BLUE, ORANGE, GREEN = seaborn.color_palette("colorblind")[:3]
MISTAKES_SHOWN = 24


def sample_images(split: Split, path: Path, synthetic: bool = False) -> None:
    """Draw two images of each class with its name."""
    names = split.dataset.class_names
    figure, axes = plt.subplots(2, len(names), figsize=(13, 4))
    for label, name in enumerate(names):
        rows = np.flatnonzero(split.labels == label)[:2]
        for axis, row in zip(axes[:, label], rows, strict=False):
            axis.imshow(split.images[row], interpolation="nearest")
        axes[0, label].set_title(name.replace(" ", "\n"), fontsize=11)
    save_figure(figure, axes, path, synthetic)


def class_distribution(splits: Splits, path: Path) -> None:
    """Draw how many images of each class each split holds."""
    figure, axis = plt.subplots(figsize=(10, 4.5))
    names = splits.dataset.class_names
    places = np.arange(len(names))
    bars = zip((-0.27, 0, 0.27), splits.named().items(), (BLUE, ORANGE, GREEN), strict=True)
    for offset, (name, split), colour in bars:
        counts, label = np.bincount(split.labels, minlength=len(names)), f"{name} ({len(split):,})"
        drawn = axis.bar(places + offset, counts, 0.27, color=colour, label=label)
        axis.bar_label(drawn, fontsize=7, padding=1)
    axis.set_xticks(places, [name.replace(" ", "\n") for name in names], fontsize=9)
    axis.set_ylabel("images")
    axis.legend(frameon=False)
    save_figure(figure, [], path, splits.synthetic)


def augmentation(
    images: Pixels,
    views: Floats,
    names: tuple[str, ...],
    path: Path,
    synthetic: bool = False,
) -> None:
    """Draw one image of each class beside its augmented versions.

    Args:
        images: uint8 (K, S, S, 3), one of each class.
        views: float (V, K, S, S, 3), 0..255: V augmented versions of each.
    """
    count = len(names)
    figure, axes = plt.subplots(count, 1 + len(views), figsize=(1 + len(views), count))
    for label, name in enumerate(names):
        axes[label, 0].set_ylabel(name.replace(" ", "\n"), rotation=0, ha="right", va="center")
        shown = [images[label], *views[:, label].clip(0, 255).astype(np.uint8)]
        for axis, image in zip(axes[label], shown, strict=True):
            axis.imshow(image, interpolation="nearest")
    axes[0, 0].set_title("original", fontsize=10)
    axes[0, 1].set_title("augmented", fontsize=10, loc="left")
    save_figure(figure, axes, path, synthetic)


def confusion_matrix(report: Report, path: Path) -> None:
    """Draw counts and row percentages: true classes down, called classes across."""
    counts = np.array(report.metrics["confusion"])
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    text = np.vectorize(lambda count, share: f"{count}\n{share:.1%}" if count else "0")
    names = [name.replace(" ", "\n") for name in report.class_names]
    figure, axis = plt.subplots(figsize=(9, 7.5))
    seaborn.heatmap(
        shares,
        annot=text(counts, shares),
        fmt="",
        cmap="Blues",
        vmin=0,
        vmax=1,
        square=True,
        xticklabels=names,
        yticklabels=names,
        annot_kws={"fontsize": 8},
        ax=axis,
        cbar_kws={"label": "share of the true class", "shrink": 0.8},
    )
    axis.set(xlabel="called", ylabel="true")
    axis.set_xticks(axis.get_xticks(), names, rotation=45, ha="right")
    score = f"accuracy {report.value('accuracy'):.2%}, macro F1 {report.value('macro_f1'):.4f}"
    axis.set_title(f"{report.model} ({report.engine}) on {report.split}: {score}", fontsize=11)
    save_figure(figure, [], path, report.data["synthetic"])


def learning_curves(history: dict[str, Floats], name: str, path: Path, synthetic: bool) -> None:
    """Draw loss and accuracy by epoch, training and validation; mark the epoch that was kept."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    epochs = np.arange(1, len(history["loss"]) + 1)
    best = int(np.argmax(history["val_accuracy"]))
    for axis, key in zip(axes, ("loss", "accuracy"), strict=True):
        axis.plot(epochs, history[key], color=BLUE, marker="o", ms=3, label="training")
        axis.plot(epochs, history[f"val_{key}"], color=ORANGE, marker="o", ms=3, label="validation")
        axis.axvline(best + 1, color="grey", lw=1, ls=":", label=f"kept (epoch {best + 1})")
        # Whole numbers even where the axis is a single epoch, 0.95 to 1.05.
        axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True, min_n_ticks=1))
        axis.set(xlabel="epoch", ylabel=key)
    axes[0].legend(frameon=False)
    figure.suptitle(
        f"{name}: best validation accuracy {history['val_accuracy'][best]:.2%}", fontsize=11
    )
    save_figure(figure, [], path, synthetic)


def mistakes(report: Report, split: Split, path: Path) -> None:
    """Draw the most confident mistakes, the worst first."""
    called, confidence = report.probs.argmax(1), report.probs.max(1)
    wrong = np.flatnonzero(called != report.labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES_SHOWN]
    columns = 6
    rows = max(1, -(-len(wrong) // columns))
    figure, axes = plt.subplots(rows, columns, figsize=(11, 0.6 + 2.5 * rows), squeeze=False)
    for axis, index in zip(axes.ravel(), wrong, strict=False):
        axis.imshow(split.images[index], interpolation="nearest")
        true, answer = (report.class_names[k] for k in (report.labels[index], called[index]))
        sure = min(confidence[index], 0.999)  # nobody is 100 % sure of a mistake
        axis.set_title(f"{answer}\n{sure:.1%} sure", fontsize=10, color="firebrick")
        axis.set_xlabel(f"is {true}\n(row {index})", fontsize=10)
    total = int((called != report.labels).sum())
    figure.suptitle(
        f"{report.model} ({report.engine}): the most confident of {total} mistakes on "
        f"{report.split}; called in red, true below",
        fontsize=11,
    )
    for axis in axes.ravel()[len(wrong) :]:
        axis.set_visible(False)
    save_figure(figure, axes, path, report.data["synthetic"])


def reliability(report: Report, path: Path) -> None:
    """Draw how often answers of a confidence are right, and how many there are."""
    confidence, right = report.probs.max(1), report.probs.argmax(1) == report.labels
    counts, edges = np.histogram(confidence, ECE_BINS, (0, 1))
    shares = np.histogram(confidence[right], edges)[0] / counts.clip(min=1)
    figure, axes = plt.subplots(2, 1, figsize=(6, 6.5), height_ratios=(3, 1), sharex=True)
    axes[0].bar(edges[:-1], shares, 1 / ECE_BINS, align="edge", color=BLUE, edgecolor="white")
    axes[0].plot([0, 1], [0, 1], color="grey", ls=":", label="confidence = accuracy")
    axes[0].set_ylabel("share that is right")
    axes[0].legend(frameon=False, loc="upper left")
    axes[0].set_title(
        f"{report.model} ({report.engine}) on {report.split}: ECE {report.value('ece'):.4f}"
    )
    axes[1].bar(edges[:-1], counts, 1 / ECE_BINS, align="edge", color=ORANGE, edgecolor="white")
    axes[1].set(xlabel="confidence", ylabel="images", yscale="log")
    save_figure(figure, [], path, report.data["synthetic"])


def risk_coverage(report: Report, curve: tuple[Any, ...], doubt: Json, path: Path) -> None:
    """Draw the error rate of the most confident answers by how many are answered.

    Args:
        curve: What `doubt.risk_coverage` returned.
        doubt: What `doubt.judge_doubt` returned: the shipped threshold is marked.
    """
    figure, axis = plt.subplots(figsize=(7, 4.5))
    axis.plot(*curve, color=BLUE, label="most confident answers first")
    if doubt["selective_accuracy"] is not None:
        place = (doubt["coverage"], 1 - doubt["selective_accuracy"])
        label = f"shipped: {place[0]:.1%} accepted, {place[1]:.2%} of them wrong"
        axis.plot(*place, "o", color=ORANGE, label=label)
    axis.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    axis.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    axis.set(
        xlabel="share of the cells that is answered", ylabel="share of the answers that is wrong"
    )
    axis.set_title(f"{report.model} ({report.engine}) on {report.split}")
    axis.legend(frameon=False)
    save_figure(figure, [], path, report.data["synthetic"])


def comparison(found: list[Json], split: str, path: Path, synthetic: bool) -> None:
    """Draw models side by side, and how far each lies from the first, as `compare` found it."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 1.6 + 0.6 * len(found)), sharey=True)
    differences = {place: row["difference"] for place, row in enumerate(found) if place}
    sides = (
        (axes[0], dict(enumerate(found)), f"on {split}"),
        (axes[1], differences, f"minus {found[0]['name']}"),
    )
    for axis, rows, title in sides:
        for offset, key, colour in ((-0.12, "accuracy", BLUE), (0.12, "macro_f1", ORANGE)):
            numbers = [row[key] for row in rows.values()]
            values, *ends = np.array([[n["value"], n["low"], n["high"]] for n in numbers]).T
            places, bars = [place + offset for place in rows], np.abs(ends - values)
            name = key.replace("_", " ")
            axis.errorbar(values, places, xerr=bars, fmt="o", color=colour, label=name, capsize=3)
        axis.set_title(f"{title}, 95 % intervals", fontsize=11)
        axis.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    for place, row in enumerate(found[1:], 1):
        beside = axes[1].get_yaxis_transform()
        text = f" p = {row['mcnemar']['p']:.2g}"
        axes[1].text(1, place, text, transform=beside, va="center", fontsize=9)
    axes[1].axvline(0, color="grey", lw=1, ls=":")
    axes[0].set_yticks(range(len(found)), [row["name"] for row in found])
    axes[0].invert_yaxis()
    axes[0].legend(frameon=False)
    save_figure(figure, [], path, synthetic)


def shifts(runs: Path, synthetic: bool, split: str = "test") -> Path:
    """Draw accuracy by strength of every shift, for all models judged in the folder of all runs."""
    found = {
        file.parents[1].name.removeprefix("onnx-"): json.loads(file.read_text(encoding="utf-8"))
        for file in sorted(runs.glob(f"onnx-*/evaluation/{shifts_file(split)}"))
    }
    figure, axes = plt.subplots(3, 3, figsize=(11, 9), sharex=True, sharey=True)
    for axis, name in zip(axes.ravel(), SHIFTS, strict=True):
        for model, judged in found.items():
            scores = [judged["clean"], *judged["shifts"][name]]
            label = f"{model}: {judged['mean_accuracy']:.1%}"
            axis.plot([100 * s["accuracy"] for s in scores], marker="o", ms=3, label=label)
        axis.set(title=name, ylim=(0, 100), xlabel="strength (0: no shift)", ylabel="accuracy, %")
        axis.label_outer()
    # In the panel of translations, which cost little: its lower half is free.
    axes[-1, -1].legend(
        frameon=False, fontsize=8, title="mean over all shifts", title_fontsize=8, loc="lower left"
    )
    figure.suptitle(f"Simulated shifts of the {split} split", fontsize=11)
    path = runs / shifts_file(split).replace(".json", ".png")
    save_figure(figure, [], path, synthetic)
    return path


def save_figure(figure: Figure, image_axes: ArrayLike, path: Path, synthetic: bool) -> None:
    """Hide what axes do not need, all of those that show images; stamp, write, close."""
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    for axis in np.ravel(image_axes):
        axis.set(xticks=[], yticks=[])
        for spine in axis.spines.values():
            spine.set_visible(False)
    figure.tight_layout()
    if synthetic:
        figure.text(0.5, 1.0, SYNTHETIC_STAMP, color="red", ha="center", va="bottom", fontsize=12)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, bbox_inches="tight")
    plt.close(figure)
